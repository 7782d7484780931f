"""Time as a value that is passed in: monotonic for intervals, wall for windows and dates.

Promise: nothing else in Penstock reads the machine's clock, so a test owns time by passing a `ManualClock`. Intervals
(timeouts, leases, buckets) use `monotonic_s`, which never goes backwards; calendar windows use `wall_s` (UTC).
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Where time comes from."""

    def monotonic_s(self) -> float:
        """Seconds from an arbitrary start, never decreasing."""
        ...

    def wall_s(self) -> float:
        """Seconds since 1970-01-01T00:00:00Z; may jump either way."""
        ...


class SystemClock:
    """The machine's own clock."""

    __slots__ = ()
    monotonic_s = staticmethod(time.monotonic)
    wall_s = staticmethod(time.time)


class ManualClock:
    """A clock that moves only when told to; shipped so that users can test their own policies."""

    __slots__ = ("_mono", "_wall")

    def __init__(self, wall_s: float = 1_800_000_000.0, monotonic_s: float = 1_000.0) -> None:
        """Start at the given wall time (seconds since 1970) and monotonic reading (seconds)."""
        self._wall = wall_s
        self._mono = monotonic_s

    def monotonic_s(self) -> float:
        """Return the current monotonic reading in seconds."""
        return self._mono

    def wall_s(self) -> float:
        """Return the current wall time in seconds since 1970."""
        return self._wall

    def advance(self, seconds: float) -> None:
        """Let `seconds` (>= 0) pass on both faces."""
        if seconds < 0:
            raise ValueError("time passed cannot be negative; use jump_wall to set the wall clock back")
        self._mono += seconds
        self._wall += seconds

    def jump_wall(self, seconds: float) -> None:
        """Set the wall clock forward or back by `seconds`, as an operator or NTP does; intervals do not notice."""
        self._wall += seconds
