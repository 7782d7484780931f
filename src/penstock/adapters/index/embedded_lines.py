"""What the embedded index's file holds, as values, and the lines of its tables that they are written as."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from penstock.adapters.index.checks import digest
from penstock.adapters.index.embedded_sql import SHIFT
from penstock.adapters.index.embedded_vectors import Floats, restored
from penstock.ports.index import Chunk, Document, Scalar

Line = Any
"""A line of the driver, whose types are unknown."""


class Space(NamedTuple):
    """A space as the file knows it. Its numbers lie above `low` and up to `high`; `drawn` is the last one drawn."""

    number: int
    dimensions: int
    drawn: int
    documents: int
    chunks: int
    bytes: int

    @property
    def low(self) -> int:
        """Return what every number of this space is above."""
        return self.number << SHIFT

    @property
    def high(self) -> int:
        """Return what no number of this space is above."""
        return (self.number + 1 << SHIFT) - 1

    @property
    def at(self) -> int:
        """Return the last number drawn, as rows carry it."""
        return self.low + self.drawn


class Head(NamedTuple):
    """What a document says of itself, for filters."""

    number: int
    id: str
    title: str
    url: str
    language: str
    labels: tuple[str, ...]
    metadata: dict[str, Scalar]


class Change(NamedTuple):
    """What a transaction changes in one space: for whoever keeps something made of it."""

    space: Space
    gone: list[int]
    heads: list[Head]
    numbers: list[int]
    owners: list[int]
    vectors: Floats | None
    texts: list[tuple[int, str, str]]


def head_of(number: int, document: Document) -> Head:
    """Return what filters need of a document."""
    return Head(
        number,
        document.id,
        document.title,
        document.url,
        document.language,
        document.labels,
        dict(document.metadata),
    )


def document_line(number: int, space: int, document: Document) -> tuple[object, ...]:
    """Return a document as its table has it."""
    return (
        number,
        space,
        document.id,
        document.version,
        document.title,
        document.url,
        document.language,
        msgspec.msgpack.encode(document.labels),
        msgspec.msgpack.encode(document.metadata),
    )


def chunk_line(number: int, owner: int, chunk: Chunk, kind: int, vector: bytes) -> tuple[object, ...]:
    """Return a chunk as its table has it."""
    place = (chunk.start, chunk.end, chunk.page, chunk.heading)
    return (
        number,
        owner,
        chunk.position,
        digest(chunk.digest),
        kind,
        vector,
        chunk.text,
        *place,
        chunk.tokens,
    )


def chunk_of(line: Line, tokens: bytes) -> Chunk:
    """Return the chunk of a line of `Sql.some` or `Sql.scan`."""
    return Chunk(
        position=line[8],
        digest=line[9].hex(),
        vector=restored(line[10], [line[11]]).tobytes(),
        text=line[12],
        start=line[13],
        end=line[14],
        page=line[15],
        heading=line[16],
        tokens=tokens,
    )
