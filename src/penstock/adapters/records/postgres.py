"""Records in PostgreSQL: rows that several gateway processes share.

Promises, beyond the port's: a call ends within `timeout_s` whatever the server does, waiting for a connection included;
at most `POOL_MOST` connections are open and `WAITING_MOST` calls wait for one; the schema is made or checked under an
advisory lock, so processes may start together. A transaction that PostgreSQL rolled back in favour of another is run
again, `ATTEMPTS` times in all; one whose fate is unknown (the line broke) never is.
"""

# asyncpg ships no stubs: what crosses this border is typed by hand.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import asyncpg
import msgspec

from penstock.adapters.postgres_lending import Lender, has_schema
from penstock.adapters.records.plan import (
    BEHIND_ALL,
    Catalogue,
    Change,
    Entry,
    Place,
    Plan,
    Stored,
    check_page,
    check_remembered,
    check_text,
)
from penstock.adapters.records.postgres_sql import FOREIGN, RETRYABLE, SCHEMA_VERSION, Sql, translated
from penstock.kernel.errors import Unavailable
from penstock.ports.records import Collection, Row, Write

STORE = "The records were"
POOL_MOST = 10
WAITING_MOST = 1_024
ATTEMPTS = 5
OPEN_FACTOR = 5.0
"""Opening may take this many timeouts: it connects, waits for other processes' migrations and migrates."""


