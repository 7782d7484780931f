"""Is the newcomer worse? Tests against a concurrent control that may be looked at after every request, for ever.

    errors       ShareTest      more of the newcomer's calls fail
    latency      SlownessTest   more of them take longer than the control lately did
    quality      MeanTest       its scores (0 to 1) are lower on average

Each test holds a wealth that starts at 1 and, while the newcomer is no worse, is a martingale: it is multiplied by bets
that are fair then. By Ville's inequality it ever reaches 1/alpha with a probability of at most alpha, however often and
for however long it is looked at (Ramdas, Grünwald, Vovk and Shafer, "Game-theoretic statistics and safe anytime-valid
inference", Statistical Science 2023). A newcomer that is worse makes it grow without end.

Promises: a good newcomer is convicted with a probability of at most `alpha`, all metrics together (Bonferroni),
whatever the split is and however it changes; what befalls both arms (a provider down, an evening's load) convicts
nobody, for only calls of the same short block are compared; too little evidence convicts nobody and acquits nobody;
memory is bounded; the same calls in the same order give the same answer; what several nodes saw, each of its own calls,
multiplies to the evidence of all (`merged`).

Assumed: within a block a call's arm says nothing about the call but through the newcomer. A sticky canary of very few
users breaks that: then the users are compared. Where a split has just grown, slow calls of the newcomer are still under
way; what is missing makes it look better, never worse.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum
from typing import Final, NamedTuple

ODDS: Final = (1.5, 2.0, 3.0, 5.0, 8.0)
"""Odds ratios of going wrong that are bet on: half again as many, to nearly all."""
LEVERAGES: Final = (0.1, 0.25, 0.5, 0.75, 0.95)
"""Parts of the wealth put on the newcomer's mean being lower; below 1, so that no block can take it all."""
QUANTILES: Final = (0.5, 0.9)
"""Of the control's latency: the newcomer's share above each is compared. The middle moves with all, the tail alone."""
HISTORY: Final = 256
"""Latencies of the control that its quantiles are taken from."""
HISTORY_LEAST: Final = 30
BLOCK_MOST: Final = 1_000
"""Calls after which a block ends without waiting for a look."""
PATIENCE: Final = 6
"""Looks that an arm may wait for the other; then what it waited with is forgotten, for times may have changed."""
FIRST_STAKE: Final = 0.5
WEALTH_MOST: Final = 1e200

SHARES: Final = {"errors": 0.5, "first_token": 0.15, "latency": 0.15, "quality": 0.2}
"""How `alpha` is split among the metrics; together 1."""


class Side(IntEnum):
    """Whose call it was."""

    CONTROL = 0
    NEWCOMER = 1


class Wealth:
    """What bets have made of a wealth of 1: the mean of several strategies, each joined little by little.

    Half is staked at once, the rest as 1/(t(t + 1)) of it at the t-th bet after: a mixture over when the newcomer began
    to be worse, so that one that turns bad late is not protected by its good past (Shin, Ramdas and Rinaldo,
    "E-detectors", 2022, with stakes that add up to 1 in place of their growing sum).
    """

    __slots__ = ("_bets", "_strategies")

    def __init__(self, strategies: int) -> None:
        """Begin with a wealth of 1 and nothing staked."""
        self._strategies = [0.0] * strategies
        self._bets = 0

    @property
    def value(self) -> float:
        """Return the wealth: staked and not yet staked."""
        return sum(self._strategies) / len(self._strategies) + self._reserve(self._bets)

    def grow(self, factors: Sequence[float]) -> None:
        """Multiply what is staked on each strategy; the factors were fair before the block they come from."""
        stake = self._reserve(self._bets) - self._reserve(self._bets + 1)
        self._bets += 1
        self._strategies = [
            min((wealth + stake) * factor, WEALTH_MOST)
            for wealth, factor in zip(self._strategies, factors, strict=True)
        ]

    @staticmethod
    def _reserve(bets: int) -> float:
        return (1.0 - FIRST_STAKE) / bets if bets else 1.0


