"""Two nodes over the same stores, both judging one canary, and a switch that only remembers."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from penstock.adapters.records.sqlite import SqliteRecords
from penstock.adapters.state.embedded import EmbeddedState
from penstock.gateway.rollout_trials import COLLECTIONS, RollbackEvent
from penstock.gateway.rollouts import LOOK_S, Canaries
from penstock.kernel.clock import ManualClock
from penstock.kernel.errors import Unavailable
from penstock.kernel.events import Call, RequestEvent
from penstock.kernel.settings_rollouts import RolloutSettings
from penstock.kernel.settings_routes import CanarySettings, RouteSettings, TargetSettings
from penstock.mechanisms.breaker import Breaker
from penstock.ports.records import Write

OPEN_S = 30.0
LATE_S = 4e9
"""After whatever began."""
ROUTE = RouteSettings(
    model="chat",
    targets=(TargetSettings(provider="sim", model="old"),),
    canary=CanarySettings(targets=(TargetSettings(provider="sim", model="new"),), percent=10),
)


def with_percent(percent: float) -> RouteSettings:
    """Return the route with a canary of so many per cent."""
    return msgspec.structs.replace(ROUTE, canary=msgspec.structs.replace(ROUTE.canary, percent=percent))


def asked(model: str, outcome: str = "ok", number: int = 0, **more: object) -> RequestEvent:
    """Return a request first sent to `model` of the route, answered in 100 ms."""
    call = Call("sim", model, 10.0, 110.0, outcome)
    fields: dict[str, object] = {"calls": (call,), "first_token_ms": 50.0, "latency_ms": 111.0} | more
    event = RequestEvent(request_id=f"req_{model}_{number}", at_s=LATE_S, model="chat")
    return msgspec.structs.replace(event, **fields)


def block(
    new_fails: int = 0, old_fails: int = 0, calls: int = 20, failure: str = "server_error"
) -> list[RequestEvent]:
    """Return as many calls of either arm, of which so many fail."""
    return [
        asked(model, failure if number < fails else "ok", number)
        for model, fails in (("new", new_fails), ("old", old_fails))
        for number in range(calls)
    ]


class Fleet:
    """Two nodes over the same stores, and the switch between them and the routes."""

    def __init__(self, records: SqliteRecords, clock: ManualClock, settings: RolloutSettings) -> None:
        self.records = records
        self.clock = clock
        self.routes = (ROUTE,)
        self.rollbacks: list[tuple[str, str]] = []
        self.percents: list[float] = []
        self.told: list[RollbackEvent] = []
        self.down = False
        self.dying = False
        """Whoever would tell of a rollback dies instead."""
        self.breakers: list[defaultdict[str, Breaker]] = []
        """Of each node, by label."""
        state = EmbeddedState(clock)
        self.nodes = [self.node(settings, state) for _ in range(2)]

    def node(self, settings: RolloutSettings, state: EmbeddedState) -> Canaries:
        breakers = defaultdict[str, Breaker](lambda: Breaker(self.clock, 5, OPEN_S))
        self.breakers.append(breakers)
        return Canaries(
            settings,
            self.records,
            state,
            self.clock,
            self,
            routes=lambda: self.routes,
            breaker=breakers.__getitem__,
            told=self.hear,
        )

    def hear(self, event: RollbackEvent) -> None:
        if self.dying:
            raise asyncio.CancelledError
        self.told.append(event)

    async def rollback(self, route: str, why: str, also: Sequence[Write] = ()) -> None:
        if self.down:
            raise Unavailable("No store.", code="store_unavailable")
        await self.records.transact(also)
        self.rollbacks.append((route, why))
        self.routes = (with_percent(0),)

    async def advance(self, route: str, percent: float, why: str = "", also: Sequence[Write] = ()) -> None:
        assert route == "chat"
        if also:
            await self.records.transact(also)
        self.percents.append(percent)
        self.routes = (with_percent(percent),)

    async def look(self, *heard: list[RequestEvent]) -> None:
        """Let each node hear its part, and all of them look."""
        for node, events in zip(self.nodes, heard, strict=False):
            node(events)
        self.clock.advance(LOOK_S)
        for node in self.nodes:
            await node.look()


@asynccontextmanager
async def fleet(folder: Path, settings: RolloutSettings | None = None) -> AsyncIterator[Fleet]:
    """Open a fleet whose trial has begun."""
    clock = ManualClock()
    records = await SqliteRecords.open(folder / "records.sqlite", COLLECTIONS, clock)
    try:
        opened = Fleet(records, clock, settings or RolloutSettings())
        await opened.look()
        yield opened
    finally:
        await records.close()
