"""The attempts of one admitted request, whatever is asked for: money before each, and every one on the meter.

Promises: an attempt that may have cost money is on the meter when this ends, whatever ended it; before each further
one, a rival beside the first among them, its money is held, and without room there is none.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

from penstock.gateway.admission import Admission
from penstock.gateway.load import Deaf, Loads
from penstock.gateway.metering import Meter
from penstock.gateway.quota_rooms import QuotaRooms
from penstock.gateway.story import Story
from penstock.gateway.targets import Target
from penstock.kernel.context import RequestContext
from penstock.mechanisms.hedging import HedgePlan
from penstock.mechanisms.resilience import Resilience
from penstock.ports.providers import CallTimers, ProviderFailure

A = TypeVar("A")


class Hedge(NamedTuple, Generic[A]):
    """That a first call which is late may get a rival."""

    streamed: bool
    is_safe: Callable[[], bool]
    """Whether asking twice does nothing twice; looked at only when the first is late."""
    discard: Callable[[A], None]
    """Lets go of an answer that came second."""


class Tries:
    """Tries targets until one answers. One per process."""

    def __init__(
        self,
        admission: Admission,
        resilience: Resilience,
        loads: Loads | Deaf | None = None,
        rooms: QuotaRooms | None = None,
    ) -> None:
        """Hold more money from `admission`, try within `resilience`, tell `loads` what is under way; wait in `rooms`
        for quotas that are nearly used up.
        """
        self._admission = admission
        self._resilience = resilience
        self._loads = loads or Deaf()
        self._rooms = rooms

    async def first(
        self,
        context: RequestContext,
        meter: Meter,
        story: Story,
        targets: Sequence[Target],
        call: Callable[[Target, CallTimers], Awaitable[A]],
        *,
        hedge: Hedge[A] | None = None,
    ) -> tuple[Target, A]:
        """Return the first answer and whose it is; to `loads` its call goes on. Raises ProviderFailure."""
        resilience, rooms = self._resilience, self._rooms
        if rooms is not None and rooms.is_near(targets):
            await rooms.enter(context, story, targets[0].label)
        calls = _UnderWay(meter, story, self._loads)

        def attempt(target: Target) -> Awaitable[A]:
            calling = call(target, target.within(resilience.left_s(context.deadline_s)))
            calls.began(target)
            return calling

        async def before_retry(target: Target, failure: ProviderFailure) -> bool:
            calls.failed(target, failure)
            return await self._affords(meter, meter.worst_nanos(targets))

        plan = None if hedge is None else self._plan(hedge, calls)
        try:
            answered = await resilience.first_answer(
                targets, attempt, context.deadline_s, before_retry, plan, earns=not meter.attempts
            )
        except ProviderFailure as failure:
            for target in calls.left():
                calls.failed(target, failure)
            raise
        except BaseException:  # because whatever ends a call on its way, the vendor may bill all of it
            for target in calls.left():
                calls.abandoned(target)
            raise
        return answered.target, answered.answer

    def _plan(self, hedge: Hedge[A], calls: _UnderWay) -> HedgePlan[Target, A]:
        meter, story = calls.meter, calls.story

        async def grant(other: Target) -> Target | None:
            if not hedge.is_safe():
                return None
            at_one_time = (*calls.left(), other)
            if not await self._affords(meter, sum(meter.worst_nanos((each,)) for each in at_one_time)):
                return None
            story.flag("hedged")
            return other.rival()

        return HedgePlan(
            grant=grant,
            failed=calls.failed,
            abandoned=calls.abandoned,
            discard=hedge.discard,
            streamed=hedge.streamed,
        )

    async def _affords(self, meter: Meter, worst_nanos: int) -> bool:
        """Hold what may be missing when what was spent so far is followed by `worst_nanos`; False without room."""
        missing_nanos = meter.spent_nanos + worst_nanos - meter.seat.held_nanos
        return missing_nanos <= 0 or await self._admission.top_up(meter.seat, missing_nanos)


class _UnderWay:
    """The calls of one request that are under way; each is told once what became of it."""

    __slots__ = ("_loads", "_targets", "meter", "story")

    def __init__(self, meter: Meter, story: Story, loads: Loads | Deaf) -> None:
        self.meter = meter
        self.story = story
        self._loads = loads
        self._targets: list[Target] = []

    def left(self) -> tuple[Target, ...]:
        """Return those of whom nothing was told yet."""
        return tuple(self._targets)

    def began(self, target: Target) -> None:
        self._targets.append(target)
        self._loads.began(target.label, self.meter.seat.input_tokens)
        self.story.calling(target)

    def failed(self, target: Target, failure: ProviderFailure) -> None:
        if self._ended(target):
            self._loads.refused(target.label, failure)
            self.meter.failed(target, failure)
            self.story.called(target)

    def abandoned(self, target: Target) -> None:
        if self._ended(target):
            self.meter.abandoned(target)
            self.story.called(target)

    def _ended(self, target: Target) -> bool:
        """Note the end of a call; False when it had not begun, or its end was told already."""
        for index, each in enumerate(self._targets):
            if each is target:
                del self._targets[index]
                self._loads.ended(target.label)
                return True
        return False