class ShareTest:
    """Does more go wrong for the newcomer? Exact for any split.

    If it made no difference, then of the calls of a block that went wrong, each set of as many would be as likely, so
    the newcomer's part of them is hypergeometric (Fisher, 1935). The bet is its likelihood ratio against Fisher's
    noncentral hypergeometric distribution at each of `ODDS`; it is unfair to whoever bets when the newcomer is better.
    """

    __slots__ = ("_bad", "_calls", "_looks", "_wealth")

    def __init__(self) -> None:
        """Begin without evidence."""
        self._wealth = Wealth(len(ODDS))
        self._calls = [0, 0]
        self._bad = [0, 0]
        self._looks = 0

    @property
    def value(self) -> float:
        """Return the evidence against the newcomer; 1 is none."""
        return self._wealth.value

    def count(self, side: Side, *, bad: bool) -> None:
        """Note one call of the block under way."""
        self._calls[side] += 1
        self._bad[side] += bad

    def look(self) -> bool:
        """End the block, unless an arm had no call in it; tell whether it ended."""
        control, newcomer = self._calls
        self._looks += 1
        if not (control and newcomer) and self._looks < PATIENCE:
            return False
        bad = sum(self._bad)
        if control and newcomer and 0 < bad < control + newcomer:
            self._wealth.grow(share_ratios(newcomer, control, bad, self._bad[Side.NEWCOMER]))
        self._calls = [0, 0]
        self._bad = [0, 0]
        self._looks = 0
        return True


def share_ratios(newcomer: int, control: int, bad: int, newcomers_bad: int) -> list[float]:
    """Return, for each of `ODDS`, how much likelier it makes `newcomers_bad` of `bad` than no difference does.

    `newcomer` and `control` are the calls of each arm, both positive.
    """
    first = max(0, bad - control)
    last = min(bad, newcomer)
    logs = [0.0]
    for i in range(first, last):
        logs.append(logs[-1] + math.log((newcomer - i) * (bad - i) / ((i + 1) * (control - bad + i + 1))))
    alike = _log_sum(logs)
    ratios: list[float] = []
    for odds in ODDS:
        tilt = math.log(odds)
        tilted = _log_sum([log + (first + i - newcomers_bad) * tilt for i, log in enumerate(logs)])
        ratios.append(math.exp(min(alike - tilted, 460.0)))
    return ratios


def _log_sum(logs: Sequence[float]) -> float:
    """Return the logarithm of the sum of what these are the logarithms of."""
    most = max(logs)
    return most + math.log(sum(math.exp(log - most) for log in logs))


class SlownessTest:
    """Do more of the newcomer's calls take longer than the control lately did?

    A call is counted as gone wrong when it is above a quantile of the control's last `HISTORY` latencies. The quantile
    stands before the block begins, so the count is as fair as that of errors (`ShareTest`), and needs no assumption
    about how latencies are distributed.
    """

    __slots__ = ("_history", "_limits_ms", "_tests", "_tolerated")

    def __init__(self, tolerance: float) -> None:
        """Convict only of latencies more than `tolerance` (a part, 0.1 is ten per cent) above the control's."""
        self._tolerated = 1.0 + tolerance
        self._history: deque[float] = deque(maxlen=HISTORY)
        self._limits_ms: tuple[float, ...] = ()
        self._tests = tuple(ShareTest() for _ in QUANTILES)

    @property
    def value(self) -> float:
        """Return the evidence against the newcomer; 1 is none."""
        return sum(test.value for test in self._tests) / len(self._tests)

    def count(self, side: Side, latency_ms: float) -> None:
        """Note one call of the block under way."""
        compared_ms = latency_ms / self._tolerated if side else latency_ms
        for test, limit_ms in zip(self._tests, self._limits_ms, strict=False):
            test.count(side, bad=compared_ms > limit_ms)
        if side is Side.CONTROL:
            self._history.append(latency_ms)

    def look(self) -> bool:
        """End the block, unless an arm had no call in it; tell whether it ended."""
        ended = [test.look() for test in self._tests]
        if (all(ended) or not self._limits_ms) and len(self._history) >= HISTORY_LEAST:
            ordered = sorted(self._history)
            self._limits_ms = tuple(ordered[int(quantile * len(ordered))] for quantile in QUANTILES)
        return all(ended)


