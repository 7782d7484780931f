"""Kept answers: no tenant meets another's, nothing outlives its time or the news, a broken store is a miss."""

from __future__ import annotations

import asyncio
from statistics import median
from time import perf_counter_ns
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.adapters.cache.embedded import MemoryCache
from penstock.adapters.signals.embedded import EmbeddedSignals
from penstock.kernel.chat import ChatReply, ChatRequest, Message, Text
from penstock.kernel.clock import ManualClock
from penstock.kernel.errors import Unavailable
from penstock.mechanisms.answer_cache import TENANTS_MOST, TOPIC, AnswerCache, Place
from tests.support import run

REPLY = ChatReply(
    id="1",
    model="m",
    created_s=0,
    choices=(Message(role="assistant", content=(Text("Hi"),)),),
    finishes=("stop",),
)


def asked(words: str = "How?", **changes: Any) -> ChatRequest:
    """Return a request."""
    return ChatRequest(
        **{"model": "m", "messages": (Message(role="user", content=(Text(words),)),), **changes}
    )


class Node:
    """One node with a store of its own."""

    def __init__(self, signals: Any = None, *, shared: bool = False, store: Any = None) -> None:
        self.clock = ManualClock()
        self.store = store or MemoryCache(None, self.clock, max_bytes=1 << 20, max_entry_bytes=4_096)
        self.cache = AnswerCache(
            self.store, signals or EmbeddedSignals(), self.clock, secret=b"k" * 32, shared=shared, stale_s=0.0
        )

    def place(self, org: str = "a", team: str = "t", request: ChatRequest | None = None) -> Place:
        return self.cache.place(request or asked(), org=org, team=team, versions=("v",))

    async def keep(self, place: Place, *tags: str) -> bool:
        return await self.cache.keep(place, self.cache.entry(REPLY, cost_nanos=7, fresh_s=60.0), tags)


NAMES = st.text("a/:|0\0é", max_size=4)


@given(NAMES, NAMES, NAMES, st.tuples(NAMES, NAMES, NAMES))
def test_no_two_who_ask_have_one_place_whatever_they_are_called(
    org: str, team: str, version: str, others: Any
) -> None:
    """Fields run into each other in no way: places are equal where all fields are."""
    cache = Node().cache
    one = cache.place(asked(), org=org, team=team, versions=(version, "x"))
    two = cache.place(asked(), org=others[0], team=others[1], versions=(others[2], "x"))
    assert ((one.org, one.key) == (two.org, two.key)) is ((org, team, version) == others)
    assert one.key != cache.place(asked(), org=org, team=team, versions=(version + "x",)).key


@given(st.lists(st.text("ab\"',{}[]\\ ", max_size=6), min_size=1, max_size=4), st.data())
def test_no_choice_of_words_makes_two_requests_one(words: list[str], data: Any) -> None:
    """The same letters cut into messages and parts in another way are another request."""
    other = data.draw(st.lists(st.text("ab\"',{}[]\\ ", max_size=6), min_size=1, max_size=4))
    node = Node()
    as_messages = [
        node.place(
            request=asked(messages=tuple([Message(role="user", content=(Text(w),)) for w in some]))
        ).key
        for some in (words, other)
    ]
    as_parts = node.place(
        request=asked(messages=(Message(role="user", content=tuple(map(Text, words))),))
    ).key
    assert (as_messages[0] == as_messages[1]) is (words == other)
    assert (as_parts == as_messages[0]) is (len(words) == 1)


def test_a_place_cannot_be_found_without_the_secret() -> None:
    one, two = Node(), Node()
    two.cache._secret = b"l" * 32
    assert one.place().key != two.place().key and len(one.place().key) == 64


def test_a_team_is_served_nothing_of_another_and_an_organisation_nothing_of_another() -> None:
    node = Node()

    async def story() -> None:
        await node.keep(node.place("a", "t"))
        for org, team in (("a", "u"), ("b", "t"), ("a", ""), ("", "a"), ("at", "")):
            assert await node.cache.find(node.place(org, team)) is None, (org, team)
        found = await node.cache.find(node.place("a", "t"))
        assert found is not None and found.reply == REPLY and found.cost_nanos == 7

    run(story())


