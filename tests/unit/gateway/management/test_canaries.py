"""Canaries over the management API: what both sides did on all nodes, how near a conviction is, and how one ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from penstock.gateway.management import live
from penstock.kernel.settings_routes import CanarySettings, RouteSettings, TargetSettings
from tests.unit.gateway.canary_fleet import ROUTE, Fleet, block, fleet, with_percent
from tests.unit.gateway.management.office import Office, office
from tests.unit.gateway.management.sight_rig import Sighted, sighted, until

CANARIES = "/api/v1/routing/canaries"
ALIKE = msgspec.structs.replace(ROUTE, canary=CanarySettings(targets=ROUTE.targets, percent=10))
PLAIN = RouteSettings(model="plain", targets=(TargetSettings(provider="sim", model="old"),))


@asynccontextmanager
async def judged(it: Office, folder: Path) -> AsyncGenerator[Fleet]:
    """Give the office a fleet of nodes that judge one canary; the first of them is asked."""
    (folder / "fleet").mkdir()
    async with fleet(folder / "fleet") as nodes:
        versions = SimpleNamespace(document=nodes)  # whose `routes` are those in force
        routing = cast("Any", SimpleNamespace(versions=versions))
        it.app.state.management = replace(it.management, routing=routing, canaries=nodes.nodes[0])
        yield nodes


async def shown(it: Office) -> dict[str, Any]:
    """Return the only canary as an owner sees it."""
    told = await it.ask("GET", CANARIES, by=await it.as_("owner"))
    assert told.status == 200, told.text
    [canary] = told.json["canaries"]
    return canary


def test_both_sides_of_all_nodes_are_shown_with_the_evidence_and_its_bound(tmp_path: Path) -> None:
    async def case(it: Office) -> None:
        async with judged(it, tmp_path) as nodes:
            await nodes.look()
            await nodes.look(block(new_fails=2), block(new_fails=1, calls=10))
            canary = await shown(it)
            assert (canary["route"], canary["state"], canary["percent"]) == ("chat", "on trial", 10)
            assert (canary["labels"], canary["production"]) == (["sim/new"], ["sim/old"])
            assert (canary["newcomer"]["calls"], canary["newcomer"]["failed"]) == (30, 3)
            assert canary["control"] | {"calls": 30, "failed": 0, "latency_ms": 100.0} == canary["control"]
            bounds = {each["metric"]: each["bound"] for each in canary["evidence"]}
            assert bounds["errors"] == pytest.approx(200.0)  # alpha 0.01, of which errors have a half
            [errors] = [each for each in canary["evidence"] if each["metric"] == "errors"]
            assert 1.0 < errors["evidence"] < errors["bound"]

    office(tmp_path, case)


def test_one_that_was_taken_out_says_why(tmp_path: Path) -> None:
    async def case(it: Office) -> None:
        async with judged(it, tmp_path) as nodes:
            for _ in range(8):
                await nodes.look(block(new_fails=20), block(new_fails=20))
            assert nodes.rollbacks
            canary = await shown(it)
            assert (canary["state"], canary["percent"]) == ("rolled back", 0)
            assert canary["why"].startswith("errors: canary")
            nodes.routes = (with_percent(5),)  # somebody tries it again
            assert (await shown(it))["state"] == "beginning"

    office(tmp_path, case)


@pytest.mark.parametrize(
    ("route", "state"), [(ALIKE, "alike"), (with_percent(0), "off"), (with_percent(100), "all")]
)
def test_one_that_cannot_be_judged_says_so(tmp_path: Path, route: RouteSettings, state: str) -> None:
    async def case(it: Office) -> None:
        async with judged(it, tmp_path) as nodes:
            nodes.routes = (PLAIN, route)  # a route without a canary is not listed
            assert (await shown(it))["state"] == state

    office(tmp_path, case)


def test_only_owners_see_them_and_without_a_judge_it_says_so(tmp_path: Path) -> None:
    async def case(it: Office) -> None:
        owner = await it.as_("owner")
        for path in (CANARIES, f"{CANARIES}/live"):
            assert (await it.ask("GET", path, by=owner)).error["code"] == "canaries_off"
            assert (await it.ask("GET", path, by=await it.as_("admin"))).status == 403

    office(tmp_path, case)


def test_a_live_view_is_sent_what_changed_and_only_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "WAIT_S", 0.002)

    async def case(it: Sighted) -> None:
        owner = await it.it.as_("owner")
        async with judged(it.it, tmp_path) as nodes, it.live("/routing/canaries/live", owner) as looking:

            def calls() -> list[int]:
                return [each["canaries"][0]["newcomer"]["calls"] for each in looking.named("canaries")]

            await until(lambda: calls() == [0])
            await nodes.look(block(), block())
            it.it.clock.advance(2.0)
            await until(lambda: calls()[-1] == 40)
            told = len(calls())
            it.it.clock.advance(2.0)
            await asyncio.sleep(0.02)
            assert len(calls()) == told

    sighted(tmp_path, case)
