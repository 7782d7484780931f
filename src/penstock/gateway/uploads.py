"""An uploaded form (RFC 7578): its fields and its one file.

Promise: what is no form, has too many parts or no file is an `Invalid`; nothing is written anywhere, and what is read
was already within the server's bound on a body.
"""

from __future__ import annotations

import msgspec
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from penstock.kernel.errors import Invalid

PARTS_MAX = 16


class Upload(msgspec.Struct, kw_only=True):
    """What was sent."""

    fields: dict[str, str] = {}
    filename: str = ""
    content: bytes | None = None


class _Reader:
    """Collects the parts of one form."""

    def __init__(self) -> None:
        self.upload = Upload()
        self.parts = 0
        self._name = self._value = b""
        self._headers: dict[bytes, bytes] = {}
        self._data: list[bytes] = []

    def on_part_begin(self) -> None:
        self.parts += 1
        if self.parts > PARTS_MAX:  # at once: each of a million parts would be several calls
            raise Invalid("The form has too many parts.", field="body", value=self.parts, limit=PARTS_MAX)
        self._name, self._value, self._headers, self._data = b"", b"", {}, []

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def on_header_end(self) -> None:
        self._headers[self._name.lower()] = self._value
        self._name = self._value = b""

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._data.append(data[start:end])

    def on_part_end(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition"))
        name, content = options.get(b"name", b"").decode("utf-8", "replace"), b"".join(self._data)
        if b"filename" in options and name == "file":
            self.upload.filename = options[b"filename"].decode("utf-8", "replace")[:255]
            self.upload.content = content
        else:
            self.upload.fields[name[:100]] = content[:1_000].decode("utf-8", "replace")


def read_upload(content_type: bytes, body: bytes) -> Upload:
    """Read a form with a file. Raises `Invalid`."""
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not boundary:
        raise Invalid("Send a form (multipart/form-data) with a file.", field="content-type")
    reader = _Reader()
    names = (
        "on_part_begin",
        "on_header_field",
        "on_header_value",
        "on_header_end",
        "on_part_data",
        "on_part_end",
    )
    try:
        parser = MultipartParser(boundary, {name: getattr(reader, name) for name in names})  # pyright: ignore[reportArgumentType]  # a TypedDict of these names
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise Invalid(f"The form cannot be read: {error}.", field="body") from None
    if reader.upload.content is None:
        raise Invalid("The form has no file.", field="file", remedy="Send the file in a part named `file`.")
    return reader.upload
