"""The bytes of documents as they were sent: what a collection is built from, again for every model to come.

Promises: what `put` returned for is there until it is dropped, for every process that shares the rows; each job keeps
its own, so that dropping takes nothing from whoever comes at the same time; after `drop` and `drop_all` nothing finds
them, after the next `tidy` they are off the disk. They lie in rows, a piece of at most `PIECE_BYTES` each, a page of
which costs one write to the disk; where one process has the rows to itself, documents larger than a piece lie in blobs
instead, and an empty row says so.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from hashlib import sha256
from itertools import islice
from typing import Final

from penstock.embedding.catalog.collections import Source
from penstock.kernel.clock import Clock
from penstock.kernel.errors import NotFound, Unavailable
from penstock.ports import records
from penstock.ports.blobs import Blobs
from penstock.ports.records import Records, Row, Write

SOURCES: Final = records.Collection(name="knowledge_sources", indexes=("document",))
PIECE_BYTES: Final = 128 << 10
PIECES_AT_ONCE: Final = 32
"""What one call of the records writes or reads, 4 MiB: they have two seconds for each."""


def kept_as(document_id: str, job: str) -> str:
    """Return where the bytes are that a job brought of a document; of one document, later jobs sort later."""
    return f"{_key(document_id)}-{job}"


class Sources:
    """The bytes of documents. One per process."""

    def __init__(self, rows: Records, blobs: Blobs | None, clock: Clock) -> None:
        """Keep them in `rows`, large ones in `blobs`; None where nodes that read no blobs share the rows."""
        self._rows = rows
        self._blobs = blobs
        self._clock = clock
        self._tidy: set[str] = set()
        """Collections of which no blob was let go of since the last `tidy`; of one not among them nothing is known."""

    async def put(self, uid: str, contents: Sequence[tuple[str, bytes]]) -> None:
        """Keep bytes by where they are to be (`kept_as`). Raises Unavailable."""
        large = [] if self._blobs is None else [each for each in contents if len(each[1]) > PIECE_BYTES]
        is_large = {kept for kept, _ in large}
        writes = _writes(uid, [(kept, b"" if kept in is_large else content) for kept, content in contents])
        while page := list(islice(writes, PIECES_AT_ONCE)):
            await self._rows.transact(page)
        if self._blobs is not None:
            for kept, content in large:
                await self._blobs.name(uid, kept, content)

    async def get(self, uid: str, source: Source) -> bytes:
        """Return the bytes of a document. Raises NotFound, Unavailable, Broken."""
        if self._blobs is not None and source.size_bytes > PIECE_BYTES:
            return await self._blobs.get(uid, source.kept)
        pieces: list[bytes] = []
        wanted = _pieces(source.size_bytes)
        while len(pieces) < wanted:
            after = _piece_id(source.kept, len(pieces) - 1) if pieces else source.kept
            most = min(wanted - len(pieces), PIECES_AT_ONCE)
            rows = await self._rows.scan(SOURCES.name, uid, after=after, limit=most)
            if [row.id for row in rows] != [_piece_id(source.kept, len(pieces) + n) for n in range(most)]:
                raise NotFound("The document's bytes are gone.", field="document", value=source.name[:100])
            pieces += [row.value for row in rows]
        return b"".join(pieces)

    async def drop(self, uid: str, document_id: str, *, until: str, but: Collection[str] = ()) -> None:
        """Let go of what jobs up to `until` brought of a document, but for what is kept as `but`."""
        prefix, last = _key(document_id), kept_as(document_id, until)

        def is_over(kept: str) -> bool:
            return kept.startswith(prefix) and kept <= last and kept not in but

        after = ""
        while rows := await self._rows.find(
            SOURCES.name, uid, "document", prefix, after=after, limit=PIECES_AT_ONCE
        ):
            if gone := [row for row in rows if is_over(_kept(row.id))]:
                await self._let_go(uid, gone)
            kept = _kept(rows[-1].id)
            # Of what stays, no other piece need be read: a slash sorts after every number's dot.
            after = rows[-1].id if is_over(kept) else f"{kept}/"

    async def tidy(self, uid: str) -> None:
        """Free the disk of what a collection let go of, where it may have: that reads where all its blobs are."""
        if self._blobs is None or uid in self._tidy:
            return
        self._tidy.add(uid)  # what is let go of from here on waits for the next time
        try:
            await self._blobs.expire(uid, self._clock.wall_s() + 1)
        except Unavailable:
            self._tidy.discard(uid)
            raise

    async def drop_all(self, uid: str) -> None:
        """Let go of everything of a collection."""
        while rows := await self._rows.scan(SOURCES.name, uid, limit=PIECES_AT_ONCE):
            await self._let_go(uid, rows)
        await self.tidy(uid)
        self._tidy.discard(uid)

    async def _let_go(self, uid: str, rows: Sequence[Row]) -> None:
        """Let go of pieces, and of the blobs that empty ones stand for; the row last, so that a crash repeats it."""
        for row in rows:
            if self._blobs is not None and not row.value:
                await self._blobs.unname(uid, _kept(row.id))
                self._tidy.discard(uid)
        await self._rows.transact([_write(uid, row.id, None) for row in rows])


def _key(document_id: str) -> str:
    return sha256(document_id.encode()).hexdigest()[:32]


def _pieces(size_bytes: int) -> int:
    """Return how many rows so many bytes take; nothing at all takes one."""
    return max(1, -(-size_bytes // PIECE_BYTES))


def _piece_id(kept: str, number: int) -> str:
    return f"{kept}.{number:06}"


def _kept(piece_id: str) -> str:
    return piece_id.rpartition(".")[0]


def _writes(uid: str, contents: Sequence[tuple[str, bytes]]) -> Iterator[Write]:
    for kept, content in contents:
        for number in range(_pieces(len(content))):
            first = number * PIECE_BYTES
            yield _write(uid, _piece_id(kept, number), content[first : first + PIECE_BYTES])


def _write(uid: str, piece_id: str, piece: bytes | None) -> Write:
    document = {} if piece is None else {"document": piece_id.partition("-")[0]}
    return Write(collection=SOURCES.name, tenant=uid, id=piece_id, value=piece, indexed=document)
