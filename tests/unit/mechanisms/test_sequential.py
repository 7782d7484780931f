"""The canary's judge: fair bets, exact for any split, convicting what is worse and nobody else."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.mechanisms.sequential import (
    BLOCK_MOST,
    HISTORY,
    HISTORY_LEAST,
    LEVERAGES,
    ODDS,
    PATIENCE,
    SHARES,
    MeanTest,
    ShareTest,
    Side,
    SlownessTest,
    Trial,
    Wealth,
    finding_in,
    merged,
    share_ratios,
)
from tests.canary_trials import BAD, GOOD, Canary, simulate


def block(test: ShareTest, newcomer: tuple[int, int], control: tuple[int, int]) -> None:
    """Give a test one whole block: (calls, bad ones) of each arm."""
    for side, (calls, bad) in ((Side.NEWCOMER, newcomer), (Side.CONTROL, control)):
        for number in range(calls):
            test.count(side, bad=number < bad)
    test.look()


def null(newcomer: int, control: int, bad: int) -> dict[int, Fraction]:
    """Return how likely each number of the newcomer's bad calls is when arms are alike (hypergeometric)."""
    every = math.comb(newcomer + control, bad)
    return {
        j: Fraction(math.comb(newcomer, j) * math.comb(control, bad - j), every)
        for j in range(max(0, bad - control), min(bad, newcomer) + 1)
    }


@given(newcomer=st.integers(1, 30), control=st.integers(1, 60), bad=st.integers(1, 60))
def test_every_bet_on_a_share_is_fair_for_any_split(newcomer: int, control: int, bad: int) -> None:
    bad = min(bad, newcomer + control)
    chances = null(newcomer, control, bad)
    for at in range(len(ODDS)):
        mean = sum(float(p) * share_ratios(newcomer, control, bad, j)[at] for j, p in chances.items())
        assert mean == pytest.approx(1.0)


def test_a_ratio_is_that_of_fishers_distributions() -> None:
    """Two calls each, one bad, the newcomer's: 1/2 when alike, theta / (1 + theta) at odds of theta."""
    assert share_ratios(2, 2, 1, 1) == pytest.approx([2 * odds / (1 + odds) for odds in ODDS])


def test_a_block_is_judged_by_the_split_it_has() -> None:
    test = ShareTest()
    block(test, (2, 1), (18, 0))
    ratios = share_ratios(2, 18, 1, 1)
    assert ratios == pytest.approx([20 * odds / (2 * odds + 18) for odds in ODDS])
    assert test.value == pytest.approx(0.5 + 0.5 * sum(ratios) / len(ODDS))


def test_what_several_saw_multiplies_and_stays_a_number() -> None:
    assert merged([]) == dict.fromkeys(SHARES, 1.0)
    assert merged([{"errors": 3.0}, {"errors": 4.0, "quality": 0.5}]) == {
        **merged([]),
        "errors": 12.0,
        "quality": 0.5,
    }
    assert math.isfinite(merged([{"errors": 1e200}, {"errors": 1e200}])["errors"])


@pytest.mark.parametrize(("evidence", "metric"), [(199.9, None), (200.1, "errors")])
def test_the_bound_is_one_over_the_metrics_part_of_alpha(evidence: float, metric: str | None) -> None:
    found = finding_in({"errors": evidence, "quality": 499.0}, alpha=0.01)
    assert (found.metric if found else None) == metric


def test_a_block_of_the_greatest_size_is_within_the_range_of_numbers() -> None:
    half = BLOCK_MOST // 2
    assert all(math.isfinite(ratio) for j in (0, half) for ratio in share_ratios(half, half, half, j))


def test_wealth_is_kept_by_bets_that_change_nothing_and_never_staked_twice() -> None:
    wealth = Wealth(3)
    for _ in range(1_000):
        assert wealth.value == pytest.approx(1.0)
        wealth.grow([1.0, 1.0, 1.0])


def test_a_newcomer_that_turns_bad_late_is_convicted_too() -> None:
    """An hour of good looks must not protect it for an hour."""
    test = ShareTest()
    for _ in range(360):
        block(test, (10, 0), (10, 1))
    assert test.value < 1
    blocks = 0
    while test.value < 200:
        block(test, (10, 6), (10, 0))
        blocks += 1
        assert blocks < 10


def test_an_arm_without_calls_is_no_control() -> None:
    test = ShareTest()
    for _ in range(100):
        block(test, (50, 50), (0, 0))
    assert test.value == 1.0


def test_an_arm_waits_for_the_other_a_while_and_not_for_ever() -> None:
    patient, late = ShareTest(), ShareTest()
    for test, looks in ((patient, PATIENCE - 2), (late, PATIENCE - 1)):
        block(test, (10, 10), (0, 0))
        for _ in range(looks):
            test.look()
        block(test, (0, 0), (10, 0))
    assert patient.value > 100
    assert late.value == 1.0


def test_what_befalls_both_arms_convicts_nobody() -> None:
    test = ShareTest()
    for _ in range(100):
        block(test, (10, 10), (90, 90))
    assert test.value == 1.0


