"""A breaker: who fails again and again is left alone for a while, then probed by one call.

Promises: it opens after N failures in a row, lets one probe through after a pause, and closes when an answer has begun;
only a whole answer clears the failures before it.
"""

from __future__ import annotations

from penstock.kernel.clock import Clock


class Breaker:
    """Closed → open after N failures in a row → half-open with one probe → closed or open again."""

    __slots__ = ("_clock", "_failures", "_limit", "_open_s", "_opened_s", "_probing", "probes_failed")

    def __init__(self, clock: Clock, failures: int, open_s: float) -> None:
        """Open after `failures` in a row, for `open_s` seconds."""
        self._clock = clock
        self._limit = failures
        self._open_s = open_s
        self._failures = 0
        self._opened_s = 0.0
        self._probing = False
        self.probes_failed = 0
        """Probes in a row that failed since it opened."""

    @property
    def state(self) -> str:
        """Return "closed", "open" or "half-open"."""
        if self._failures < self._limit:
            return "closed"
        waited = self._clock.monotonic_s() - self._opened_s >= self._open_s
        return "half-open" if waited else "open"

    def admits(self) -> bool:
        """Tell whether a call may go through now; a half-open breaker admits one probe until it is
        answered.
        """
        if self._failures < self._limit:
            self._probing = False
            return True
        if not self.ready:
            return False
        self._probing = True
        return True

    def probes(self) -> bool:
        """Tell whether a call that is about to be made is the probe, which no other is from now on. Whoever comes to
        nothing with it says `undecided`.
        """
        return self._failures >= self._limit and self.admits()

    @property
    def ready(self) -> bool:
        """Whether a call would be admitted now; asking changes nothing."""
        if self._failures < self._limit:
            return True
        return not self._probing and self._clock.monotonic_s() - self._opened_s >= self._open_s

    def began(self) -> None:
        """Note an answer that has begun: the back end lives, but only its end clears the failures before it."""
        self._probing = False
        self.probes_failed = 0
        if self._failures >= self._limit:
            self._failures = self._limit - 1

    def succeeded(self) -> None:
        """Note a good answer, whole."""
        self._failures = 0
        self._probing = False

    def failed(self) -> None:
        """Note a failure that says something about the back end's health."""
        self._failures += 1
        self.probes_failed += self._probing
        self._probing = False
        if self._failures >= self._limit:
            self._opened_s = self._clock.monotonic_s()

    def undecided(self) -> None:
        """Note a call that said nothing about health (the caller went away, the request was wrong)."""
        self._probing = False
