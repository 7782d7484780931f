"""The bytes of documents as they were sent: what a collection is built from, again for every model to come.

Promises: what `put` returned for is there until it is dropped; each job keeps its own, so that dropping takes nothing
from whoever comes at the same time; after `drop` and `drop_all` they are off the disk. Small documents lie in rows,
a page of which costs one write to the disk; large ones in blobs.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from hashlib import sha256
from typing import Final

from penstock.embedding.catalog.collections import PAGE_ROWS, Source
from penstock.kernel.clock import Clock
from penstock.kernel.errors import NotFound
from penstock.ports import records
from penstock.ports.blobs import Blobs
from penstock.ports.records import Records, Write

SOURCES: Final = records.Collection(name="knowledge_sources")
INLINE_BYTES: Final = 128 << 10
"""A document up to this size lies in a row."""
WRITES_AT_ONCE: Final = 32


def kept_as(document_id: str, job: str) -> str:
    """Return where the bytes are that a job brought of a document; of one document, later jobs sort later."""
    return f"{_key(document_id)}-{job}"


class Sources:
    """The bytes of documents. One per process."""

    def __init__(self, rows: Records, blobs: Blobs, clock: Clock) -> None:
        """Keep small ones in `rows` and large ones in `blobs`."""
        self._rows = rows
        self._blobs = blobs
        self._clock = clock

    async def put(self, uid: str, contents: Sequence[tuple[str, bytes]]) -> None:
        """Keep bytes by where they are to be (`kept_as`). Raises Unavailable."""
        small = [each for each in contents if len(each[1]) <= INLINE_BYTES]
        for first in range(0, len(small), WRITES_AT_ONCE):
            page = small[first : first + WRITES_AT_ONCE]
            await self._rows.transact([_write(uid, kept, content) for kept, content in page])
        for kept, content in contents:
            if len(content) > INLINE_BYTES:
                await self._blobs.name(uid, kept, content)

    async def get(self, uid: str, source: Source) -> bytes:
        """Return the bytes of a document. Raises NotFound, Unavailable, Broken."""
        if source.size_bytes > INLINE_BYTES:
            return await self._blobs.get(uid, source.kept)
        row = await self._rows.get(SOURCES.name, uid, source.kept)
        if row is None:
            raise NotFound("The document's bytes are gone.", field="document", value=source.name[:100])
        return row.value

    async def drop(self, uid: str, document_id: str, *, until: str, but: Collection[str] = ()) -> None:
        """Let go of what jobs up to `until` brought of a document, but for what is kept as `but`."""
        prefix, last = _key(document_id), kept_as(document_id, until)

        def is_over(kept: str) -> bool:
            return kept.startswith(prefix) and kept <= last and kept not in but

        rows = await self._rows.scan(SOURCES.name, uid, after=prefix, limit=PAGE_ROWS)
        if gone := [_write(uid, row.id, None) for row in rows if is_over(row.id)]:
            await self._rows.transact(gone)
        large = [kept for kept in await self._blobs.list(uid, prefix, limit=PAGE_ROWS) if is_over(kept)]
        for kept in large:
            await self._blobs.unname(uid, kept)
        if large:
            await self._blobs.expire(uid, self._clock.wall_s() + 1)

    async def drop_all(self, uid: str) -> None:
        """Let go of everything of a collection."""
        while rows := await self._rows.scan(SOURCES.name, uid, limit=PAGE_ROWS):
            await self._rows.transact([_write(uid, row.id, None) for row in rows])
        while names := await self._blobs.list(uid, limit=PAGE_ROWS):
            for kept in names:
                await self._blobs.unname(uid, kept)
        await self._blobs.expire(uid, self._clock.wall_s() + 1)


def _key(document_id: str) -> str:
    return sha256(document_id.encode()).hexdigest()[:32]


def _write(uid: str, kept: str, content: bytes | None) -> Write:
    return Write(collection=SOURCES.name, tenant=uid, id=kept, value=content)
