"""The index in PostgreSQL with pgvector 0.8 or later: where several gateway processes share it.

Promises, beyond the port's: a call ends within `timeout_s` whatever the server does, waiting for a connection included
(one that writes or counts within `WRITE_FACTOR` of them, `compact` within `COMPACT_S`); at most `POOL_MOST` connections
are open and `WAITING_MOST` calls wait for one; the schema is made or checked under an advisory lock, so processes may
start together. A transaction that PostgreSQL rolled back in favour of another is run again, `ATTEMPTS` times in all.
What is made of documents for the server is made on a thread, off the event loop.

Rows in less than fp32 are kept in half precision (pgvector has no type of 8 bits); a row in fp32 keeps both. What is
deleted is unlinked at once and swept by `compact`; as in every PostgreSQL, its pages and its log may hold the bytes
until they are written over. Vectors of more than 4,000 dimensions get no graph: they are always read whole.
"""

# asyncpg ships no stubs: what crosses this border is typed by hand.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeVar, cast

import asyncpg

from penstock.adapters.index import checks
from penstock.adapters.index import postgres_questions as questions
from penstock.adapters.index import postgres_rows as rows
from penstock.adapters.index.postgres_graphs import Compaction
from penstock.adapters.index.postgres_questions import Room
from penstock.adapters.index.postgres_schema import STORE, codecs, migrate
from penstock.adapters.index.postgres_sql import BODY, FOREIGN, RETRYABLE, Sql, translated
from penstock.adapters.postgres_lending import Lender
from penstock.kernel.errors import Unavailable
from penstock.ports.index import (
    CHUNKS_MOST,
    Counts,
    Document,
    Found,
    Place,
    Precision,
    Question,
    Row,
)

POOL_MOST: Final = 10
WAITING_MOST: Final = 1_024
ATTEMPTS: Final = 5
WRITE_FACTOR: Final = 12.0
OPEN_FACTOR: Final = 5.0
"""Opening may take this many timeouts: it connects, waits for other processes' migrations and migrates."""
COMPACT_S: Final = 4 * 3_600.0
SCAN_BYTES: Final = 16 << 20
"""A page of a scan ends with the chunk that reaches this."""
KNOWN_BYTES: Final = 16 << 20
"""Vectors that are known, asked for at a time: the server holds a page of them at most, and the line none longer."""

T = TypeVar("T")


class _Overtaken(Exception):
    """What is written into was deleted meanwhile, the room or a document: the transaction is run again."""


