"""Two targets up at one time and asked in turns, a second or two each: what the one costs more than the other.

Promises: a machine that slows down or speeds up falls on both, for a pair is measured within seconds and the order
turns round from pair to pair; a request is charged with what it leaves to do afterwards (files written, contents
sealed), since CPU is read when the target has come to rest; the first pair only warms up. The middle of the pairs is
their median, its error what their spread lets it be wrong by.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from tests.bench import load, meter
from tests.bench.load import Load
from tests.bench.peers.base import NotRunnable, Target

_REST_LIMIT_S = 5.0
_SIGMA_OF_MAD = 1.4826  # of normally distributed values (Rousseeuw and Croux 1993)
_ERROR_OF_MEDIAN = math.sqrt(math.pi / 2)  # the standard error of a median, in standard errors of the mean


@dataclass(slots=True, frozen=True)
class Middle:
    """A median and its standard error; of one value the error is not known and infinite."""

    at: float
    error: float

    def __str__(self) -> str:
        return f"{self.at:+.1f} ± {self.error:.1f}"


@dataclass(slots=True, frozen=True, kw_only=True)
class Turn:
    """One target asked for a second or two. `window_us` is the CPU of an answer while the load ran, as the bench tells
    it, `whole_us` with what was left to do.
    """

    window_us: float
    whole_us: float
    per_s: float
    errors: float
    foreign_cores: float


@dataclass(slots=True, frozen=True)
class Pair:
    """Both, one right after the other."""

    off: Turn
    on: Turn

    @property
    def more_us(self) -> float:
        """What an answer costs more with it."""
        return self.on.whole_us - self.off.whole_us


def middle(values: Sequence[float]) -> Middle:
    """Return the median of values and its standard error, neither moved by a few that are far off."""
    at = statistics.median(values)
    if len(values) < 2:
        return Middle(at, math.inf)
    spread = _SIGMA_OF_MAD * statistics.median(abs(each - at) for each in values)
    return Middle(at, _ERROR_OF_MEDIAN * spread / math.sqrt(len(values)))


def pairs(off: Target, on: Target, upstream: Target, kind: Load, *, count: int, seconds: int) -> list[Pair]:
    """Measure `count` pairs, after one that is not counted. Both targets are up, and have names of their own."""
    found: list[Pair] = []
    for number in range(count + 1):
        order = (off, on) if number % 2 else (on, off)
        taken = {each.name: turn(each, upstream, kind, seconds) for each in order}
        found.append(Pair(taken[off.name], taken[on.name]))
    return found[1:]


def turn(target: Target, upstream: Target, kind: Load, seconds: int) -> Turn:
    """Ask one target for so long, and wait until it has come to rest."""
    if target.pid is None or upstream.pid is None:
        raise NotRunnable(f"{target.name}: it or the upstream has ended")
    before = meter.threads_ns(target.pid)
    figures = load.measure(target, upstream.pid, kind, seconds, 1)
    meter.settle(target.pid, _REST_LIMIT_S)
    whole_ns = meter.spent_ns(before, meter.threads_ns(target.pid))
    return Turn(
        window_us=figures["cpu_us"],
        whole_us=whole_ns / figures["answers"] / 1e3,
        per_s=figures["per_s"],
        errors=figures["errors"],
        foreign_cores=figures["foreign_cores"],
    )