def test_latency_within_the_tolerance_convicts_nobody_and_above_it_does() -> None:
    for slower, is_convicted in ((1.09, False), (1.5, True)):
        test = SlownessTest(tolerance=0.1)
        for number in range(3_000):
            usual_ms = 100.0 + (number * 7_919) % 100
            test.count(Side.CONTROL, usual_ms)
            test.count(Side.NEWCOMER, usual_ms * slower)
            if number % 10 == 9:
                test.look()
        assert (test.value > 1_000) is is_convicted


def test_latency_is_not_judged_before_the_control_is_known() -> None:
    test = SlownessTest(tolerance=0.0)
    for _ in range(HISTORY_LEAST - 1):
        test.count(Side.CONTROL, 1.0)
        test.count(Side.NEWCOMER, 1_000.0)
    test.look()
    test.count(Side.NEWCOMER, 1_000.0)
    test.count(Side.CONTROL, 1.0)
    test.look()
    assert test.value == 1.0
    for _ in range(10):
        test.count(Side.NEWCOMER, 1_000.0)
        test.count(Side.CONTROL, 1.0)
    test.look()
    assert test.value > 100


def test_a_control_that_slows_down_takes_the_newcomer_with_it() -> None:
    test = SlownessTest(tolerance=0.0)
    for number in range(2_000):
        for side in Side:
            test.count(side, 10.0 + number % 7 + (1_000.0 if number >= 1_000 else 0.0))
        if number % 10 == 9:
            test.look()
    assert test.value < 20


@given(st.lists(st.floats(0, 1), min_size=2, max_size=2), st.integers(0, len(LEVERAGES) - 1))
def test_every_bet_on_a_mean_is_fair(pair: list[float], at: int) -> None:
    """Scores that come to either arm with equal chance: what one order wins the other loses."""
    values: list[float] = []
    for newcomer, control in (pair, reversed(pair)):
        test = MeanTest()
        test.count(Side.NEWCOMER, newcomer)
        test.count(Side.CONTROL, control)
        values.append(test.value)
    assert sum(values) / 2 == pytest.approx(1.0)


@pytest.mark.parametrize("score", [-0.01, 1.01, math.nan])
def test_a_score_is_between_0_and_1(score: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        MeanTest().count(Side.NEWCOMER, score)


def test_the_shares_of_alpha_are_the_whole_of_it() -> None:
    assert sum(SHARES.values()) == pytest.approx(1.0)
    assert set(Trial().evidence) == set(SHARES)


@pytest.mark.parametrize("wrong", [{"alpha": 0.0}, {"alpha": 1.0}, {"tolerance": -0.1}])
def test_a_trial_without_meaning_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="alpha"):
        Trial(**wrong)


def test_a_block_ends_without_a_look_when_it_is_full() -> None:
    trial = Trial()
    for _ in range(BLOCK_MOST // 2):
        trial.failed(Side.NEWCOMER)
        trial.answered(Side.CONTROL, 0.0, 10.0)
    assert trial.finding is not None
    assert trial.finding.metric == "errors"


def test_the_first_call_convicts_nobody() -> None:
    trial = Trial()
    trial.failed(Side.NEWCOMER)
    trial.answered(Side.CONTROL, 1.0, 10.0)
    trial.look()
    assert trial.finding is None


def test_memory_is_bounded() -> None:
    test = SlownessTest(0.1)
    for number in range(10 * HISTORY):
        test.count(Side.CONTROL, float(number))
    assert len(test._history) == HISTORY


@pytest.mark.parametrize("name", list(GOOD))
def test_a_good_newcomer_is_seldom_convicted(name: str) -> None:
    """At most one in sixty; the evidence runs a thousand."""
    assert simulate(GOOD[name], runs=60, seed=3).convicted <= 1


@pytest.mark.parametrize(
    ("name", "within_s"),
    [
        ("all calls fail, 0.2 req/s each", 120),
        ("all calls fail, 1 req/s each", 30),
        ("errors 2 to 10 %, 1 req/s each", 400),
        ("latency x2, 1 req/s each", 150),
        ("latency x1.3, 5 req/s each", 200),
        ("quality -0.1, every call scored, 1 req/s each", 300),
    ],
)
def test_a_bad_newcomer_is_convicted(name: str, within_s: float) -> None:
    figures = simulate(BAD[name], runs=20, seed=3)
    assert figures.convicted >= 19
    assert figures.median_s <= within_s


def test_the_metric_that_is_worse_is_named() -> None:
    for name, metric in (
        ("latency x2, 1 req/s each", "first_token"),
        ("all calls fail, 1 req/s each", "errors"),
    ):
        assert list(simulate(BAD[name], runs=5, seed=1).by_metric) == [metric]


def test_the_same_seed_gives_the_same_figures() -> None:
    canary = Canary(seconds=100)
    assert simulate(canary, 3, seed=5) == simulate(canary, 3, seed=5)
