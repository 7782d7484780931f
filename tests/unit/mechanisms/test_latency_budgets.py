"""Latency budgets: exact at the edge, said of answers only, bounded whatever callers name, with their dearest step."""

from __future__ import annotations

import msgspec
import pytest

from penstock.kernel.clock import ManualClock
from penstock.kernel.events import Call, RequestEvent
from penstock.mechanisms import latency_budgets as budgets
from penstock.mechanisms.latency_budgets import STEPS, Budget, LatencyBudgets, Used, steps_of
from penstock.mechanisms.windows import ERROR_PERCENT

BUDGET = Budget("", 500)
WINDOW_S = budgets.BUCKET_S * budgets.BUCKETS


def event(latency_ms: float = 100.0, **fields: object) -> RequestEvent:
    told = {"org": "acme", "feature": "search", **fields}
    return RequestEvent(request_id="r", at_s=1_800_000_000.0, latency_ms=latency_ms, **told)


def watched(
    *events: RequestEvent, budget: Budget = BUDGET, clock: ManualClock | None = None
) -> LatencyBudgets:
    them = LatencyBudgets(clock or ManualClock(), lambda _event: budget)
    them(events)
    return them


def used(*events: RequestEvent) -> Used:
    [found] = watched(*events).used()
    return found


@pytest.mark.parametrize(
    ("latency_ms", "is_over"),
    [(499.9, False), (500.0, False), (500.000001, True), (0.0, False), (1e9, True), (-1.0, False)],
)
def test_at_the_budget_is_not_over_it_and_a_moment_more_is(latency_ms: float, is_over: bool) -> None:
    assert (used(*[event(latency_ms)] * 50).times > 1.0) is is_over


@pytest.mark.parametrize(("slow", "is_over"), [(0, False), (5, False), (6, True), (100, True)])
def test_it_is_the_95th_percentile_that_counts(slow: int, is_over: bool) -> None:
    found = used(*[event(700.0)] * slow, *[event(100.0)] * (100 - slow))
    assert (found.times > 1.0) is is_over
    assert found.requests == 100


@pytest.mark.parametrize("latency_ms", [60.0, 333.0, 501.0, 812.0, 30_000.0])
def test_the_percentile_is_within_the_error_of_a_bin(latency_ms: float) -> None:
    assert used(event(latency_ms)).p95_ms == pytest.approx(latency_ms, rel=ERROR_PERCENT / 100 + 1e-9)


def test_too_few_answers_say_nothing() -> None:
    them = watched(*[event(900.0)] * 39)
    assert list(them.used(40)) == []
    them([event(900.0)])
    assert [found.requests for found in them.used(40)] == [40]


@pytest.mark.parametrize("status", [202, 400, 403, 429, 499, 500, 503])
def test_what_was_not_answered_does_not_count(status: int) -> None:
    assert list(watched(*[event(9_000.0, status=status)] * 50).used()) == []
    found = used(*[event(9_000.0, status=status)] * 50, event(10.0))
    assert (found.requests, found.times > 1.0) == (1, False)


def test_a_feature_without_a_budget_is_not_watched() -> None:
    them = LatencyBudgets(ManualClock(), lambda each: BUDGET if each.feature == "search" else None)
    them([event(), event(feature="other")])
    assert [found.feature for found in them.used()] == ["search"]


def test_each_organisation_and_each_team_with_a_rule_of_its_own_has_its_window() -> None:
    teams = {"red": Budget("red", 50)}
    them = LatencyBudgets(ManualClock(), lambda each: teams.get(each.team, BUDGET))
    them([event(), event(org="other"), event(team="red"), event(team="blue")])
    assert {(found.org, found.budget, found.requests) for found in them.used()} == {
        ("acme", BUDGET, 2),
        ("other", BUDGET, 1),
        ("acme", teams["red"], 1),
    }


