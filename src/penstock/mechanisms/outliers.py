"""Outlier ejection: a back end that fails clearly more often than its peers is left out for a while.

The breaker catches who fails every time; this catches who fails every third time, which a run of failures never shows.

Promises: a back end is judged by its last `WINDOW` answers and only against the others that could have served the same
request, so trouble they all share ejects nobody; it stays out `BASE_S` x the times it was ejected, `CAP_S` at most, and
each `CAP_S` spent back in forgives one time; of the back ends of a request at most half are out, and never the last.

After Envoy's outlier detection (base 30 s x times ejected, cap 300 s). Envoy compares with 1.9 standard deviations
among five hosts and more; a route here has two or three back ends, where a deviation says nothing (one that differs at
all is always the outlier). So the measure is plain: `MARGIN` below the median of the others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from statistics import median
from typing import Final

from penstock.kernel.clock import Clock

WINDOW: Final = 50
SAMPLES_LEAST: Final = 20
"""Answers before a back end is judged or is a measure for others."""
MARGIN: Final = 0.3
"""How far a share of good answers may lie under the median of the peers'."""
BASE_S: Final = 30.0
CAP_S: Final = 300.0
LABELS_MOST: Final = 4_096


class _Health:
    """The last answers of one back end, and its ejections."""

    __slots__ = ("answers", "back_s", "times")

    def __init__(self) -> None:
        self.answers: deque[bool] = deque(maxlen=WINDOW)
        self.times = 0
        self.back_s = 0.0
        """When it is, or was, let back in."""

    def share(self) -> float | None:
        """Return the share of good answers, None when there are too few."""
        answers = self.answers
        return sum(answers) / len(answers) if len(answers) >= SAMPLES_LEAST else None

    def eject(self, now_s: float) -> None:
        forgiven = int((now_s - self.back_s) / CAP_S) if self.times else 0
        self.times = max(self.times - forgiven, 0) + 1
        self.back_s = now_s + min(BASE_S * self.times, CAP_S)
        self.answers.clear()


class Outliers:
    """Who is out. One per process."""

    def __init__(self, clock: Clock) -> None:
        """Start with everybody in."""
        self._clock = clock
        self._known: dict[str, _Health] = {}
        self._suspects: set[str] = set()
        self._out: dict[str, float] = {}
        self.ejections = 0
        self.left_out = 0
        """Answers not counted, because too many back ends are."""

    @property
    def any(self) -> bool:
        """Whether anybody is out or failed since it was last judged."""
        return bool(self._suspects or self._out)

    def noted(self, label: str, *, good: bool) -> None:
        """Note how a call ended."""
        health = self._known.get(label)
        if health is None:
            if len(self._known) >= LABELS_MOST:
                self.left_out += 1
                return
            health = self._known[label] = _Health()
        health.answers.append(good)
        if not good:
            self._suspects.add(label)

    def among(self, labels: Sequence[str]) -> Collection[str]:
        """Return which of one request's back ends are out: of too many, those with the longest to go."""
        now_s = self._clock.monotonic_s()
        for label in labels:
            if label in self._suspects:
                self._judge(label, labels, now_s)
            if self._out.get(label, now_s) <= now_s:
                self._out.pop(label, None)
        out = sorted({label for label in labels if label in self._out}, key=lambda label: -self._out[label])
        return out[: len(set(labels)) // 2]

    def _judge(self, label: str, labels: Sequence[str], now_s: float) -> None:
        if len(labels) == 1:
            return  # a request that could have gone elsewhere will judge it
        self._suspects.discard(label)
        own = self._known[label].share()
        peers = [
            share
            for peer in set(labels) - {label}
            if peer in self._known and (share := self._known[peer].share()) is not None
        ]
        if own is not None and peers and own < median(peers) - MARGIN:
            health = self._known[label]
            health.eject(now_s)
            self._out[label] = health.back_s
            self.ejections += 1
