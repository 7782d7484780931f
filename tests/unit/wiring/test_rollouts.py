"""A bad canary, from the audit to the routing configuration and the alert; nothing else changes."""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

from penstock.adapters.records.sqlite import SqliteRecords
from penstock.adapters.signals.embedded import EmbeddedSignals
from penstock.adapters.state.embedded import EmbeddedState
from penstock.gateway.rollouts import COLLECTIONS, LOOK_S, Canaries, RollbackEvent
from penstock.kernel.clock import ManualClock
from penstock.kernel.events import Call, RequestEvent
from penstock.kernel.settings_rollouts import RolloutSettings
from penstock.kernel.settings_routes import CanarySettings, RouteSettings, RoutingDocument, TargetSettings
from penstock.mechanisms.breaker import Breaker
from penstock.mechanisms.canary_switch import CanarySwitch
from penstock.mechanisms.config_versions import COLLECTIONS as VERSIONS
from penstock.mechanisms.config_versions import ConfigVersions
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


def test_a_bad_canary_is_a_version_of_the_configuration_and_told(tmp_path: Path) -> None:
    async def scene() -> None:
        clock = ManualClock()
        records = await SqliteRecords.open(tmp_path / "r.sqlite", (*COLLECTIONS, *VERSIONS), clock)
        file = RoutingDocument(routes=(route("chat"), route("other")))
        table = Plain(file)
        versions = ConfigVersions(records, EmbeddedSignals(), clock, table, file)
        told: list[RollbackEvent] = []
        canaries = Canaries(
            RolloutSettings(),
            records,
            EmbeddedState(clock),
            clock,
            CanarySwitch(versions),
            routes=lambda: versions.document.routes,
            breaker=lambda _: Breaker(clock, 5, 30.0),
            told=told.append,
        )
        for events in ([], heard("server_error", "ok"), heard("server_error", "ok")):
            canaries(events)
            clock.advance(LOOK_S)
            await canaries.look()
        chat, other = table.current().routes
        assert chat == replace(route("chat"), canary=replace(route("chat").canary, percent=0))
        assert other == route("other")
        assert versions.current.why.startswith("errors: canary 20 of 20 failed")
        assert [each.route for each in told] == ["chat"]
        await records.close()

    run(scene())
