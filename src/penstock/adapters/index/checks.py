"""What every index refuses, before anything is written or asked: the bounds of `ports/index.py`. Pure.

Promise: what passes here is text that has UTF-8, figures that fit, and vectors of one length, all of numbers.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from typing import Final

import msgspec

from penstock.kernel.errors import Invalid
from penstock.ports.index import (
    ANY_OF_MOST,
    CHUNKS_MOST,
    DIMENSIONS_MOST,
    DOCUMENTS_MOST,
    LABELS_MOST,
    LIMIT_MOST,
    METADATA_BYTES_MOST,
    NAME_BYTES_MOST,
    NOTE_BYTES_MOST,
    PUT_BYTES_MOST,
    TEXT_BYTES_MOST,
    TOKENS_BYTES_MOST,
    WHERE_MOST,
    Chunk,
    Document,
    Place,
    Question,
    Scalar,
    Where,
)

FLOAT: Final = 4
"""Bytes of one number of a vector."""
WHOLE_MOST: Final = 2**53
FIGURE_MOST: Final = 2**31 - 1
"""Largest position and page; where a chunk begins and ends may be larger."""
OFFSET_MOST: Final = 2**53
_DIGEST_CHARS: Final = 64


def utf8(field: str, text: str, *, least: int = 0, most: int = NAME_BYTES_MOST) -> bytes:
    """Return text as bytes. Raises Invalid out of bounds, or for a lone surrogate."""
    try:
        told = text.encode()
    except UnicodeEncodeError as error:
        raise Invalid(
            "Text holds a character that is none.",
            field=field,
            value=f"position {error.start}",
            remedy="Remove the lone surrogate.",
        ) from None
    if not least <= len(told) <= most:
        raise Invalid(
            "Text is out of bounds.", field=field, value=len(told), limit=f"{least} to {most} bytes"
        )
    return told


def names(place: Place, space: str, *, space_least: int = 1) -> tuple[bytes, bytes, bytes]:
    """Return tenant, collection and space as bytes. Raises Invalid."""
    return (
        utf8("tenant", place.tenant, least=1),
        utf8("collection", place.collection, least=1),
        utf8("space", space, least=space_least),
    )


def count(field: str, found: int, most: int, *, least: int = 0) -> None:
    """Raise Invalid when there are too many or too few."""
    if not least <= found <= most:
        raise Invalid("Out of bounds.", field=field, value=found, limit=f"{least} to {most}")


def page(after: tuple[str, int], limit: int) -> bytes:
    """Check where a page of a scan begins; return the document's id as bytes. Raises Invalid."""
    count("limit", limit, LIMIT_MOST, least=1)
    count("after", after[1], FIGURE_MOST, least=-1)
    return utf8("after", after[0])


def digest(text: str) -> bytes:
    """Return the bytes of a SHA-256 in hex. Raises Invalid."""
    try:
        told = bytes.fromhex(text)
    except ValueError:
        told = b""
    if len(text) != _DIGEST_CHARS or len(told) * 2 != _DIGEST_CHARS:
        raise Invalid("This is no SHA-256 in hex.", field="digest", value=ascii(text[:80]))
    return told


def ids(documents: Sequence[str]) -> list[bytes]:
    """Return the different ids as bytes, in order. Raises Invalid."""
    count("documents", len(documents), DOCUMENTS_MOST)
    return sorted({utf8("id", id_, least=1) for id_ in documents})


def put(documents: Sequence[Document]) -> tuple[list[Document], int]:
    """Check what is put; return it (the last of those with one id) and its vectors' dimensions, 0 without any.

    Raises Invalid.
    """
    count("documents", len(documents), DOCUMENTS_MOST)
    count("chunks", sum([len(each.chunks) for each in documents]), CHUNKS_MOST)
    length = total = 0
    for document in documents:
        _head(document)
        for chunk in document.chunks:
            length = length or len(chunk.vector)
            total += _chunk(chunk, length)
    count("bytes", total, PUT_BYTES_MOST)
    return list({each.id: each for each in documents}.values()), length // FLOAT


