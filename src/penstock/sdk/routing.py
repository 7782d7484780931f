"""Routing as the client sees it: versions of the configuration, and what a request would get."""

from __future__ import annotations

import math
from typing import Any

import msgspec


class RoutingVersion(msgspec.Struct, frozen=True, kw_only=True):
    """One version of the routing configuration. `again` is the version it repeats, -1 for none; `at_s` is wall time."""

    number: int
    author: str = ""
    why: str = ""
    at_s: float = 0.0
    again: int = -1


class RoutingConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A version with its document. `refused` are stored versions that the asked node cannot use, with the reason."""

    version: RoutingVersion
    document: dict[str, Any]
    refused: dict[str, str] = {}


class RoutingCheck(msgspec.Struct, frozen=True, kw_only=True):
    """A document without a mistake."""

    sound: bool
    routes: int


class RouteQuestion(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A request that is not made: what routing would look at."""

    model: str
    org: str = ""
    user: str = ""
    tier: str = "standard"
    task: str = ""
    region: str = ""
    urgent: bool = False
    input_tokens: int = 0
    output_tokens: int = 0
    text: str = ""
    draw: int = 0
    feature: str = ""


class ChosenTarget(msgspec.Struct, frozen=True, kw_only=True):
    """A back end in the order of trying. `route` is its name with the arm, as the audit tells it."""

    route: str
    provider: str
    model: str
    arm: str = ""
    region: str = ""
    price_version: str = ""
    free: bool = False


class RouteAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Who would answer, in order, and why; `larger` are who a cascade would ask after a weak answer, `fallback` what
    the feature tries when all of them have failed.
    """

    model: str
    version: int
    why: tuple[str, ...] = ()
    tier: str = ""
    targets: tuple[ChosenTarget, ...] = ()
    larger: tuple[ChosenTarget, ...] = ()
    fallback: tuple[str, ...] = ()


class RouteTiers(msgspec.Struct, frozen=True, kw_only=True):
    """What one route's small and large models did. `saved_nanos` (nano-dollars) is against the large one's price."""

    model: str
    small: int = 0
    large: int = 0
    escalated: int = 0
    small_failed: int = 0
    large_failed: int = 0
    saved_nanos: int = 0


class CanaryArm(msgspec.Struct, frozen=True, kw_only=True):
    """One side's calls, of all nodes; times are means in milliseconds of the good ones, `score` the mean (0 to 1) of
    `scores`.
    """

    calls: int = 0
    failed: int = 0
    first_token_ms: float = 0.0
    latency_ms: float = 0.0
    cost_nanos: int = 0
    scores: int = 0
    score: float = 0.0


class CanaryEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """What speaks against a canary by one metric (errors, first_token, latency, quality): 1 is nothing, `bound`
    convicts it.
    """

    metric: str
    evidence: float
    bound: float

    @property
    def nearness(self) -> float:
        """Return how near a conviction is, 0 to 1: evidence multiplies, so its logarithm is what grows evenly."""
        if self.evidence <= 1.0 or self.bound <= 1.0:
            return 0.0
        return min(math.log(self.evidence) / math.log(self.bound), 1.0)


class Canary(msgspec.Struct, frozen=True, kw_only=True):
    """A route's canary. `state` is on trial, beginning, alike, all, off, rolled back or promoted."""

    route: str
    state: str
    percent: float
    labels: tuple[str, ...] = ()
    production: tuple[str, ...] = ()
    began_s: float = 0.0
    control: CanaryArm = CanaryArm()
    newcomer: CanaryArm = CanaryArm()
    evidence: tuple[CanaryEvidence, ...] = ()
    why: str = ""


class Canaries(msgspec.Struct, frozen=True, kw_only=True):
    """Every canary of the routes in force, and how they are judged."""

    canaries: tuple[Canary, ...] = ()
    rollback: bool = True
    alpha: float = 0.0
    advance: bool = False
    steps: tuple[float, ...] = ()
    hold_s: float = 0.0
    least_calls: int = 0
