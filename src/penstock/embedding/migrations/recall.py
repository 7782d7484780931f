"""Whether a new space finds what the one before found: measured before anybody searches it.

    every document, by the least of their digests ─▶ probes: a piece of each ─▶ the search itself, in both spaces
                                                                          ─▶ its vector alone, in both spaces
                                                                          ─▶ the ten nearest, found and exact

Promises: the same documents make the same probes; they are asked as the search is asked, with the labels of the
document; one that was changed or deleted meanwhile tells nothing, and counts on neither side. A space passes when
- the search finds known documents in it at least as well as in the one before, one probe aside;
- vectors alone find a probe's document, or one that says the very same, among the nearest at least as well as before, a
  tenth and what chance may do aside; where nobody can ask the space before, clearly more often than vectors that mean
  nothing would (the search finds by words as well, whatever the vectors are);
- its index finds at least `DENSE_LEAST` of the exact nearest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import compress
from math import sqrt
from statistics import mean
from typing import Final, NamedTuple, Protocol

from msgspec.structs import replace

from penstock.embedding.catalog.collections import CollectionDoc, model_of
from penstock.embedding.catalog.embedder import is_alive
from penstock.embedding.catalog.library import Library
from penstock.embedding.migrations.migration import Check
from penstock.kernel.context import Principal
from penstock.kernel.errors import Unavailable
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
AGAIN_S: Final = 1.0


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


@dataclass(slots=True)
class _Seen:
    """What became of each probe in one space: found by the search, found by its vector alone, and the share of the
    exact nearest that the index finds.
    """

    known: list[bool] = field(default_factory=list[bool])
    meant: list[bool] = field(default_factory=list[bool])
    dense: list[float] = field(default_factory=list[float])

    def of(self, lasting: Sequence[bool]) -> _Seen:
        """Return the same of the probes that last."""
        return _Seen(
            list(compress(self.known, lasting)),
            list(compress(self.meant, lasting)),
            list(compress(self.dense, lasting)),
        )


async def check(
    library: Library,
    finder: Finder,
    before: CollectionDoc,
    after: CollectionDoc,
    sample: Sequence[str],
    who: Principal,
) -> Check:
    """Compare two spaces of a collection, each given as the collection that searches it, by documents of `sample`.

    Raises Unavailable where all of them were changed meanwhile, and what the embedder and the index raise.
    """
    probes = [probe for each in sample if (probe := await _probe(library, (before, after), each)) is not None]
    if not probes:
        return Check(probes=0, known_after=1.0, meant_after=1.0, dense_recall=1.0)
    documents = (await library.index.count(after.place, after.space)).documents
    nearest = min(FIRST, max(1, documents // 4))  # so few that chance finds the right one seldom
    old = None
    if is_alive(library.embedder, before.space):
        old = await _seen(library, finder, before, probes, who, nearest)
    new = await _seen(library, finder, after, probes, who, nearest)
    lasting = [await _probe(library, (before, after), each.document) == each for each in probes]
    if not any(lasting):
        raise Unavailable("Every document that was asked for was changed meanwhile.", retry_after_s=AGAIN_S)
    return _judged(old and old.of(lasting), new.of(lasting), nearest / max(nearest, documents))


def _judged(old: _Seen | None, new: _Seen, chance: float) -> Check:
    """Judge what the same probes found in both spaces; `old` is None where nobody can ask that any more."""
    probes = len(new.known)
    one = 1 / probes + 1e-9
    has, meant, dense = mean(new.known), mean(new.meant), mean(new.dense)
    missing: list[str] = []
    if old is None:
        if meant < (least := _least(chance, probes)):
            missing.append(
                f"found by their vectors alone: {meant:.1%}, not clearly more than by chance: {least:.1%}"
            )
    else:
        had, had_meant = mean(old.known), mean(old.meant)
        if has < had - one:
            missing.append(f"known documents found: {has:.1%}, before: {had:.1%}")
        if meant < had_meant - max(_noise(had_meant, probes), one):
            missing.append(f"found by their vectors alone: {meant:.1%}, before: {had_meant:.1%}")
    if dense < DENSE_LEAST:
        missing.append(f"recall of the nearest ten: {dense:.3f}, wanted: {DENSE_LEAST}")
    return Check(
        probes=probes,
        known_before=None if old is None else round(mean(old.known), 4),
        known_after=round(has, 4),
        meant_before=None if old is None else round(mean(old.meant), 4),
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


async def _seen(
    library: Library,
    finder: Finder,
    collection: CollectionDoc,
    probes: Sequence[Probe],
    who: Principal,
    nearest: int,
) -> _Seen:
    """Ask for every probe in the space that `collection` searches."""
    seen = _Seen()
    for probe in probes:
        documents = await finder.documents(collection, who, probe.query, labels=probe.labels, limit=FIRST)
        told = await library.embedder.embed(
            who, (probe.text,), model=model_of(collection.space), lane="ingest", purpose="query"
        )
        question = Question(vector=told.vectors[0], labels=probe.labels, limit=FIRST, tokens=False)
        exact = replace(question, exact=True)
        found, wanted = [
            await library.index.search(collection.place, collection.space, each) for each in (question, exact)
        ]
        seen.known.append(probe.document in documents)
        seen.meant.append(any(_is_of(hit, probe) for hit in wanted.dense[:nearest]))
        seen.dense.append(_recall(found, wanted))
    return seen


def _recall(found: Found, wanted: Found) -> float:
    got, exact = [{(hit.document, hit.chunk.position) for hit in each.dense} for each in (found, wanted)]
    return len(got & exact) / len(exact) if exact else 1.0


def _is_of(hit: Hit, probe: Probe) -> bool:
    """Tell whether a hit is of the probe's document, or the same text elsewhere: of two alike either is right."""
    return hit.document == probe.document or hit.chunk.digest == probe.digest
