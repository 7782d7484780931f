"""The overview, live: sent when something changed, drawn once for all who look on, never dearer than its share."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from penstock.gateway.management import live, overview, requests
from penstock.gateway.management.sight import Sight
from penstock.kernel.allowance import Allowance
from penstock.kernel.clock import ManualClock
from tests.unit.gateway.management.sight_rig import Sighted, breathe, event, sighted, until


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask sources often, so that a test need not wait a second for what takes one."""
    monkeypatch.setattr(live, "WAIT_S", 0.002)
    monkeypatch.setattr(overview, "LIVE_S", 0.002)
    monkeypatch.setattr(requests, "LOOK_S", 0.002)


async def rounds(it: Sighted) -> None:
    """Wait until every view has gone round a few times."""
    for _ in range(5):
        await asyncio.sleep(0.003)
        await breathe()


def test_the_overview_is_sent_when_something_changed_and_only_then(tmp_path: Path) -> None:
    async def case(it: Sighted) -> None:
        async with it.live("/overview/live", await it.it.as_("admin")) as looking:
            await until(lambda: looking.named("overview"))
            for _ in range(3):
                it.it.clock.advance(1.0)
                await rounds(it)
            assert len(looking.named("overview")) == 1
            it.recent([event()])
            it.it.clock.advance(1.0)
            await until(lambda: len(looking.named("overview")) == 2)
            assert looking.named("overview")[1]["errors"]["requests"] == 1

    sighted(tmp_path, case)


def test_the_overview_is_made_at_most_twice_a_second_however_many_look_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []
    real = overview.drawn

    def counted(*args: Any) -> Any:
        made.append(args)
        return real(*args)

    monkeypatch.setattr(overview, "drawn", counted)
    monkeypatch.setattr(overview, "LIVE_S", 0.5)

    async def case(it: Sighted) -> None:
        admin = await it.it.as_("admin")
        async with it.live("/overview/live", admin) as one, it.live("/overview/live", admin) as other:
            await until(lambda: one.named("overview") and other.named("overview"))
            assert len(made) == 1

    sighted(tmp_path, case)


def test_an_overview_that_takes_long_to_draw_is_drawn_seldomer_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []
    real = overview.drawn

    def slow(api: Any, *args: Any) -> Any:
        made.append(args)
        api.clock.advance(0.025)
        return real(api, *args)

    monkeypatch.setattr(overview, "drawn", slow)

    async def case(it: Sighted) -> None:
        admin = await it.it.as_("admin")
        async with it.live("/overview/live", admin) as one, it.live("/overview/live", admin) as other:
            await until(lambda: one.named("overview") and other.named("overview"))
            for _ in range(4):
                it.recent([event()])
                await rounds(it)
            assert len(made) == 1
            assert [each.named("overview")[0]["every_s"] for each in (one, other)] == [2.5, 2.5]

    sighted(tmp_path, case, sight=Sight(drawing=Allowance(ManualClock(), 0.01)))


def test_an_overview_asked_for_once_is_drawn_at_once_and_has_no_pace(tmp_path: Path) -> None:
    async def case(it: Sighted) -> None:
        told = await it.it.ask("GET", "/api/v1/overview", by=await it.it.as_("admin"))
        assert told.json["every_s"] == 0.0

    sighted(tmp_path, case)


def test_an_error_after_the_first_byte_is_an_event(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_args: Any) -> None:
        raise ZeroDivisionError("canary")

    monkeypatch.setattr(overview, "drawn", broken)

    async def case(it: Sighted) -> None:
        async with it.live("/overview/live", await it.it.as_("admin")) as looking:
            await until(looking.task.done)
            ((name, told),) = [each for each in looking.events if each[0] != ":"]
            assert (name, told["error"]["code"]) == ("error", "internal_error")
            assert b"canary" not in looking.replies.body
            assert looking.replies.complete
            assert it.it.management.sight.seats.taken == 0

    sighted(tmp_path, case)
