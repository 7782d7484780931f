"""Single flight: one call for many who ask the same, whoever of them fails, leaves or lags."""

from __future__ import annotations

import asyncio
import random

import pytest

from penstock.mechanisms.singleflight import FellBehind, FlightBounds, LeaderLost, Shared, SingleFlight
from tests.support import run

KEY = b"question"


class Vendor:
    """Counts its calls; each answers "a", "b", "c" one event per step of the loop, when `gate` is open."""

    def __init__(self, events: str = "abc", fail_at: int = -1) -> None:
        self.calls = 0
        self.open_calls = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self._events = events
        self.fail_at = fail_at

    async def start(self) -> VendorCall:
        """Begin a call."""
        self.calls += 1
        self.open_calls += 1
        return VendorCall(self, self._events, self.fail_at)


class VendorCall:
    """One call under way."""

    def __init__(self, vendor: Vendor, events: str, fail_at: int) -> None:
        self._vendor = vendor
        self._events = list(events)
        self._fail_at = fail_at
        self._closed = False

    async def next(self) -> str | None:
        """Return the next letter."""
        await self._vendor.gate.wait()
        await asyncio.sleep(0)
        if self._fail_at == 0:
            raise ValueError("the vendor failed")
        self._fail_at -= 1
        return self._events.pop(0) if self._events else None

    def close(self) -> None:
        """End the call once."""
        if not self._closed:
            self._closed = True
            self._vendor.open_calls -= 1


def flights(followers_most: int = 64, wait_s: float = 30.0, buffer_bytes: int = 1_000) -> SingleFlight[str]:
    """Flights over letters of one byte."""
    bounds = FlightBounds(followers_most=followers_most, wait_s=wait_s, buffer_bytes=buffer_bytes)
    return SingleFlight(bounds, len)


async def read(shared: Shared[str], steps: int = 1_000) -> str:
    """Read to the end (or `steps` events) and close."""
    try:
        letters = ""
        while steps and (event := await shared.next()) is not None:
            letters += event
            steps -= 1
        return letters
    finally:
        shared.close()


async def ticks(count: int = 20) -> None:
    """Let the others run."""
    for _ in range(count):
        await asyncio.sleep(0)


def crowd(shared: SingleFlight[str], vendor: Vendor, size: int) -> list[asyncio.Task[str]]:
    """`size` callers who ask the same at once."""

    async def ask() -> str:
        return await read(shared.join(KEY, vendor.start))

    return [asyncio.ensure_future(ask()) for _ in range(size)]


def test_many_who_ask_the_same_make_one_call_and_all_get_the_whole_answer() -> None:
    async def case() -> None:
        shared, vendor = flights(), Vendor()
        assert await asyncio.gather(*crowd(shared, vendor, 20)) == ["abc"] * 20
        assert (vendor.calls, vendor.open_calls) == (1, 0)
        assert (shared.led, shared.followed, len(shared)) == (1, 19, 0)

    run(case())


def test_another_question_is_another_call_and_so_is_the_same_one_later() -> None:
    async def case() -> None:
        shared, vendor = flights(), Vendor()
        other = read(shared.join(b"other", vendor.start))
        assert await asyncio.gather(read(shared.join(KEY, vendor.start)), other) == ["abc", "abc"]
        assert await read(shared.join(KEY, vendor.start)) == "abc"
        assert vendor.calls == 3

    run(case())


def test_who_comes_in_the_middle_gets_the_answer_from_its_beginning() -> None:
    async def case() -> None:
        shared, vendor = flights(), Vendor()
        leader = shared.join(KEY, vendor.start)
        assert [await leader.next(), await leader.next()] == ["a", "b"]
        follower = asyncio.ensure_future(read(shared.join(KEY, vendor.start)))
        await ticks()
        assert leader.is_followed
        assert await read(leader) == "c"
        assert await follower == "abc"
        assert vendor.calls == 1

    run(case())


def test_a_failure_before_the_first_event_hands_over_to_one_follower_at_a_time() -> None:
    async def case() -> None:
        shared, vendor = flights(), Vendor(fail_at=0)
        vendor.gate.clear()
        tasks = crowd(shared, vendor, 5)
        await ticks()
        assert vendor.calls == 1
        vendor.gate.set()
        await ticks(1)
        vendor.fail_at = -1
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(done[0], ValueError)
        assert done[1:] == ["abc"] * 4
        assert (vendor.calls, shared.handed_over, vendor.open_calls) == (2, 1, 0)

    run(case())


def test_a_failure_after_the_first_event_is_everybodys() -> None:
    async def case() -> None:
        shared, vendor = flights(), Vendor(fail_at=2)
        done = await asyncio.gather(*crowd(shared, vendor, 3), return_exceptions=True)
        assert [type(each) for each in done] == [ValueError] * 3
        assert (vendor.calls, len(shared)) == (1, 0)

    run(case())


def test_a_leader_that_leaves_half_way_says_so_to_its_followers() -> None:
    async def case() -> None:
        shared, vendor = flights(), Vendor()
        leader = shared.join(KEY, vendor.start)
        await leader.next()
        follower = shared.join(KEY, vendor.start)
        assert await follower.next() == "a"
        leader.close()
        with pytest.raises(LeaderLost):
            await follower.next()
        follower.close()
        assert (vendor.calls, vendor.open_calls, len(shared)) == (1, 0, 0)

    run(case())


