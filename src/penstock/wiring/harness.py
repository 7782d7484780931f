"""Harnesses that put this deployment's own engines under the contracts, in a scratch area of their own.

    embedded     a folder beside the data, on a manual clock; a crash goes on with a copy of the folder as it stands
    Redis        the configured server, under a prefix nobody else uses; its clock moves by the adapter's offset
    PostgreSQL   the configured database, in a schema that is made for this and dropped after it

The awkward states that only a test can make (a full disk, a store cut off, a changed byte) are not made here, and where
nobody can move the clock, time does not pass: a case that needs one of these raises `NotTried` and says which.

Promise: nothing of the deployment's own is read or written; what was opened is closed and what was made is removed,
whatever a case does.
"""

from __future__ import annotations

import importlib
import shutil
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penstock.contracts import blobs, cache, ledger, records, signals, state, stream, tables, traces
from penstock.contracts.case import Case, Harness, NotTried
from penstock.contracts.records_transactions import COLLECTIONS
from penstock.kernel.clock import Clock, ManualClock
from penstock.kernel.ids import new_id
from penstock.kernel.settings import Settings
from penstock.wiring.adapters import adapter

CACHE_BYTES = 1 << 20
ENTRY_BYTES = 1 << 16
PATIENCE_S = 10.0
"""Generous: a busy machine is not a broken store."""
Port = Any
"""A port of any kind: the contract's cases know which."""
Opened = AbstractAsyncContextManager[Harness[Port]]


@dataclass(frozen=True, slots=True)
class Suite:
    """A contract, the engine it is put to, and how to get a fresh harness on it."""

    port: str
    engine: str
    cases: list[tuple[str, tuple[int, ...], Case[Port]]]
    open: Callable[[], Opened]


def suites(settings: Settings, scratch: Path) -> list[Suite]:
    """Return one suite per store that `settings` name. `scratch` is an existing folder for the embedded ones."""
    url = settings.store.state_url
    kept = [_of_traces(settings.traces.url or settings.store.records_url, scratch)]
    lake = [Suite("tables", "DuckDB", tables.CASES.cases, lambda: _files(scratch, _open_tables))]
    answers = [_of_cache(settings.cache.url, scratch)]
    return [
        _of_ledger(settings.ledger.url, scratch),
        _of_records(settings.store.records_url, scratch),
        Suite("state", *_engine(url), state.CASES.cases, lambda: _state(url)),
        Suite("signals", *_engine(url), signals.CASES.cases, lambda: _signals(url)),
        Suite("stream", "segment files", stream.CASES.cases, lambda: _files(scratch, _open_stream)),
        Suite("blobs", "files", blobs.CASES.cases, lambda: _files(scratch, _open_blobs)),
        *(kept if settings.traces.store else []),
        *(answers if settings.cache.url else []),
        *(lake if settings.lake.store else []),
    ]


def _engine(url: str) -> tuple[str]:
    return ("this process" if url == "memory:" else "Redis",)


def _of_ledger(url: str, scratch: Path) -> Suite:
    if url.startswith("sqlite:"):
        return Suite("ledger", "SQLite", ledger.CASES.cases, lambda: _files(scratch, _open_ledger))

    async def open_port(dsn: str, clock: Clock, writer: str) -> Port:
        return await adapter("ledger.postgres", "PostgresLedger").open(
            dsn, clock, writer=writer, timeout_s=PATIENCE_S
        )

    return Suite("ledger", "PostgreSQL", ledger.CASES.cases, lambda: _schema(url, open_port))


def _of_records(url: str, scratch: Path) -> Suite:
    if url.startswith("sqlite:"):
        return Suite("records", "SQLite", records.CASES.cases, lambda: _files(scratch, _open_records))

    async def open_port(dsn: str, _clock: Clock, _writer: str) -> Port:
        return await adapter("records.postgres", "PostgresRecords").open(dsn, COLLECTIONS, PATIENCE_S)

    return Suite("records", "PostgreSQL", records.CASES.cases, lambda: _schema(url, open_port))


def _of_cache(url: str, scratch: Path) -> Suite:
    if url == "memory:":
        return Suite("cache", "this process", cache.CASES.cases, lambda: _files(scratch, _open_cache))
    return Suite("cache", "Redis", cache.CASES.cases, lambda: _redis_cache(url))


