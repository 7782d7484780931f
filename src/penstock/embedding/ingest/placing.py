"""Documents built and put into every space that their collection has, however it changes meanwhile.

    build ─▶ put ─▶ which spaces are there now? ─┬▶ all as before: done
      ▲                                          ├▶ one went: what was put there is deleted
      └──────────────────────────────────────────┴▶ one came, or was built anew

Promises: what `put` returns was put into each of these spaces while that build of it stood, and a space that was let go
of holds nothing of it; everything is embedded before anything is put.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from penstock.embedding.catalog.collections import CollectionDoc
from penstock.embedding.catalog.embedder import is_alive
from penstock.embedding.catalog.jobs import JobDoc
from penstock.embedding.catalog.library import Library
from penstock.embedding.ingest.building import Bill, Builder, Built, Opened
from penstock.embedding.ingest.outcomes import Outcome
from penstock.kernel.context import Principal
from penstock.kernel.errors import Unavailable
from penstock.ports.index import CHUNKS_MOST, PUT_BYTES_MOST

LOOKS_MOST: Final = 4


@dataclass(slots=True)
class Batch:
    """Documents of one job that are worked on together."""

    collection: CollectionDoc
    job: JobDoc
    who: Principal
    spaces: tuple[str, ...]
    """Those to put into; vectors of the collection's others cannot be had any more."""
    bill: Bill = field(default_factory=Bill)
    outcomes: dict[str, Outcome] = field(default_factory=dict[str, Outcome])


@dataclass(slots=True)
class Placed:
    """The rows of documents by the space they were put into, and that space's build."""

    rows: dict[str, list[Built]] = field(default_factory=dict[str, "list[Built]"])
    builds: dict[str, str] = field(default_factory=dict[str, str])


class Placing:
    """Puts documents. One per process."""

    def __init__(self, library: Library, builder: Builder) -> None:
        """Put what `builder` builds."""
        self._library = library
        self._index = library.index
        self._builder = builder

    async def put(self, batch: Batch, opened: Sequence[Opened]) -> Placed:
        """Put documents into the batch's spaces, which are those of its collection afterwards, as it is then.

        Raises whatever the embedder and the index raise; Unavailable where the collection changes all the time.
        """
        placed = Placed()
        for _ in range(LOOKS_MOST):
            wanted = [
                space
                for space in batch.spaces
                if placed.builds.get(space) != batch.collection.build_of(space)
            ]
            if not wanted:
                await self._delete_old(batch, opened)
                return placed
            await self._put(batch, wanted, opened, placed)
            await self._look(batch, opened, placed)
        raise Unavailable("The collection's spaces change all the time.")

    async def _put(
        self, batch: Batch, spaces: Sequence[str], opened: Sequence[Opened], placed: Placed
    ) -> None:
        collection = batch.collection
        for space in spaces:
            placed.rows[space] = await self._builder.build(batch.who, collection, space, opened, batch.bill)
        for space in spaces:
            for page in _pages(placed.rows[space]):
                documents = [each.document for each in page]
                await self._index.put(collection.place, space, documents, precision=collection.precision)
            placed.builds[space] = collection.build_of(space)
            self._builder.let_go(collection.place, space, placed.rows[space])

    async def _look(self, batch: Batch, opened: Sequence[Opened], placed: Placed) -> None:
        """See which spaces there are now. Whoever let go of one may have deleted its rows before these were put."""
        now = await self._library.book.get(batch.collection.uid)
        if now is None or now.deleted:
            return  # its documents' rows tell who settles them
        batch.collection = now
        batch.spaces = able_spaces(self._library, now, batch.job)
        for space in [each for each in placed.rows if each not in now.spaces]:
            await self._index.delete(now.place, [each.id for each in opened], space=space)
            del placed.rows[space], placed.builds[space]

    async def _delete_old(self, batch: Batch, opened: Sequence[Opened]) -> None:
        """Delete what stands of before where nothing new can be put any more."""
        collection = batch.collection
        if batch.job.kind == "ingest":
            for space in [each for each in collection.spaces if each not in batch.spaces]:
                await self._index.delete(collection.place, [each.id for each in opened], space=space)


def able_spaces(library: Library, collection: CollectionDoc, job: JobDoc) -> tuple[str, ...]:
    """Return the spaces that a job's documents are to be put into, of those that anything can be embedded for."""
    wanted = [each for each in collection.spaces if job.kind == "ingest" or each == job.space]
    return tuple([each for each in wanted if is_alive(library.embedder, each)])


def _pages(built: Sequence[Built]) -> list[list[Built]]:
    """Divide documents into what one put takes."""
    pages: list[list[Built]] = [[]]
    chunks = size = 0
    for each in built:
        its_size = _size_bytes(each)
        chunks, size = chunks + len(each.document.chunks), size + its_size
        if pages[-1] and (chunks > CHUNKS_MOST or size > PUT_BYTES_MOST):
            pages.append([])
            chunks, size = len(each.document.chunks), its_size
        pages[-1].append(each)
    return pages


def _size_bytes(built: Built) -> int:
    """Return the most that a document's chunks can be: a letter has up to four bytes."""
    return sum([4 * len(each.text) + len(each.vector) + len(each.tokens) for each in built.document.chunks])
