"""One connection to PostgreSQL that is opened when needed, bounded in time at every step, and dropped at any doubt.

Promise: `fetch` returns or raises within `timeout_s`, connecting included, whatever the server or the network does; a
connection that was in the middle of anything when it failed is never used again. PostgreSQL's own refusals keep their
type (`asyncpg.PostgresError`); everything else is Unavailable. One caller at a time.
"""

# asyncpg ships no stubs: what crosses this border is typed by hand.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, cast

import asyncpg

from penstock.kernel.errors import Unavailable

DROPPED = (
    OSError,
    TimeoutError,
    RuntimeError,  # uvloop's, for a socket that was closed a moment before it is written to
    asyncpg.InterfaceError,
    asyncpg.PostgresError,
    asyncpg.InternalClientError,
)
SLOW = (TimeoutError, asyncpg.QueryCanceledError)  # trying again at once would not help


class Link:
    """A connection to `dsn`. `purpose` is shown in pg_stat_activity."""

    def __init__(self, dsn: str, purpose: str, timeout_s: float) -> None:
        self._dsn = dsn
        self._timeout_s = timeout_s
        milliseconds = str(max(1, int(timeout_s * 1_000)))
        self._settings = {
            "application_name": f"penstock-ledger-{purpose}",
            "statement_timeout": milliseconds,
            "idle_in_transaction_session_timeout": milliseconds,
            "tcp_user_timeout": milliseconds,  # PostgreSQL's side; ours is the timeout around each call
        }
        self._connection: Any = None

    async def fetch(self, sql: str, *arguments: object) -> list[Any]:
        """Run one statement and return its rows. Unavailable(code="connection_lost") says that an idle connection
        turned out to be gone: the next call opens another.
        """
        was_open = self._connection is not None
        try:
            async with asyncio.timeout(self._timeout_s):
                return await (await self._connected()).fetch(sql, *arguments)
        except BaseException as error:  # because after a cut the connection's state is unknown
            self.drop()
            if isinstance(error, DROPPED) and not is_retryable(error):
                lost = was_open and not isinstance(error, SLOW)
                raise unreachable(error, "connection_lost" if lost else "ledger_unavailable") from error
            raise

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Any]:
        """Give the connection inside a transaction; the whole block shares one timeout."""
        try:
            async with asyncio.timeout(self._timeout_s):
                connection = await self._connected()
                async with connection.transaction():
                    yield connection
        except BaseException as error:  # because after a cut the connection's state is unknown
            self.drop()
            if isinstance(error, DROPPED):
                raise unreachable(error) from error
            raise

    def drop(self) -> None:
        """Close the connection without a word; the next call opens another."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def _connected(self) -> Any:  # noqa: ANN401 - the driver ships no types
        if self._connection is None or self._connection.is_closed():
            self._connection = await cast("Any", asyncpg).connect(
                self._dsn, timeout=self._timeout_s, server_settings=self._settings
            )
        return self._connection


def is_retryable(error: BaseException) -> bool:
    """Whether PostgreSQL rolled the statement back in favour of another one."""
    return isinstance(error, asyncpg.DeadlockDetectedError | asyncpg.SerializationError)


def unreachable(error: BaseException, code: str = "ledger_unavailable") -> Unavailable:
    """Translate what the driver or the network raised."""
    state = getattr(error, "sqlstate", None)
    if state == "PL001":
        return Unavailable(
            "Another process writes to the ledger under this writer's name.",
            code="writer_superseded",
            remedy="Give every process a writer name of its own, and restart this one.",
        )
    what = str(error) or type(error).__name__
    return Unavailable(f"The ledger's PostgreSQL cannot be used: {what}", code=code, retry_after_s=1)
