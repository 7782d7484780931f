"""Latency budgets of features, joined: rules in force ──▶ a listener of the audit pipe ──▶ the alert `latency-budget`.

Promise: nothing listens until a feature has a budget, in the settings or in a version applied while the platform runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from penstock.gateway.features import Features
from penstock.kernel.clock import Clock
from penstock.kernel.events import RequestEvent
from penstock.mechanisms.alerts.book import Source
from penstock.mechanisms.alerts.rules import Reading, Rule
from penstock.mechanisms.audit import Listener
from penstock.mechanisms.latency_budgets import STEPS, Budget, LatencyBudgets, Used

ALERT = "latency-budget"


class BudgetWatch:
    """Begins to listen when there is a budget, and tells of those that are overrun."""

    def __init__(
        self,
        rules: Sequence[Rule],
        features: Callable[[], Features | None],
        listen: Callable[[Listener], None],
        clock: Clock,
    ) -> None:
        """Watch the budgets of `features`, those in force now, if one of `rules` is about them."""
        self._rule = next((rule for rule in rules if rule.id == ALERT), None)
        self._features = features
        self._listen = listen
        self._clock = clock
        self._budgets: LatencyBudgets | None = None
        self.look()

    @property
    def source(self) -> Source:
        """What the alerts ask each second."""
        return Source((ALERT,), self._read)

    @property
    def left_out(self) -> int:
        """Answers that are not counted against their budget, for want of room."""
        return 0 if self._budgets is None else self._budgets.left_out

    def ratios(self) -> dict[tuple[str, ...], float]:
        """Return the 95th percentile in budgets by organisation, feature and team ("": all), of what is judged."""
        if self._budgets is None or self._rule is None:
            return {}
        used = self._budgets.used(self._rule.floor)
        return {(each.org, each.feature, each.budget.team): each.times for each in used}

    def look(self) -> None:
        """Begin to listen if it is time to."""
        if self._budgets is None and self._rule is not None:
            features = self._features()
            if features is not None and features.has_budgets:
                self._budgets = LatencyBudgets(self._clock, self._budget_of)
                self._listen(self._budgets)

    def _budget_of(self, event: RequestEvent) -> Budget | None:
        features = self._features()
        rules = None if features is None else features.of(event, event.feature)
        return Budget(rules.team, rules.p95_ms) if rules is not None and rules.p95_ms else None

    def _read(self) -> Iterator[Reading]:
        self.look()
        if self._budgets is not None and self._rule is not None:
            yield from map(_reading, self._budgets.used(self._rule.floor))


def _reading(used: Used) -> Reading:
    team = used.budget.team
    told = f"p95 {used.p95_ms:,.0f} ms of {used.requests} answers, budget {used.budget.p95_ms:,} ms"
    step = used.dearest
    if used.shares[step]:
        told += f"; {STEPS[step]} takes {used.shares[step]:.0%} of those over it"
    return Reading(
        rule=ALERT,
        org=used.org,
        subject=f"{used.feature} ({team})" if team else used.feature,
        value=used.times,
        event=team,
        told=told,
    )
