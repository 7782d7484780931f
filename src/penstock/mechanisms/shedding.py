"""Load shedding: when this process cannot keep up, the least urgent requests are refused before they cost anything.

The signal is the event loop's lag: how late a timer fires. It is the queue that every request stands in, whatever it
waits for later, and it is ours alone. Round-trip times, which concurrency limits usually go by (Netflix
concurrency-limits, Envoy's adaptive concurrency), say nothing here: a model answers in one second or in two minutes.
Of a window the median lag counts, for the reason of CoDel (RFC 8289): a burst that is gone again is no overload, a
standing queue is.

What is adapted is how many may be under way at one time, because that acts at once however long an answer takes: with
a queue before it that does not get shorter the limit falls, as far as there is too much of a queue; without one, and
met, it rises a little. A process that keeps up has no limit; the first is what is under way when it does not.

Who comes in is decided after DAGOR (Zhou et al., "Overload Control for Scaling WeChat Microservices", SoCC 2018): as
many as are about to end, and as there is room below the limit, are shared out to the classes from the best down, by how
many of each came in the window before. What was not foreseen the limit itself bounds, for all but the urgent.

Promises: while the process keeps up nothing is asked of a request at all; a class is shed only when every class below
it is; a process that keeps up again admits everybody within seconds; every refusal is counted by class.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from statistics import median
from typing import Final, Protocol

from penstock.kernel.clock import Clock
from penstock.mechanisms.priorities import Priority

OVERLOAD_S: Final = 0.05
"""A queue that is longer is an overload: shedding begins."""
TARGET_S: Final = 0.005
"""The queue that is kept while shedding: long enough that there is always work, and no longer."""
WINDOW_S: Final = 0.1
TICK_S: Final = 0.01
LOOKS_LEAST: Final = 3
"""Looks at the lag in one window: a process that was merely held up for a moment has caught up at the next."""
DRAIN_S: Final = 0.1
"""The lag above the target at which the limit would fall to nothing, were it not for `MOST_CUT`."""
MOST_CUT: Final = 0.3
RISE: Final = 0.03
"""By how much the limit rises after a window without a queue."""
MET: Final = 0.7
"""The part of the limit from which it counts as met."""
PARTS: Final = (1.5, 1.2, 1.0, 1.0)
"""The part of the limit that is shared out to each class and those above it."""
LEAST_BEGUN: Final = 0.5
"""As a part of those that end: while there is too much under way, the urgent come in all the same."""
LEAST: Final = 32.0
"""Under way whatever the lag: enough to keep a core busy, and too few to be the queue that a long lag tells of."""
SPARE: Final = 1.1
"""How many more than are foreseen to end are shared out: the limit, not the foresight, is to be what bounds."""
SMOOTHING: Final = 0.2


class Traffic(Protocol):
    """What the process is asked (`net/site.Stats`)."""

    requests: int
    """Requests that ever came, whatever became of them."""
    in_flight: int
    """Requests under way now."""


class LoadShedder:
    """Decides who comes in while the process cannot keep up. One per process; `watch` starts it on the running loop."""

    def __init__(self, clock: Clock, traffic: Traffic, turned: Callable[[], None]) -> None:
        """Go by `traffic`; `turned` is called when `is_shedding` has turned: while it is True, `admits` is to be
        asked.
        """
        self._clock = clock
        self._traffic = traffic
        self._turned = turned
        self._came_before, self._under_way_before = traffic.requests, traffic.in_flight
        self._refused_before = 0
        self._ended_per_s = 0.0
        self._asked = [0] * len(Priority)
        self._shares = [1.0] * len(Priority)
        self._credit = [0.0] * len(Priority)
        self._limit = 0.0
        self._looks: list[float] = []
        self._window_s = clock.monotonic_s()
        self._timer: asyncio.TimerHandle | None = None
        self.is_shedding = False
        self.lag_s = 0.0
        """The median lag of the last window."""
        self.refused = [0] * len(Priority)

    def admits(self, priority: Priority) -> bool:
        """Tell whether one more of a class may come in, spread evenly over time; one that may not is counted."""
        self._asked[priority] += 1
        credit = min(self._credit[priority] + self._shares[priority], 2.0)
        if credit >= 1 and (priority < Priority.NORMAL or self._traffic.in_flight < self._limit):
            self._credit[priority] = credit - 1
            return True
        self._credit[priority] = credit
        self.refused[priority] += 1
        return False

    def observe(self, lag_s: float) -> None:
        """Note how late a timer fired; at the end of a window, decide for the next."""
        self._looks.append(lag_s)
        now_s = self._clock.monotonic_s()
        passed_s = now_s - self._window_s
        if passed_s >= WINDOW_S and len(self._looks) >= LOOKS_LEAST:
            was_s, self.lag_s = self.lag_s, median(self._looks)
            self._looks.clear()
            self._window_s = now_s
            self._decide(passed_s, is_falling=self.lag_s < was_s)

    def watch(self) -> None:
        """Begin to watch the running loop."""
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(TICK_S, self._tick, loop, self._clock.monotonic_s() + TICK_S)

    def close(self) -> None:
        """Stop watching. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self, loop: asyncio.AbstractEventLoop, due_s: float) -> None:
        now_s = self._clock.monotonic_s()
        self.observe(max(now_s - due_s, 0.0))
        self._timer = loop.call_later(TICK_S, self._tick, loop, now_s + TICK_S)

    def _decide(self, passed_s: float, *, is_falling: bool) -> None:
        came, refused, ended = self._counted()
        self._ended_per_s += SMOOTHING * (ended / passed_s - self._ended_per_s)
        was_shedding = self.is_shedding
        self.is_shedding = self.lag_s > OVERLOAD_S or refused > 0
        if self.is_shedding:
            if not was_shedding:
                # Nobody was asked: until it is known who comes, all that came passes for normal.
                self._asked[Priority.NORMAL] = came
                self._limit = float(self._traffic.in_flight)
            self._adapt(is_falling=is_falling)
            self._share_out(self._ended_per_s * passed_s, unasked=came - sum(self._asked))
        self._asked = [0] * len(Priority)
        if self.is_shedding is not was_shedding:
            self._turned()

    def _adapt(self, *, is_falling: bool) -> None:
        under_way = self._traffic.in_flight
        if self.lag_s > TARGET_S:
            if under_way <= self._limit * PARTS[0] and not is_falling:
                cut = min((self.lag_s - TARGET_S) / DRAIN_S, MOST_CUT)
                self._limit = max(min(under_way, self._limit) * (1 - cut), LEAST)
        elif under_way >= self._limit * MET:
            self._limit *= 1 + RISE

    def _counted(self) -> tuple[int, int, int]:
        """Return how many came, were refused and ended in this window."""
        came_ever, under_way, refused_ever = (
            self._traffic.requests,
            self._traffic.in_flight,
            sum(self.refused),
        )
        came = came_ever - self._came_before
        refused = refused_ever - self._refused_before
        ended = came - refused - (under_way - self._under_way_before)
        self._came_before, self._under_way_before, self._refused_before = came_ever, under_way, refused_ever
        return came, refused, ended

    def _share_out(self, ending: float, *, unasked: int) -> None:
        """Give the room that there will be to the classes from the best down, as if as many came as in the last window
        and `ending` of those under way ended.
        """
        left = ending * SPARE - self._traffic.in_flight
        before = unasked
        for priority, part in zip(Priority, PARTS, strict=True):
            room = max(self._limit * part + left, ending * LEAST_BEGUN) - before
            asked = self._asked[priority]
            self._shares[priority] = min(max(room, 0.0) / asked, 1.0) if asked else float(room > 0)
            before += asked
