"""Outliers: who fails more often than its peers is left out for a while, never too many and never the last."""

from __future__ import annotations

import pytest

from penstock.kernel.clock import ManualClock
from penstock.mechanisms.outliers import BASE_S, CAP_S, SAMPLES_LEAST, Outliers


def noted(outliers: Outliers, label: str, good: int, bad: int) -> None:
    """Note answers of a back end, the good ones first."""
    for index in range(good + bad):
        outliers.noted(label, good=index < good)


def ejected(outliers: Outliers, labels: str) -> str:
    """Return who is out."""
    return "".join(sorted(outliers.among(labels)))


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
    assert len(outliers.among(labels)) <= most


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
