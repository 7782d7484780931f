"""Compaction of `PostgresIndex`: graphs for rooms that have grown large, and the disk back from what was deleted.

Promises: one process does it at a time, the others return at once; searches and puts go on beside it; a graph that a
crash left half made is made anew; what was deleted goes in pieces; a room that fails keeps no other waiting.
"""

# asyncpg ships no stubs: what crosses this border is typed by hand.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

import asyncpg

from penstock.adapters.index.postgres_sql import PARTS, Sql

GRAPH_LEAST: Final = 20_000
"""Chunks from which a room gets a graph. Below, reading all of them takes some milliseconds and misses none."""
GRAPH_DIMENSIONS_MOST: Final = 4_000
"""pgvector's graphs of half precision hold no longer vectors."""
PIECE: Final = 2_000
"""Rows deleted in one transaction."""
MEMORY: Final = "256MB"
"""What a graph is made in; one that does not fit is made on disk, slowly."""


class Compaction:
    """One pass over the store, on a connection of its own."""

    def __init__(self, dsn: str, sql: type[Sql], *, timeout_s: float, most_s: float) -> None:
        """Connect within `timeout_s`, be done within `most_s`."""
        self._dsn = dsn
        self._sql = sql
        self._timeout_s = timeout_s
        self._most_s = most_s
        self._failure: asyncpg.PostgresError | None = None

    async def run(self) -> None:
        """Sweep, make graphs, free the disk. Raises what the driver raises."""
        settings = {"application_name": "penstock-index-compact", "maintenance_work_mem": MEMORY}
        async with asyncio.timeout(self._most_s):
            connection = await cast("Any", asyncpg).connect(
                self._dsn, timeout=self._timeout_s, server_settings=settings
            )
            try:
                if await connection.fetchval(self._sql.claim, timeout=self._timeout_s):
                    await self._each(connection, self._sweep, self._sql.dead)
                    measures = GRAPH_LEAST, GRAPH_DIMENSIONS_MOST
                    await self._each(connection, self._graph, self._sql.due, *measures)
                    await self._vacuum(connection)
                    if self._failure is not None:
                        raise self._failure
            finally:
                connection.terminate()

    async def _each(
        self,
        connection: Any,  # noqa: ANN401 - the driver ships no types
        work: Callable[..., Awaitable[None]],
        rooms: str,
        *measures: int,
    ) -> None:
        """Do the work for each of the rooms, once; what goes wrong with one is told at the end."""
        after = 0
        while page := await connection.fetch(rooms, after, *measures):
            for room in page:
                try:
                    await work(connection, *room)
                except asyncpg.PostgresError as failure:  # where the line is at fault the next page fails too
                    self._failure = self._failure or failure
            after = page[-1][0]

    async def _sweep(self, connection: Any, room: int) -> None:  # noqa: ANN401 - the driver ships no types
        """Delete the rows of a room that was deleted."""
        await connection.execute(self._sql.drop_graph.format(room=room))
        while await connection.fetchval(self._sql.sweep_chunks, room, PIECE) == PIECE:
            pass
        await connection.execute(self._sql.sweep_documents, room)
        await connection.execute(self._sql.forget_room, room)

    async def _graph(self, connection: Any, room: int, dimensions: int, is_large: bool) -> None:  # noqa: ANN401, FBT001 - the driver ships no types; it is a column
        """Make the graph of a room that has grown large, or drop it."""
        if not is_large:
            # Told first: nobody counts on a graph that goes.
            await connection.execute(self._sql.tell_graph, room, False)
        await connection.execute(self._sql.drop_graph.format(room=room))
        if is_large:
            part = await connection.fetchval(self._sql.part_of, room)
            make = self._sql.make_graph.format(room=room, part=part, dimensions=dimensions)
            await connection.execute(make)
            await connection.execute(self._sql.tell_graph, room, True)

    async def _vacuum(self, connection: Any) -> None:  # noqa: ANN401 - the driver ships no types
        for table in (*(f"index_chunks_{part}" for part in range(PARTS)), "index_documents", "index_rooms"):
            await connection.execute(self._sql.vacuum.format(table=table))