class MeanTest:
    """Is the newcomer's mean score lower? Scores are between 0 and 1, of any distribution.

    As soon as both arms have a score, their means differ by something whose expectation is at most 0 if the newcomer is
    no worse, and between -1 and 1 always: each of `LEVERAGES` bets that part of its wealth on it (Waudby-Smith and
    Ramdas, "Estimating means of bounded random variables by betting", JRSS B 2024).
    """

    __slots__ = ("_looks", "_scores", "_sums", "_wealth")

    def __init__(self) -> None:
        """Begin without evidence."""
        self._wealth = Wealth(len(LEVERAGES))
        self._scores = [0, 0]
        self._sums = [0.0, 0.0]
        self._looks = 0

    @property
    def value(self) -> float:
        """Return the evidence against the newcomer; 1 is none."""
        return self._wealth.value

    def count(self, side: Side, score: float) -> None:
        """Note one score."""
        if not 0.0 <= score <= 1.0:
            raise ValueError("a score is between 0 and 1")
        self._scores[side] += 1
        self._sums[side] += score
        control, newcomer = self._scores
        if control and newcomer:
            lead = self._sums[Side.CONTROL] / control - self._sums[Side.NEWCOMER] / newcomer
            self._wealth.grow([1.0 + leverage * lead for leverage in LEVERAGES])
            self._forget()

    def look(self) -> bool:
        """Forget scores that waited too long for the other arm; tell whether it did."""
        self._looks += 1
        if self._looks < PATIENCE:
            return False
        self._forget()
        return True

    def _forget(self) -> None:
        self._scores = [0, 0]
        self._sums = [0.0, 0.0]
        self._looks = 0


class Finding(NamedTuple):
    """A metric whose evidence against the newcomer reached its bound."""

    metric: str
    evidence: float
    bound: float


def finding_in(evidence: Mapping[str, float], alpha: float) -> Finding | None:
    """Return the metric that convicts a newcomer, the clearest if several do, or None."""
    bounds = {metric: 1.0 / (alpha * share) for metric, share in SHARES.items()}
    found = [
        Finding(metric, value, bounds[metric])
        for metric, value in evidence.items()
        if value >= bounds[metric]
    ]
    return max(found, key=lambda each: each.evidence / each.bound, default=None)


def merged(evidences: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Return the evidence of all who looked at calls of their own: wealths won apart multiply to a wealth (Vovk and
    Wang, "E-values: calibration, combination and applications", Annals of Statistics 2021).
    """
    together = dict.fromkeys(SHARES, 1.0)
    for evidence in evidences:
        for metric in together:
            together[metric] = min(together[metric] * evidence.get(metric, 1.0), WEALTH_MOST)
    return together


class Trial:
    """One newcomer against its control, by every metric. `look` about every ten seconds."""

    __slots__ = ("_alpha", "_errors", "_first_token", "_latency", "_quality", "_since")

    def __init__(self, alpha: float = 0.01, tolerance: float = 0.1) -> None:
        """Convict a good newcomer with a probability of at most `alpha`; forgive that much more latency (a part)."""
        if not 0.0 < alpha < 1.0 or tolerance < 0.0:
            raise ValueError("alpha is between 0 and 1, tolerance at least 0")
        self._alpha = alpha
        self._errors = ShareTest()
        self._first_token = SlownessTest(tolerance)
        self._latency = SlownessTest(tolerance)
        self._quality = MeanTest()
        self._since = 0

    def failed(self, side: Side) -> None:
        """Note a call that the back end failed."""
        self._errors.count(side, bad=True)
        self._called()

    def answered(self, side: Side, first_token_ms: float, latency_ms: float) -> None:
        """Note a good answer; a `first_token_ms` of 0 is not known."""
        self._errors.count(side, bad=False)
        self._latency.count(side, latency_ms)
        if first_token_ms > 0.0:
            self._first_token.count(side, first_token_ms)
        self._called()

    def scored(self, side: Side, score: float) -> None:
        """Note how good an answer was, 0 to 1."""
        self._quality.count(side, score)

    def look(self) -> None:
        """End the blocks under way: what they say counts from now on."""
        self._since = 0
        for _, test in self._tests():
            test.look()

    @property
    def evidence(self) -> dict[str, float]:
        """Return the evidence against the newcomer by metric: 1 is none, 20 is what a test at 5 % asks for."""
        return {metric: test.value for metric, test in self._tests()}

    @property
    def finding(self) -> Finding | None:
        """Return what convicts the newcomer, or None."""
        return finding_in(self.evidence, self._alpha)

    def _called(self) -> None:
        self._since += 1
        if self._since >= BLOCK_MOST:
            self.look()

    def _tests(self) -> Iterable[tuple[str, ShareTest | SlownessTest | MeanTest]]:
        return (
            ("errors", self._errors),
            ("first_token", self._first_token),
            ("latency", self._latency),
            ("quality", self._quality),
        )