class PostgresIndex:
    """The Index port on a PostgreSQL database (14 or later). Open it with `PostgresIndex.open`."""

    sql: type[Sql] = Sql

    def __init__(self, pool: Any, dsn: str, timeout_s: float) -> None:  # noqa: ANN401 - the driver ships no types
        """Use `open`."""
        self._pool = pool
        self._dsn = dsn
        self._timeout_s = timeout_s
        self._lender = Lender(
            pool,
            STORE,
            timeout_s=timeout_s,
            most=POOL_MOST,
            waiting_most=WAITING_MOST,
            translated=translated,
        )

    @classmethod
    async def open(cls, dsn: str, timeout_s: float = 5.0) -> PostgresIndex:
        """Connect and make or check the schema. Raises Invalid without pgvector, for one before 0.8, for a newer
        schema; Unavailable.
        """
        settings = {
            "statement_timeout": str(max(1, int(timeout_s * WRITE_FACTOR * 1000))),
            "application_name": "penstock-index",
            # A plan is made for the room asked about: only so its own graph is thought of.
            "plan_cache_mode": "force_custom_plan",
            "jit": "off",
        }
        pool: Any = None
        try:
            async with asyncio.timeout(timeout_s * OPEN_FACTOR):
                home = await migrate(dsn, timeout_s, cls.sql)
                pool = await cast("Any", asyncpg).create_pool(
                    dsn,
                    min_size=1,
                    max_size=POOL_MOST,
                    timeout=timeout_s,
                    command_timeout=timeout_s * WRITE_FACTOR,
                    server_settings=settings,
                    init=codecs(home),
                )
        except BaseException as error:  # because the connections must be closed whatever happened
            if pool is not None:
                pool.terminate()
            if isinstance(error, FOREIGN):
                raise translated(error) from error
            raise
        return cls(pool, dsn, timeout_s)

    async def put(
        self, place: Place, space: str, documents: Sequence[Document], *, precision: Precision = "fp32"
    ) -> None:
        """Put documents. See ports/index.py."""
        names = checks.names(place, space)
        told, dimensions = await asyncio.get_running_loop().run_in_executor(None, checks.put, documents)
        if not told:
            return

        async def put(connection: Any) -> None:  # noqa: ANN401 - the driver ships no types
            room = await self._made_room(connection, names, dimensions)
            batch = await asyncio.get_running_loop().run_in_executor(None, rows.batch_of, room, told)
            async with connection.transaction():
                await self._write(connection, room, batch, dimensions, precision)

        await self._writing(put)

    async def search(self, place: Place, space: str, question: Question) -> Found:
        """Find chunks, both ways in one snapshot."""
        names = checks.names(place, space)
        checks.question(question)
        async with self._lender.connection() as connection, _snapshot(connection):
            row = await connection.fetchrow(self.sql.room, *names)
            if row is None:
                return Found()
            room = Room(*row)
            checks.dimensions(room.dimensions, len(question.vector) // checks.FLOAT)
            dense = await questions.near(connection, room, question) if question.vector else ()
            words = await questions.by_words(connection, room, question) if question.words else ()
        return Found(dense=dense, words=words)

    async def delete(self, place: Place, documents: Sequence[str] | None = None, *, space: str = "") -> int:
        """Delete documents, each with all its chunks."""
        names = checks.names(place, space, space_least=0)
        ids = None if documents is None else checks.ids(documents)

        async def delete(connection: Any) -> int:  # noqa: ANN401 - the driver ships no types
            async with connection.transaction():
                found = [Room(*row).id for row in await connection.fetch(self.sql.rooms, *names)]
                if ids is None:
                    await connection.execute(self.sql.drop_rooms, found)
                    return await connection.fetchval(self.sql.names, found)
                gone: set[bytes] = set()
                for room in found:
                    gone.update(await self._drop(connection, room, ids))
                return len(gone)

        return await self._writing(delete)

    async def known(self, place: Place, space: str, digests: Sequence[str]) -> Mapping[str, bytes]:
        """Return the vectors of texts that stand there."""
        names = checks.names(place, space)
        checks.count("digests", len(digests), CHUNKS_MOST)
        wanted = [checks.digest(digest) for digest in digests]
        known: dict[str, bytes] = {}
        async with self._lender.connection() as connection:
            row = await connection.fetchrow(self.sql.room, *names)
            if row is None:
                return known
            room = Room(*row)
            page = max(KNOWN_BYTES // (checks.FLOAT * max(room.dimensions, 1)), 1)
            for first in range(0, len(wanted), page):
                found = await connection.fetch(self.sql.known, room.id, wanted[first : first + page])
                known |= rows.vectors_of(found)
        return known

    async def scan(
        self, place: Place, space: str, *, after: tuple[str, int] = ("", -1), limit: int = 1000
    ) -> Sequence[Row]:
        """Return a page of the chunks."""
        names = checks.names(place, space)
        begin = checks.page(after, limit)
        query = self.sql.scan.format(body=BODY)
        async with self._lender.connection() as connection:
            room = await connection.fetchval(self.sql.room, *names)
            if room is None:
                return []
            found = await connection.fetch(query, room, begin, after[1], limit, SCAN_BYTES)
        return [rows.row_of(row) for row in found]

    async def count(self, place: Place, space: str = "") -> Counts:
        """Count what stands there."""
        names = checks.names(place, space, space_least=0)
        async with self._lender.connection(WRITE_FACTOR) as connection, _snapshot(connection):
            found = [Room(*row) for row in await connection.fetch(self.sql.rooms, *names)]
            ids = [room.id for room in found]
            documents = sum(room.documents for room in found)
            if len(found) > 1:
                documents = await connection.fetchval(self.sql.names, ids)
            graphs = await connection.fetchval(self.sql.graph_bytes, ids)
        return Counts(
            documents=documents,
            chunks=sum(room.chunks for room in found),
            bytes=sum(room.bytes for room in found) + graphs,
        )

    async def compact(self) -> None:
        """Make the graphs that are due, and free the disk; done by one process at a time."""
        self._lender.check_open()
        try:
            await Compaction(self._dsn, self.sql, timeout_s=self._timeout_s, most_s=COMPACT_S).run()
        except FOREIGN as error:
            raise translated(error) from error

    async def healthy(self) -> bool:
        """Tell whether PostgreSQL answers in time."""
        return await self._lender.healthy()

    async def close(self) -> None:
        """Close every connection; later calls raise Unavailable."""
        await self._lender.close()

    async def _writing(self, write: Callable[[Any], Awaitable[T]]) -> T:
        """Run a transaction, again when PostgreSQL rolled it back in favour of another."""
        async with self._lender.connection(WRITE_FACTOR) as connection:
            for attempt in range(ATTEMPTS):
                try:
                    return await write(connection)
                except (*RETRYABLE, _Overtaken):
                    if attempt == ATTEMPTS - 1:
                        raise Unavailable("The transaction found no end.") from None
        raise Unavailable("The transaction found no end.")

    async def _made_room(self, connection: Any, names: tuple[bytes, bytes, bytes], dimensions: int) -> int:  # noqa: ANN401 - the driver ships no types
        """Return a room's number; it is made for the first put, whose vectors measure it."""
        row = await connection.fetchrow(self.sql.room, *names)
        if row is None:
            await connection.execute(self.sql.add_room, *names)
            row = await connection.fetchrow(self.sql.room, *names)
        if row is None:
            raise _Overtaken
        checks.dimensions(Room(*row).dimensions, dimensions)
        return Room(*row).id

    async def _write(
        self,
        connection: Any,  # noqa: ANN401 - the driver ships no types
        room: int,
        batch: rows.Batch,
        dimensions: int,
        precision: Precision,
    ) -> None:
        """Replace documents inside a transaction."""
        ids = batch.documents[0]
        added = await connection.fetchval(self.sql.add_documents, room, *batch.documents)
        if len(await connection.fetch(self.sql.lock_documents, room, ids)) < len(ids):
            raise _Overtaken
        if added < len(ids):
            await connection.execute(self.sql.change_documents, room, *batch.documents)
        gone, gone_labelled, gone_words, gone_bytes = await connection.fetchrow(
            self.sql.drop_chunks, room, ids
        )
        whole = precision == "fp32"
        query = self.sql.add_chunks.format(
            half="l2_normalize(c.vector)::halfvec" if whole else "c.vector::halfvec",
            whole="c.vector" if whole else "NULL",
        )
        words = await connection.fetchval(query, room, *batch.chunks, *batch.filters)
        changes = (
            added,
            len(batch.chunks[0]) - gone,
            batch.labelled - gone_labelled,
            words - gone_words,
            batch.bytes - gone_bytes,
        )
        known = await connection.fetchval(self.sql.change_room, room, *changes, dimensions)
        if known is None:
            raise _Overtaken
        checks.dimensions(known, dimensions)

    async def _drop(self, connection: Any, room: int, ids: Sequence[bytes]) -> list[bytes]:  # noqa: ANN401 - the driver ships no types
        """Delete documents of a room inside a transaction; return those that there were."""
        found = [id_ for (id_,) in await connection.fetch(self.sql.lock_documents, room, ids)]
        if found:
            chunks, labelled, words, size = await connection.fetchrow(self.sql.drop_chunks, room, found)
            await connection.execute(self.sql.drop_documents, room, found)
            await connection.execute(
                self.sql.change_room, room, -len(found), -chunks, -labelled, -words, -size, 0
            )
        return found


def _snapshot(connection: Any) -> Any:  # noqa: ANN401 - the driver ships no types
    """Return a transaction that sees one moment and writes nothing."""
    return connection.transaction(isolation="repeatable_read", readonly=True)
