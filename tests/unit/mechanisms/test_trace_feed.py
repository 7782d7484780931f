"""The trace feed: no total is lost while there is room, and whatever is lost is counted with its money."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.kernel.clock import ManualClock
from penstock.kernel.events import RequestEvent
from penstock.mechanisms.totals import NAME_CHARS
from penstock.ports.traces import DELTAS_MOST, EVENTS_MOST, HOUR_S, TEXT_BYTES
from tests.support import run
from tests.unit.mechanisms.trace_rig import (
    START_S,
    Store,
    balanced,
    came_to,
    event,
    failed,
    feed_of,
    stored,
    until,
)

# --------------------------------------------------------------------------------------------------------- the totals

NAME = st.sampled_from(("", "a", "b"))
COUNT = st.integers(0, 10**9)
EVENTS = st.lists(
    st.builds(
        RequestEvent,
        request_id=st.uuids().map(str),
        at_s=st.floats(START_S, START_S + 3 * HOUR_S),
        org=NAME,
        team=NAME,
        project=NAME,
        user=NAME,
        key_id=NAME,
        feature=NAME,
        model=NAME,
        model_used=NAME,
        provider=NAME,
        status=st.sampled_from((200, 429, 502)),
        attempts=st.integers(0, 2),
        estimated=st.booleans(),
        input_tokens=COUNT,
        cached_tokens=COUNT,
        output_tokens=COUNT,
        cost_nanos=COUNT,
        latency_ms=st.floats(0, 100_000),
    ),
    max_size=12,
)
MOODS = st.lists(st.sampled_from(("ok", "down", "mute")), max_size=6)


@settings(deadline=None)
@given(st.lists(EVENTS, max_size=5), MOODS, st.integers(0, 3))
def test_the_totals_stored_are_those_of_all_events_whatever_the_store_does(rounds, moods, per_s) -> None:
    async def scene() -> None:
        store, clock = Store(*moods), ManualClock(wall_s=START_S)
        feed = feed_of(store, clock, per_s=per_s)
        feed.start()
        for events in rounds:
            feed(events)
            assert balanced(feed)
            clock.advance(0.6)
            await asyncio.sleep(0.003)
            assert balanced(feed)
        await feed.close()
        everything = [each for events in rounds for each in events]
        assert stored(store.deltas) == came_to(everything)
        assert (feed.delivered, feed.queued) == (len(everything), 0)
        assert balanced(feed)
        assert feed.kept == len(store.events) == len(set(store.ids()))

    run(scene())


@settings(deadline=None)
@given(st.lists(EVENTS, max_size=6), st.integers(1, 9), MOODS)
def test_without_room_whatever_is_lost_is_counted_with_its_money(rounds, capacity, moods) -> None:
    async def scene() -> None:
        store = Store(*moods)
        feed = feed_of(store, capacity=capacity, per_s=2)
        for events in rounds:
            feed(events)
            assert balanced(feed)
            assert feed._waiting <= capacity
        feed.start()
        await feed.close()
        everything = [each for events in rounds for each in events]
        assert sum(delta.requests for delta in store.deltas) == len(everything) - feed.dropped
        paid = sum(each.cost_nanos for each in everything)
        assert sum(delta.cost_nanos for delta in store.deltas) == paid - feed.dropped_nanos
        assert balanced(feed)

    run(scene())


def test_a_batch_that_failed_is_offered_again_as_it_was_and_what_comes_meanwhile_is_added_up() -> None:
    async def scene() -> None:
        store = Store("down", "mute", "down", "ok")
        feed = feed_of(store, capacity=3)
        feed.start()
        feed([event(1)])
        await until(lambda: store.offers)
        for number in range(2, 500):
            feed([event(number)])
        await feed.close()
        first, again, still, answered, *_ = store.offers
        assert first == again == still == answered
        assert [batch.id for batch in store.offers[4:]] == [batch.id for batch in store.added.values()][1:]
        assert (feed.delivered, feed.dropped, feed.failures) == (499, 0, 3)
        assert len(store.added) == 2

    run(scene())


def test_a_latency_below_nothing_takes_nothing_from_the_others() -> None:
    async def scene() -> None:
        store = Store()
        feed = feed_of(store)
        feed([event(1, latency_ms=20.4), event(2, latency_ms=-7.0), event(3, latency_ms=1.6)])
        feed.start()
        await feed.close()
        assert [(each.requests, each.latency_ms) for each in store.deltas] == [(3, 22)]

    run(scene())


@pytest.mark.parametrize(("groups", "batches"), [(DELTAS_MOST, 1), (DELTAS_MOST + 1, 2)])
def test_totals_are_parted_into_batches_that_the_store_takes(groups: int, batches: int) -> None:
    async def scene() -> None:
        store = Store()
        feed = feed_of(store, per_s=0)
        feed([event(number, user=f"u{number}") for number in range(groups)])
        feed.start()
        await feed.close()
        assert [len(batch.deltas) for batch in store.offers] == [DELTAS_MOST, groups - DELTAS_MOST][:batches]
        assert [delta.user for delta in store.deltas] == [f"u{number}" for number in range(groups)]
        assert feed.delivered == groups

    run(scene())


@pytest.mark.parametrize(("events", "batches"), [(EVENTS_MOST, 1), (EVENTS_MOST + 1, 2)])
def test_events_are_parted_into_batches_in_their_order(events: int, batches: int) -> None:
    async def scene() -> None:
        store = Store()
        feed = feed_of(store)
        feed([failed(number) for number in range(events)])
        feed.start()
        await feed.close()
        assert [len(batch.events) for batch in store.offers] == [EVENTS_MOST, events - EVENTS_MOST][:batches]
        assert store.ids() == [f"req_{number}" for number in range(events)]

    run(scene())


def test_the_loop_breathes_while_a_large_batch_is_written() -> None:
    async def scene() -> None:
        feed = feed_of(Store())
        feed([event(number, user=f"u{number}") for number in range(DELTAS_MOST)])
        breaths = 0

        async def breathe() -> None:
            nonlocal breaths
            while True:
                breaths += 1
                await asyncio.sleep(0)

        breathing = asyncio.create_task(breathe())
        await feed._fill()
        breathing.cancel()
        assert breaths >= DELTAS_MOST // 256

    run(scene())


# ------------------------------------------------------------------------------------------------ what no store takes


@pytest.mark.parametrize(
    "name", ["x" * (TEXT_BYTES + 1), "ü" * TEXT_BYTES, "\U0001f600" * TEXT_BYTES, "\ud800", "ü"]
)
def test_a_name_that_no_store_takes_is_mended_in_total_and_event_alike(name: str) -> None:
    async def scene() -> None:
        store = Store()
        feed = feed_of(store, capacity=2)
        feed([failed(number, user=name) for number in range(3)])
        feed.start()
        await feed.close()
        assert {delta.user for delta in store.deltas} == {store.events[0].user}
        assert store.events[0].user == name[:NAME_CHARS].encode(errors="replace").decode()
        assert (feed.delivered, feed.dropped, feed.failures) == (3, 0, 0)

    run(scene())


def test_of_a_rejected_batch_only_what_is_wrong_is_lost() -> None:
    async def scene() -> None:
        store = Store()
        feed = feed_of(store)
        users = ["poison" if number == 13 else f"u{number}" for number in range(20)]
        feed([failed(number, user=user, cost_nanos=number) for number, user in enumerate(users)])
        feed.start()
        await feed.close()
        assert [delta.user for delta in store.deltas] == [user for user in users if user != "poison"]
        assert store.ids() == [f"req_{number}" for number in range(20) if number != 13]
        assert (feed.delivered, feed.dropped, feed.dropped_nanos, feed.kept_dropped) == (19, 1, 13, 1)
        assert len({batch.id for batch in store.offers}) == len(store.offers)
        assert balanced(feed)

    run(scene())


# ---------------------------------------------------------------------------------------------------------- the end


def test_a_store_that_hangs_is_cut_and_asked_again() -> None:
    async def scene() -> None:
        store = Store("hangs")
        feed = feed_of(store, store_timeout_s=0.01)
        feed.start()
        feed([event(1)])
        await until(lambda: feed.failures)
        assert not feed.healthy
        await until(lambda: feed.delivered)
        assert feed.healthy
        await feed.close()
        assert store.offers[0].id == store.offers[1].id

    run(scene())


def test_what_is_left_at_the_end_is_dropped_and_counted() -> None:
    async def scene() -> None:
        store = Store()
        store.mood = "hangs"
        feed = feed_of(store)
        feed.start()
        feed([event(1), failed(2)])
        await until(lambda: store.offers)
        feed([event(3), failed(4)])
        await feed.close(within_s=0.02)
        assert (feed.delivered, feed.dropped, feed.dropped_nanos, feed.queued) == (0, 4, 20, 0)
        assert (feed.kept, feed.kept_dropped, feed.kept_queued) == (0, 4, 0)
        feed([event(5)])
        assert (feed.dropped, feed.dropped_nanos) == (5, 25)
        assert balanced(feed)

    run(scene())


def test_a_batch_half_written_at_the_end_is_dropped_and_counted() -> None:
    async def scene() -> None:
        feed = feed_of(Store())
        feed([event(number, user=f"u{number}") for number in range(DELTAS_MOST)])
        feed.start()
        await until(lambda: feed._deltas)
        await feed.close(within_s=0)
        assert (feed.dropped, feed.dropped_nanos, feed.queued) == (DELTAS_MOST, DELTAS_MOST * 5, 0)
        assert balanced(feed)

    run(scene())


def test_a_feed_that_never_began_counts_what_it_heard() -> None:
    async def scene() -> None:
        feed = feed_of(Store())
        feed([event(1), failed(2)])
        await feed.close()
        assert (feed.produced, feed.dropped, feed.kept_dropped) == (2, 2, 2)
        assert balanced(feed)

    run(scene())
