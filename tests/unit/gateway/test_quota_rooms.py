"""What is left of a vendor's quota is kept for the urgent; who waits in vain is refused as the vendor would have."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from penstock.gateway.quota_rooms import QuotaRooms
from penstock.gateway.story import Story
from penstock.kernel.clock import ManualClock
from penstock.kernel.context import RequestContext
from penstock.mechanisms.priorities import Priority, WaitingBounds
from penstock.ports.providers import ProviderFailure
from tests.support import run
from tests.unit.gateway.test_admission import principal

NEAR = 0.12
LABEL = "sim/small"


class Shares:
    """What is left of each back end's quota."""

    def __init__(self, **left: float) -> None:
        self.left = left

    @property
    def any_near(self) -> bool:
        return any(left < NEAR for left in self.left.values())

    def is_near(self, label: str) -> bool:
        return self.share_left(label) < NEAR

    def share_left(self, label: str) -> float:
        return self.left.get(label, 1.0)

    def refill_s(self, _label: str) -> float:
        return 30.0


class Desk:
    """Rooms before back ends, and whoever asks."""

    def __init__(self, left: float, bounds: WaitingBounds | None = None) -> None:
        self.clock = ManualClock()
        self.shares = Shares(**{LABEL: left})
        self.rooms = QuotaRooms(self.shares, NEAR, bounds or WaitingBounds(wait_s=0.01), self.clock)

    async def ask(self, priority: Priority) -> Story:
        """Wait as a request of a class does."""
        premium = msgspec.structs.replace(principal(), tier="premium")
        context = RequestContext("req_1", premium, deadline_s=1e12, received_ns=0)
        context.header = lambda _name: priority.name.lower().encode()
        story = Story(context, self.clock)
        await self.rooms.enter(context, story, LABEL)
        return story


@pytest.mark.parametrize(
    ("left", "may_call"),
    [
        (0.12, set(Priority)),
        (0.119, {Priority.CRITICAL, Priority.HIGH, Priority.NORMAL}),
        (0.081, {Priority.CRITICAL, Priority.HIGH, Priority.NORMAL}),
        (0.079, {Priority.CRITICAL, Priority.HIGH}),
        (0.041, {Priority.CRITICAL, Priority.HIGH}),
        (0.039, {Priority.CRITICAL}),
        (0.001, {Priority.CRITICAL}),
        (0.0, set[Priority]()),
    ],
)
def test_the_less_is_left_the_more_urgent_a_request_must_be(left: float, may_call: set[Priority]) -> None:
    async def case() -> None:
        desk = Desk(left)
        for priority in Priority:
            if priority in may_call:
                await desk.ask(priority)
            else:
                with pytest.raises(ProviderFailure) as refused:
                    await desk.ask(priority)
                failure = refused.value
                assert (failure.kind, failure.dispatched, failure.retry_after_s) == (
                    "rate_limited",
                    False,
                    30.0,
                )
        assert desk.rooms.refused == [int(priority not in may_call) for priority in Priority]
        assert desk.rooms.waiting == 0

    run(case())


def test_who_waits_is_called_when_the_quota_refills_and_its_record_says_so() -> None:
    async def case() -> None:
        desk = Desk(0.05, WaitingBounds(wait_s=20.0))
        waiting = asyncio.ensure_future(desk.ask(Priority.LOW))
        await asyncio.sleep(0)
        assert desk.rooms.waiting == 1
        desk.shares.left[LABEL] = 0.5
        story = await waiting
        assert story.event().flags == ("waited_for_quota",)
        assert (desk.rooms.waited, desk.rooms.waiting) == (1, 0)

    run(case())


def test_one_that_waits_gets_urgent_enough() -> None:
    async def case() -> None:
        desk = Desk(0.05, WaitingBounds(wait_s=20.0, ageing_s=1.0))
        waiting = asyncio.ensure_future(desk.ask(Priority.LOW))
        await asyncio.sleep(0)
        desk.clock.advance(2.1)  # high by now
        await waiting
        assert desk.rooms.waited == 1

    run(case())


def test_a_room_is_there_only_while_somebody_waits() -> None:
    async def case() -> None:
        desk = Desk(0.0)
        with pytest.raises(ProviderFailure):
            await desk.ask(Priority.LOW)
        desk.shares.left[LABEL] = 1.0
        await desk.ask(Priority.LOW)
        rooms: Any = desk.rooms
        assert rooms._rooms == {}

    run(case())


class Labelled:
    """A target, as far as rooms look at it."""

    def __init__(self, label: str) -> None:
        self.label = label


@pytest.mark.parametrize(
    ("left", "asked", "is_near"),
    [
        ({"a": 0.01}, "a", True),
        ({"a": 0.01, "b": 0.5}, "ab", False),
        ({"a": 0.01, "b": 0.01}, "ab", True),
        ({"b": 0.01}, "ab", False),
        ({"b": 0.01}, "a", False),
        ({}, "a", False),
    ],
)
def test_a_request_waits_only_where_everybody_who_could_answer_is_near(
    left: dict[str, float], asked: str, is_near: bool
) -> None:
    rooms = QuotaRooms(Shares(**left), NEAR, WaitingBounds(), ManualClock())
    targets: Any = tuple(Labelled(label) for label in asked)
    assert rooms.is_near(targets) is is_near
