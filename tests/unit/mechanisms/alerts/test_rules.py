"""An alert fires once, stays while its value wavers, and ends when it is calm; readings of totals are exact."""

from __future__ import annotations

import pytest

from penstock.mechanisms.alerts.readings import above_mean, spent, tokens_per_request
from penstock.mechanisms.alerts.rules import DEFAULTS, Alert, Reading, Rule, advanced
from penstock.ports.traces import DAY_S, Total
from tests.test_docs import ROOT, anchors

TODAY_S = 20_000 * DAY_S
RULE = Rule(id="r", kind="told", limit=10, for_s=5, calm_s=5, text="{subject} {value:g}/{limit:g}")
MEAN = Rule(id="m", kind="day_above_mean", limit=2.0, floor=100)


def read(value: float, rule: Rule = RULE) -> Reading:
    return Reading(rule=rule.id, org="acme", subject="s", value=value)


def lived(rule: Rule, *values: float, step_s: float = 1.0) -> list[str]:
    """Return the state after each reading, a step apart."""
    alert: Alert | None = None
    states = []
    for place, value in enumerate(values):
        if alert is not None and alert.state == "resolved":
            alert = None
        alert = advanced(rule, alert, read(value, rule), 1_000.0 + place * step_s)
        states.append(alert.state if alert is not None else "")
    return states


def test_it_is_pending_first_and_fires_when_it_lasts() -> None:
    assert lived(RULE, 10, 11, 11, 11, 11, 11, 11) == ["", *["pending"] * 5, "firing"]
    assert lived(RULE, 11, 11, 10, 11) == ["pending", "pending", "", "pending"]


def test_without_a_wait_it_fires_at_once() -> None:
    assert lived(Rule(id="r", kind="told", limit=10), 10.001, 9.5, 8.9) == ["firing", "firing", "resolved"]


def test_a_value_that_wavers_about_the_limit_neither_fires_again_nor_ends_it() -> None:
    rule = Rule(id="r", kind="told", limit=10, calm_s=3)
    assert lived(rule, 11, *[9, 10, 11, 9.5] * 9) == ["firing"] * 37
    assert lived(rule, 11, 8, 8, 9, 8, 8, 8, 8) == [*["firing"] * 7, "resolved"]


@pytest.mark.parametrize(("inclusive", "state"), [(True, "firing"), (False, "")])
def test_a_limit_may_be_part_of_it(inclusive: bool, state: str) -> None:
    rule = Rule(id="r", kind="told", limit=80, inclusive=inclusive, clear=1.0)
    assert lived(rule, 79.9, 80) == ["", state]
    assert lived(rule, 80, 79.9)[-1] == ("resolved" if inclusive else "")


def test_a_limit_from_below_and_nothing_at_all_is_no_breach() -> None:
    rule = Rule(id="r", kind="told", limit=100, low=10, clear=0.9)
    assert lived(rule, 0, 9, 10.5, 11) == ["", "firing", "firing", "resolved"]
    assert lived(rule, 10) == [""]
    assert advanced(rule, None, read(9, rule), 1.0).limit == 10


def test_what_is_unchanged_is_the_same_object() -> None:
    rule = Rule(id="r", kind="told", limit=10)
    alert = advanced(rule, None, read(11, rule), 1.0)
    assert alert is not None
    assert advanced(rule, alert, read(12, rule), 2.0) is alert
    assert advanced(rule, alert, read(9.5, rule), 2.0) is alert


def test_the_text_says_what_it_was_when_it_fired() -> None:
    alert = advanced(RULE, advanced(RULE, None, read(11), 1.0), read(13), 9.0)
    assert alert is not None
    assert (alert.text, alert.value, alert.began_s, alert.fired_s) == ("s 13/10", 13, 1.0, 9.0)


def test_every_default_rule_can_be_told_of() -> None:
    for rule in DEFAULTS:
        over = rule.limit * 2 + 1
        alert = advanced(rule, None, read(over, rule), 1.0)
        alert = advanced(rule, alert, read(over, rule), 1_000.0)
        assert alert is not None and alert.state == "firing" and alert.text and alert.runbook, rule.id
    assert len({rule.id for rule in DEFAULTS}) == len(DEFAULTS)


def test_every_default_rule_has_its_paragraph_in_the_runbook() -> None:
    for rule in DEFAULTS:
        page, _, anchor = rule.runbook.partition("#")
        assert anchor in anchors((ROOT / page).read_text()), rule.runbook


# --------------------------------------------------------------------------------------------------------- readings


def total(*group: object, cost: int = 0, tokens: int = 0, requests: int = 1, refused: int = 0) -> Total:
    return Total(
        group=tuple(map(str, group)),
        requests=requests,
        failed=0,
        refused=refused,
        estimated=0,
        input_tokens=tokens,
        cached_tokens=0,
        output_tokens=tokens,
        cost_nanos=cost,
        latency_ms=0,
    )


def days(*costs: int, org: str = "acme") -> list[Total]:
    """Today's cost last, the days before it in their order; None of those that cost nothing."""
    count = len(costs)
    return [
        total(org, TODAY_S - (count - 1 - place) * DAY_S, cost=cost)
        for place, cost in enumerate(costs)
        if cost
    ]


def ratios(*costs: int) -> list[float]:
    return [reading.value for reading in above_mean(MEAN, days(*costs), TODAY_S)]


def test_the_mean_is_of_the_days_since_the_first_at_most_seven() -> None:
    assert ratios(*[100] * 7, 201) == [pytest.approx(2.01)]
    assert ratios(9_999, *[100] * 7, 200) == [2.0]
    assert ratios(100, 0, 200, 300) == [3.0]
    assert ratios(0, 0, 100, 100, 100, 150) == [1.5]


def test_too_short_a_past_or_too_small_a_day_tells_nothing() -> None:
    assert ratios(100, 100, 900) == []
    assert ratios(100, 100, 100, 99) == []
    assert ratios(100, 100, 100, 100) == [1.0]
    assert ratios(900) == []


def test_each_organisation_and_feature_has_its_own_mean() -> None:
    rows = [*days(100, 100, 100, 300), *days(200, 200, 200, 200, org="beta")]
    told = {(r.org, r.subject): r.value for r in above_mean(MEAN, reversed(rows), TODAY_S)}
    assert told == {("acme", "acme"): 3.0, ("beta", "beta"): 1.0}
    spike = [total("acme", "chat", TODAY_S - n * DAY_S, cost=100 if n else 500) for n in range(5)]
    told = {(r.org, r.subject): r.value for r in above_mean(MEAN, spike, TODAY_S)}
    assert told == {("acme", "chat"): 5.0}


def test_users_are_told_by_name_and_the_nameless_not() -> None:
    rule = Rule(id="u", kind="user_over", limit=5)
    rows = [total("acme", "ann", cost=7), total("acme", "", cost=99)]
    assert [(r.subject, r.value) for r in spent(rule, rows)] == [("ann", 7)]


def test_tokens_are_counted_over_the_requests_that_were_answered() -> None:
    rule = Rule(id="t", kind="tokens_per_request", limit=5, floor=10)
    rows = [total("a", "f", tokens=50, requests=30, refused=20), total("a", "g", tokens=50, requests=9)]
    assert [(r.subject, r.value) for r in tokens_per_request(rule, rows)] == [("f", 10.0)]
