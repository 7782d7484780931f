"""What is left of a vendor's quota, when it is little: kept for the urgent, while the others wait for it to refill.

    share of the scarcest limit left      who may call
    from `near`                           everybody
    from 2/3 of it                        normal, high, critical
    from 1/3 of it                        high, critical
    more than nothing                     critical
    nothing                               nobody: the vendor would refuse, and count the refusal

Promises: a request waits only where every back end it could go to is near its quota; where none is known to be, asking
costs one look-up; each back end has a room of its own (`mechanisms/priorities`), which is there only while somebody
waits; who waited in vain is refused as the vendor would have, with the time at which there is room again, and what
stands in for a vendor that refuses stands in here too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from penstock.gateway.places import priority_in
from penstock.gateway.story import Story
from penstock.gateway.targets import Target
from penstock.kernel.clock import Clock
from penstock.kernel.context import RequestContext
from penstock.kernel.errors import PenstockError
from penstock.mechanisms.priorities import Priority, WaitingBounds, WaitingRoom
from penstock.ports.providers import ProviderFailure

STEPS: Final = len(Priority) - 1


class Shares(Protocol):
    """Who knows what is left of vendors' quotas (`mechanisms/quotas.Quotas`)."""

    @property
    def any_near(self) -> bool:
        """Whether any limit was near when it was last looked at."""
        ...

    def is_near(self, label: str, /) -> bool:
        """Tell whether a limit of a back end is nearly used up."""
        ...

    def share_left(self, label: str, /) -> float:
        """Return the share left of a back end's scarcest limit, 0 to 1; 1 when nothing is known."""
        ...

    def refill_s(self, label: str, /) -> float:
        """Return the seconds until it is not scarce any more."""
        ...


class QuotaRooms:
    """The rooms before all back ends. One per process."""

    def __init__(self, shares: Shares, near: float, bounds: WaitingBounds, clock: Clock) -> None:
        """Call a quota near when less than `near` (a share, 0 to 1) of it is left."""
        self._shares = shares
        self._near = near
        self._bounds = bounds
        self._clock = clock
        self._rooms: dict[str, WaitingRoom] = {}
        self.waited = 0
        self.refused = [0] * len(Priority)

    @property
    def waiting(self) -> int:
        """Return how many wait now."""
        return sum(room.waiting for room in self._rooms.values())

    def is_near(self, targets: Sequence[Target]) -> bool:
        """Tell whether everybody who could answer is near a quota."""
        shares = self._shares
        return shares.any_near and all(shares.is_near(target.label) for target in targets)

    async def enter(self, context: RequestContext, story: Story, label: str) -> None:
        """Wait until there is enough of a back end's quota for a request as urgent as this. Raises ProviderFailure."""
        room = self._rooms.get(label) or self._room(label)
        priority = priority_in(context)
        if room.passes(priority):
            return
        self._rooms[label] = room
        try:
            await room.enter(priority, context.deadline_s)
            self.waited += 1
            story.flag("waited_for_quota")
        except ProviderFailure:
            self.refused[priority] += 1
            raise
        finally:
            if not room.waiting and self._rooms.get(label) is room:
                del self._rooms[label]

    def _room(self, label: str) -> WaitingRoom:
        def is_open(priority: Priority) -> bool:
            left = self._shares.share_left(label)
            return left > 0 and left >= self._near * priority / STEPS

        def refusal(_retry_after_s: float) -> PenstockError:
            return ProviderFailure(
                "The provider's quota is nearly used up, and what is left is kept for more urgent requests.",
                kind="rate_limited",
                status=429,
                dispatched=False,
                retry_after_s=max(self._shares.refill_s(label), 1.0),
            )

        return WaitingRoom(self._bounds, self._clock, is_open, refusal)
