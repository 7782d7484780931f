"""Documents ↔ the columns of PostgreSQL: what is checked before anything is written, and what comes back. Pure.

Whatever a search can be confined to stands on each chunk as a *fact*: 16 bytes of a hash of the room's number, the
field and the value. A document without labels carries the fact that everybody has; so that "may see" and "passes" are
one kind of question, answered inside the search by one index that holds no tenant's words.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final

import msgspec

from penstock.adapters.index.checks import FLOAT
from penstock.adapters.index.postgres_words import configuration, written
from penstock.ports.index import Chunk, Document, Hit, Row, Scalar

OWN: Final = ("id", "title", "url", "language")
"""Fields that are the document's own; they come before its metadata of the same name."""
_HEAD: Final = 4

Columns = Sequence[Sequence[object]]
"""One sequence a column, all equally long."""

_metadata = msgspec.msgpack.Decoder(dict[str, Scalar])
_labels = msgspec.msgpack.Decoder(tuple[str, ...])


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """What one `put` writes into a room."""

    documents: Columns
    chunks: Columns
    filters: Columns
    bytes: int
    labelled: int


def batch_of(room: int, documents: Sequence[Document]) -> Batch:
    """Return what to write of documents that were checked."""
    own: list[tuple[object, ...]] = []
    chunks: list[tuple[object, ...]] = []
    filters: list[tuple[object, ...]] = []
    total = labelled = 0
    for document in documents:
        id_ = document.id.encode()
        own.append(_own(id_, document))
        filters.append((id_, *_filters(room, document), bool(document.labels)))
        reading = configuration(document.language)
        for chunk in document.chunks:
            row, size = _chunk(id_, chunk, reading)
            chunks.append(row)
            total += size
        labelled += len(document.chunks) if document.labels else 0
    return Batch(
        documents=_columns(own, 7),
        chunks=_columns(chunks, 14),
        filters=_columns(filters, 5),
        bytes=total,
        labelled=labelled,
    )


def _own(id_: bytes, document: Document) -> tuple[object, ...]:
    texts = [text.encode() for text in (document.version, document.title, document.url, document.language)]
    packed = msgspec.msgpack.encode(document.labels), msgspec.msgpack.encode(dict(document.metadata))
    return (id_, *texts, *packed)


def _chunk(id_: bytes, chunk: Chunk, reading: str) -> tuple[tuple[object, ...], int]:
    text, heading = chunk.text.encode(), chunk.heading.encode()
    size = len(text) + len(heading) + len(chunk.tokens) + len(chunk.vector)
    words = written(chunk.text)
    row = (
        id_,
        chunk.position,
        bytes.fromhex(chunk.digest),
        text,
        chunk.tokens,
        to_wire(chunk.vector),
        chunk.start,
        chunk.end,
        chunk.page,
        heading,
        size,
        words.words,
        words.stemmed,
        reading,
    )
    return row, size


def _columns(rows: Sequence[tuple[object, ...]], width: int) -> Columns:
    return list(zip(*rows, strict=True)) if rows else [()] * width


# ------------------------------------------------------------------------------------------------ what is filtered by


def fact(room: int, field: str, value: Scalar) -> bytes:
    """Return the fact that a field has a value: equal for values that are equal, and for no others."""
    return _hash(room, b"is", field.encode(), _canonical(value))


def label_fact(room: int, label: str) -> bytes:
    """Return the fact that a document carries a label."""
    return _hash(room, b"label", label.encode())


def open_fact(room: int) -> bytes:
    """Return the fact that a document carries no label."""
    return _hash(room, b"open")


def field_key(room: int, field: str) -> bytes:
    """Return the name under which a field's number stands."""
    return _hash(room, b"number", field.encode())


def _canonical(value: Scalar) -> bytes:
    if isinstance(value, bool):
        return b"truth %d" % value
    if isinstance(value, str):
        return b"text " + value.encode()
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return b"number " + repr(value).encode()


def _hash(room: int, *fields: bytes) -> bytes:
    told = b"".join([part for each in fields for part in (len(each).to_bytes(8, "big"), each)])
    return blake2b(told, digest_size=16, key=room.to_bytes(8, "big")).digest()


def _filters(room: int, document: Document) -> tuple[str, str, str]:
    """Return a document's facts, and the names and values of its numbers, as PostgreSQL writes arrays."""
    fields: dict[str, Scalar] = {**document.metadata, **{name: getattr(document, name) for name in OWN}}
    facts = [fact(room, field, value) for field, value in fields.items()]
    facts += [label_fact(room, label) for label in document.labels] or [open_fact(room)]
    numbers = {
        field_key(room, field): float(value)
        for field, value in fields.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    }
    values = ",".join(map(repr, numbers.values()))
    return _byte_array(facts), _byte_array(numbers), f"{{{values}}}"


def _byte_array(values: Iterable[bytes]) -> str:
    listed = ",".join([f'"\\\\x{value.hex()}"' for value in values])
    return f"{{{listed}}}"


# ------------------------------------------------------------------------------------------------ vectors on the wire


def to_wire(vector: bytes) -> bytes:
    """Return a vector as PostgreSQL receives it: its length, then big-endian float32."""
    return (len(vector) // FLOAT).to_bytes(2, "big") + b"\0\0" + _swapped(vector)


def from_wire(data: bytes) -> bytes:
    """Return a vector as the port has it, little-endian."""
    return _swapped(data[_HEAD:])


def _swapped(data: bytes) -> bytes:
    floats = array("f", data)
    floats.byteswap()
    return floats.tobytes()


assert array("f").itemsize == FLOAT, sys.platform  # noqa: S101 - what the two functions above are built upon


# ---------------------------------------------------------------------------------------------------- what comes back


def document_of(row: Sequence[Any]) -> Document:
    """Return what a document says of itself, of a row of `postgres_sql.BODY`."""
    id_, version, title, url, language, labels, metadata = row[:7]
    return Document(
        id=id_.decode(),
        version=version.decode(),
        title=title.decode(),
        url=url.decode(),
        language=language.decode(),
        labels=_labels.decode(labels),
        metadata=_metadata.decode(metadata),
        chunks=(),
    )


def chunk_of(row: Sequence[Any]) -> Chunk:
    """Return the chunk of a row of `postgres_sql.BODY`."""
    position, digest, text, vector, tokens, starts, ends, page, heading = row[7:16]
    return Chunk(
        position=position,
        digest=digest.hex(),
        text=text.decode(),
        vector=vector,
        tokens=tokens,
        start=starts,
        end=ends,
        page=page,
        heading=heading.decode(),
    )


def row_of(row: Sequence[Any]) -> Row:
    """Return a row of a scan."""
    return Row(document=document_of(row), chunk=chunk_of(row))


def hit_of(row: Sequence[Any]) -> Hit:
    """Return a hit; its score comes after the body."""
    document = document_of(row)
    return Hit(
        document=document.id,
        version=document.version,
        chunk=chunk_of(row),
        score=row[16],
        title=document.title,
        url=document.url,
        language=document.language,
        metadata=document.metadata,
    )


def vectors_of(rows: Iterable[Sequence[Any]]) -> Mapping[str, bytes]:
    """Return the vectors of `Sql.known`, by digest."""
    return {digest.hex(): vector for digest, vector in rows}
