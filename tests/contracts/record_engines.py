"""Harnesses for the engines of records: a SQLite file, whose crash is a copy of the folder, and a real PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

from penstock.adapters.records.postgres import PostgresRecords
from penstock.adapters.records.sqlite import SqliteRecords
from penstock.contracts.records_transactions import COLLECTIONS, RecordsHarness
from penstock.kernel.clock import ManualClock
from tests.contracts.engines import Relay
from tests.contracts.file_harness import copied

STATEMENT_S = 10.0
"""Generous, so that a busy machine is never taken for a broken store; the tests of timeouts choose their own."""


@asynccontextmanager
async def sqlite_records(
    folder: Path, adapter: type[SqliteRecords] = SqliteRecords
) -> AsyncIterator[RecordsHarness]:
    """Give records in a file of `folder`; a crash goes on with a copy of it as it stands."""
    clock = ManualClock()
    place = folder / "store-0"
    place.mkdir()
    opened: list[SqliteRecords] = []

    async def start() -> SqliteRecords:
        opened.append(await adapter.open(place / "records.db", COLLECTIONS, clock))
        return opened[-1]

    async def advance(seconds: float) -> None:
        clock.advance(seconds)

    async def reopen() -> SqliteRecords:
        nonlocal place
        place = copied(place)
        harness.port = await start()
        return harness.port

    async def cut_off() -> SqliteRecords:
        closed = await start()
        await closed.close()
        return closed

    harness = RecordsHarness(await start(), advance, reopen, start, cut_off=cut_off)
    try:
        yield harness
    finally:
        for records in opened:
            await records.close()


@asynccontextmanager
async def postgres_records(
    dsn: str, adapter: type[PostgresRecords] = PostgresRecords
) -> AsyncIterator[RecordsHarness]:
    """Give records in a real PostgreSQL; a crash drops every connection where it stands."""
    opened: list[PostgresRecords] = []
    relays = AsyncExitStack()

    async def start(address: str = dsn, timeout_s: float = STATEMENT_S) -> PostgresRecords:
        opened.append(await adapter.open(address, COLLECTIONS, timeout_s))
        return opened[-1]

    async def advance(seconds: float) -> None:
        raise AssertionError("no promise of the records port is about time")

    async def reopen() -> PostgresRecords:
        harness.port._pool.terminate()
        harness.port = await start()
        return harness.port

    async def cut_off() -> PostgresRecords:
        port = urlsplit(dsn).port
        relay = await relays.enter_async_context(Relay(port))
        lost = await start(dsn.replace(f":{port}", f":{relay.port}"), timeout_s=0.3)
        relay.cut()
        return lost

    harness = RecordsHarness(await start(), advance, reopen, start, cut_off=cut_off)
    try:
        yield harness
    finally:
        for records in opened:
            await records.close()
        await relays.aclose()