def test_one_who_joined_but_did_not_wait_yet_calls_for_itself_when_the_leader_leaves() -> None:
    async def case() -> None:
        shared, vendor = flights(), Vendor()
        leader = shared.join(KEY, vendor.start)
        follower = shared.join(KEY, vendor.start)
        leader.close()
        assert await read(follower) == "abc"
        assert (vendor.open_calls, len(shared)) == (0, 0)

    run(case())


@pytest.mark.parametrize(("followers", "calls"), [(2, 1), (3, 1), (4, 2)])
def test_followers_are_bounded_and_who_finds_no_room_calls_for_itself(followers: int, calls: int) -> None:
    async def case() -> None:
        shared, vendor = flights(followers_most=3), Vendor()
        assert await asyncio.gather(*crowd(shared, vendor, followers + 1)) == ["abc"] * (followers + 1)
        assert (vendor.calls, shared.fell_out) == (calls, calls - 1)

    run(case())


def test_nobody_waits_for_a_leader_longer_than_the_bound() -> None:
    async def case() -> None:
        shared, stuck, quick = flights(wait_s=0.01), Vendor(), Vendor()
        stuck.gate.clear()
        leader = asyncio.ensure_future(read(shared.join(KEY, stuck.start)))
        await ticks()
        assert await read(shared.join(KEY, quick.start)) == "abc"
        assert (quick.calls, shared.fell_out) == (1, 1)
        stuck.gate.set()
        assert await leader == "abc"

    run(case())


@pytest.mark.parametrize(("size", "calls"), [(3, 1), (2, 2)])
def test_an_answer_larger_than_the_buffer_is_not_followed(size: int, calls: int) -> None:
    async def case() -> None:
        shared, vendor = flights(buffer_bytes=size), Vendor()
        leader = shared.join(KEY, vendor.start)
        for _ in range(3):
            await leader.next()
        follower = asyncio.ensure_future(read(shared.join(KEY, vendor.start)))
        await ticks()
        assert await read(leader) == ""
        assert await follower == "abc"
        assert vendor.calls == calls

    run(case())


def test_who_has_begun_breaks_off_where_the_buffer_ends() -> None:
    async def case() -> None:
        shared, vendor = flights(buffer_bytes=2), Vendor()
        leader, follower = shared.join(KEY, vendor.start), shared.join(KEY, vendor.start)
        await leader.next()
        assert await follower.next() == "a"
        await leader.next()
        await leader.next()
        assert await follower.next() == "b"
        with pytest.raises(FellBehind):
            await follower.next()
        follower.close()
        assert await read(leader) == ""
        assert (vendor.calls, shared.fell_out) == (1, 1)

    run(case())


@pytest.mark.parametrize("seed", range(60))
def test_in_a_storm_of_cancellations_nobody_hangs_nothing_leaks_and_answers_stay_whole(seed: int) -> None:
    draw = random.Random(seed)

    async def case() -> None:
        shared, vendor = flights(followers_most=8, wait_s=5), Vendor(fail_at=draw.choice([-1, -1, 0, 1]))
        tasks: list[asyncio.Task[str]] = []
        for _ in range(40):
            tasks += crowd(shared, vendor, draw.randrange(3))
            vendor.gate.set() if draw.random() < 0.5 else vendor.gate.clear()
            await ticks(draw.randrange(4))
            if tasks and draw.random() < 0.6:
                draw.choice(tasks).cancel()
        vendor.gate.set()
        vendor.fail_at = -1
        done = await asyncio.gather(*tasks, return_exceptions=True)
        for each in done:
            whole = each == "abc"
            assert whole or isinstance(each, (ValueError, LeaderLost, asyncio.CancelledError)), each
        assert (vendor.open_calls, len(shared)) == (0, 0)
        assert vendor.calls <= len(tasks)

    run(case())


def test_when_every_leader_is_cancelled_in_turn_the_last_one_still_gets_its_answer() -> None:
    async def case() -> None:
        shared, vendor = flights(), Vendor()
        vendor.gate.clear()
        tasks = crowd(shared, vendor, 10)
        for task in tasks[:-1]:
            await ticks(3)
            task.cancel()
        vendor.gate.set()
        assert await tasks[-1] == "abc"
        assert (vendor.calls, vendor.open_calls, shared.handed_over) == (10, 0, 9)

    run(case())


def test_when_all_but_one_are_cancelled_in_the_same_moment_the_one_gets_its_answer() -> None:
    async def case() -> None:
        shared, vendor = flights(), Vendor()
        vendor.gate.clear()
        tasks = crowd(shared, vendor, 10)
        await ticks()
        for task in tasks[:-1]:
            task.cancel()
        vendor.gate.set()
        assert await tasks[-1] == "abc"
        assert (vendor.open_calls, len(shared)) == (0, 0)

    run(case())


def test_a_follower_cancelled_in_the_moment_it_is_handed_the_lead_hands_it_on() -> None:
    async def case() -> None:
        shared, vendor = flights(), Vendor()
        vendor.gate.clear()
        leader = shared.join(KEY, vendor.start)
        tasks = crowd(shared, vendor, 3)
        await ticks()
        leader.close()
        tasks[0].cancel()
        vendor.gate.set()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(done[0], asyncio.CancelledError)
        assert done[1:] == ["abc", "abc"]
        assert (vendor.calls, shared.handed_over, shared.fell_out) == (1, 2, 0)

    run(case())
