"""Canaries that never were: how often a good one is convicted, and how soon a bad one is.

    simulate(GOOD["1 req/s"], runs=1_000, seed=1) -> Figures(convicted=…, median_s=…, by_metric={…})

Promise: the same seed gives the same figures; every call goes through the product's own `Trial`, looked at every ten
seconds of 600; the gateway looks every eight, and a test that is fair at every look is so at those.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from statistics import median

from penstock.mechanisms.sequential import Side, Trial

LOOK_S = 10
SPREAD = 0.5
"""Standard deviation of the logarithm of a latency: the 95th percentile is 2.3 times the median."""
FIRST_TOKEN_MS = 400.0
LATENCY_MS = 2_000.0


@dataclass(frozen=True, slots=True)
class Arm:
    """What one arm is like: share of failures, latency as a multiple of usual, mean and spread of its scores."""

    errors: float = 0.02
    slowness: float = 1.0
    quality: float = 0.8
    quality_spread: float = 0.2


@dataclass(frozen=True, slots=True)
class Canary:
    """One trial: both arms' calls a second (`rate` is the newcomer's), the share of calls scored, how long it runs.

    Between `outage_s` and the second after, `outage_errors` of every call fails on both arms alike.
    """

    newcomer: Arm = Arm()
    control: Arm = Arm()
    rate: float = 1.0
    control_rate: float = 1.0
    scored: float = 0.1
    seconds: int = 600
    outage_s: tuple[int, int] = (0, 0)
    outage_errors: float = 0.5
    alpha: float = 0.01


@dataclass(frozen=True, slots=True)
class Figures:
    """What became of `runs` trials: how many were convicted, after how many seconds (median), by which metric."""

    runs: int
    convicted: int
    median_s: float
    by_metric: Mapping[str, int] = field(default_factory=dict)

    @property
    def percent(self) -> float:
        """Return the part convicted, in per cent."""
        return 100 * self.convicted / self.runs


def simulate(canary: Canary, runs: int, seed: int) -> Figures:
    """Run so many trials and tell what became of them."""
    rng = random.Random(seed)
    ends: list[int] = []
    metrics: Counter[str] = Counter()
    for _ in range(runs):
        end = run_one(canary, rng)
        if end is not None:
            ends.append(end[0])
            metrics[end[1]] += 1
    return Figures(runs, len(ends), median(ends) if ends else 0.0, dict(metrics))


def run_one(canary: Canary, rng: random.Random) -> tuple[int, str] | None:
    """Return after how many seconds the newcomer is convicted and of what, or None when it never is."""
    trial = Trial(canary.alpha)
    share = canary.rate / (canary.rate + canary.control_rate)
    for now_s in range(LOOK_S, canary.seconds + 1, LOOK_S):
        began, ended = canary.outage_s
        is_down = began < now_s <= ended
        for _ in range(arrivals(rng, (canary.rate + canary.control_rate) * LOOK_S)):
            side = Side.NEWCOMER if rng.random() < share else Side.CONTROL
            arm = canary.newcomer if side else canary.control
            if is_down:
                arm = replace(arm, errors=canary.outage_errors)
            call(trial, side, arm, canary.scored, rng)
        trial.look()
        finding = trial.finding
        if finding is not None:
            return now_s, finding.metric
    return None


def call(trial: Trial, side: Side, arm: Arm, scored: float, rng: random.Random) -> None:
    """Make one call of an arm, and tell the trial."""
    if rng.random() < arm.errors:
        trial.failed(side)
        return
    stretch = arm.slowness * rng.lognormvariate(0.0, SPREAD)
    trial.answered(side, FIRST_TOKEN_MS * stretch, LATENCY_MS * stretch)
    if rng.random() < scored:
        score = rng.gauss(arm.quality, arm.quality_spread)
        trial.scored(side, min(max(score, 0.0), 1.0))


def arrivals(rng: random.Random, mean: float) -> int:
    """Return how many calls arrive when `mean` are expected: a Poisson process, gap by gap."""
    count, at = 0, rng.expovariate(1.0)
    while at < mean:
        count += 1
        at += rng.expovariate(1.0)
    return count


GOOD = {
    "50/50, 1 req/s each": Canary(),
    "50/50, 5 req/s each": Canary(rate=5, control_rate=5),
    "50/50, 0.2 req/s each": Canary(rate=0.2, control_rate=0.2),
    "5/95 of 10 req/s": Canary(rate=0.5, control_rate=9.5),
    "a provider down for both": Canary(outage_s=(200, 400)),
}
"""Newcomers as good as their control."""

BAD = {
    f"{name}, {rate:g} req/s each": Canary(newcomer=newcomer, rate=rate, control_rate=rate, scored=scored)
    for rate in (0.2, 1.0, 5.0)
    for name, newcomer, scored in (
        ("errors 2 to 4 %", Arm(errors=0.04), 0.1),
        ("errors 2 to 10 %", Arm(errors=0.10), 0.1),
        ("all calls fail", Arm(errors=1.0), 0.1),
        ("latency x1.3", Arm(slowness=1.3), 0.1),
        ("latency x2", Arm(slowness=2.0), 0.1),
        ("quality -0.1, every call scored", Arm(quality=0.7), 1.0),
    )
}
"""Newcomers that are worse."""
