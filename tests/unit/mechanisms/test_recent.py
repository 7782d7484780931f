"""What happened lately: exact counts over a window that slides, percentiles within their error, and bounded watches."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.kernel.clock import ManualClock
from penstock.kernel.errors import Overloaded
from penstock.kernel.events import RequestEvent
from penstock.mechanisms.recent import Recent
from penstock.mechanisms.windows import CODES_MOST, ERROR_PERCENT, HIGHEST_MS, LOWEST_MS, OTHER, Window
from tests.support import run

BUCKET_S, BUCKETS = 10.0, 6
EVERYTHING = lambda event: True


def event(number: int = 0, **fields: object) -> RequestEvent:
    return RequestEvent(request_id=f"req_{number}", at_s=1_800_000_000.0, **{"org": "acme", **fields})


def recent_of(clock: ManualClock | None = None, **options: object) -> Recent:
    return Recent(clock or ManualClock(), window_s=BUCKET_S * BUCKETS, bucket_s=BUCKET_S, **options)


def ids(events: list[RequestEvent]) -> list[str]:
    return [each.request_id for each in events]


# ------------------------------------------------------------------------------------------------------- the figures


@dataclass
class Model:
    """The plain way: every event with its bucket, looked through each time."""

    heard: list[tuple[int, RequestEvent]] = field(default_factory=list)

    def counted(self, number: int, org: str) -> list[tuple[int, RequestEvent]]:
        return [
            (bucket, each)
            for bucket, each in self.heard
            if bucket > number - BUCKETS and (not org or each.org == org)
        ]


def agrees(window: Window, counted: list[tuple[int, RequestEvent]]) -> None:
    events = [each for _, each in counted]
    assert window.requests == len(events)
    assert window.failed == sum(each.outcome == "failed" for each in events)
    assert window.refused == sum(each.outcome == "refused" for each in events)
    assert window.cost_nanos == sum(each.cost_nanos for each in events)
    codes = [each.error for each in events if each.error]
    assert window.by_code == {code: codes.count(code) for code in codes}
    assert len(window.series) == BUCKETS
    for bucket in window.series:
        here = [each for number, each in counted if number * BUCKET_S == bucket.at_s]
        assert (bucket.requests, bucket.cost_nanos) == (len(here), sum(each.cost_nanos for each in here))
        assert bucket.failed == sum(each.outcome == "failed" for each in here)
        assert bucket.refused == sum(each.outcome == "refused" for each in here)
        near(bucket.p95_ms, [each.latency_ms for each in here if each.outcome != "refused"], 95)
    served = [each.latency_ms for each in events if each.outcome != "refused"]
    first = [each.first_token_ms for each in events if each.outcome != "refused" and each.first_token_ms]
    for percent in (50, 95, 99):
        near(getattr(window, f"p{percent}_ms"), served, percent)
        near(getattr(window, f"first_p{percent}_ms"), first, percent)


def near(shown_ms: float, all_ms: list[float], percent: int) -> None:
    """Check a percentile by nearest rank against the values themselves."""
    if not all_ms:
        assert shown_ms == 0.0
        return
    true_ms = sorted(all_ms)[ceil(len(all_ms) * percent / 100) - 1]
    assert abs(shown_ms - true_ms) <= 0.03 * true_ms


LATENCIES = st.floats(LOWEST_MS, HIGHEST_MS)
STEPS = st.lists(
    st.tuples(
        st.sampled_from((0.0, 3.0, 10.0, 11.0, 35.0, 59.0, 60.0, 200.0)),
        st.sampled_from(("acme", "bolt", "")),
        st.sampled_from(((200, ""), (429, "rate_limit_exceeded"), (502, "overloaded"), (504, "timeout"))),
        st.integers(0, 10**12),
        LATENCIES,
        st.one_of(st.just(0.0), LATENCIES),
    ),
    max_size=40,
)


@given(STEPS)
def test_a_window_says_what_its_events_say(steps) -> None:
    clock, model = ManualClock(), Model()
    recent = recent_of(clock)
    for after_s, org, (status, error), nanos, latency_ms, first_ms in steps:
        clock.advance(after_s)
        told = event(
            org=org,
            status=status,
            error=error,
            cost_nanos=nanos,
            latency_ms=latency_ms,
            first_token_ms=first_ms,
        )
        recent([told])
        number = int(clock.wall_s() // BUCKET_S)
        model.heard.append((number, told))
        for org_asked in ("", "acme", "bolt"):
            agrees(recent.window(org_asked), model.counted(number, org_asked))
    assert recent.version == len(steps)


def test_the_error_of_a_percentile_is_within_what_is_said() -> None:
    assert ERROR_PERCENT <= 3


@pytest.mark.parametrize(
    ("latency_ms", "shown_ms"), [(0.0, LOWEST_MS), (-1.0, LOWEST_MS), (1e12, HIGHEST_MS), (1e308, HIGHEST_MS)]
)
def test_a_time_beyond_the_ends_is_shown_at_the_end(latency_ms: float, shown_ms: float) -> None:
    recent = recent_of()
    recent([event(latency_ms=latency_ms)])
    assert recent.window().p50_ms == pytest.approx(shown_ms, rel=0.03)


def test_nobody_asked_is_all_zeroes() -> None:
    window = recent_of().window("nobody")
    agrees(window, [])
    assert window.window_s == BUCKET_S * BUCKETS
    assert [
        later.at_s - earlier.at_s for earlier, later in zip(window.series, window.series[1:], strict=False)
    ] == ([BUCKET_S] * (BUCKETS - 1))


@pytest.mark.parametrize(("back_s", "left"), [(BUCKET_S, 3), (BUCKET_S * 2, 1), (1e6, 1)])
def test_a_clock_that_is_set_back_far_begins_anew(back_s: float, left: int) -> None:
    clock = ManualClock(wall_s=1_800_000_000.0)
    recent = recent_of(clock)
    recent([event(1)])
    clock.advance(BUCKET_S)
    recent([event(2)])
    clock.jump_wall(-back_s)
    recent([event(3)])
    for org in ("", "acme"):
        window = recent.window(org)
        assert window.requests == sum(bucket.requests for bucket in window.series) == left


def test_error_codes_are_bounded() -> None:
    recent = recent_of()
    recent([event(status=500, error=f"code_{number}") for number in range(CODES_MOST + 5)])
    codes = recent.window("acme").by_code
    assert len(codes) == CODES_MOST + 1
    assert codes[OTHER] == 5


# ------------------------------------------------------------------------------------------------- many organisations


def test_organisations_past_the_bound_count_in_the_platforms_figures() -> None:
    recent = recent_of(orgs_max=2)
    recent([event(org=org) for org in ("a", "b", "c", "a", "c")])
    assert [recent.window(org).requests for org in ("a", "b", "c", "")] == [2, 1, 0, 5]
    assert recent.left_out == 2


def test_an_organisation_that_is_silent_for_a_window_makes_room() -> None:
    clock = ManualClock()
    recent = recent_of(clock, orgs_max=2)
    recent([event(org="a"), event(org="b")])
    clock.advance(BUCKET_S * (BUCKETS - 1))
    recent([event(org="b"), event(org="c")])
    assert (recent.window("c").requests, recent.left_out) == (0, 1)
    clock.advance(BUCKET_S)
    recent([event(org="c")])
    assert [recent.window(org).requests for org in ("a", "b", "c")] == [0, 1, 1]


# --------------------------------------------------------------------------------------------------------- the latest


def test_the_latest_come_newest_first() -> None:
    recent = recent_of(ring=5)
    recent([event(number, org="acme" if number % 2 else "bolt") for number in range(8)])
    assert ids(recent.latest(EVERYTHING, 10)) == ["req_7", "req_6", "req_5", "req_4", "req_3"]
    assert ids(recent.latest(lambda each: each.org == "acme", 2)) == ["req_7", "req_5"]
    assert recent.latest(EVERYTHING, 0) == []


# ------------------------------------------------------------------------------------------------------------ watches


def test_a_watch_waits_for_what_it_admits() -> None:
    async def scene() -> None:
        recent = recent_of()
        watch = recent.watch(lambda each: each.org == "acme")
        waiting = asyncio.create_task(watch.next())
        recent([event(1, org="bolt")])
        await asyncio.sleep(0.01)
        assert not waiting.done()
        recent([event(2), event(3, org="bolt"), event(4)])
        events, skipped = await waiting
        assert (ids(events), skipped) == (["req_2", "req_4"], 0)
        recent([event(5)])
        assert ids((await watch.next())[0]) == ["req_5"]

    run(scene())


@pytest.mark.parametrize(("heard", "skipped"), [(2, 0), (3, 0), (4, 1), (9, 6)])
def test_a_slow_watcher_loses_the_oldest_and_is_told(heard: int, skipped: int) -> None:
    async def scene() -> None:
        recent = recent_of()
        watch = recent.watch(EVERYTHING, capacity=3)
        for number in range(heard):
            recent([event(number)])
        events, told = await watch.next()
        assert ids(events) == [f"req_{number}" for number in range(heard)][-3:]
        assert told == skipped
        recent([event(99)])
        assert (await watch.next())[1] == 0

    run(scene())


def test_watchers_are_bounded_and_one_that_leaves_makes_room() -> None:
    recent = recent_of(watchers_max=2)
    first, _second = recent.watch(EVERYTHING), recent.watch(EVERYTHING)
    with pytest.raises(Overloaded) as refused:
        recent.watch(EVERYTHING)
    assert refused.value.limit == 2
    first.close()
    first.close()
    assert recent.watchers == 1
    recent.watch(EVERYTHING)


def test_a_broken_filter_ends_its_watch_alone() -> None:
    async def scene() -> None:
        recent = recent_of()
        broken, whole = recent.watch(lambda each: each.nothing_such), recent.watch(EVERYTHING)
        recent([event(1)])
        assert (broken.closed, recent.watchers, recent.watch_errors) == (True, 1, 1)
        assert await broken.next() == ([], 0)
        assert ids((await whole.next())[0]) == ["req_1"]

    run(scene())


def test_the_end_is_told_to_all_who_watch() -> None:
    async def scene() -> None:
        recent = recent_of()
        watch = recent.watch(EVERYTHING)
        waiting = asyncio.create_task(watch.next())
        await asyncio.sleep(0)
        recent.close()
        assert await waiting == ([], 0)
        assert recent.watchers == 0
        assert await recent.watch(EVERYTHING).next() == ([], 0)

    run(scene())
