"""Two processes on one database: the room for a hold is read under the account's lock, never beside it."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from penstock.kernel.errors import OverBudget
from penstock.ports.ledger import NO_LIMIT, Hold, Line
from tests.contracts.ledger_engines import Fleet
from tests.support import run

pytestmark = pytest.mark.postgres

LINES = (Line("org", 100), Line("team", NO_LIMIT))
TAKE = "UPDATE ledger_accounts SET held_nanos = held_nanos + $2 WHERE name = $1"
WAITS_FOR = "SELECT count(*) FROM pg_stat_activity WHERE $1 = ANY(pg_blocking_pids(pid))"


class Neighbour:
    """Another process in the middle of a batch: what it took is not committed yet."""

    def __init__(self, connection: asyncpg.Connection, watcher: asyncpg.Connection) -> None:
        self.connection = connection
        self.watcher = watcher
        self.batch = connection.transaction()

    async def takes(self, account: str, amount_nanos: int) -> None:
        await self.batch.start()
        await self.connection.execute(TAKE, account, amount_nanos)

    async def is_waited_for(self) -> None:
        while not await self.watcher.fetchval(WAITS_FOR, self.connection.get_server_pid()):
            await asyncio.sleep(0.001)


@pytest.mark.parametrize(("others", "granted"), [(89, True), (90, False)])
def test_room_is_what_is_left_when_the_neighbour_is_done(others: int, granted: bool, fresh_postgres):
    """Given 10 held of 100, and a neighbour that begins to take `others` after our batch has begun and before its room
    is read (our batch stands at another account meanwhile), then 1 more is granted if there is room for both.
    """
    dsn = fresh_postgres()

    async def play() -> None:
        fleet = Fleet(dsn)
        connections = [await asyncpg.connect(dsn) for _ in range(3)]
        one, two = (Neighbour(connection, connections[2]) for connection in connections[:2])
        try:
            ledger = await fleet.start()
            await ledger.hold(Hold("first", 10, LINES))
            await two.takes("team", 0)
            holding = asyncio.ensure_future(ledger.hold(Hold("second", 1, LINES)))
            await two.is_waited_for()
            await one.takes("org", others)
            await two.batch.commit()
            await one.is_waited_for()
            await one.batch.commit()
            [answer] = await asyncio.gather(holding, return_exceptions=True)
            assert isinstance(answer, OverBudget) != granted, answer
            [found] = await ledger.balance(accounts=["org"])
            assert found.held_nanos == 10 + others + granted
        finally:
            for connection in connections:
                await connection.close()
            await fleet.stop()

    run(play())
