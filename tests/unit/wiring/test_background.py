"""The chores of every second: one that stumbles, whatever over, ends none of the others (found by the drill of S6)."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from penstock.kernel.clock import ManualClock
from penstock.kernel.errors import Unavailable
from penstock.kernel.settings import Settings
from penstock.wiring import app
from tests.support import run


class Chores:
    """A platform of stand-ins: the first chore fails, `expire` counts."""

    def __init__(self, failure: Exception) -> None:
        self.expired = 0
        self.failure = failure
        self.settled = asyncio.Event()

    async def stumble(self) -> None:
        raise self.failure

    async def expire(self) -> None:
        self.expired += 1
        if self.expired == 3:
            self.settled.set()

    async def nothing(self, *_: object) -> None:
        """Do nothing."""

    def platform(self) -> Any:
        idle = SimpleNamespace(tick=self.nothing)
        stream = SimpleNamespace(trim=self.nothing)
        ledger = SimpleNamespace(expire=self.expire)
        return SimpleNamespace(
            clock=ManualClock(),
            settings=Settings(),
            stores=SimpleNamespace(stream=stream, ledger=ledger),
            health=SimpleNamespace(tick=self.stumble),
            catalogue=idle,
            headroom=idle,
            oversight=None,
            changes=SimpleNamespace(seals=SimpleNamespace(seal=self.nothing), trim=self.nothing),
            feedback=SimpleNamespace(trim=self.nothing),
            guard=None,
        )


@pytest.mark.parametrize("failure", [Unavailable("no store"), RuntimeError("the handler is closed")])
def test_what_is_in_doubt_is_settled_whatever_else_stumbles(
    failure: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "TICK_S", 0.0)

    async def scene() -> None:
        chores = Chores(failure)
        ticking = asyncio.create_task(app._tick(chores.platform()))
        await chores.settled.wait()
        ticking.cancel()

    run(scene(), 5.0)
