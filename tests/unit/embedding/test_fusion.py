"""Reciprocal rank fusion: the paper's sum, stable ties, shares."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.embedding.search.fusion import reciprocal_ranks, shares


def test_the_sum_is_the_papers() -> None:
    fused = reciprocal_ranks([["a", "b", "c"], ["c", "d"]], constant=60)
    assert fused == {
        "a": pytest.approx(1 / 61),
        "b": pytest.approx(1 / 62),
        "c": pytest.approx(1 / 63 + 1 / 61),
        "d": pytest.approx(1 / 62),
    }


def test_best_first_and_equals_as_they_were_first_seen() -> None:
    assert list(reciprocal_ranks([["a", "b"], ["c", "d"]])) == ["a", "c", "b", "d"]
    assert list(reciprocal_ranks([["c", "d"], ["a", "b"]])) == ["c", "a", "d", "b"]


def test_a_key_that_is_repeated_counts_once_where_it_stands_first() -> None:
    assert reciprocal_ranks([["a", "a", "b"]]) == reciprocal_ranks([["a", "b"]])


def test_nothing_fuses_to_nothing() -> None:
    assert reciprocal_ranks([]) == {} == reciprocal_ranks([[], []])


@given(st.permutations(range(6)), st.permutations(range(6)))
def test_who_is_higher_everywhere_is_higher(one: list[int], other: list[int]) -> None:
    fused = reciprocal_ranks([one, other])
    for x in range(6):
        for y in range(6):
            if one.index(x) < one.index(y) and other.index(x) < other.index(y):
                assert fused[x] > fused[y]


def test_shares_are_of_the_greatest() -> None:
    assert shares({"a": 4.0, "b": 1.0}) == {"a": 1.0, "b": 0.25}
    assert shares({"a": 0.0}) == {"a": 0.0}
    assert shares(dict[str, float]()) == {}