def _of_traces(url: str, scratch: Path) -> Suite:
    if url.startswith("sqlite:"):
        return Suite("traces", "SQLite", traces.CASES.cases, lambda: _files(scratch, _open_traces))

    async def open_port(dsn: str, _clock: Clock, _writer: str) -> Port:
        return await adapter("traces.postgres", "PostgresTraces").open(dsn, PATIENCE_S)

    return Suite("traces", "PostgreSQL", traces.CASES.cases, lambda: _schema(url, open_port))


# ---------------------------------------------------------------------------------------------------- embedded engines


async def _open_ledger(folder: Path, clock: Clock) -> Port:
    return await adapter("ledger.sqlite", "SqliteLedger").open(folder / "ledger.sqlite", clock)


async def _open_records(folder: Path, clock: Clock) -> Port:
    return await adapter("records.sqlite", "SqliteRecords").open(
        folder / "records.sqlite", COLLECTIONS, clock
    )


async def _open_stream(folder: Path, clock: Clock) -> Port:
    return await adapter("stream.embedded", "SegmentStream").open(folder / "stream", clock)


async def _open_blobs(folder: Path, clock: Clock) -> Port:
    return adapter("blobs.embedded", "FileBlobs")(folder / "blobs", clock)


async def _open_tables(folder: Path, _clock: Clock) -> Port:
    return adapter("tables.duckdb", "DuckDbTables")(folder / "tables")


async def _open_cache(folder: Path, clock: Clock) -> Port:
    return await adapter("cache.embedded", "MemoryCache").open(
        folder / "cache", clock, max_bytes=CACHE_BYTES, max_entry_bytes=ENTRY_BYTES
    )


async def _open_traces(folder: Path, _clock: Clock) -> Port:
    return await adapter("traces.sqlite", "SqliteTraces").open(folder / "traces.sqlite")


@asynccontextmanager
async def _files(
    scratch: Path, open_port: Callable[[Path, Clock], Awaitable[Port]]
) -> AsyncGenerator[Harness[Port]]:
    """Give an engine on files; a crash is a copy of its folder, in which the next one goes on."""
    clock = ManualClock()
    places = [scratch / new_id("store_")]
    places[0].mkdir()

    async def advance(seconds: float) -> None:
        clock.advance(seconds)

    async def reopen() -> Port:
        places.append(scratch / new_id("store_"))
        shutil.copytree(places[-2], places[-1])
        await harness.port.close()
        harness.port = await open_port(places[-1], clock)
        return harness.port

    async def peer() -> Port:
        return harness.port

    harness: Harness[Port] = Harness(
        await open_port(places[0], clock), advance, reopen, peer, single_process=True
    )
    try:
        yield harness
    finally:
        await harness.port.close()
        for place in places:
            shutil.rmtree(place, ignore_errors=True)


# ------------------------------------------------------------------------------------------------- in process or Redis


@asynccontextmanager
async def _state(url: str) -> AsyncGenerator[Harness[Port]]:
    """Give the state: a fresh one in this process, or a fresh prefix in Redis."""
    clock = ManualClock()
    prefix = new_id("doctor_")
    opened: list[Port] = []

    async def start() -> Port:
        if url == "memory:":
            opened.append(adapter("state.embedded", "EmbeddedState")(clock))
        else:
            port = await adapter("state.redis", "RedisState").open(url, prefix=prefix, timeout_s=PATIENCE_S)
            port.clock_offset_s = opened[0].clock_offset_s if opened else 0.0
            opened.append(port)
        return opened[-1]

    async def advance(seconds: float) -> None:
        if url == "memory:":
            clock.advance(seconds)
        else:
            for port in opened:
                port.clock_offset_s += seconds

    async with _handles(start, advance, opened, single=url == "memory:") as harness:
        yield harness