class PostgresRecords:
    """The Records port on a PostgreSQL database (14 or later). Open it with `PostgresRecords.open`."""

    sql: type[Sql] = Sql

    def __init__(self, pool: Any, catalogue: Catalogue, timeout_s: float) -> None:  # noqa: ANN401 - the driver ships no types
        """Use `open`."""
        self._pool = pool
        self._catalogue = catalogue
        self._lender = Lender(
            pool,
            STORE,
            timeout_s=timeout_s,
            most=POOL_MOST,
            waiting_most=WAITING_MOST,
            translated=translated,
        )

    @classmethod
    async def open(
        cls, dsn: str, collections: Sequence[Collection], timeout_s: float = 2.0
    ) -> PostgresRecords:
        """Connect and make or check the schema. Invalid: a newer schema, clashing declarations; Unavailable."""
        catalogue = Catalogue(collections)
        milliseconds = str(max(1, int(timeout_s * 1000)))
        settings = {"statement_timeout": milliseconds, "application_name": "penstock-records"}
        pool: Any = None
        try:
            async with asyncio.timeout(timeout_s * OPEN_FACTOR):
                pool = await cast("Any", asyncpg).create_pool(
                    dsn,
                    min_size=1,
                    max_size=POOL_MOST,
                    timeout=timeout_s,
                    command_timeout=timeout_s,
                    server_settings=settings,
                )
                records = cls(pool, catalogue, timeout_s)
                await records._migrate()
        except BaseException as error:  # because the connections must be closed whatever happened
            if pool is not None:
                pool.terminate()
            if isinstance(error, FOREIGN):
                raise translated(error) from error
            raise
        return records

    async def transact(self, writes: Sequence[Write]) -> Sequence[int]:
        """Apply all writes or none. See ports/records.py."""
        self._catalogue.check_writes(writes)
        async with self._lender.connection() as connection:
            for attempt in range(ATTEMPTS):
                try:
                    async with connection.transaction():
                        return await self._apply(connection, writes)
                except RETRYABLE:
                    if attempt == ATTEMPTS - 1:
                        raise
                except asyncpg.UniqueViolationError as error:
                    # Two transactions made the same row at one moment: the second finds it there next time.
                    if (
                        getattr(error, "constraint_name", "") != "records_rows_pkey"
                        or attempt == ATTEMPTS - 1
                    ):
                        raise
        raise Unavailable("The transaction found no end.")

    async def get(self, collection: str, tenant: str, id: str) -> Row | None:
        """Return the row, or None."""
        self._catalogue.check_scope(collection, tenant)
        check_text("id", id, least=1)
        rows = await self._rows(self.sql.get, collection, tenant.encode(), id.encode())
        return rows[0] if rows else None

    async def find(
        self, collection: str, tenant: str, index: str, value: str, *, after: str = "", limit: int = 100
    ) -> Sequence[Row]:
        """Return a page of the rows with that index value."""
        self._catalogue.check_scope(collection, tenant)
        self._catalogue.check_index(collection, index, value)
        check_page(after, limit)
        where = (collection, tenant.encode(), index, value.encode(), after.encode(), limit)
        return await self._rows(self.sql.find, *where)

    async def latest(
        self, collection: str, tenant: str, index: str, value: str, *, before: str = "", limit: int = 100
    ) -> Sequence[Row]:
        """Return a page of the rows with that index value, the last first."""
        self._catalogue.check_scope(collection, tenant)
        self._catalogue.check_index(collection, index, value)
        check_page(before, limit)
        until = (before or BEHIND_ALL).encode()
        return await self._rows(
            self.sql.latest, collection, tenant.encode(), index, value.encode(), until, limit
        )

    async def scan(self, collection: str, tenant: str, *, after: str = "", limit: int = 100) -> Sequence[Row]:
        """Return a page of the rows."""
        self._catalogue.check_scope(collection, tenant)
        check_page(after, limit)
        return await self._rows(self.sql.scan, collection, tenant.encode(), after.encode(), limit)

    async def count(self, collection: str, tenant: str) -> int:
        """Return the number of rows."""
        self._catalogue.check_scope(collection, tenant)
        async with self._lender.connection() as connection:
            return await connection.fetchval(self.sql.count, collection, tenant.encode())

    async def healthy(self) -> bool:
        """Tell whether PostgreSQL answers in time."""
        return await self._lender.healthy()

    async def close(self) -> None:
        """Close every connection; later calls raise Unavailable."""
        await self._lender.close()

    async def _rows(self, sql: str, *bindings: object) -> list[Row]:
        async with self._lender.connection() as connection:
            found = await connection.fetch(sql, *bindings)
        return [
            Row(id_.decode(), value, version, msgspec.msgpack.decode(indexed, type=dict[str, str]))
            for id_, value, version, indexed in found
        ]

    async def _migrate(self) -> None:
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(self.sql.lock)
            if not await has_schema(connection, self.sql, SCHEMA_VERSION, STORE):
                await connection.execute(self.sql.schema)
            for collection, index, sole in self._catalogue.declared():
                remembered = await connection.fetchval(self.sql.remembered, collection, index)
                if remembered is None:
                    await connection.execute(self.sql.remember, collection, index, sole)
                else:
                    check_remembered((collection, index), sole=sole, remembered=remembered)

    async def _apply(self, connection: Any, writes: Sequence[Write]) -> list[int]:  # noqa: ANN401 - the driver ships no types
        """Read, plan, write: each step one round trip."""
        places = sorted({(write.collection, write.tenant.encode(), write.id.encode()) for write in writes})
        stored: dict[Place, Stored] = {}
        for collection, tenant, id_, version, alive, indexed in await connection.fetch(
            self.sql.stored, *map(list, zip(*places, strict=True))
        ):
            known = Stored(version, alive, msgspec.msgpack.decode(indexed, type=dict[str, str]))
            stored[collection, tenant.decode(), id_.decode()] = known
        plan = self._catalogue.plan(writes, stored)
        for sql, bindings in _steps(self.sql, plan):
            if bindings:
                await connection.executemany(sql, bindings)
        return plan.versions


def _steps(sql: type[Sql], plan: Plan) -> list[tuple[str, list[tuple[object, ...]]]]:
    """Return the statements of a plan in order, each with its bindings."""
    return [
        (sql.insert, [_row(change) for change in plan.changes if change.is_new]),
        (sql.update, [_row(change) for change in plan.changes if not change.is_new]),
        (sql.drop, [_line(entry) for entry in plan.dropped]),
        (sql.add, [(*_line(entry), entry.sole) for entry in plan.added]),
    ]


def _row(change: Change) -> tuple[object, ...]:
    collection, tenant, id_ = change.place
    indexed = msgspec.msgpack.encode(change.indexed)
    return collection, tenant.encode(), id_.encode(), change.version, change.value, indexed


def _line(entry: Entry) -> tuple[object, ...]:
    return entry.collection, entry.tenant.encode(), entry.index, entry.value.encode(), entry.id.encode()
