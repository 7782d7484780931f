"""Collections as callers write them: what makes one, and documents as JSON, as lines of JSON, or as they are.

Promises: what is not as described is an `Invalid` that names field, value, limit and remedy; a list of documents is
taken whole or not at all, of lines those that are none are told apart; what passes here fits the index.
"""

from __future__ import annotations

import binascii
from collections.abc import Mapping
from hashlib import sha256
from typing import Annotated, Any, Final, Literal
from urllib.parse import parse_qs

import msgspec
from msgspec import Meta, Raw

from penstock.dialects.strict_json import check_text, decode_as, refusal, shorten
from penstock.embedding.catalog.collections import NAME, Failure
from penstock.embedding.ingest.intake import Sent
from penstock.kernel.errors import Invalid
from penstock.net.request import Request
from penstock.ports.index import METADATA_BYTES_MOST, Precision, Scalar

DOCUMENTS_MOST: Final = 1_000
"""Documents of one call; more go as lines."""
LINES_MOST: Final = 20_000
ID_BYTES_MOST: Final = 256
WHOLE_MOST: Final = 2**53
LINE: Final = "line\t"
"""What stands for the id of a line that is no document; no id has a tab."""

_Note = Annotated[str, Meta(max_length=1_000)]
_Label = Annotated[str, Meta(min_length=1, max_length=128)]

REMEDIES: Final[Mapping[str, str]] = {
    "": "See docs/knowledge.md for what this member may be.",
    "name": "Use 1 to 63 of a-z, 0-9, '.', '_' and '-', starting with a letter or a digit.",
    "chunk_tokens": "Use 16 to 8,192 tokens; the model's own window bounds it too.",
    "overlap_percent": "Use 0 to 50.",
    "precision": "Use fp32, fp16 or int8.",
    "documents": f"Send 1 to {DOCUMENTS_MOST:,} documents; send more as lines to …/bulk.",
    "metadata": "Use texts, finite numbers and true or false, at most 16 KiB as JSON.",
    "acl": "Use up to 64 labels of 1 to 128 characters.",
}


