"""Outlier ejection: a back end that fails clearly more often than its peers is left out for a while.

The breaker catches who fails every time; this catches who fails every third time, which a run of failures never shows.

Promises: a back end is judged by its last `WINDOW` answers and only against the others that could have served the same
request, so trouble they all share ejects nobody; it stays out `BASE_S` x the times it was ejected, `CAP_S` at most, and
each `CAP_S` spent back in forgives one time; of the back ends of a request at most half are out, and never the last;
nobody is ejected who does as well as the best. Who would be out but for that half, or lags on too few answers to be
judged, keeps its own traffic and is given nobody else's.

After Envoy's outlier detection (base 30 s x times ejected, cap 300 s). Envoy compares with 1.9 standard deviations
among five hosts and more; a route here has two or three back ends, where a deviation says nothing (one that differs at
all is always the outlier). So the measure is plain: `MARGIN` below the best third of the others. Not below their
median: where two of three are sick, the median of a sick one's peers is half sick itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

from penstock.kernel.clock import Clock

WINDOW: Final = 50
SAMPLES_LEAST: Final = 20
"""Answers before a back end is judged or is a measure for others."""
DOUBTED_LEAST: Final = 5
"""Answers before a back end may be in doubt: that costs it no traffic of its own, so a few will do."""
MARGIN: Final = 0.3
"""How far a share of good answers may lie under the best peers'."""
BASE_S: Final = 30.0
CAP_S: Final = 300.0
LABELS_MOST: Final = 4_096


class Verdict(NamedTuple):
    """Who of one request's back ends are `out`, and who are `doubted`: not to be given what others should have had."""

    out: Collection[str] = ()
    doubted: Collection[str] = ()


class _Health:
    """The last answers of one back end, and its ejections."""

    __slots__ = ("answers", "back_s", "good", "times")

    def __init__(self) -> None:
        self.answers: deque[bool] = deque(maxlen=WINDOW)
        self.good = 0
        self.times = 0
        self.back_s = 0.0
        """When it is, or was, let back in."""

    def eject(self, now_s: float) -> None:
        forgiven = int((now_s - self.back_s) / CAP_S) if self.times else 0
        self.times = max(self.times - forgiven, 0) + 1
        self.back_s = now_s + min(BASE_S * self.times, CAP_S)
        self.answers.clear()
        self.good = 0


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
        answers = health.answers
        if len(answers) == WINDOW:
            health.good -= answers[0]
        answers.append(good)
        health.good += good
        if not good:
            self._suspects.add(label)

    def among(self, labels: Sequence[str]) -> Verdict:
        """Judge who of one request's back ends is out: of too many, those with the longest to go."""
        now_s = self._clock.monotonic_s()
        different = tuple(dict.fromkeys(labels))
        for label in different:
            if self._out.get(label, now_s) <= now_s:
                self._out.pop(label, None)
                if label in self._suspects:
                    self._judge(label, different, now_s)
        ejected = sorted(
            (label for label in different if label in self._out), key=lambda label: -self._out[label]
        )
        out = ejected[: len(different) // 2]
        doubted = [
            label
            for label in different
            if label not in out and (label in self._out or self._lags(label, different, DOUBTED_LEAST))
        ]
        return Verdict(out, doubted)

    def _judge(self, label: str, labels: Sequence[str], now_s: float) -> None:
        if len(labels) == 1:
            return  # a request that could have gone elsewhere will judge it
        self._suspects.discard(label)
        if self._lags(label, labels, SAMPLES_LEAST):
            health = self._known[label]
            health.eject(now_s)
            self._out[label] = health.back_s
            self.ejections += 1

    def _lags(self, label: str, labels: Sequence[str], least: int) -> bool:
        """Tell whether a back end does worse than the best third of the others, each on `least` answers or more. Of
        more than a few the luckiest one alone would be no measure.
        """
        own = self._share(label, least)
        if own is None:
            return False
        others = [
            share for other in labels if other != label and (share := self._share(other, least)) is not None
        ]
        best = sorted(others, reverse=True)[: -(-len(others) // 3)]
        return bool(best) and own < sum(best) / len(best) - MARGIN

    def _share(self, label: str, least: int) -> float | None:
        """Return the share of good answers, None when there are fewer than `least`."""
        health = self._known.get(label)
        if health is None or len(health.answers) < least:
            return None
        return health.good / len(health.answers)
