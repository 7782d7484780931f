"""The attempts of one admitted request, whatever is asked for: money before each, and every one on the meter.

Promises: an attempt that may have cost money is on the meter when this ends, whatever ended it; before each further one
its money is held, and without room there is none.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from penstock.gateway.admission import Admission
from penstock.gateway.load import Deaf, Loads
from penstock.gateway.metering import Meter
from penstock.gateway.story import Story
from penstock.gateway.targets import Target
from penstock.kernel.context import RequestContext
from penstock.mechanisms.resilience import Resilience
from penstock.ports.providers import CallTimers, ProviderFailure

A = TypeVar("A")


class Tries:
    """Tries targets until one answers. One per process."""

    def __init__(
        self, admission: Admission, resilience: Resilience, loads: Loads | Deaf | None = None
    ) -> None:
        """Hold more money from `admission`, try within `resilience`, tell `loads` what is under way."""
        self._admission = admission
        self._resilience = resilience
        self._loads = loads or Deaf()

    async def first(
        self,
        context: RequestContext,
        meter: Meter,
        story: Story,
        targets: Sequence[Target],
        call: Callable[[Target, CallTimers], Awaitable[A]],
    ) -> tuple[Target, A]:
        """Return the first answer and whose it is; to `loads` its call goes on. Raises ProviderFailure."""
        loads = self._loads
        trying = targets[0]
        under_way = False
        before = len(meter.attempts)

        def attempt(target: Target) -> Awaitable[A]:
            nonlocal trying, under_way
            calling = call(target, target.within(self._resilience.left_s(context.deadline_s)))
            trying, under_way = target, True
            loads.began(target.label)
            story.calling(target)
            return calling

        async def before_retry(target: Target, failure: ProviderFailure) -> bool:
            nonlocal under_way
            under_way = False
            loads.ended(target.label)
            meter.failed(target, failure)
            story.called()
            missing_nanos = meter.spent_nanos + meter.worst_nanos(targets) - meter.seat.held_nanos
            return missing_nanos <= 0 or await self._admission.top_up(meter.seat, missing_nanos)

        try:
            answered = await self._resilience.first_answer(targets, attempt, context.deadline_s, before_retry)
        except ProviderFailure as failure:
            if len(meter.attempts) - before < len(failure.attempts):
                meter.failed(trying, failure)
                loads.ended(trying.label)
            raise
        except BaseException:  # because whatever ends a call on its way, the vendor may bill all of it
            if under_way:
                meter.abandoned(trying)
                loads.ended(trying.label)
            raise
        return answered.target, answered.answer
