"""Load shedding: when this process cannot keep up, the least urgent requests are refused before they cost anything.

The signal is the event loop's lag: how late a timer fires. It is the queue that every request stands in, whatever it
waits for later, and it is ours alone. What concurrency limits usually go by, in-flight requests and round-trip times
(Netflix concurrency-limits, Envoy's adaptive concurrency), says nothing here: a model answers in one second or in two
minutes, and a thousand requests waiting for it cost this process next to nothing.

The control is after DAGOR (Zhou et al., "Overload Control for Scaling WeChat Microservices", SoCC 2018): a window with
more than 20 ms of queueing cuts what is admitted, a window below lets a little more in, and the cut falls on the
classes from the lowest up, by how many of each came in the window before. Of a window the least lag counts (CoDel,
RFC 8289): a burst that is gone again is no overload, a standing queue is. Where DAGOR cuts by a fixed share, this reads
the capacity from the queue itself: admitting `a` per second to a process that does `c` makes the lag grow by a/c - 1
per second, so the first cut is the right one; below it by as much as empties the queue within `DRAIN_S`.

Promises: idle, `admit` is one addition and one test; a class is shed only when every class below it is; a process that
keeps up again admits everybody within seconds; every refusal is counted by class and says when to come back.
"""

from __future__ import annotations

import asyncio
from typing import Final

from penstock.kernel.clock import Clock
from penstock.kernel.errors import Overloaded
from penstock.mechanisms.priorities import Priority

TARGET_S: Final = 0.02
WINDOW_S: Final = 0.1
TICK_S: Final = 0.01
DRAIN_S: Final = 0.5
"""In which a queue is to be gone."""
MOST_CUT: Final = 0.5
RISE: Final = 0.02
LEAST_PER_S: Final = 10.0
"""Admitted whatever the lag, so that the way out of an overload can be found."""
RETRY_AFTER_S: Final = 1.0


class LoadShedder:
    """Decides at the door who comes in. One per process; `watch` starts it on the running loop."""

    def __init__(self, clock: Clock) -> None:
        """Start with everybody admitted."""
        self._clock = clock
        self._arrived = [0] * len(Priority)
        self._admitted = 0
        self._shares = [1.0] * len(Priority)
        self._credit = [0.0] * len(Priority)
        self._rate = 0.0
        self._least_s = float("inf")
        self._window_s = clock.monotonic_s()
        self._timer: asyncio.TimerHandle | None = None
        self.is_shedding = False
        self.lag_s = 0.0
        """The least lag of the last window."""
        self.refused = [0] * len(Priority)

    def admit(self, priority: Priority) -> None:
        """Let one request in. Raises Overloaded."""
        self._arrived[priority] += 1
        if self.is_shedding and not self._is_let_in(priority):
            self.refused[priority] += 1
            raise Overloaded("The server is overloaded.", retry_after_s=RETRY_AFTER_S)
        self._admitted += 1

    def observe(self, lag_s: float) -> None:
        """Note how late a timer fired; at the end of a window, decide for the next."""
        self._least_s = min(self._least_s, lag_s)
        now_s = self._clock.monotonic_s()
        passed_s = now_s - self._window_s
        if passed_s >= WINDOW_S:
            self._decide(passed_s)
            self._window_s = now_s

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

    def _is_let_in(self, priority: Priority) -> bool:
        """Admit evenly spread, by the share of the class."""
        self._credit[priority] += self._shares[priority]
        if self._credit[priority] < 1:
            return False
        self._credit[priority] -= 1
        return True

    def _decide(self, passed_s: float) -> None:
        arrived_per_s = sum(self._arrived) / passed_s
        was_s, self.lag_s = self.lag_s, self._least_s
        if self.lag_s > TARGET_S:
            growth = max((self.lag_s - was_s) / passed_s, -MOST_CUT)
            capacity_per_s = self._admitted / passed_s / (1 + growth)
            drain = min((self.lag_s - TARGET_S) / DRAIN_S, MOST_CUT)
            self._rate = max(capacity_per_s * (1 - drain), LEAST_PER_S)
            self.is_shedding = True
        elif self.is_shedding:
            self._rate += self._rate * RISE
            self.is_shedding = self._rate < arrived_per_s
        if self.is_shedding:
            self._share_out(self._rate * passed_s)
        self._arrived = [0] * len(Priority)
        self._admitted = 0
        self._least_s = float("inf")

    def _share_out(self, room: float) -> None:
        """Give the room to the classes from the best down, as if as many came as in the last window."""
        for priority in Priority:
            came = self._arrived[priority]
            self._shares[priority] = min(max(room, 0.0) / came, 1.0) if came else float(room > 0)
            room -= came
