"""Faults that many adapters meet alike, each written once: what cannot be opened, is away or is closed.

A test says which store it is about by a function that opens it: `open_in` takes the folder of a SQLite file, `open_at`
the DSN of a PostgreSQL; `use` is any call that needs the store.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import apsw
import asyncpg
import pytest

from penstock.kernel.errors import Invalid, PenstockError, TimedOut, Unavailable
from tests.services import PostgresServer
from tests.support import run

T = TypeVar("T")
OpenIn = Callable[[Path], Coroutine[object, object, Any]]
OpenAt = Callable[[str], Coroutine[object, object, Any]]


async def once_back(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask until whoever is asked is back; return the answer."""
    while True:
        try:
            return await ask()
        except Unavailable:
            await asyncio.sleep(0.02)


async def is_unavailable_once_closed(store: Any, use: Callable[[], Awaitable[object]]) -> None:
    """To close a store twice is no error; once closed it is not healthy, and calls are refused."""
    assert await store.healthy()
    await store.close()
    await store.close()
    assert not await store.healthy()
    with pytest.raises(Unavailable):
        await use()


# --------------------------------------------------------------------------------------------------- SQLite


def refuses_an_engine_that_can_corrupt(
    open_in: OpenIn, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version of SQLite with a known fault is not worked with."""
    monkeypatch.setattr(apsw, "sqlite_lib_version", lambda: "3.51.2")
    with pytest.raises(Invalid, match="Upgrade apsw"):
        run(open_in(folder))


def refuses_what_is_not_its_own(open_in: OpenIn, file: Path) -> None:
    """Neither a file of somebody else's nor a folder that is not there is taken for a store."""
    file.write_bytes(b"not a database, but long enough to be taken for one" * 100)
    with pytest.raises(Unavailable, match="not a SQLite database"):
        run(open_in(file.parent))
    with pytest.raises(Unavailable, match="folder exists"):
        run(open_in(file.parent / "nowhere"))


def refuses_a_newer_file(open_in: OpenIn, file: Path) -> None:
    """What a newer Penstock has written is left as it is."""

    async def make() -> None:
        await (await open_in(file.parent)).close()

    run(make())
    connection = apsw.Connection(str(file))
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(Invalid, match="newer Penstock"):
        run(open_in(file.parent))


# ----------------------------------------------------------------------------------------------- PostgreSQL


def refuses_a_newer_schema(open_at: OpenAt, dsn: str, table: str) -> None:
    """What a newer Penstock has written is left as it is; `table` is where the store keeps its version."""

    async def scenario() -> None:
        store = await open_at(dsn)
        async with store._pool.acquire() as connection:
            await connection.execute(f"INSERT INTO {table} (version) VALUES (99)")  # noqa: S608 - a name of ours
        await store.close()
        with pytest.raises(Invalid, match="newer Penstock"):
            await open_at(dsn)

    run(scenario())


nowhere = pytest.mark.parametrize(
    ("path", "message"), [("127.0.0.1:1/x", "cannot be reached"), ("{here}/nowhere", "no such database")]
)
"""Places without a server or without a database, for `finds_nothing_at`; `{here}` is a server that is there."""


def finds_nothing_at(open_at: OpenAt, path: str, message: str, server: PostgresServer) -> None:
    """What is not there is unavailable, and the error says what is missing."""
    dsn = f"postgresql://penstock@{path.format(here=f'127.0.0.1:{server.port}')}"
    with pytest.raises(Unavailable, match=message):
        run(open_at(dsn))


def raised_by_asyncpg(*own: tuple[BaseException, type[PenstockError]]) -> pytest.MarkDecorator:
    """Have a test see `error` and `ours`: what asyncpg raises at any store, and at this one, and what it is to be."""
    return pytest.mark.parametrize(
        ("error", "ours"),
        [
            (TimeoutError(), TimedOut),
            (asyncpg.QueryCanceledError("statement timeout"), TimedOut),
            (asyncpg.DiskFullError("no space"), Unavailable),
            *own,
            (asyncpg.InterfaceError("the pool is closing"), Unavailable),
            (ConnectionResetError(), Unavailable),
            (RuntimeError("the handler is closed"), Unavailable),
        ],
        ids=lambda each: each.__name__ if isinstance(each, type) else type(each).__name__,
    )
