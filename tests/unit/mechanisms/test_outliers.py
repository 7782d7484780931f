"""Outliers: who fails more often than its peers is left out for a while, never too many and never the last."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.kernel.clock import ManualClock
from penstock.mechanisms.outliers import BASE_S, CAP_S, DOUBTED_LEAST, MARGIN, SAMPLES_LEAST, Outliers


def noted(outliers: Outliers, label: str, good: int, bad: int) -> None:
    """Note answers of a back end, the good ones first."""
    for index in range(good + bad):
        outliers.noted(label, good=index < good)


def ejected(outliers: Outliers, labels: str) -> str:
    """Return who is out."""
    return "".join(sorted(outliers.among(labels).out))


@pytest.mark.parametrize(("bad", "out"), [(3, ""), (6, ""), (7, "b"), (20, "b")])
def test_who_lies_more_than_the_margin_under_its_peers_is_out(bad: int, out: str) -> None:
    outliers = Outliers(ManualClock())
    noted(outliers, "a", 20, 0)
    noted(outliers, "b", 20 - bad, bad)
    assert ejected(outliers, "ab") == out


def test_trouble_that_all_share_ejects_nobody() -> None:
    outliers = Outliers(ManualClock())
    for label in "abc":
        noted(outliers, label, 10, 15)
    assert ejected(outliers, "abc") == ""


@pytest.mark.parametrize(("answers", "out"), [(SAMPLES_LEAST - 1, ""), (SAMPLES_LEAST, "b")])
def test_nobody_is_judged_on_too_few_answers(answers: int, out: str) -> None:
    outliers = Outliers(ManualClock())
    noted(outliers, "a", 20, 0)
    noted(outliers, "b", 0, answers)
    assert ejected(outliers, "ab") == out


def test_a_back_end_without_peers_is_never_out() -> None:
    outliers = Outliers(ManualClock())
    noted(outliers, "a", 0, 50)
    assert (ejected(outliers, "a"), ejected(outliers, "ab")) == ("", "")


@pytest.mark.parametrize(("labels", "most"), [("ab", 1), ("abc", 1), ("abcd", 2), ("abcde", 2)])
def test_at_most_half_are_out(labels: str, most: int) -> None:
    outliers = Outliers(ManualClock())
    for label in labels:
        noted(outliers, label, 20, 0)
    for label in labels[:-1]:
        noted(outliers, label, 0, 50)
        outliers.among(labels)
    assert len(outliers.among(labels).out) <= most


def test_it_stays_out_longer_each_time_up_to_the_cap() -> None:
    clock = ManualClock()
    outliers = Outliers(clock)
    noted(outliers, "a", 20, 0)
    for times in range(1, 14):
        noted(outliers, "b", 0, SAMPLES_LEAST)
        assert ejected(outliers, "ab") == "b"
        clock.advance(min(BASE_S * times, CAP_S) - 0.01)
        assert ejected(outliers, "ab") == "b"
        clock.advance(0.01)
        assert ejected(outliers, "ab") == ""
    assert outliers.ejections == 13


def test_good_behaviour_is_remembered_too() -> None:
    clock = ManualClock()
    outliers = Outliers(clock)
    noted(outliers, "a", 20, 0)
    for _ in range(3):
        noted(outliers, "b", 0, SAMPLES_LEAST)
        outliers.among("ab")
        clock.advance(CAP_S)
    clock.advance(CAP_S * 3)
    noted(outliers, "b", 0, SAMPLES_LEAST)
    assert ejected(outliers, "ab") == "b"
    clock.advance(BASE_S)
    assert ejected(outliers, "ab") == ""


def test_who_comes_back_is_judged_afresh() -> None:
    clock = ManualClock()
    outliers = Outliers(clock)
    noted(outliers, "a", 20, 0)
    noted(outliers, "b", 0, 30)
    outliers.among("ab")
    clock.advance(BASE_S)
    outliers.noted("b", good=False)
    assert ejected(outliers, "ab") == ""


def test_the_idle_path_has_nothing_to_look_at() -> None:
    outliers = Outliers(ManualClock())
    noted(outliers, "a", 20, 0)
    assert not outliers.any
    outliers.noted("a", good=False)
    assert outliers.any


@given(st.integers(2, 7), st.data())
def test_whoever_is_sick_is_ejected_as_long_as_one_is_well(count: int, data: st.DataObject) -> None:
    """However many are sick: up to half of them are out, the others are in doubt, and the well ones neither."""
    labels = [f"b{number}" for number in range(count)]
    sick = set(data.draw(st.lists(st.sampled_from(labels), unique=True, min_size=1, max_size=count - 1)))
    outliers = Outliers(ManualClock())
    for label in labels:
        bad = round(20 * MARGIN) + 1 if label in sick else 0
        noted(outliers, label, 20 - bad, bad)
    if len(sick) > count - -(-(count - 1) // 3):
        return  # too few are well to be the best third of a sick one's peers
    out, doubted = outliers.among(labels)
    assert len(out) == min(len(sick), count // 2)
    assert {*out, *doubted} == sick


@given(
    st.integers(1, 6),
    st.lists(st.tuples(st.integers(0, 5), st.booleans(), st.sampled_from((0.0, 10.0, BASE_S))), max_size=400),
)
def test_at_most_half_are_out_whatever_happens(count: int, answers: list[tuple[int, bool, float]]) -> None:
    clock = ManualClock()
    outliers = Outliers(clock)
    labels = [f"b{number}" for number in range(count)]
    for number, good, later_s in answers:
        outliers.noted(f"b{number}", good=good)
        clock.advance(later_s)
        out, doubted = outliers.among(labels)
        assert len(out) <= count // 2
        assert not set(out) & set(doubted)
        assert {*out, *doubted} <= set(labels)


@pytest.mark.parametrize(("answers", "doubted"), [(DOUBTED_LEAST - 1, []), (DOUBTED_LEAST, ["b"])])
def test_a_few_answers_are_enough_to_be_given_nobody_elses_traffic(answers: int, doubted: list[str]) -> None:
    outliers = Outliers(ManualClock())
    noted(outliers, "a", DOUBTED_LEAST, 0)
    noted(outliers, "b", 0, answers)
    assert outliers.among("ab") == ([], doubted)


def test_who_is_out_is_not_ejected_again_while_it_is() -> None:
    """It may be called all the same, where its peers are worse off: what it does then is judged when it is back."""
    clock = ManualClock()
    outliers = Outliers(clock)
    noted(outliers, "a", 20, 0)
    noted(outliers, "b", 0, 20)
    outliers.among("ab")
    noted(outliers, "b", 0, 20)
    outliers.among("ab")
    assert outliers.ejections == 1
    clock.advance(BASE_S)
    assert ejected(outliers, "ab") == "b"
    assert outliers.ejections == 2
