"""Which events the trace feed keeps in full: what is notable, a fair sample of the rest, and what goes without room."""

from __future__ import annotations

from collections import Counter

import pytest

from penstock.kernel.clock import ManualClock
from penstock.mechanisms.trace_feed import SLOW_MS
from tests.support import run
from tests.unit.mechanisms.trace_rig import START_S, Store, balanced, event, failed, feed_of


@pytest.mark.parametrize(("heard", "kept"), [(9, 9), (10, 10), (11, 10), (500, 10)])
def test_of_ordinary_events_a_sample_of_each_second_is_kept(heard: int, kept: int) -> None:
    async def scene() -> None:
        store, clock = Store(), ManualClock(wall_s=START_S)
        feed = feed_of(store, clock, per_s=10)
        for _ in range(2):
            feed([event(number) for number in range(heard)])
            clock.advance(1.0)
        feed.start()
        await feed.close()
        assert (feed.kept, feed.sampled_out, feed.delivered) == (2 * kept, 2 * (heard - kept), 2 * heard)

    run(scene())


def test_each_of_a_seconds_events_has_the_same_chance() -> None:
    clock, counts = ManualClock(wall_s=START_S), Counter()
    feed = feed_of(Store(), clock, per_s=5)
    rounds = 2_000
    for _ in range(rounds):
        feed([event(number) for number in range(20)])
        counts.update(each.request_id for each in feed._sample.events)
        clock.advance(1.0)
    assert len(counts) == 20
    assert all(abs(count / rounds - 0.25) < 0.05 for count in counts.values())


@pytest.mark.parametrize(
    ("fields", "kept"),
    [
        ({"status": 500}, True),
        ({"status": 429, "attempts": 1}, True),
        ({"status": 429, "attempts": 0}, False),
        ({"estimated": True}, True),
        ({"latency_ms": SLOW_MS}, True),
        ({"latency_ms": SLOW_MS - 1}, False),
        ({}, False),
    ],
)
def test_what_is_notable_is_kept_beside_the_sample(fields: dict[str, object], kept: bool) -> None:
    async def scene() -> None:
        store = Store()
        feed = feed_of(store, per_s=0)
        feed([event(1, **fields)])
        feed.start()
        await feed.close()
        assert (feed.kept, feed.sampled_out, feed.delivered) == (int(kept), int(not kept), 1)

    run(scene())


def test_without_room_sampled_events_go_before_notable_ones_and_events_before_totals() -> None:
    async def scene() -> None:
        store, clock = Store(), ManualClock(wall_s=START_S)
        feed = feed_of(store, clock, capacity=4)

        def waiting() -> tuple[int, list[str], list[str]]:
            others, notable = ([each.request_id for each in queue] for queue in (feed._others, feed._notable))
            return len(feed._totals), others, notable

        feed([event(1)])  # one group; the event joins those that wait as its second is over
        clock.advance(1.0)
        feed([failed(2)])  # the second group, and room for no more
        assert waiting() == (2, ["req_1"], ["req_2"])
        feed([event(3, user="new")])
        assert waiting() == (3, [], ["req_2"])
        feed([failed(4)])
        assert waiting() == (3, [], ["req_2"])
        feed([event(5, user="newer")])
        assert waiting() == (4, [], [])
        assert (feed.dropped, feed.kept_dropped) == (0, 3)
        feed([event(6, user="newest", cost_nanos=7), event(7)])
        assert (feed.dropped, feed.dropped_nanos) == (1, 7)
        assert balanced(feed)
        feed.start()
        await feed.close()
        assert (feed.delivered, feed.dropped) == (6, 1)
        assert balanced(feed)

    run(scene())


def test_a_notable_event_takes_the_place_of_a_sampled_one() -> None:
    async def scene() -> None:
        store, clock = Store(), ManualClock(wall_s=START_S)
        feed = feed_of(store, clock, capacity=2)
        feed([event(1)])
        clock.advance(1.0)
        feed([event(2)])
        assert [each.request_id for each in feed._others] == ["req_1"]
        feed([event(3, estimated=True)])
        feed.start()
        await feed.close()
        assert (store.ids(), feed.kept_dropped) == (["req_3", "req_2"], 1)
        assert balanced(feed)

    run(scene())
