"""Traces in PostgreSQL: where several gateway processes share them.

Promises, beyond the port's: a call ends within `timeout_s` whatever the server does, waiting for a connection included;
at most `POOL_MOST` connections are open and `WAITING_MOST` calls wait for one; the schema is made or checked under an
advisory lock, so processes may start together. A batch that PostgreSQL rolled back in favour of another is added again,
`ATTEMPTS` times in all. What is made of a batch for the server is made on a thread, off the event loop.
"""

# asyncpg ships no stubs: what crosses this border is typed by hand.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import Any, cast

import asyncpg

from penstock.adapters.postgres_lending import Lender, has_schema
from penstock.adapters.traces import questions
from penstock.adapters.traces.batches import Row, check_times, event_of, may_be_kept, prepared
from penstock.adapters.traces.postgres_sql import FOREIGN, RETRYABLE, SCHEMA_VERSION, Sql, translated
from penstock.kernel.events import RequestEvent
from penstock.ports.traces import HOUR_S, TRIM_MOST, Batch, Total, TraceFilter, TracePage

STORE = "The traces were"
POOL_MOST = 4
WAITING_MOST = 256
ATTEMPTS = 5
OPEN_FACTOR = 5.0
"""Opening may take this many timeouts: it connects, waits for other processes' migrations and migrates."""

_Columns = tuple[list[list[object]], list[list[object]]]


class PostgresTraces:
    """The Traces port on a PostgreSQL database (14 or later). Open it with `PostgresTraces.open`."""

    sql: type[Sql] = Sql

    def __init__(self, pool: Any, timeout_s: float) -> None:  # noqa: ANN401 - the driver ships no types
        """Use `open`."""
        self._pool = pool
        self._lender = Lender(
            pool,
            STORE,
            timeout_s=timeout_s,
            most=POOL_MOST,
            waiting_most=WAITING_MOST,
            translated=translated,
        )

    @classmethod
    async def open(cls, dsn: str, timeout_s: float = 5.0) -> PostgresTraces:
        """Connect and make or check the schema. Raises Invalid for a newer one; Unavailable."""
        milliseconds = str(max(1, int(timeout_s * 1000)))
        settings = {"statement_timeout": milliseconds, "application_name": "penstock-traces"}
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
                traces = cls(pool, timeout_s)
                await traces._migrate()
        except BaseException as error:  # because the connections must be closed whatever happened
            if pool is not None:
                pool.terminate()
            if isinstance(error, FOREIGN):
                raise translated(error) from error
            raise
        return traces

    async def add(self, batch: Batch) -> None:
        """Keep a batch, once. See ports/traces.py."""
        columns = await asyncio.get_running_loop().run_in_executor(None, _columns_of, batch)
        async with self._lender.connection() as connection:
            for attempt in range(ATTEMPTS):
                try:
                    async with connection.transaction():
                        await self._put(connection, batch, columns)
                except RETRYABLE:
                    if attempt == ATTEMPTS - 1:
                        raise
                else:
                    return

    async def get(self, request_id: str) -> RequestEvent | None:
        """Return one kept event."""
        if not may_be_kept(request_id):
            return None
        async with self._lender.connection() as connection:
            body = await connection.fetchval(self.sql.get, request_id.encode())
        return event_of(body) if body else None

    async def find(self, wanted: TraceFilter, *, after: str = "", limit: int = 100) -> TracePage:
        """Return a page of kept events."""
        rows = await self._ask(questions.find(wanted, after, limit))
        return questions.page_of([body for (body,) in rows], limit)

    async def totals(self, wanted: TraceFilter, by: Sequence[str]) -> list[Total]:
        """Return the sums of what matches."""
        return [questions.total_of(row) for row in await self._ask(questions.totals(wanted, by))]

    async def trim(self, before_s: float, *, totals_before_s: float | None = None) -> int:
        """Forget the oldest of what is from before a time."""
        if totals_before_s is None:
            totals_before_s = before_s
        check_times(before_s, totals_before_s)
        async with self._lender.connection() as connection:
            await connection.execute(self.sql.trim_batches, before_s, TRIM_MOST)
            await connection.execute(self.sql.trim_totals, math.floor(totals_before_s) - HOUR_S, TRIM_MOST)
            return await connection.fetchval(self.sql.trim_events, before_s, TRIM_MOST)

    async def healthy(self) -> bool:
        """Tell whether PostgreSQL answers in time."""
        return await self._lender.healthy()

    async def close(self) -> None:
        """Close every connection; later calls raise Unavailable."""
        await self._lender.close()

    async def _ask(self, question: questions.Question) -> Any:  # noqa: ANN401 - the driver ships no types
        bindings = [value.encode() if isinstance(value, str) else value for value in question.bindings]
        async with self._lender.connection() as connection:
            return await connection.fetch(question.text, *bindings)

    async def _migrate(self) -> None:
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(self.sql.lock)
            if not await has_schema(connection, self.sql, SCHEMA_VERSION, STORE):
                await connection.execute(self.sql.schema)

    async def _put(self, connection: Any, batch: Batch, columns: _Columns) -> None:  # noqa: ANN401 - the driver ships no types
        """Write a batch inside a transaction, unless it was added before."""
        if await connection.fetchval(self.sql.batch, batch.id.encode(), batch.at_s):
            for sql, arrays in zip((self.sql.events, self.sql.totals), columns, strict=True):
                if arrays:
                    await connection.execute(sql, *arrays)


def _columns_of(batch: Batch) -> _Columns:
    """Return a batch's events and totals as the columns of their tables."""
    rows = prepared(batch)
    return _columns(rows.events), _columns(rows.totals)


def _columns(rows: Sequence[Row]) -> list[list[object]]:
    return [
        [value.encode() if isinstance(value, str) else value for value in column]
        for column in zip(*rows, strict=True)
    ]
