"""What one node saw of a canary and of its control: events in, figures and evidence out. Pure.

Promises: a request counts for the arm it was first sent to, whoever answered in the end, so that a fallback hides no
failure; what the caller did wrong, what the caller left, and what never left us, counts for neither arm; what was
answered without a call is no evidence.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from penstock.kernel.events import Call, RequestEvent
from penstock.kernel.faults import FAILURE_KINDS
from penstock.kernel.settings_routes import RouteSettings, TargetSettings
from penstock.mechanisms.sequential import Side, Trial

CALLERS_FAULT: Final = frozenset({"invalid", "context_overflow", "content_filter"})
OURS: Final = frozenset({"pool_exhausted"})
"""What no back end has any part in."""
FAILURES: Final = frozenset(FAILURE_KINDS) - CALLERS_FAULT - OURS
ANSWERS: Final = frozenset({"ok", "usage_mended", "usage_missing"})
UNFIT: Final = "structured_output_invalid"
"""The error of a request whose answers did not fit the schema it asked for."""


class Figures(msgspec.Struct, kw_only=True, gc=False):
    """One arm's sums: calls that count, those that failed, times of good ones (milliseconds), money, scores."""

    calls: int = 0
    failed: int = 0
    first_token_ms: float = 0.0
    latency_ms: float = 0.0
    cost_nanos: int = 0
    scores: int = 0
    score_sum: float = 0.0

    def add(self, other: Figures) -> None:
        """Add what another node saw."""
        self.calls += other.calls
        self.failed += other.failed
        self.first_token_ms += other.first_token_ms
        self.latency_ms += other.latency_ms
        self.cost_nanos += other.cost_nanos
        self.scores += other.scores
        self.score_sum += other.score_sum


class Newcomer(msgspec.Struct, frozen=True, kw_only=True):
    """A route's canary: the labels that are its own, those of its `control`, and the share of traffic it has."""

    route: str
    labels: frozenset[str]
    control: frozenset[str]
    percent: float

    def side(self, event: RequestEvent) -> Side:
        """Return which arm a request that was called for was first sent to."""
        first = event.calls[0]
        return Side.NEWCOMER if f"{first.provider}/{first.model}" in self.labels else Side.CONTROL


def newcomers(routes: Iterable[RouteSettings]) -> dict[str, Newcomer]:
    """Return the canaries that can be judged, by route: those that share the traffic with production (no control, no
    evidence) and have back ends that production has not (else nobody can tell whose call it was).
    """
    found: dict[str, Newcomer] = {}
    for route in routes:
        control, percent = _labels(route.targets), route.canary.percent
        labels = _labels(route.canary.targets) - control
        if labels and 0 < percent < 100:
            found[route.model] = Newcomer(route=route.model, labels=labels, control=control, percent=percent)
    return found


def _labels(targets: Iterable[TargetSettings]) -> frozenset[str]:
    return frozenset(f"{target.provider}/{target.model}" for target in targets)


class Arms:
    """Both arms of one trial, as this node sees them."""

    __slots__ = ("began_s", "figures", "trial", "trial_id")

    def __init__(self, trial_id: str, alpha: float, tolerance: float, *, began_s: float) -> None:
        """Begin without evidence, at the wall time `began_s`."""
        self.trial_id = trial_id
        self.began_s = began_s
        self.trial = Trial(alpha, tolerance)
        self.figures = (Figures(), Figures())

    def hear(self, side: Side, event: RequestEvent) -> bool:
        """Note a request first sent to `side`; False when it says nothing about the back end."""
        first = event.calls[0]
        if first.outcome in FAILURES or event.error == UNFIT:
            self.trial.failed(side)
            self.figures[side].failed += 1
        elif first.outcome in ANSWERS or _lost_to_its_rival(event):
            self._answered(side, event, first)  # one that was let go took at least so long
        else:
            return False
        self.figures[side].calls += 1
        self.figures[side].cost_nanos += event.cost_nanos
        return True

    def answered(self, event: RequestEvent) -> bool:
        """Tell whether a request was answered by whom it was first sent to: only then a score is that one's."""
        called = {(call.provider, call.model) for call in event.calls}
        return len(called) == 1 and event.calls[-1].outcome in ANSWERS

    def score(self, side: Side, score: float) -> None:
        """Note how good an answer was, 0 to 1."""
        self.trial.scored(side, score)
        self.figures[side].scores += 1
        self.figures[side].score_sum += score

    def _answered(self, side: Side, event: RequestEvent, first: Call) -> None:
        is_only = len(event.calls) == 1 and event.first_token_ms > first.began_ms
        first_token_ms = event.first_token_ms - first.began_ms if is_only else 0.0
        latency_ms = first.ended_ms - first.began_ms
        self.trial.answered(side, first_token_ms, latency_ms)
        self.figures[side].first_token_ms += first_token_ms
        self.figures[side].latency_ms += latency_ms


def _lost_to_its_rival(event: RequestEvent) -> bool:
    """Tell whether the first call was late and let go because another had answered."""
    return event.calls[0].outcome == "abandoned" and len(event.calls) > 1 and not event.error
