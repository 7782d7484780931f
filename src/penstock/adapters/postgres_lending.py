"""Connections to PostgreSQL, lent one call at a time: for every port that PostgreSQL keeps.

Promises: a loan ends within its time whatever the server does, waiting for a connection included; at most `most` are
lent and `waiting_most` calls wait; a connection that was left in the middle of anything is never lent again; what the
driver raises meanwhile is said in our words; after `close` every call raises Unavailable.
"""

# asyncpg ships no stubs: what crosses this border is typed by hand.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol

from penstock.adapters.postgres_faults import FOREIGN
from penstock.kernel.errors import Invalid, Overloaded, PenstockError, Unavailable

PING: Final = "SELECT 1"


class Lender:
    """A pool's connections. `store` says whose they are, as a sentence begins: "The records were"."""

    def __init__(
        self,
        pool: Any,  # noqa: ANN401 - the driver ships no types
        store: str,
        *,
        timeout_s: float,
        most: int,
        waiting_most: int,
        translated: Callable[[BaseException], PenstockError],
    ) -> None:
        """Lend from `pool`, which holds `most` connections."""
        self._pool = pool
        self._store = store
        self._timeout_s = timeout_s
        self._most = most
        self._waiting_most = waiting_most
        self._translated = translated
        self._calls = 0
        self._is_open = True

    def check_open(self) -> None:
        """Raise Unavailable once it was closed."""
        if not self._is_open:
            raise Unavailable(f"{self._store} closed.")

    @asynccontextmanager
    async def connection(self, factor: float = 1.0) -> AsyncGenerator[Any]:
        """Lend a connection, all within `factor` timeouts. Raises Overloaded, Unavailable, what `translated` makes."""
        self.check_open()
        if self._calls >= self._most + self._waiting_most:
            raise Overloaded(
                "Too many calls wait for PostgreSQL.", limit=self._waiting_most, retry_after_s=1.0
            )
        self._calls += 1
        try:
            async with asyncio.timeout(self._timeout_s * factor):
                connection = await self._pool.acquire()
                try:
                    yield connection
                except (TimeoutError, asyncio.CancelledError):
                    # It may be in the middle of anything, and asking a server that hangs to stop would hang as well.
                    connection.terminate()
                    raise
                finally:
                    await self._pool.release(connection)
        except FOREIGN as error:
            raise self._translated(error) from error
        finally:
            self._calls -= 1

    async def healthy(self) -> bool:
        """Tell whether PostgreSQL answers in time."""
        try:
            async with self.connection() as connection:
                return await connection.fetchval(PING) == 1
        except Unavailable:
            return False

    async def close(self) -> None:
        """Close every connection; later calls raise Unavailable."""
        self._is_open = False
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._pool.close()
        except TimeoutError:
            self._pool.terminate()


class Versions(Protocol):
    """The statements that know which schema a database has."""

    make_versions: str
    schema_version: str


async def has_schema(connection: Any, sql: type[Versions], newest: int, store: str) -> bool:  # noqa: ANN401 - the driver ships no types
    """Tell whether the schema is there, inside the transaction that would make it. Raises Invalid for a newer one."""
    await connection.execute(sql.make_versions)
    found = await connection.fetchval(sql.schema_version) or 0
    if found > newest:
        raise Invalid(
            f"{store} written by a newer Penstock.",
            value=found,
            limit=newest,
            remedy="Start the version of Penstock that wrote this, or a newer one.",
        )
    return bool(found)