def question(asked: Question) -> None:
    """Raise Invalid for a question that cannot be."""
    count("limit", asked.limit, LIMIT_MOST, least=1)
    utf8("words", asked.words, most=TEXT_BYTES_MOST)
    utf8("language", asked.language, most=NOTE_BYTES_MOST)
    count("labels", len(asked.labels), LABELS_MOST)
    for label in asked.labels:
        utf8("labels", label)
    count("where", len(asked.where), WHERE_MOST)
    for where in asked.where:
        _where(where)
    if asked.vector:
        vector(asked.vector, len(asked.vector))


def vector(data: bytes, length: int) -> None:
    """Raise Invalid unless a vector is this long, in bytes, and of numbers."""
    if not data or len(data) != length or len(data) % FLOAT or len(data) > DIMENSIONS_MOST * FLOAT:
        raise Invalid(
            "A vector has another length than the space's, or none.",
            field="vector",
            value=f"{len(data)} bytes",
            limit=f"{length} bytes of float32, at most {DIMENSIONS_MOST} numbers",
        )
    # A sum is finite unless a part is not, or the sum itself is too large: then each is looked at.
    numbers = array("f", data)
    if not math.isfinite(sum(numbers)) and not all(map(math.isfinite, numbers)):
        raise Invalid("A vector holds what is no number.", field="vector")


def dimensions(expected: int, found: int) -> None:
    """Raise Invalid for vectors of another length than the space's; 0 is none."""
    if expected and found and expected != found:
        raise Invalid(
            "A vector has another length than the space's.",
            field="vector",
            value=f"{found} dimensions",
            limit=f"{expected} dimensions",
        )


def _head(document: Document) -> None:
    utf8("id", document.id, least=1)
    utf8("version", document.version)
    for field in ("title", "url", "language"):
        utf8(field, getattr(document, field), most=NOTE_BYTES_MOST)
    count("labels", len(document.labels), LABELS_MOST)
    for label in document.labels:
        utf8("labels", label, least=1)
    for field, value in document.metadata.items():
        utf8("metadata", field, least=1)
        _scalar("metadata", value)
    size = len(msgspec.json.encode(dict(document.metadata)))
    count("metadata", size, METADATA_BYTES_MOST)
    if len({chunk.position for chunk in document.chunks}) < len(document.chunks):
        raise Invalid("Two chunks have one position.", field="chunks", value=document.id)


def _chunk(chunk: Chunk, length: int) -> int:
    """Check a chunk; return its bytes."""
    text = utf8("text", chunk.text, most=TEXT_BYTES_MOST)
    utf8("heading", chunk.heading, most=NOTE_BYTES_MOST)
    digest(chunk.digest)
    count("tokens", len(chunk.tokens), TOKENS_BYTES_MOST)
    for field, figure, most in (
        ("position", chunk.position, FIGURE_MOST),
        ("page", chunk.page, FIGURE_MOST),
        ("start", chunk.start, OFFSET_MOST),
        ("end", chunk.end, OFFSET_MOST),
    ):
        count(field, figure, most)
    vector(chunk.vector, length)
    return len(text) + len(chunk.tokens) + len(chunk.vector)


def _scalar(field: str, value: Scalar) -> None:
    if isinstance(value, str):
        utf8(field, value, most=TEXT_BYTES_MOST)
    elif not math.isfinite(value) or (isinstance(value, int) and abs(value) > WHOLE_MOST):
        raise Invalid(
            "A number is out of bounds.", field=field, value=str(value)[:80], limit="finite, within 2^53"
        )


def _where(where: Where) -> None:
    utf8("where", where.field, least=1)
    count("any_of", len(where.any_of), ANY_OF_MOST)
    for value in where.any_of:
        _scalar("any_of", value)
    bounds = [bound for bound in (where.at_least, where.at_most) if bound is not None]
    if any(math.isnan(bound) for bound in bounds) or not (bounds or where.any_of):
        raise Invalid("A condition names any_of, at_least or at_most.", field=f"where.{where.field}")
