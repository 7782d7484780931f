"""Priorities: who waits for room, in which order, and who is told to come back."""

from __future__ import annotations

import asyncio
import random

import pytest

from penstock.kernel.clock import ManualClock
from penstock.kernel.errors import OverLimit, PenstockError
from penstock.mechanisms.priorities import Priority, WaitingBounds, WaitingRoom, priority_of
from tests.support import run

CRITICAL, HIGH, NORMAL, LOW = Priority
LATER = 1e12


class Shop:
    """A room before a resource with so many places."""

    def __init__(self, places: int, bounds: WaitingBounds | None = None) -> None:
        self.clock = ManualClock()
        self.places = places
        self.inside = 0
        self.most_inside = 0
        self.order: list[str] = []
        self.room = WaitingRoom(bounds or WaitingBounds(), self.clock, self._has_place, self._refusal)

    def _has_place(self, _priority: Priority) -> bool:
        return self.inside < self.places

    def _refusal(self, retry_after_s: float) -> PenstockError:
        return OverLimit("The upstream is near its quota.", retry_after_s=retry_after_s)

    async def visit(self, name: str, priority: Priority, deadline_s: float = LATER) -> None:
        """Enter, stay until somebody calls `leave`."""
        await self.room.enter(priority, deadline_s)
        self.inside += 1
        self.most_inside = max(self.most_inside, self.inside)
        self.order.append(name)

    def come(self, name: str, priority: Priority, deadline_s: float = LATER) -> asyncio.Task[None]:
        """Visit in a task of its own."""
        return asyncio.ensure_future(self.visit(name, priority, deadline_s))

    async def leave(self) -> None:
        """One leaves; whoever is called comes in."""
        self.inside -= 1
        self.room.let_in()
        await ticks()

    async def empty(self, visits: int) -> str:
        """Let all leave in turn; return who came in, in order."""
        for _ in range(visits):
            await self.leave()
        return "".join(self.order)


async def ticks() -> None:
    """Let the others run."""
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("header", "tier", "expected"),
    [
        (None, "standard", NORMAL),
        (b"high", "standard", HIGH),
        (b" Low ", "standard", LOW),
        (b"critical", "standard", HIGH),
        (b"critical", "premium", CRITICAL),
        (b"urgent", "premium", CRITICAL),
        (b"high", "batch", LOW),
        (None, "batch", LOW),
        (b"critical", "background", NORMAL),
        (b"\xff\xfe", "premium", NORMAL),
        (b"critical" * 1_000, "premium", NORMAL),
    ],
)
def test_a_class_is_asked_for_and_capped_by_the_tier(
    header: bytes | None, tier: str, expected: Priority
) -> None:
    assert priority_of(header, tier) is expected


def test_an_open_door_is_passed_at_once() -> None:
    async def case() -> None:
        shop = Shop(places=2)
        await shop.visit("a", LOW)
        await shop.visit("b", LOW)
        assert (shop.room.waited, shop.room.waiting) == (0, 0)

    run(case())


def test_the_better_class_goes_first_and_in_a_class_the_first_come() -> None:
    async def case() -> None:
        shop = Shop(places=0)
        for name, priority in (("d", LOW), ("c", NORMAL), ("b", HIGH), ("a", CRITICAL), ("A", CRITICAL)):
            shop.come(name, priority)
            await ticks()
            shop.clock.advance(0.001)
        shop.places = 1
        shop.inside = 1
        assert await shop.empty(5) == "aAbcd"
        assert shop.room.waited == 5

    run(case())


@pytest.mark.parametrize(("head_start_s", "first"), [(2.9, "c"), (3.1, "l")])
def test_a_class_is_gained_for_each_step_waited(head_start_s: float, first: str) -> None:
    async def case() -> None:
        shop = Shop(places=1, bounds=WaitingBounds(ageing_s=1.0))
        await shop.visit("x", LOW)
        shop.come("l", LOW)
        await ticks()
        shop.clock.advance(head_start_s)
        shop.come("c", CRITICAL)
        await ticks()
        assert (await shop.empty(1))[1:] == first

    run(case())


def test_the_lowest_is_served_however_many_better_ones_keep_coming() -> None:
    async def case() -> None:
        shop = Shop(places=1)
        await shop.visit("x", HIGH)
        shop.come("L", LOW)
        for _ in range(80):
            shop.come("c", CRITICAL)
            shop.come("c", CRITICAL)
            shop.clock.advance(0.1)
            await ticks()
            await shop.leave()
        assert "L" in shop.order
        assert shop.room.waiting > 0

    run(case())


def test_a_newcomer_does_not_overtake_those_who_wait() -> None:
    async def case() -> None:
        shop = Shop(places=1)
        await shop.visit("x", LOW)
        shop.come("a", NORMAL)
        await ticks()
        shop.inside -= 1
        shop.room.let_in()
        shop.come("b", NORMAL)  # comes while "a" has been called and has not taken its place yet
        await ticks()
        assert shop.order == ["x", "a"]
        assert shop.most_inside == 1

    run(case())