def test_another_tenants_entry_takes_no_time_to_be_missed() -> None:
    """A miss is a miss: with the same prompt kept by another tenant or by nobody, the medians are alike."""
    node = Node()
    warm, cold = asked("kept by another"), asked("kept by nobody!")

    async def story() -> tuple[float, float]:
        await node.keep(node.place("a", "t", warm))
        times: dict[bool, list[int]] = {True: [], False: []}
        for number in range(4_000):
            is_warm = number % 2 == 0
            began = perf_counter_ns()
            assert await node.cache.find(node.place("b", "t", warm if is_warm else cold)) is None
            times[is_warm].append(perf_counter_ns() - began)
        return median(times[True]), median(times[False])

    known, unknown = run(story())
    hit_costs_more_by = 0.5  # decoding an entry alone is several times a miss
    assert abs(known - unknown) < hit_costs_more_by * min(known, unknown)


def test_an_answer_ends_with_its_time_also_where_it_is_held_longer() -> None:
    node = Node()
    node.cache._stale_s = 10.0

    async def story() -> None:
        place = node.place()
        await node.keep(place)
        node.clock.advance(59.9)
        assert await node.cache.find(place) is not None
        node.clock.advance(0.1)
        assert await node.cache.find(place) is None
        assert await node.cache.find(place, stale=True) is not None
        node.clock.advance(10.0)
        assert await node.cache.find(place, stale=True) is None

    run(story())


def test_what_is_forgotten_here_is_forgotten_everywhere() -> None:
    signals = EmbeddedSignals()
    here, there = Node(signals), Node(signals)

    async def story() -> None:
        watching = asyncio.create_task(there.cache.watch())
        await asyncio.sleep(0.02)
        await there.keep(there.place(), "doc:1")
        await there.keep(there.place(request=asked("Else?")), "doc:2")
        await there.keep(there.place("b"), "doc:1")
        await here.cache.forget("a", "doc:1")
        for _ in range(100):
            await asyncio.sleep(0.01)
            if await there.cache.find(there.place()) is None:
                break
        assert await there.cache.find(there.place()) is None
        assert await there.cache.find(there.place(request=asked("Else?"))) is not None
        assert await there.cache.find(there.place("b")) is not None
        watching.cancel()

    run(story())


def test_an_answer_under_way_while_something_is_forgotten_is_not_kept() -> None:
    node = Node()

    async def story() -> None:
        place = node.place()
        await node.cache.forget("a", "doc:1")
        assert not await node.keep(place, "doc:1")
        assert await node.cache.find(place) is None
        assert await node.keep(node.place(), "doc:1")

    run(story())
    assert node.cache.tally("a").not_kept == 1


@pytest.mark.parametrize("shared", [False, True])
def test_a_node_that_missed_news_serves_nothing_it_kept_by_itself(shared: bool) -> None:
    """A shared store was told by whoever had the news, so it goes on; what is under way is not kept in either."""
    signals = EmbeddedSignals()
    node = Node(signals, shared=shared)

    async def story() -> None:
        watching = asyncio.create_task(node.cache.watch())
        await asyncio.sleep(0.02)
        await node.keep(node.place())
        under_way = node.place(request=asked("Else?"))
        for _ in range(20_000):  # more than an ear holds, while it gets no turn
            await signals.publish(TOPIC, b"{}")
        await asyncio.sleep(0.05)
        assert (await node.cache.find(node.place()) is not None) is shared
        assert not await node.keep(under_way)
        watching.cancel()

    run(story())
    assert node.cache.unread_news > 0


class Broken:
    """A store that cannot be reached."""

    async def get(self, *_: object) -> bytes:
        raise Unavailable("down")

    async def put(self, *_: object, **__: object) -> bool:
        raise Unavailable("down")


def test_a_store_that_fails_is_a_miss_and_counted() -> None:
    node = Node(store=Broken())
    assert run(node.cache.find(node.place())) is None
    assert not run(node.keep(node.place()))
    assert node.cache.failures == 2 and node.cache.tally("a").misses == 1


def test_an_entry_of_another_version_is_a_miss() -> None:
    node = Node()
    place = node.place()
    run(node.store.put(place.org, place.key, b'{"reply":1}', ttl_s=60.0))
    assert run(node.cache.find(place)) is None


def test_figures_are_told_apart_for_a_bounded_number_of_organisations() -> None:
    cache = Node().cache
    for number in range(TENANTS_MOST + 5):
        cache.tally(str(number)).hits += 1
    assert len(cache.tallies) == TENANTS_MOST + 1 and cache.tally("").hits == 5


def test_where_one_field_ends_and_the_next_begins_is_part_of_a_key() -> None:
    cache = Node().cache

    def key(org: str, team: str, *versions: str) -> str:
        return cache.place(asked(), org=org, team=team, versions=versions).key

    assert key("ab", "c", "v") != key("a", "bc", "v")
    assert key("a", "b", "vw", "x") != key("a", "b", "v", "wx")
    assert key("a", "b", "v", "") != key("a", "b", "v")