@asynccontextmanager
async def _signals(url: str) -> AsyncGenerator[Harness[Port]]:
    """Give the signals: fresh ones in this process, or a fresh prefix in Redis."""
    prefix = new_id("doctor_")
    opened: list[Port] = []

    async def start() -> Port:
        if url == "memory:":
            opened.append(adapter("signals.embedded", "EmbeddedSignals")())
        else:
            opened.append(
                await adapter("signals.redis", "RedisSignals").open(url, prefix=prefix, timeout_s=PATIENCE_S)
            )
        return opened[-1]

    async with _handles(start, _no_time, opened, single=url == "memory:") as harness:
        yield harness


@asynccontextmanager
async def _redis_cache(url: str) -> AsyncGenerator[Harness[Port]]:
    """Give a cache under a fresh prefix in the Redis of the answers; its entries end by themselves."""
    prefix = new_id("doctor_")
    opened: list[Port] = []

    async def start() -> Port:
        port = await adapter("cache.redis", "RedisCache").open(
            url, prefix=prefix, timeout_s=PATIENCE_S, max_entry_bytes=ENTRY_BYTES
        )
        port.clock_offset_s = opened[0].clock_offset_s if opened else 0.0
        opened.append(port)
        return port

    async def advance(seconds: float) -> None:
        for port in opened:
            port.clock_offset_s += seconds

    async with _handles(start, advance, opened, single=False) as harness:
        yield harness


@asynccontextmanager
async def _handles(
    start: Callable[[], Awaitable[Port]],
    advance: Callable[[float], Awaitable[None]],
    opened: list[Port],
    *,
    single: bool,
) -> AsyncGenerator[Harness[Port]]:
    """Give a harness whose second handle, or next life, is one more `start`; a single process has one at a time."""

    async def reopen() -> Port:
        if single:
            await harness.port.close()
        harness.port = await start()
        return harness.port

    async def peer() -> Port:
        return harness.port if single else await start()

    harness: Harness[Port] = Harness(await start(), advance, reopen, peer, single_process=single)
    try:
        yield harness
    finally:
        for port in opened:
            await port.close()


# ---------------------------------------------------------------------------------------------------------- PostgreSQL


@asynccontextmanager
async def _schema(
    dsn: str, open_port: Callable[[str, Clock, str], Awaitable[Port]]
) -> AsyncGenerator[Harness[Port]]:
    """Give an engine in a schema of its own."""
    driver: Any = importlib.import_module("asyncpg")
    schema = new_id("doctor_")
    async with AsyncExitStack() as closing:
        connection = await driver.connect(dsn, timeout=PATIENCE_S, command_timeout=PATIENCE_S)
        closing.push_async_callback(connection.close)
        await connection.execute(f"CREATE SCHEMA {schema}")
        closing.push_async_callback(connection.execute, f"DROP SCHEMA {schema} CASCADE")
        fleet = _Fleet(f"{dsn}{'&' if '?' in dsn else '?'}search_path={schema}", open_port)
        closing.push_async_callback(fleet.stop)

        async def reopen() -> Port:
            harness.port = await fleet.succeed(harness.port)
            return harness.port

        harness: Harness[Port] = Harness(
            await fleet.start("one"), fleet.advance, reopen, lambda: fleet.start("two")
        )
        yield harness


class _Fleet:
    """Processes on one database and one manual clock: the living beat once a second of it, the dead are silent."""

    def __init__(self, dsn: str, open_port: Callable[[str, Clock, str], Awaitable[Port]]) -> None:
        self._dsn = dsn
        self._open = open_port
        self._clock = ManualClock()
        self._living: list[Port] = []

    async def start(self, name: str) -> Port:
        self._living.append(await self._open(self._dsn, self._clock, name))
        return self._living[-1]

    async def succeed(self, dying: Port) -> Port:
        """Start again under the name of one that dies, before it can do anything more."""
        self._living.remove(dying)
        successor = await self.start("one")
        await (dying.abandon() if hasattr(dying, "abandon") else dying.close())
        return successor

    async def advance(self, seconds: float) -> None:
        for _ in range(int(seconds)):
            self._clock.advance(1.0)
            for port in self._living:
                await port.beat()
        self._clock.advance(seconds - int(seconds))

    async def stop(self) -> None:
        for port in self._living:
            await port.close()


async def _no_time(_seconds: float) -> None:
    """Stand in for `advance` where nobody can move the clock."""
    raise NotTried("let time pass")
