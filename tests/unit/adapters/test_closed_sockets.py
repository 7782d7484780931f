"""A socket that closed a moment ago makes uvloop raise RuntimeError at the next write. To whoever asked it is an engine
that cannot be reached, like any other; it ends no background task (found by the drill of S6, "cut").
"""

from __future__ import annotations

from typing import Any

import pytest

from penstock.adapters.ledger.postgres_link import Link
from penstock.adapters.records.postgres_sql import FOREIGN, translated
from penstock.adapters.signals.redis import RedisSignals
from penstock.adapters.state.redis_link import RedisLink
from penstock.kernel.errors import Unavailable
from tests.support import run

CLOSED = RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed")
URL = "redis://127.0.0.1:1/0"


class Closed:
    """A driver's connection whose socket has just closed."""

    async def ping(self) -> None:
        raise CLOSED

    async def fetch(self, *_: Any) -> None:
        raise CLOSED

    def is_closed(self) -> bool:
        return False

    def terminate(self) -> None:
        """Nothing is left to end."""

    async def aclose(self) -> None:
        """Nothing is left to close."""


def test_the_state_takes_it_for_a_redis_that_does_not_answer() -> None:
    async def scene() -> None:
        link = RedisLink(URL, "", 0.1)
        link._redis = Closed()
        assert await link.ping() is False
        await link.close()

    run(scene())


def test_the_signals_take_it_for_a_redis_that_does_not_answer() -> None:
    async def scene() -> None:
        signals = RedisSignals(Closed(), "penstock", 0.1)
        assert await signals.healthy() is False
        with pytest.raises(Unavailable):
            await signals._timely(Closed().ping)
        await signals.close()

    run(scene())


def test_the_ledger_takes_it_for_an_unreachable_postgresql_and_connects_anew() -> None:
    async def scene() -> None:
        link = Link("postgresql://nobody@127.0.0.1:1/none", "test", 0.1)
        link._connection = Closed()
        with pytest.raises(Unavailable):
            await link.fetch("SELECT 1")
        assert link._connection is None

    run(scene())


def test_the_records_take_it_for_an_unreachable_postgresql() -> None:
    assert isinstance(CLOSED, FOREIGN)
    assert isinstance(translated(CLOSED), Unavailable)