class CollectionAsk(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What makes a collection."""

    name: Annotated[str, Meta(min_length=1, max_length=63)]
    model: Annotated[str, Meta(max_length=200)] = ""
    chunk_tokens: Annotated[int, Meta(ge=16, le=8_192)] | None = None
    overlap_percent: Annotated[int, Meta(ge=0, le=50)] = 10
    precision: Precision = "fp16"
    rerank: Annotated[str, Meta(min_length=1, max_length=200)] = "auto"
    keep_token_vectors: bool = False


class MigrationAsk(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What begins a migration. `switch`: by itself once it passed its check, or when it is asked for."""

    model: Annotated[str, Meta(min_length=1, max_length=200)]
    switch: Literal["auto", "manual"] = "auto"


class _Document(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    id: str = ""
    text: str | None = None
    content: str | None = None
    media_type: Annotated[str, Meta(max_length=200)] = ""
    name: _Note = ""
    title: _Note = ""
    url: _Note = ""
    language: Annotated[str, Meta(max_length=35)] = ""
    version: Annotated[str, Meta(max_length=128)] = ""
    metadata: dict[str, Scalar] = {}
    acl: Annotated[list[_Label], Meta(max_length=64)] = []


class _Documents(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    documents: Annotated[list[Raw], Meta(min_length=1, max_length=DOCUMENTS_MOST)]


_COLLECTION: Final = msgspec.json.Decoder(CollectionAsk)
_MIGRATION: Final = msgspec.json.Decoder(MigrationAsk)
_DOCUMENT: Final = msgspec.json.Decoder(_Document)
_DOCUMENTS: Final = msgspec.json.Decoder(_Documents)


def parse_collection(body: bytes) -> CollectionAsk:
    """Read what makes a collection. Raises Invalid."""
    ask = _read(body, _COLLECTION)
    if not NAME.fullmatch(ask.name):
        raise _wrong("name", "This cannot be a collection's name.", ask.name, 63)
    return ask


def parse_migration(body: bytes) -> MigrationAsk:
    """Read what begins a migration. Raises Invalid."""
    return _read(body, _MIGRATION)


def parse_documents(body: bytes, document_bytes: int) -> list[Sent]:
    """Read a list of documents. Raises Invalid, naming the first that is none."""
    sent: list[Sent] = []
    seen: set[str] = set()
    for number, raw in enumerate(_read(body, _DOCUMENTS).documents):
        place = f"documents[{number}]"
        one = _sent(_read(raw, _DOCUMENT, place), place, document_bytes)
        if one.id in seen:
            raise _wrong(f"{place}.id", "This document comes twice.", one.id, "once in a call")
        seen.add(one.id)
        sent.append(one)
    return sent


def parse_lines(body: bytes, document_bytes: int) -> tuple[list[Sent], dict[str, Failure]]:
    """Read lines of JSON, a document each; returns those that are, the last of each id, and by line why others are not.

    Raises Invalid for no lines, or too many.
    """
    lines = [(number, line) for number, line in enumerate(body.split(b"\n"), 1) if line.strip()]
    if not 1 <= len(lines) <= LINES_MOST:
        raise _wrong("body", "Send lines of JSON, a document each.", len(lines), f"1 to {LINES_MOST} lines")
    sent: dict[str, Sent] = {}
    unread: dict[str, Failure] = {}
    for number, line in lines:
        try:
            check_text(line)
            one = _sent(_read(line, _DOCUMENT), "", document_bytes)
        except Invalid as error:
            unread[f"{LINE}{number}"] = Failure(code=error.reason, message=str(error)[:500], retryable=False)
        else:
            sent[one.id] = one
    return list(sent.values()), unread


def raw_document(request: Request, document_bytes: int) -> Sent:
    """Read a body that is the document itself, what is said of it in the query. Raises Invalid."""
    asked = {name: values[0] for name, values in parse_qs(request.query.decode("ascii")).items()}
    known = {"id", "name", "title", "url", "language", "version", "acl"}
    if unknown := sorted(set(asked) - known):
        raise _wrong(unknown[0], "This is not said of a document here.", asked[unknown[0]], ", ".join(known))
    media_type = (request.header(b"content-type") or b"").decode("latin-1")
    acl = asked.pop("acl", "")
    fields = {**asked, "acl": acl.split(",") if acl else [], "media_type": media_type}
    try:
        document = msgspec.convert(fields, _Document)
    except msgspec.ValidationError as error:
        raise refusal(error, msgspec.json.encode(fields), REMEDIES) from None
    return _finished(document, request.body, "", document_bytes)


def _sent(document: _Document, place: str, document_bytes: int) -> Sent:
    if (document.text is None) == (document.content is None):
        raise _wrong(_at(place, "text"), "A document has either text or content.", None, "one of the two")
    if document.text is not None:
        return _finished(document, document.text.encode(), place, document_bytes)
    try:
        content = binascii.a2b_base64(document.content or "", strict_mode=True)
    except binascii.Error as error:
        raise _wrong(_at(place, "content"), "This is not base64.", str(error), "RFC 4648") from None
    return _finished(document, content, place, document_bytes)


def _finished(document: _Document, content: bytes, place: str, document_bytes: int) -> Sent:
    if not 1 <= len(content) <= document_bytes:
        raise Invalid(
            "A document is empty, or too large.",
            code="invalid_document",
            field=_at(place, "content" if document.text is None else "text"),
            value=f"{len(content)} bytes",
            limit=f"1 to {document_bytes} bytes",
            remedy="Split it into several documents.",
        )
    document_id = document.id or f"doc_{sha256(document.name.encode() + bytes(1) + content).hexdigest()[:32]}"
    _check_id(document_id, place)
    for name, value in document.metadata.items():
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) > WHOLE_MOST:
            raise _wrong(_at(place, f"metadata.{name[:40]}"), "This number is too large.", value, "±2^53")
    if (size := len(msgspec.json.encode(document.metadata))) > METADATA_BYTES_MOST - 1_024:
        raise _wrong(_at(place, "metadata"), "The metadata is too large.", size, METADATA_BYTES_MOST - 1_024)
    if any(not 1 <= len(name.encode()) <= ID_BYTES_MOST for name in document.metadata):
        raise _wrong(
            _at(place, "metadata"), "A name in the metadata is empty or too long.", None, ID_BYTES_MOST
        )
    return Sent(
        id=document_id,
        content=content,
        # What came as text is text, whatever it may look like.
        media_type=document.media_type
        or ("text/plain" if document.text is not None and not document.name else ""),
        name=document.name,
        title=document.title,
        url=document.url,
        language=document.language,
        version=document.version,
        labels=tuple(document.acl),
        metadata=document.metadata,
    )


def _check_id(document_id: str, place: str) -> None:
    """Refuse an id that could not stand in a path as it is."""
    parts = document_id.split("/")
    if (
        len(document_id.encode()) > ID_BYTES_MOST
        or not document_id.isprintable()
        or "\\" in document_id
        or not all(parts)
        or {".", ".."} & set(parts)
    ):
        raise Invalid(
            "This cannot be a document's id.",
            code="invalid_field",
            field=_at(place, "id"),
            value=shorten(document_id),
            limit=f"{ID_BYTES_MOST} bytes",
            remedy="Use printable characters without backslash, and no empty, '.' or '..' part between slashes.",
        )


def _read(body: bytes | Raw, decoder: msgspec.json.Decoder[Any], place: str = "") -> Any:  # noqa: ANN401 - what the decoder makes
    content = bytes(body)
    if not place:
        check_text(content)
    try:
        return decode_as(content, decoder)
    except msgspec.ValidationError as error:
        raise refusal(error, content, REMEDIES, place) from None


def _at(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name


def _wrong(field: str, said: str, value: object, limit: object) -> Invalid:
    word = field.rpartition(".")[2]
    return Invalid(
        said,
        code="invalid_field",
        field=field,
        value=None if value is None else shorten(value),
        limit=limit,
        remedy=REMEDIES.get(word, REMEDIES[""]),
    )
