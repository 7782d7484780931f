"""A share of one thread's time for work that is pleasant to have and must not be in the way of any other.

Promise: however many do the work, all of it together takes at most `share` of the thread in the long run, and each
comes in turn: whoever has done some is told for how long to rest, behind what all others did. One piece that took
unlike the others (a first one, or one during which the machine was busy with something else) is paid for with at most
`PIECE_S` seconds, or it would silence everybody for minutes.
"""

from __future__ import annotations

from typing import Final

from penstock.kernel.clock import Clock

PIECE_S: Final = 3.0


class Allowance:
    """Tells for how long to rest from a kind of work. One per thread."""

    __slots__ = ("_clock", "_free_s", "_share")

    def __init__(self, clock: Clock, share: float) -> None:
        """Let the work take `share` (above 0, at most 1) of the time."""
        self._clock = clock
        self._share = share
        self._free_s = 0.0
        """When what was done so far is worked off."""

    def rest_s(self, cost_s: float) -> float:
        """Return for how many seconds whoever has just done a piece that took `cost_s` does none."""
        now_s = self._clock.monotonic_s()
        self._free_s = max(self._free_s, now_s) + min(cost_s / self._share, PIECE_S)
        return self._free_s - now_s
