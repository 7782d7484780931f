"""Whether a new space finds what the one before found: measured before anybody searches it.

    every document, by the least of their digests ─▶ probes: a piece of each ─▶ the search itself, in both spaces
                                                                          ─▶ its vector alone, in both spaces
                                                                          ─▶ the ten nearest, found and exact

Promises: the same documents make the same probes; they are asked as the search is asked, with the labels of the
document. A space passes when
- the search finds known documents in it at least as well as in the one before, one probe aside;
- vectors alone find a probe's document, or one that says the very same, among the nearest at least as well as before, a
  tenth and what chance may do aside; where nobody can ask the space before, clearly more often than vectors that mean
  nothing would (the search finds by words as well, whatever the vectors are);
- its index finds at least `DENSE_LEAST` of the exact nearest.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import Final, NamedTuple, Protocol

from msgspec.structs import replace

from penstock.embedding.catalog.collections import CollectionDoc, model_of
from penstock.embedding.catalog.embedder import is_alive
from penstock.embedding.catalog.library import Library
from penstock.embedding.migrations.migration import Check
from penstock.kernel.context import Principal
from penstock.ports.index import Found, Hit, Question, Row

PROBES_MOST: Final = 40
FIRST: Final = 10
DENSE_LEAST: Final = 0.99
MEANT_SLACK: Final = 0.1
"""Share of the probes, one at least, that a new model may find less by vectors alone: two good ones differ so much."""
SIGMAS: Final = 3.0
"""How far above what chance finds: vectors that mean nothing pass one time in some hundred."""
LEFT_OUT: Final = 10
"""One word in so many is not asked for: that changes what a text means little, and what is made of its bytes wholly."""
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
    """A document, words that should find it, and a text that says nearly what its chunk of `digest` does."""

    document: str
    query: str
    text: str
    digest: str
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
        return Check(probes=0, known_after=1.0, meant_after=1.0, dense_recall=1.0)
    had = had_meant = None
    documents = (await library.index.count(after.place, after.space)).documents
    nearest = min(FIRST, max(1, documents // 4))  # so few that chance finds the right one seldom
    if is_alive(library.embedder, before.space):
        had = await _known(finder, before, probes, who)
        had_meant = (await _by_vector(library, before, probes, who, nearest))[0]
    has = await _known(finder, after, probes, who)
    meant, dense = await _by_vector(library, after, probes, who, nearest)
    one = 1 / len(probes) + 1e-9
    missing: list[str] = []
    if had is not None and has < had - one:
        missing.append(f"known documents found: {has:.1%}, before: {had:.1%}")
    if had_meant is not None and meant < had_meant - max(_noise(had_meant, len(probes)), one):
        missing.append(f"found by their vectors alone: {meant:.1%}, before: {had_meant:.1%}")
    least = _least(nearest / max(nearest, documents), len(probes))
    if had_meant is None and meant < least:
        missing.append(
            f"found by their vectors alone: {meant:.1%}, not clearly more than by chance: {least:.1%}"
        )
    if dense < DENSE_LEAST:
        missing.append(f"recall of the nearest ten: {dense:.3f}, wanted: {DENSE_LEAST}")
    return Check(
        probes=len(probes),
        known_before=None if had is None else round(had, 4),
        known_after=round(has, 4),
        meant_before=None if had_meant is None else round(had_meant, 4),
        meant_after=round(meant, 4),
        dense_recall=round(dense, 4),
        missing="; ".join(missing),
    )


def _noise(share: float, probes: int) -> float:
    """Return by how much two good models may differ that both find about this share."""
    return max(MEANT_SLACK, 2 * sqrt(2 * share * (1 - share) / probes))


def _least(chance: float, probes: int) -> float:
    """Return the share of probes that must be found where each is by `chance`; 0 where too few are asked to tell."""
    least = chance + SIGMAS * sqrt(chance * (1 - chance) / probes)
    return least if least <= 1 - 1 / probes else 0.0


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
    query = " ".join(words[first : first + WORDS])
    text = " ".join([word for number, word in enumerate(words, 1) if number % LEFT_OUT])
    begin = max(0, (len(text) - LETTERS) // 2)
    return Probe(
        document.id, query[:LETTERS], text[begin : begin + LETTERS], row.chunk.digest, document.labels
    )


async def _known(finder: Finder, collection: CollectionDoc, probes: Sequence[Probe], who: Principal) -> float:
    found = 0
    for probe in probes:
        documents = await finder.documents(collection, who, probe.query, labels=probe.labels, limit=FIRST)
        found += probe.document in documents
    return found / len(probes)


async def _by_vector(
    library: Library, collection: CollectionDoc, probes: Sequence[Probe], who: Principal, nearest: int
) -> tuple[float, float]:
    """Return the share of probes whose vector alone finds them among the `nearest` chunks, and the share of the exact
    nearest that the index finds.
    """
    meant, dense = 0, 0.0
    for probe in probes:
        told = await library.embedder.embed(
            who, (probe.text,), model=model_of(collection.space), lane="ingest", purpose="query"
        )
        question = Question(vector=told.vectors[0], labels=probe.labels, limit=FIRST, tokens=False)
        exact = replace(question, exact=True)
        found, wanted = [
            await library.index.search(collection.place, collection.space, each) for each in (question, exact)
        ]
        meant += any(_is_of(hit, probe) for hit in wanted.dense[:nearest])
        dense += _recall(found, wanted)
    return meant / len(probes), dense / len(probes)


def _recall(found: Found, wanted: Found) -> float:
    got, exact = [{(hit.document, hit.chunk.position) for hit in each.dense} for each in (found, wanted)]
    return len(got & exact) / len(exact) if exact else 1.0


def _is_of(hit: Hit, probe: Probe) -> bool:
    """Tell whether a hit is of the probe's document, or the same text elsewhere: of two alike either is right."""
    return hit.document == probe.document or hit.chunk.digest == probe.digest
