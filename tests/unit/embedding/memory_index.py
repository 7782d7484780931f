"""An index in memory, whole and slow: what the slice sees of a real one, with a hook before every verb."""

from __future__ import annotations

from array import array
from collections.abc import Awaitable, Callable, Mapping, Sequence
from operator import mul

from penstock.ports.index import Counts, Document, Found, Hit, Place, Precision, Question, Row

_Key = tuple[Place, str]


def dot(one: bytes, other: bytes) -> float:
    """Return the cosine of two vectors of length 1."""
    return sum(map(mul, array("f", one), array("f", other)))


class MemoryIndex:
    """Documents in chunks, in dictionaries. `before` is called with each verb's name and its place, space and ids."""

    def __init__(self) -> None:
        """Hold nothing."""
        self.rows: dict[_Key, dict[str, Document]] = {}
        self.before: Callable[[str, Place, str, Sequence[str]], Awaitable[None]] | None = None
        self.puts = 0
        self.put_documents: list[str] = []

    async def _told(self, verb: str, place: Place, space: str, ids: Sequence[str] = ()) -> None:
        if self.before is not None:
            await self.before(verb, place, space, ids)

    async def put(
        self, place: Place, space: str, documents: Sequence[Document], *, precision: Precision = "fp32"
    ) -> None:
        """Put documents."""
        await self._told("put", place, space, [each.id for each in documents])
        self.puts += 1
        self.put_documents += [each.id for each in documents]
        self.rows.setdefault((place, space), {}).update({each.id: each for each in documents})

    async def search(self, place: Place, space: str, question: Question) -> Found:
        """Find chunks: by cosine, and by how many of the words they have."""
        await self._told("search", place, space)
        dense: list[Hit] = []
        words: list[Hit] = []
        asked = set(question.words.casefold().split())
        for document in self.rows.get((place, space), {}).values():
            if document.labels and not set(document.labels) & set(question.labels):
                continue
            for chunk in document.chunks:
                hit = Hit(document=document.id, version=document.version, chunk=chunk, score=0.0)
                if question.vector:
                    score = dot(question.vector, chunk.vector)
                    dense.append(Hit(document=hit.document, version=hit.version, chunk=chunk, score=score))
                shared = len(asked & set(chunk.text.casefold().split()))
                if shared:
                    words.append(
                        Hit(document=hit.document, version=hit.version, chunk=chunk, score=float(shared))
                    )
        best = [sorted(hits, key=lambda hit: -hit.score)[: question.limit] for hits in (dense, words)]
        return Found(dense=tuple(best[0]), words=tuple(best[1]))

    async def delete(self, place: Place, documents: Sequence[str] | None = None, *, space: str = "") -> int:
        """Delete documents."""
        await self._told("delete", place, space, documents or ())
        count = 0
        for (where, name), held in self.rows.items():
            if where == place and space in ("", name):
                for document in list(held) if documents is None else documents:
                    count += held.pop(document, None) is not None
        return count

    async def known(self, place: Place, space: str, digests: Sequence[str]) -> Mapping[str, bytes]:
        """Return vectors by digest."""
        held = self.rows.get((place, space), {})
        vectors = {chunk.digest: chunk.vector for each in held.values() for chunk in each.chunks}
        return {digest: vectors[digest] for digest in digests if digest in vectors}

    async def scan(
        self, place: Place, space: str, *, after: tuple[str, int] = ("", -1), limit: int = 1000
    ) -> Sequence[Row]:
        """Return chunks in order."""
        held = self.rows.get((place, space), {})
        rows = [
            Row(
                document=Document(id=each.id, version=each.version, chunks=(), labels=each.labels),
                chunk=chunk,
            )
            for each in held.values()
            for chunk in each.chunks
        ]
        rows.sort(key=lambda row: (row.document.id, row.chunk.position))
        return [row for row in rows if (row.document.id, row.chunk.position) > after][:limit]

    async def count(self, place: Place, space: str = "") -> Counts:
        """Count."""
        held = [rows for (where, name), rows in self.rows.items() if where == place and space in ("", name)]
        chunks = sum([len(each.chunks) for rows in held for each in rows.values()])
        return Counts(documents=sum(map(len, held)), chunks=chunks, bytes=chunks)

    async def compact(self) -> None:
        """Do nothing."""
