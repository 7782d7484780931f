"""Who waits, in which order and how long, where there is not room for all at once.

    priority_of(header, tier)    what a request asks for, capped by what its key may use
    WaitingRoom.passes           past the door at once, or not
    WaitingRoom.enter            past the door, after a wait or at once; refused within the bound

Promises: while the door is open and nobody waits, passing costs three comparisons; strict order by class, and a
request gains one class for every `ageing_s` it waits, before the others and before the door, so that the lowest never
starves; nobody waits longer than `wait_s` or its deadline; at most `waiting_most` wait, and who is dropped for want of
room is the one that waited longest in the lowest class (the likeliest to be given up by its caller, and the cheapest to
lose); a newcomer never pushes out a better one; a caller that goes away leaves no trace. Every refusal is counted by
class and says when to come back.

The door is asked anew whenever somebody leaves and every `LOOK_S`, because a quota refills without telling.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from enum import IntEnum
from typing import Final

import msgspec

from penstock.kernel.clock import Clock
from penstock.kernel.errors import PenstockError

LOOK_S: Final = 0.05


class Priority(IntEnum):
    """Classes of requests, the most urgent first."""

    CRITICAL = 0
    """Somebody waits in front of a screen and work stands still."""
    HIGH = 1
    """Triggered by somebody or something that waits."""
    NORMAL = 2
    """Background work: what a request is that says nothing."""
    LOW = 3
    """Batch."""


HEADER: Final = b"x-penstock-priority"
BY_NAME: Final = {each.name.lower(): each for each in Priority} | {"urgent": Priority.CRITICAL}
BY_TIER: Final = {"batch": Priority.LOW, "background": Priority.NORMAL, "premium": Priority.CRITICAL}
"""The best class a key of a tier may use; `HIGH` for every other tier."""


def priority_of(header: bytes | None, tier: str) -> Priority:
    """Return the class named by ``x-penstock-priority``, `NORMAL` when it names none, as far as the key's tier goes."""
    best = BY_TIER.get(tier, Priority.HIGH)
    if header is None:
        return max(Priority.NORMAL, best)
    name = header[:16].decode("ascii", "replace").strip().lower()
    return max(BY_NAME.get(name, Priority.NORMAL), best)


class WaitingBounds(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Bounds of a waiting room; times in seconds."""

    waiting_most: int = 1_000
    wait_s: float = 5.0
    ageing_s: float = 1.0


class _Waiting:
    """One who waits. `turn_s` orders all of them: its arrival, later by `ageing_s` for each class below the best."""

    __slots__ = ("called", "came_s", "priority", "turn_s")

    def __init__(
        self, priority: Priority, came_s: float, ageing_s: float, called: asyncio.Future[None]
    ) -> None:
        self.priority = priority
        self.came_s = came_s
        self.turn_s = came_s + priority * ageing_s
        self.called = called


class WaitingRoom:
    """Before one resource: an upstream near its quota, or this process at its limit.

    `is_open(priority)` tells whether one more of a class may pass now; `refusal(retry_after_s)` is what those who may
    not are told (OverLimit where a quota is short, Overloaded where the process is).
    """

    def __init__(
        self,
        bounds: WaitingBounds,
        clock: Clock,
        is_open: Callable[[Priority], bool],
        refusal: Callable[[float], PenstockError],
    ) -> None:
        """Start empty."""
        self._bounds = bounds
        self._clock = clock
        self._is_open = is_open
        self._refusal = refusal
        self._classes: tuple[deque[_Waiting], ...] = tuple(deque() for _ in Priority)
        self._look: asyncio.TimerHandle | None = None
        self._is_calling = False
        self.waiting = 0
        self.waited = 0
        """Those who passed after a wait."""
        self.refused = [0] * len(Priority)
        """Those who did not pass, by class: no room, or no more time."""

    def passes(self, priority: Priority) -> bool:
        """Tell whether one may pass at once: the door is open and nobody is before it. Who may not must `enter`."""
        return not self.waiting and not self._is_calling and self._is_open(priority)

    async def enter(self, priority: Priority, deadline_s: float) -> None:
        """Pass the door, at once or after a wait. Raises the refusal; `deadline_s` is on the monotonic clock."""
        if self.passes(priority):
            return
        now_s = self._clock.monotonic_s()
        wait_s = min(self._bounds.wait_s, deadline_s - now_s)
        if wait_s <= 0 or not self._make_room(priority):
            self.refused[priority] += 1
            raise self._refusal(self._bounds.wait_s)
        called = asyncio.get_running_loop().create_future()
        one = _Waiting(priority, now_s, self._bounds.ageing_s, called)
        self._classes[priority].append(one)
        self.waiting += 1
        if self._look is None:
            self._look_again()
        else:
            self.let_in()  # the door may be open for this one though it is not for those who wait
        try:
            async with asyncio.timeout(wait_s):
                await called
        except TimeoutError:
            if called.done() and not called.cancelled():
                called.result()  # it was called, or dropped, in the very moment its time was up
            else:
                self._remove(one)
                self.refused[priority] += 1
                raise self._refusal(self._bounds.wait_s) from None
        except asyncio.CancelledError:
            self._remove(one)  # the place it was called to, if it was, goes to the next by itself: `_called`
            raise
        self.waited += 1

    def let_in(self) -> None:
        """Call the one whose turn it is, if the door is open for it. Call this when somebody leaves."""
        if self._is_calling:
            return
        for line in self._classes:
            while line and line[0].called.done():  # its caller has just gone away
                self._remove(line[0])
        if not self.waiting:
            return
        now_s = self._clock.monotonic_s()
        first = min(
            (line[0] for line in self._classes if line and self._is_open(self._class_by_now(line[0], now_s))),
            key=lambda one: one.turn_s,
            default=None,
        )
        if first is not None:
            self._remove(first)
            first.called.set_result(None)
            self._is_calling = True
            asyncio.get_running_loop().call_soon(self._called)

    def _class_by_now(self, one: _Waiting, now_s: float) -> Priority:
        """Return the class that one has aged to."""
        gained = int((now_s - one.came_s) / self._bounds.ageing_s)
        return Priority(max(one.priority - gained, Priority.CRITICAL))

    def _called(self) -> None:
        """Go on: the one called has taken its place, and only now can the door tell how much room is left."""
        self._is_calling = False
        self.let_in()

    def _look_again(self) -> None:
        self._look = None
        self.let_in()
        if self.waiting:
            self._look = asyncio.get_running_loop().call_later(LOOK_S, self._look_again)

    def _make_room(self, priority: Priority) -> bool:
        """Make room for a newcomer where all is full: drop the oldest of the lowest class, no better than its own."""
        if self.waiting < self._bounds.waiting_most:
            return True
        for line in reversed(self._classes[priority:]):
            if line:
                oldest = line[0]
                self._remove(oldest)
                self.refused[oldest.priority] += 1
                if not oldest.called.done():
                    oldest.called.set_exception(self._refusal(self._bounds.wait_s))
                return True
        return False

    def _remove(self, one: _Waiting) -> None:
        try:
            self._classes[one.priority].remove(one)
        except ValueError:
            return
        self.waiting -= 1
