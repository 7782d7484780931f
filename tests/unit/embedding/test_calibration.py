"""One score: between 0 and 1, rising with evidence, fitted to what came true."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.embedding.search.calibration import (
    MINILM,
    Curve,
    Sample,
    Seen,
    best_threshold,
    calibration_error,
    fitted,
    logistic,
    relative,
    shipped,
)
from penstock.kernel.errors import Invalid

part = st.floats(0, 1)
FLAT = Curve(meaning=1, slope=1, offset=0, threshold=0.5)


@given(part, part, part, part)
def test_relevance_is_a_share_and_rises_with_each_evidence(
    meaning: float, words: float, late: float, more: float
) -> None:
    for curve in (MINILM.late, MINILM.plain, MINILM.tokens):
        low = curve.relevance(Seen(meaning, words, late))
        assert 0 <= low <= 1
        assert curve.relevance(Seen(meaning + more, words, late)) >= low
        assert curve.relevance(Seen(meaning, words + more, late)) >= low
        assert curve.relevance(Seen(meaning, words, late + more)) >= low


def test_every_evidence_of_a_curve_counts() -> None:
    base = MINILM.late.relevance(Seen(0.5, 0.5, 0.5))
    assert MINILM.late.relevance(Seen(0.6, 0.5, 0.5)) > base
    assert MINILM.late.relevance(Seen(0.5, 0.6, 0.5)) > base
    assert MINILM.late.relevance(Seen(0.5, 0.5, 0.6)) > base
    assert MINILM.plain.relevance(Seen(0.5, 0.5, None)) == MINILM.plain.relevance(Seen(0.5, 0.5, 0.9))


def test_both_names_of_the_default_model_are_known_and_no_others() -> None:
    assert shipped("local/all-MiniLM-L6-v2") is MINILM is shipped("all-MiniLM-L6-v2")
    assert shipped("openai/text-embedding-3-small") is None


def test_logistic_does_not_overflow() -> None:
    assert logistic(-1e6) == 0
    assert logistic(1e6) == 1
    assert logistic(0) == 0.5


def test_a_fit_finds_the_curve_that_made_the_samples() -> None:
    # Given 20,000 passages judged by chance of a known curve
    rng = random.Random(5)
    true = Curve(meaning=1, slope=9.0, offset=-5.0, threshold=0.5)
    seen = [Seen(rng.random(), 0.0) for _ in range(20_000)]
    samples = [Sample(each, rng.random() < true.relevance(each)) for each in seen]
    # When a curve is fitted to them
    curve = fitted(samples, FLAT)
    # Then it is that curve, and says what came true
    assert curve.slope == pytest.approx(9.0, rel=0.05)
    assert curve.offset == pytest.approx(-5.0, rel=0.05)
    scored = [(curve.relevance(each.seen), each.relevant, 1.0) for each in samples]
    assert calibration_error(scored) < 0.02


def test_a_fit_is_the_same_in_any_order_and_weights_are_repetitions() -> None:
    samples = [Sample(Seen(x / 10, 0.0), x > 4 or x == 2) for x in range(10)]
    curve = fitted(samples, FLAT)
    again = fitted(samples[::-1], FLAT)
    assert again.slope == pytest.approx(curve.slope)
    doubled = fitted([Sample(each.seen, each.relevant, 2.0) for each in samples], FLAT)
    assert doubled.slope == pytest.approx(curve.slope)


def test_separable_samples_do_not_run_away() -> None:
    curve = fitted([Sample(Seen(x, 0.0), x > 0.5) for x in (0.1, 0.2, 0.8, 0.9)], FLAT)
    assert math.isfinite(curve.slope)
    assert 0 < curve.relevance(Seen(0.1, 0.0)) < curve.relevance(Seen(0.9, 0.0)) < 1


@pytest.mark.parametrize("relevant", [True, False])
def test_one_sided_judgements_teach_nothing(relevant: bool) -> None:
    with pytest.raises(Invalid):
        fitted([Sample(Seen(0.3, 0.0), relevant), Sample(Seen(0.4, 0.0), relevant)], FLAT)


def test_the_threshold_has_the_best_f1() -> None:
    assert best_threshold([(0.9, True, 1), (0.7, True, 1), (0.4, False, 1), (0.1, False, 1)]) == 0.41
    assert best_threshold([(0.9, True, 1), (0.2, True, 1), (0.1, False, 1)]) == 0.11


def test_without_a_curve_scores_lie_between_the_least_and_the_most() -> None:
    assert relative([Seen(0.2, 0.0), Seen(0.6, 1.0), Seen(0.4, 0.5)]) == [0.0, 1.0, pytest.approx(0.5)]
    assert relative([Seen(0.0, 1.0), Seen(0.0, 0.4)]) == [1.0, 0.4]  # by words alone
    assert relative([Seen(0.5, 1.0, 0.2), Seen(0.5, 1.0, 0.8)]) == [pytest.approx(2 / 3), 1.0]
    assert relative([]) == []
