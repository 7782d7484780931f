"""What both sides of HTTP/1.1 share: the header list, status lines, and the strict decoder of chunked bodies.

Promise: nothing here does I/O, and nothing here is lenient. A chunked body is the grammar of RFC 9112 section 7.1
without its two rarely used and often abused parts: chunk extensions and trailers are refused, not skipped.
"""

from __future__ import annotations

from http import HTTPStatus

from penstock.kernel.errors import Invalid

Headers = list[tuple[bytes, bytes]]
"""Header fields in order of arrival: (lower-case name, value without surrounding blanks)."""

REASONS: dict[int, bytes] = {status.value: status.phrase.encode() for status in HTTPStatus}

_SIZE_LINE_BYTES = 16  # a size of 16 hexadecimal digits is already far beyond any body we accept
_HEX = b"0123456789abcdefABCDEF"


def header(headers: Headers, name: bytes) -> bytes | None:
    """The first value of `name` (lower-case bytes), or None when the field is absent."""
    for field, value in headers:
        if field == name:
            return value
    return None


def status_line(status: int) -> bytes:
    """`HTTP/1.1 200 OK` and its line end; an unknown status gets an empty reason, which RFC 9112 allows."""
    return b"HTTP/1.1 %d %b\r\n" % (status, REASONS.get(status, b""))


def chunk(data: bytes) -> bytes:
    """`data` framed as one chunk (RFC 9112 section 7.1). Empty data would end the body and is the caller's to avoid."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class ChunkDecoder:
    """Decodes one chunked body fed in pieces of any size; `done` turns true at its terminal chunk.

    Raises Invalid (code `malformed_chunk`) on anything but bare hexadecimal sizes, exact CRLFs and an empty trailer.
    Holds at most one incomplete size line of its own; decoded bytes go out with every call.
    """

    __slots__ = ("_left", "_raw", "_state", "done")

    _SIZE, _DATA, _END, _LAST = range(4)

    def __init__(self) -> None:
        """Start before the first size line."""
        self._raw = b""
        self._left = 0
        self._state = self._SIZE
        self.done = False

    def feed(self, data: bytes) -> tuple[list[bytes], bytes]:
        """Decode `data`; return the body pieces found and what followed the body (empty until `done`)."""
        raw = self._raw + data if self._raw else data
        pieces: list[bytes] = []
        at = 0
        while not self.done:
            if self._state == self._DATA:
                piece = raw[at : at + self._left]
                if not piece:
                    break
                pieces.append(piece)
                at += len(piece)
                self._left -= len(piece)
                if self._left:
                    break
                self._state = self._END
            elif self._state == self._SIZE:
                end = self._size_line(raw, at)
                if end < 0:
                    break
                at = end
            else:  # the line end after a chunk's data, or after the terminal chunk
                line_end = raw[at : at + 2]
                if line_end != b"\r\n":
                    self._expect_line_end(line_end)
                    break
                at += 2
                self.done = self._state == self._LAST
                self._state = self._SIZE
        rest = raw[at:]
        self._raw = b"" if self.done else rest
        return pieces, rest if self.done else b""

    def _size_line(self, raw: bytes, at: int) -> int:
        """Read the size line at `at`; return where it ends, or -1 while it is incomplete."""
        end = raw.find(b"\r\n", at, at + _SIZE_LINE_BYTES + 2)
        line = raw[at:end] if end >= 0 else raw[at : at + _SIZE_LINE_BYTES + 2].removesuffix(b"\r")
        if line.strip(_HEX) or len(line) > _SIZE_LINE_BYTES or (end >= 0 and not line):
            text = "a chunk's size is not a plain hexadecimal number (chunk extensions are refused)"
            raise Invalid(f"Malformed chunked body: {text}.", code="malformed_chunk")
        if end < 0:
            return -1
        self._left = int(line, 16)
        self._state = self._DATA if self._left else self._LAST
        return end + 2

    def _expect_line_end(self, found: bytes) -> None:
        """Refuse anything that cannot still become CRLF."""
        if found in (b"", b"\r"):
            return
        what = (
            "trailer fields are refused" if self._state == self._LAST else "a chunk is longer than its size"
        )
        raise Invalid(f"Malformed chunked body: {what}.", code="malformed_chunk")
