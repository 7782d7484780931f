"""A bad canary, from the audit to the routing configuration and the alert; nothing else changes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from msgspec.structs import replace

from penstock.adapters.records.sqlite import SqliteRecords
from penstock.adapters.signals.embedded import EmbeddedSignals
from penstock.adapters.state.embedded import EmbeddedState
from penstock.gateway.rollout_trials import COLLECTIONS, RollbackEvent
from penstock.gateway.rollouts import LOOK_S, Canaries
from penstock.kernel.clock import ManualClock
from penstock.kernel.errors import Unavailable
from penstock.kernel.events import Call, RequestEvent
from penstock.kernel.settings_rollouts import RolloutSettings
from penstock.kernel.settings_routes import CanarySettings, RouteSettings, RoutingDocument, TargetSettings
from penstock.mechanisms.breaker import Breaker
from penstock.mechanisms.canary_switch import CanarySwitch
from penstock.mechanisms.config_versions import COLLECTIONS as VERSIONS
from penstock.mechanisms.config_versions import ConfigVersions
from penstock.ports.records import Write
from tests.support import run


def route(model: str) -> RouteSettings:
    """Return a route with a canary of a tenth."""
    return RouteSettings(
        model=model,
        targets=(TargetSettings(provider="sim", model="old"),),
        canary=CanarySettings(targets=(TargetSettings(provider="sim", model="new"),), percent=10),
    )


class Plain:
    """A table that is its document."""

    def __init__(self, document: RoutingDocument) -> None:
        self.table = document

    def current(self) -> RoutingDocument:
        return self.table

    def built(self, document: RoutingDocument, /) -> RoutingDocument:
        return document

    def adopt(self, document: RoutingDocument, table: RoutingDocument, /) -> None:
        self.table = table


def heard(new: str, old: str) -> list[RequestEvent]:
    """Return twenty calls of either arm with these outcomes."""
    return [
        RequestEvent(
            request_id=f"req_{model}_{number}",
            at_s=0.0,
            model="chat",
            calls=(Call("sim", model, 0.0, 100.0, outcome),),
        )
        for model, outcome in (("new", new), ("old", old))
        for number in range(20)
    ]


class Shaky(SqliteRecords):
    """Rows that refuse one transaction: the one that comes after `left` others. Below 0: none."""

    left = -1

    async def transact(self, writes: Sequence[Write]) -> Sequence[int]:
        self.left -= 1
        if self.left == -1:
            raise Unavailable("The store is away.")
        return await super().transact(writes)


@dataclass
class Judged:
    """One judge over real versions of the configuration."""

    records: Shaky
    clock: ManualClock
    versions: ConfigVersions[RoutingDocument]
    canaries: Canaries
    told: list[RollbackEvent]

    async def look(self, events: list[RequestEvent] | None = None) -> None:
        self.canaries(events or [])
        self.clock.advance(LOOK_S)
        await self.canaries.look()

    @property
    def percent(self) -> float:
        return self.versions.document.routes[0].canary.percent


@asynccontextmanager
async def judged(folder: Path, settings: RolloutSettings | None = None) -> AsyncIterator[Judged]:
    """Open it, with two routes that have a canary each."""
    clock = ManualClock()
    records = await Shaky.open(folder / "r.sqlite", (*COLLECTIONS, *VERSIONS), clock)
    assert isinstance(records, Shaky)
    file = RoutingDocument(routes=(route("chat"), route("other")))
    versions = ConfigVersions(records, EmbeddedSignals(), clock, Plain(file), file)
    told: list[RollbackEvent] = []
    canaries = Canaries(
        settings or RolloutSettings(),
        records,
        EmbeddedState(clock),
        clock,
        CanarySwitch(versions),
        routes=lambda: versions.document.routes,
        breaker=lambda _: Breaker(clock, 5, 30.0),
        told=told.append,
    )
    try:
        yield Judged(records, clock, versions, canaries, told)
    finally:
        await records.close()


def test_a_bad_canary_is_a_version_of_the_configuration_and_told(tmp_path: Path) -> None:
    async def scene() -> None:
        async with judged(tmp_path) as it:
            for events in ([], heard("server_error", "ok"), heard("server_error", "ok")):
                await it.look(events)
            chat, other = it.versions.document.routes
            assert chat == replace(route("chat"), canary=replace(route("chat").canary, percent=0))
            assert other == route("other")
            assert it.versions.current.why.startswith("errors: canary 20 of 20 failed")
            assert [each.route for each in it.told] == ["chat"]

    run(scene())


@pytest.mark.parametrize("after", range(5))
def test_a_canary_is_out_and_its_trial_ended_together_whenever_the_store_fails(
    tmp_path: Path, after: int
) -> None:
    async def scene() -> None:
        async with judged(tmp_path) as it:
            await it.look()
            it.records.left = after
            for events in (heard("server_error", "ok"), heard("server_error", "ok"), []):
                await it.look(events)
                trial = await it.canaries.trial("chat")
                assert trial is not None
                assert (it.percent == 0) is (trial.outcome == "rolled back")
            assert (it.percent, it.canaries.failures, len(it.told)) == (0, 1, 1)
            it.records.left = -1
            await it.versions.rollback(0, author="anna", why="try again")
            for _ in range(3):
                await it.look()
            assert it.percent == 10, "it was convicted by what was seen of it before"

    run(scene())


@pytest.mark.parametrize("after", range(5))
def test_a_canary_becomes_production_and_its_trial_ends_together(tmp_path: Path, after: int) -> None:
    async def scene() -> None:
        settings = RolloutSettings(advance=True, steps=(100,), hold_s=1, least_calls=1)
        async with judged(tmp_path, settings) as it:
            await it.look()
            it.records.left = after
            for _ in range(3):
                await it.look(heard("ok", "ok"))
                trial = await it.canaries.trial("chat")
                assert trial is not None
                if trial.outcome:
                    assert (it.percent, trial.outcome) == (100, "promoted")
                    return
                assert it.percent == 10
            raise AssertionError("it was never promoted")

    run(scene())
