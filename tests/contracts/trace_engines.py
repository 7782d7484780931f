"""Harnesses for the engines of traces: a SQLite file, whose crash is a copy of the folder, and a real PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

from penstock.adapters.traces.postgres import PostgresTraces
from penstock.adapters.traces.sqlite import SqliteTraces
from penstock.contracts.traces_totals import TracesHarness
from tests.contracts.engines import Relay
from tests.contracts.file_harness import copied

STATEMENT_S = 10.0
"""Generous, so that a busy machine is never taken for a broken store; the tests of timeouts choose their own."""


async def no_time(_seconds: float) -> None:
    raise AssertionError("no promise of the traces port is about time that passes")


@asynccontextmanager
async def sqlite_traces(
    folder: Path, adapter: type[SqliteTraces] = SqliteTraces
) -> AsyncIterator[TracesHarness]:
    """Give traces in a file of `folder`; a crash goes on with a copy of it as it stands."""
    place = folder / "store-0"
    place.mkdir()
    opened: list[SqliteTraces] = []

    async def start() -> SqliteTraces:
        opened.append(await adapter.open(place / "traces.db"))
        return opened[-1]

    async def reopen() -> SqliteTraces:
        nonlocal place
        place = copied(place)
        harness.port = await start()
        return harness.port

    async def cut_off() -> SqliteTraces:
        closed = await start()
        await closed.close()
        return closed

    harness = TracesHarness(await start(), no_time, reopen, start, cut_off=cut_off)
    try:
        yield harness
    finally:
        for traces in opened:
            await traces.close()


@asynccontextmanager
async def postgres_traces(
    dsn: str, adapter: type[PostgresTraces] = PostgresTraces
) -> AsyncIterator[TracesHarness]:
    """Give traces in a real PostgreSQL; a crash drops every connection where it stands."""
    opened: list[PostgresTraces] = []
    relays = AsyncExitStack()

    async def start(address: str = dsn, timeout_s: float = STATEMENT_S) -> PostgresTraces:
        opened.append(await adapter.open(address, timeout_s))
        return opened[-1]

    async def reopen() -> PostgresTraces:
        harness.port._pool.terminate()
        harness.port = await start()
        return harness.port

    async def cut_off() -> PostgresTraces:
        port = urlsplit(dsn).port
        relay = await relays.enter_async_context(Relay(port))
        lost = await start(dsn.replace(f":{port}", f":{relay.port}"), timeout_s=0.3)
        relay.cut()
        return lost

    harness = TracesHarness(await start(), no_time, reopen, start, cut_off=cut_off)
    try:
        yield harness
    finally:
        for traces in opened:
            await traces.close()
        await relays.aclose()