def test_the_number_of_features_is_bounded_and_silent_ones_make_room() -> None:
    clock = ManualClock()
    them = LatencyBudgets(clock, lambda _event: BUDGET, windows_most=3)
    them([event(feature=f"f{number}") for number in range(10)])
    assert (len(them), them.left_out) == (3, 7)
    them([event(feature="f0")])
    assert them.left_out == 7
    clock.advance(WINDOW_S)
    them([event(feature="later")])
    assert (len(them), them.left_out) == (1, 7)


def test_a_window_forgets_what_is_past_and_a_clock_set_back_begins_anew() -> None:
    clock = ManualClock()
    them = watched(*[event(900.0)] * 50, clock=clock)
    clock.advance(WINDOW_S / 2)
    them([event(100.0)] * 50)
    [both] = them.used()
    clock.advance(WINDOW_S / 2)
    [late] = them.used()
    assert (both.requests, both.times > 1.0, late.requests, late.times > 1.0) == (100, True, 50, False)
    assert not any(late.shares)
    clock.advance(WINDOW_S)
    assert (list(them.used()), len(them)) == ([], 0)
    them([event()])
    clock.jump_wall(-10 * WINDOW_S)
    them([event(), event()])
    assert [found.requests for found in them.used()] == [2]


def test_another_budget_is_another_window() -> None:
    now = [BUDGET]
    them = LatencyBudgets(ManualClock(), lambda _event: now[0])
    them([event(900.0)] * 50)
    now[0] = Budget("", 1_000)
    them([event(900.0)])
    [found] = them.used()
    assert (found.budget.p95_ms, found.requests, found.times > 1.0) == (1_000, 1, False)


def call(began_ms: float, ended_ms: float, outcome: str = "ok") -> Call:
    return Call("sim", "m", began_ms, ended_ms, outcome)


PLAIN = event(1_000.0, routed_ms=10.0, admitted_ms=30.0, first_token_ms=700.0, calls=(call(40.0, 1_000.0),))


@pytest.mark.parametrize(
    ("told", "took"),
    [
        (PLAIN, [10, 30, 0, 660, 300]),
        (msgspec.structs.replace(PLAIN, flags=("waited",)), [0, 40, 0, 660, 300]),
        (
            msgspec.structs.replace(PLAIN, calls=(call(40, 500, "server_error"), call(600, 1_000))),
            [10, 30, 560, 100, 300],
        ),
        (
            msgspec.structs.replace(PLAIN, calls=(call(40, 1_000), call(300, 1_000, "cut"))),
            [10, 30, 0, 660, 300],
        ),
        (msgspec.structs.replace(PLAIN, calls=(), first_token_ms=50.0, cache="exact"), [10, 20, 0, 20, 950]),
        (event(1_000.0), [0, 0, 0, 0, 1_000]),
        (event(5.0, routed_ms=9.0, admitted_ms=7.0, first_token_ms=1e9), [5, 0, 0, 0, 0]),
    ],
    ids=["one call", "waited for a place", "after a retry", "hedged", "kept answer", "no steps", "askew"],
)
def test_the_steps_of_an_answer_are_its_latency(told: RequestEvent, took: list[float]) -> None:
    assert steps_of(told) == pytest.approx(took)
    assert sum(steps_of(told)) == pytest.approx(told.latency_ms)


@pytest.mark.parametrize(
    ("fields", "step"),
    [
        ({"routed_ms": 800.0}, 0),
        ({"routed_ms": 800.0, "flags": ("waited",)}, 1),
        ({"routed_ms": 1.0, "admitted_ms": 700.0}, 1),
        ({"calls": (call(2, 3, "overloaded"), call(900, 1_000)), "first_token_ms": 950.0}, 2),
        ({"calls": (call(2, 1_000),), "first_token_ms": 950.0}, 3),
        ({"calls": (call(2, 1_000),), "first_token_ms": 50.0}, 4),
    ],
)
def test_the_dearest_step_is_that_of_the_answers_over_budget(fields: dict[str, object], step: int) -> None:
    quick = event(499.0, calls=(call(1.0, 499.0),), first_token_ms=498.0)
    found = used(*[event(1_000.0, **fields)] * 6, *[quick] * 94)
    assert STEPS[found.dearest] == STEPS[step]
    assert sum(found.shares) == pytest.approx(1.0)
