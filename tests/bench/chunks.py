"""A made-up corpus for an index at scale: tenants of given shares, vectors in clusters, texts of Zipf's words.

Made up, and so said: 3,000 clusters that every tenant has part in (the hard case for a filter over one shared graph),
384 numbers a vector, the noise about a centre 0.8 of its length; texts of 20 to 100 words out of 30,000, the n-th
drawn in proportion to 1/n. The same everywhere, from a seed; a tenant's rows can be made again without the others'.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from penstock.ports.index import Chunk, Document, Place

Floats = NDArray[np.float32]
DIMENSIONS = 384
CLUSTERS = 3_000
NOISE = 0.8
VOCABULARY = 30_000
CHUNKS_PER_DOCUMENT = 10
DOCUMENTS_PER_PUT = 100
SHARES = (0.20, 0.05, *(0.01,) * 75)
"""Of the notes' measurement of vector stores: one tenant of 20 %, one of 5 %, 75 of 1 %."""


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant, its share of all, and how many chunks that is."""

    number: int
    share: float
    chunks: int

    @property
    def place(self) -> Place:
        """Return where its documents stand."""
        return Place(f"bench/tenant-{self.number:02}", "papers")

    def vectors(self) -> Floats:
        """Return its vectors, in the order of its chunks."""
        return _clustered(np.random.default_rng([1, self.number]), self.chunks)

    def questions(self, count: int) -> Floats:
        """Return vectors to look for, out of the same clusters."""
        return _clustered(np.random.default_rng([2, self.number]), count)


def tenants(chunks: int) -> list[Tenant]:
    """Return the tenants of a corpus of so many chunks."""
    return [Tenant(number, share, round(chunks * share)) for number, share in enumerate(SHARES)]


def puts(tenant: Tenant) -> Iterator[list[Document]]:
    """Give a tenant's documents, a put at a time."""
    rows = tenant.vectors()
    rng = np.random.default_rng([3, tenant.number])
    step = CHUNKS_PER_DOCUMENT * DOCUMENTS_PER_PUT
    for first in range(0, tenant.chunks, step):
        part = rows[first : first + step]
        written = texts(rng, len(part))
        yield [
            _document(first + at, part[at : at + CHUNKS_PER_DOCUMENT], written[at : at + CHUNKS_PER_DOCUMENT])
            for at in range(0, len(part), CHUNKS_PER_DOCUMENT)
        ]


def texts(rng: np.random.Generator, count: int) -> list[str]:
    """Return texts of 20 to 100 words."""
    lengths = rng.integers(20, 101, count)
    words, weights = _vocabulary()
    drawn = np.searchsorted(weights, rng.random(int(lengths.sum())))
    ends = np.cumsum(lengths)
    return [
        " ".join([words[word] for word in drawn[end - length : end].tolist()])
        for end, length in zip(ends.tolist(), lengths.tolist(), strict=True)
    ]


def _document(first: int, rows: Floats, written: Sequence[str]) -> Document:
    chunks = tuple(
        Chunk(
            position=position,
            digest=hashlib.sha256(text.encode()).hexdigest(),
            text=text,
            vector=row.tobytes(),
        )
        for position, (row, text) in enumerate(zip(rows, written, strict=True))
    )
    number = first // CHUNKS_PER_DOCUMENT
    return Document(
        id=f"d{number:07}", version="1", chunks=chunks, language="en", metadata={"percent": number % 100}
    )


@cache
def _centres() -> Floats:
    return _unit(np.random.default_rng(0).standard_normal((CLUSTERS, DIMENSIONS), np.float32))


def _clustered(rng: np.random.Generator, count: int) -> Floats:
    noise = rng.standard_normal((count, DIMENSIONS), np.float32) * np.float32(NOISE / DIMENSIONS**0.5)
    return _unit(_centres()[rng.integers(0, CLUSTERS, count)] + noise)


def _unit(rows: Floats) -> Floats:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@cache
def _vocabulary() -> tuple[list[str], NDArray[np.float64]]:
    """Return made-up words, and the running sums of their shares."""
    rng = np.random.default_rng(4)
    onsets, vowels = list("bcdfghjklmnprstvwz"), list("aeiou")
    words: dict[str, None] = {}
    while len(words) < VOCABULARY:
        syllables = int(rng.integers(1, 5))
        words["".join(rng.choice(onsets) + rng.choice(vowels) for _ in range(syllables))] = None
    weights = np.cumsum(1 / np.arange(1, VOCABULARY + 1))
    return list(words), weights / weights[-1]
