"""The feeds of sight as they are joined: traces are trimmed piece by piece, and without them there is sight as well."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from penstock.kernel.clock import ManualClock
from penstock.kernel.errors import Unavailable
from penstock.kernel.events import RequestEvent
from penstock.kernel.settings import Settings, StoreSettings, TraceSettings
from penstock.ports.traces import TRIM_MOST
from penstock.wiring.sight_feeds import DAY_S, TRIM_EVERY_S, TraceTrim, open_sight_feeds
from tests.support import run

NOW_S = 1_800_000_000.0
EVENT = RequestEvent(request_id="req_1", at_s=NOW_S, org="acme", status=502)


class Trimmed:
    """A store that forgets as many events as `went` says, call by call."""

    def __init__(self, *went: int | Exception) -> None:
        self.went = list(went)
        self.calls: list[tuple[float, float]] = []

    async def trim(self, before_s: float, *, totals_before_s: float) -> int:
        self.calls.append((before_s, totals_before_s))
        went = self.went.pop(0) if self.went else 0
        if isinstance(went, Exception):
            raise went
        return went


def platform(traces: Trimmed | None) -> Any:
    kept = TraceSettings(retain_days=3, totals_days=40)
    return SimpleNamespace(traces=traces, clock=ManualClock(wall_s=NOW_S), settings=Settings(traces=kept))


def test_what_is_past_its_time_goes_a_piece_at_a_tick_until_nothing_is_left() -> None:
    async def scene() -> None:
        traces = Trimmed(TRIM_MOST, TRIM_MOST, 7)
        scenery = platform(traces)
        trim = TraceTrim(scenery)
        for _ in range(6):
            await trim.tick()
        assert traces.calls == [(NOW_S - 3 * DAY_S, NOW_S - 40 * DAY_S)] * 3
        scenery.clock.advance(TRIM_EVERY_S - 1)
        await trim.tick()
        assert len(traces.calls) == 3
        scenery.clock.advance(1)
        await trim.tick()
        assert len(traces.calls) == 4

    run(scene())


def test_a_trim_that_failed_is_not_tried_at_each_tick() -> None:
    async def scene() -> None:
        traces = Trimmed(Unavailable("no store"))
        trim = TraceTrim(platform(traces))
        with pytest.raises(Unavailable):
            await trim.tick()
        await trim.tick()
        assert len(traces.calls) == 1
        await TraceTrim(platform(None)).tick()

    run(scene())


@pytest.mark.parametrize("store", [True, False])
def test_the_last_minutes_are_seen_whether_or_not_traces_are_kept(tmp_path: Path, store: bool) -> None:
    async def scene() -> None:
        settings = Settings(store=StoreSettings(data=str(tmp_path)), traces=TraceSettings(store=store))
        async with AsyncExitStack() as opening:
            feeds = await open_sight_feeds(settings, ManualClock(wall_s=NOW_S), opening)
            for listener in feeds.listeners:
                listener([EVENT])
            assert feeds.recent.window("acme").failed == 1
            assert (feeds.traces is not None, feeds.trace_feed is not None) == (store, store)
        assert (tmp_path / "traces.sqlite").exists() == store
        if feeds.trace_feed is not None:
            assert (feeds.trace_feed.kept, feeds.trace_feed.dropped) == (1, 0)

    run(scene())