def test_one_for_whom_the_door_is_open_does_not_wait_behind_those_for_whom_it_is_not() -> None:
    async def case() -> None:
        room = WaitingRoom(
            WaitingBounds(),
            ManualClock(),
            lambda priority: priority <= HIGH,
            lambda _after_s: OverLimit("Full."),
        )
        waiting = asyncio.ensure_future(room.enter(LOW, LATER))
        await ticks()
        entering = asyncio.ensure_future(room.enter(CRITICAL, LATER))
        await ticks()
        assert entering.done()
        assert not waiting.done()
        waiting.cancel()

    run(case())


@pytest.mark.parametrize(("waited_s", "is_in"), [(0.9, False), (1.1, True)])
def test_the_door_sees_the_class_that_one_has_aged_to(waited_s: float, is_in: bool) -> None:
    async def case() -> None:
        clock = ManualClock()
        bounds = WaitingBounds(ageing_s=1.0)
        room = WaitingRoom(bounds, clock, lambda each: each <= NORMAL, lambda _after_s: OverLimit("Full."))
        waiting = asyncio.ensure_future(room.enter(LOW, LATER))
        await ticks()
        clock.advance(waited_s)
        room.let_in()
        await ticks()
        assert waiting.done() is is_in
        waiting.cancel()

    run(case())


def test_when_much_room_comes_at_once_all_of_it_is_used() -> None:
    async def case() -> None:
        shop = Shop(places=0)
        for name in "abcde":
            shop.come(name, NORMAL)
        await ticks()
        shop.places = 4
        shop.room.let_in()
        await ticks()
        assert (shop.inside, shop.room.waiting) == (4, 1)

    run(case())


def test_a_door_that_opens_by_itself_is_noticed() -> None:
    async def case() -> None:
        shop = Shop(places=0)
        waiting = shop.come("a", NORMAL)
        await ticks()
        shop.places = 1
        await waiting
        assert shop.order == ["a"]

    run(case())


def test_nobody_waits_longer_than_the_bound() -> None:
    async def case() -> None:
        shop = Shop(places=0, bounds=WaitingBounds(wait_s=0.01))
        with pytest.raises(OverLimit) as caught:
            await shop.visit("a", HIGH)
        assert caught.value.retry_after_s == 0.01
        assert (shop.room.refused, shop.room.waiting) == ([0, 1, 0, 0], 0)

    run(case())


def test_nobody_waits_past_its_deadline() -> None:
    async def case() -> None:
        shop = Shop(places=0)
        with pytest.raises(OverLimit):
            await shop.visit("a", LOW, deadline_s=shop.clock.monotonic_s())
        with pytest.raises(OverLimit):
            await shop.visit("b", LOW, deadline_s=shop.clock.monotonic_s() + 0.01)
        assert (shop.room.refused, shop.room.waiting) == ([0, 0, 0, 2], 0)

    run(case())


def test_in_a_full_room_the_oldest_of_the_lowest_class_is_dropped() -> None:
    async def case() -> None:
        shop = Shop(places=0, bounds=WaitingBounds(waiting_most=3))
        tasks = {}
        for name, priority in (("h", HIGH), ("l", LOW), ("m", LOW)):
            tasks[name] = shop.come(name, priority)
            await ticks()
        shop.come("n", NORMAL)
        await ticks()
        assert isinstance(tasks["l"].exception(), OverLimit)
        shop.come("c", CRITICAL)
        await ticks()
        assert isinstance(tasks["m"].exception(), OverLimit)
        assert (shop.room.waiting, shop.room.refused) == (3, [0, 0, 0, 2])

    run(case())


def test_a_newcomer_never_pushes_out_a_better_one() -> None:
    async def case() -> None:
        shop = Shop(places=0, bounds=WaitingBounds(waiting_most=2))
        better = [shop.come("h", HIGH), shop.come("i", HIGH)]
        await ticks()
        with pytest.raises(OverLimit):
            await shop.visit("l", LOW)
        assert not any(task.done() for task in better)
        assert shop.room.refused == [0, 0, 0, 1]

    run(case())


@pytest.mark.parametrize("seed", range(40))
def test_callers_that_go_away_leave_no_trace_and_no_place_unused(seed: int) -> None:
    draw = random.Random(seed)

    async def case() -> None:
        shop = Shop(places=2, bounds=WaitingBounds(waiting_most=10))
        tasks: list[asyncio.Task[None]] = []
        for _ in range(60):
            tasks.append(shop.come("x", draw.choice(list(Priority))))
            if draw.random() < 0.5:
                draw.choice(tasks).cancel()
            if draw.random() < 0.5:
                await ticks()
            if shop.inside and draw.random() < 0.5:
                shop.inside -= 1
                shop.room.let_in()
                draw.choice(tasks).cancel()
        await ticks()
        while shop.inside:
            await shop.leave()
        await ticks()
        assert (shop.room.waiting, shop.most_inside <= 2) == (0, True)
        assert all(task.done() for task in tasks)
        await asyncio.gather(*tasks, return_exceptions=True)

    run(case())
