"""Whether a new space finds what the one before found: measured before anybody searches it.

    every document, by the least of their digests ─▶ probes: a piece of each ─▶ the search itself, in both spaces
                                                                          ─▶ the ten nearest, found and exact

Promises: the same documents make the same probes; they are asked as the search is asked, with the labels of the
document; a space passes when it finds known documents at least as well as the one before, one probe aside, and at least
`DENSE_LEAST` of the exact nearest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from penstock.embedding.catalog.collections import CollectionDoc, model_of
from penstock.embedding.catalog.library import Library
from penstock.embedding.migrations.migration import Check
from penstock.kernel.context import Principal
from penstock.ports.index import Question, Row

PROBES_MOST: Final = 40
FIRST: Final = 10
DENSE_LEAST: Final = 0.99
WORDS: Final = 12
LETTERS: Final = 240


class Finder(Protocol):
    """The search, as callers have it."""

    async def documents(
        self, collection: CollectionDoc, who: Principal, query: str, *, labels: Sequence[str], limit: int
    ) -> Sequence[str]:
        """Return the documents found for `query` in the space that `collection` searches, best first."""
        ...


class Probe(NamedTuple):
    """A document, and words that should find it."""

    document: str
    query: str
    labels: tuple[str, ...]


async def check(
    library: Library,
    finder: Finder,
    before: CollectionDoc,
    after: CollectionDoc,
    sample: Sequence[str],
    who: Principal,
) -> Check:
    """Compare two spaces of a collection, each given as the collection that searches it, by documents of `sample`."""
    probes = [probe for each in sample if (probe := await _probe(library, (before, after), each)) is not None]
    if not probes:
        return Check(probes=0, known_after=1.0, dense_recall=1.0)
    had = None
    if library.embedder.space(before.model).name == before.space:
        had = await _known(finder, before, probes, who)
    has = await _known(finder, after, probes, who)
    dense = sum([await _dense(library, after, probe, who) for probe in probes]) / len(probes)
    missing: list[str] = []
    if had is not None and has < had - 1 / len(probes) - 1e-9:
        missing.append(f"known documents found: {has:.1%}, before: {had:.1%}")
    if dense < DENSE_LEAST:
        missing.append(f"recall of the nearest ten: {dense:.3f}, wanted: {DENSE_LEAST}")
    return Check(
        probes=len(probes),
        known_before=None if had is None else round(had, 4),
        known_after=round(has, 4),
        dense_recall=round(dense, 4),
        missing="; ".join(missing),
    )


async def _probe(library: Library, sides: Sequence[CollectionDoc], document: str) -> Probe | None:
    """Return a piece from the middle of a document's first chunk, as the first space has it that does."""
    for each in sides:
        rows = await library.index.scan(each.place, each.space, after=(document, -1), limit=1)
        if rows and rows[0].document.id == document:
            return _piece(rows[0])
    return None


def _piece(row: Row) -> Probe:
    document, text = row.document, row.chunk.text
    words = text.split()
    first = max(0, (len(words) - WORDS) // 2)
    query = " ".join(words[first : first + WORDS]) if len(words) > WORDS else text
    return Probe(document.id, query[:LETTERS], document.labels)


async def _known(finder: Finder, collection: CollectionDoc, probes: Sequence[Probe], who: Principal) -> float:
    found = 0
    for probe in probes:
        documents = await finder.documents(collection, who, probe.query, labels=probe.labels, limit=FIRST)
        found += probe.document in documents
    return found / len(probes)


async def _dense(library: Library, collection: CollectionDoc, probe: Probe, who: Principal) -> float:
    """Return the share of the exact nearest that the index finds."""
    told = await library.embedder.embed(
        who, (probe.query,), model=model_of(collection.space), lane="ingest", purpose="query"
    )
    question = Question(vector=told.vectors[0], labels=probe.labels, limit=FIRST, tokens=False)
    exact = Question(vector=told.vectors[0], labels=probe.labels, limit=FIRST, tokens=False, exact=True)
    got, wanted = [
        {(hit.document, hit.chunk.position) for hit in found.dense}
        for found in [
            await library.index.search(collection.place, collection.space, each) for each in (question, exact)
        ]
    ]
    return len(got & wanted) / len(wanted) if wanted else 1.0
