"""The harness for the index in PostgreSQL: a real server with pgvector; a crash drops every connection."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import asyncpg

from penstock.adapters.index.postgres import PostgresIndex
from penstock.contracts.index_search import IndexHarness
from tests.contracts.engines import Relay

STATEMENT_S = 10.0
"""Generous, so that a busy machine is never taken for a broken store; the tests of timeouts choose their own."""
TABLES = ("index_rooms", "index_documents", "index_chunks")


@asynccontextmanager
async def closed_after(*things: Any) -> AsyncIterator[None]:
    """Close these whatever happens: a loop with an open connection does not end."""
    try:
        yield
    finally:
        for thing in things:
            await thing.close()


async def no_time(_seconds: float) -> None:
    raise AssertionError("no promise of the index port is about time that passes")


async def held(dsn: str, needle: bytes) -> bool:
    """Tell whether any row of the index, a living one or one not yet swept, holds these bytes or these numbers."""
    connection = await asyncpg.connect(dsn)
    try:
        for table in TABLES:
            rows = await connection.fetch(f"SELECT t.*::text AS row FROM {table} AS t")  # noqa: S608 - the tables are listed above
            if any(needle.hex() in row["row"] for row in rows):
                return True
        floats = await connection.fetchval(
            "SELECT count(*) FROM index_chunks WHERE vector_send(whole) LIKE '%' || $1::bytea || '%'",
            swapped(needle),
        )
        return floats > 0
    finally:
        await connection.close()


def swapped(vector: bytes) -> bytes:
    """Return float32 in the order of bytes of the other end."""
    return b"".join(vector[at : at + 4][::-1] for at in range(0, len(vector), 4))


@asynccontextmanager
async def postgres_index(
    dsn: str, adapter: type[PostgresIndex] = PostgresIndex
) -> AsyncIterator[IndexHarness]:
    """Give an index in a real PostgreSQL; a crash drops every connection where it stands."""
    opened: list[PostgresIndex] = []
    relays = AsyncExitStack()

    async def start(address: str = dsn, timeout_s: float = STATEMENT_S) -> PostgresIndex:
        opened.append(await adapter.open(address, timeout_s))
        return opened[-1]

    async def reopen() -> PostgresIndex:
        harness.port._pool.terminate()
        harness.port = await start()
        return harness.port

    async def cut_off() -> PostgresIndex:
        port = urlsplit(dsn).port
        relay = await relays.enter_async_context(Relay(port))
        lost = await start(dsn.replace(f":{port}", f":{relay.port}"), timeout_s=0.3)
        relay.cut()
        return lost

    harness = IndexHarness(
        await start(), no_time, reopen, start, cut_off=cut_off, keeps=lambda needle: held(dsn, needle)
    )
    try:
        yield harness
    finally:
        for index in opened:
            await index.close()
        await relays.aclose()
