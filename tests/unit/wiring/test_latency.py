"""Latency budgets as wired: nobody listens without one, the rules in force decide, and the alert says what it must."""

from __future__ import annotations

from typing import Any, cast

import pytest

from penstock.gateway.features import Features
from penstock.kernel.clock import ManualClock
from penstock.kernel.events import Call, RequestEvent
from penstock.kernel.settings import AlertSettings, FeatureSettings
from penstock.mechanisms.alerts.rules import Alert, Reading, Rule, advanced
from penstock.mechanisms.audit import Listener
from penstock.wiring.alerts import rules_of
from penstock.wiring.latency import ALERT, BudgetWatch


class House:
    """Features in force, and who listens."""

    def __init__(self, *features: FeatureSettings, alerts: tuple[AlertSettings, ...] = ()) -> None:
        self.listeners: list[Listener] = []
        self.clock = ManualClock()
        self.features = Features(features) if features else None
        self.rules = rules_of(alerts)
        self.watch = BudgetWatch(self.rules, lambda: self.features, self.listeners.append, self.clock)

    @property
    def rule(self) -> Rule:
        return next(rule for rule in self.rules if rule.id == ALERT)

    def read(self) -> list[Reading]:
        return list(self.watch.source.read())

    def hear(self, count: int = 40, latency_ms: float = 812.0, **fields: Any) -> None:
        told = {"org": "acme", "team": "red", "feature": "search", **fields}
        call = Call("sim", "m", 12.0, latency_ms)
        one = RequestEvent(
            request_id="r", at_s=1.0, latency_ms=latency_ms, routed_ms=2.0, admitted_ms=12.0,
            first_token_ms=latency_ms - 50.0, calls=(call,), **told,
        )  # fmt: skip
        for listener in self.listeners:
            listener([one] * count)


BUDGETED = FeatureSettings(name="search", p95_ms=500)


@pytest.mark.parametrize("features", [(), (FeatureSettings(name="search", forbid=("m",)),)])
def test_without_a_budget_nobody_listens(features: tuple[FeatureSettings, ...]) -> None:
    house = House(*features)
    assert (house.read(), house.listeners, house.watch.left_out) == ([], [], 0)


def test_nobody_listens_for_an_alert_that_is_off() -> None:
    house = House(BUDGETED, alerts=(AlertSettings(rule="latency-budget", off=True),))
    assert (house.read(), house.listeners) == ([], [])


def test_a_budget_that_comes_while_the_platform_runs_is_listened_for_once() -> None:
    house = House()
    house.features = Features([BUDGETED])
    for _ in range(3):
        house.read()
    assert len(house.listeners) == 1
    house.hear()
    assert len(house.read()) == 1
    house.features = None
    house.hear()
    house.clock.advance(600.0)
    assert house.read() == []


def test_the_alert_names_feature_percentile_budget_and_step_and_resolves_itself() -> None:
    house = House(BUDGETED)
    house.hear()
    [reading] = house.read()
    alert = cast("Alert", advanced(house.rule, None, reading, 0.0))
    assert (alert.state, alert.org, alert.subject) == ("firing", "acme", "search")
    for text in (
        "feature search of acme",
        "ms of 40 answers",
        "budget 500 ms",
        "the vendor's first token takes 92%",
    ):
        assert text in alert.text
    assert reading.value == pytest.approx(812 / 500, rel=0.03)
    house.clock.advance(600.0)
    house.hear(latency_ms=100.0)
    [calm] = house.read()
    waits = advanced(house.rule, alert, calm, 600.0)
    assert waits is not None
    assert waits.state == "firing"
    over = advanced(house.rule, waits, calm, 600.0 + house.rule.calm_s)
    assert over is not None
    assert over.state == "resolved"


def test_the_gauge_tells_how_much_of_a_budget_is_used() -> None:
    house = House(BUDGETED)
    house.hear(39)
    assert (House().watch.ratios(), house.watch.ratios()) == ({}, {})
    house.hear(1)
    assert house.watch.ratios() == {("acme", "search", ""): pytest.approx(812 / 500, rel=0.03)}


@pytest.mark.parametrize(("count", "floor", "said"), [(39, -1, 0), (40, -1, 1), (9, 10, 0), (10, 10, 1)])
def test_it_takes_some_answers_as_many_as_the_settings_say(count: int, floor: int, said: int) -> None:
    house = House(BUDGETED, alerts=(AlertSettings(rule="latency-budget", floor=floor),))
    house.hear(count)
    assert len(house.read()) == said


def test_the_rule_of_the_team_counts_and_the_alert_names_it() -> None:
    house = House(BUDGETED, FeatureSettings(name="search", org="acme", team="red", p95_ms=2_000))
    house.hear()
    house.hear(team="blue")
    assert {(each.subject, each.value > 1.0) for each in house.read()} == {
        ("search (red)", False),
        ("search", True),
    }


def test_a_feature_that_is_called_like_another_and_its_team_has_an_alert_of_its_own() -> None:
    house = House(BUDGETED, FeatureSettings(name="search", org="acme", team="red", p95_ms=2_000),
                  FeatureSettings(name="search (red)", org="acme", p95_ms=500))  # fmt: skip
    house.hear(latency_ms=3_000.0)
    house.hear(feature="search (red)", team="")
    alike = [each for each in house.read() if each.subject == "search (red)"]
    alerts = [cast("Alert", advanced(house.rule, None, each, 0.0)) for each in alike]
    assert len({each.key for each in alerts}) == len(alerts) == 2
