"""One score for a search: `relevance`, how likely a passage answers the question, whatever evidence there was.

    evidence of a passage                    weighed                      logistic                    relevance
    meaning  cosine of the two vectors       Σ weight · evidence          1 / (1 + e^-(slope·x +      0 … 1, and the
    words    share of the best BM25       →  ───────────────────   →      offset))                →  model's threshold
    late     mean MaxSim of the tokens           Σ weight

A `Curve` belongs to one model and one set of evidence. The weights and curves shipped for the default model were fitted
on public sets (`penstock embed quality --calibrate` is the procedure, `docs/retrieval.md` has the sets and figures);
of another model nobody knows what its cosines mean, and its score is only comparable within one question.

Promises: `relevance` is in [0, 1] and rises with each evidence; a fit never runs away (separable or one-sided samples
are bounded by a prior, Platt 1999) and does not depend on the order of its samples.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal, NamedTuple

import msgspec

from penstock.kernel.errors import Invalid

Evidence = Literal["meaning", "words", "late"]
SCORE: Final = "relevance"
STEPS_MOST: Final = 100
STILL: Final = 1e-9
RIDGE: Final = 1e-6
"""Keeps the two equations of a fit solvable when all scores are the same."""
THRESHOLDS: Final = tuple([at / 100 for at in range(2, 91)])


class Seen(NamedTuple):
    """What is known of one passage. `late` None: its tokens were not compared."""

    meaning: float
    words: float
    late: float | None = None


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """How evidence becomes relevance. `threshold` is the relevance from which on passages are worth an answer: the one
    with the best F1 on what it was fitted on.
    """

    meaning: float = 0.0
    words: float = 0.0
    late: float = 0.0
    slope: float
    offset: float
    threshold: float

    def weighed(self, seen: Seen) -> float:
        """Return the evidence as one number."""
        total = self.meaning * seen.meaning + self.words * seen.words + self.late * (seen.late or 0.0)
        return total / (self.meaning + self.words + self.late)

    def relevance(self, seen: Seen) -> float:
        """Return how likely the passage answers the question."""
        return logistic(self.slope * self.weighed(seen) + self.offset)


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """A model's curves: with its tokens compared, without, and with nothing but its tokens (`/v1/rerank`)."""

    late: Curve
    plain: Curve
    tokens: Curve


MINILM: Final = Calibration(
    late=Curve(meaning=1, words=0.5, late=1.5, slope=14.246, offset=-10.183, threshold=0.20),
    plain=Curve(meaning=1, words=0.5, slope=11.600, offset=-8.520, threshold=0.24),
    tokens=Curve(late=1, slope=15.248, offset=-11.230, threshold=0.19),
)
SHIPPED: Final[Mapping[str, Calibration]] = {"all-MiniLM-L6-v2": MINILM}


def shipped(model: str) -> Calibration | None:
    """Return the calibration of a model by the gateway's name or its own; None where there is none."""
    return SHIPPED.get(model.rpartition("/")[2])


def logistic(x: float) -> float:
    """Return 1 / (1 + e^-x) without overflow."""
    if x >= 0:
        return 1.0 / (1.0 + math.exp(-x))
    grown = math.exp(x)
    return grown / (1.0 + grown)


def relative(seen: Sequence[Seen]) -> list[float]:
    """Return scores for passages of one question where no curve is known: the mean of what each evidence says between
    the least and the most of it. Comparable within the question only.
    """
    columns = [[each.words for each in seen]]
    if any(each.meaning for each in seen):
        columns.append(_between([each.meaning for each in seen]))
    if seen and all(each.late is not None for each in seen):
        columns.append(_between([each.late or 0.0 for each in seen]))
    return [sum(row) / len(row) for row in zip(*columns, strict=True)]


def _between(values: Sequence[float]) -> list[float]:
    least, most = min(values, default=0.0), max(values, default=0.0)
    return [(value - least) / (most - least) if most > least else 1.0 for value in values]


# ------------------------------------------------------------------------------------------------------------ fitting


class Sample(NamedTuple):
    """A passage somebody judged. `weight` makes questions of several sets count alike."""

    seen: Seen
    relevant: bool
    weight: float = 1.0


def fitted(samples: Iterable[Sample], weights: Curve) -> Curve:
    """Return `weights` with the slope, offset and threshold that fit the samples. Raises Invalid for one-sided ones."""
    rows = [(weights.weighed(each.seen), each.relevant, each.weight) for each in samples]
    right = sum([relevant and weight > 0 for _, relevant, weight in rows])
    wrong = sum([not relevant and weight > 0 for _, relevant, weight in rows])
    if not right or not wrong:
        raise Invalid(
            "Nothing can be learnt from these judgements.",
            field="relevant",
            remedy="Give questions whose relevant passages are found, and passages that are not relevant.",
        )
    slope, offset = _logistic_regression(rows, (right + 1) / (right + 2), 1 / (wrong + 2))
    curve = msgspec.structs.replace(weights, slope=slope, offset=offset)
    scored = [(logistic(slope * x + offset), relevant, weight) for x, relevant, weight in rows]
    return msgspec.structs.replace(curve, threshold=best_threshold(scored))


def _logistic_regression(
    rows: Sequence[tuple[float, bool, float]], high: float, low: float
) -> tuple[float, float]:
    """Return slope and offset by Newton's method. `high` and `low` stand for 1 and 0 (Platt's prior)."""
    slope = offset = 0.0
    for _ in range(STEPS_MOST):
        step_slope, step_offset = _step(rows, slope, offset, (high, low))
        slope, offset = slope - step_slope, offset - step_offset
        if abs(step_slope) < STILL and abs(step_offset) < STILL:
            break
    return slope, offset


def _step(
    rows: Sequence[tuple[float, bool, float]], slope: float, offset: float, targets: tuple[float, float]
) -> tuple[float, float]:
    g1 = g0 = h11 = h10 = h00 = 0.0
    for x, relevant, weight in rows:
        p = logistic(slope * x + offset)
        error, bend = weight * (p - targets[0 if relevant else 1]), weight * p * (1 - p)
        g1, g0 = g1 + error * x, g0 + error
        h11, h10, h00 = h11 + bend * x * x, h10 + bend * x, h00 + bend
    h11, h00 = h11 + RIDGE, h00 + RIDGE
    determinant = h11 * h00 - h10 * h10
    return (h00 * g1 - h10 * g0) / determinant, (h11 * g0 - h10 * g1) / determinant


def best_threshold(scored: Sequence[tuple[float, bool, float]]) -> float:
    """Return the threshold with the best F1, the lowest of equals."""
    wanted = math.fsum([weight for _, relevant, weight in scored if relevant])

    def f1(threshold: float) -> float:
        above = [(relevant, weight) for score, relevant, weight in scored if score >= threshold]
        found = math.fsum([weight for relevant, weight in above if relevant])
        return 2 * found / (math.fsum([weight for _, weight in above]) + wanted)

    return max(THRESHOLDS, key=lambda threshold: (f1(threshold), -threshold))


def calibration_error(scored: Sequence[tuple[float, bool, float]], bins: int = 10) -> float:
    """Return how far scores are from what came true, on average in equally full bins (expected calibration error)."""
    ordered = sorted(scored)
    size = max(1, math.ceil(len(ordered) / bins))
    off = total = 0.0
    for first in range(0, len(ordered), size):
        part = ordered[first : first + size]
        weight = math.fsum([each[2] for each in part])
        said = math.fsum([score * weight for score, _, weight in part])
        true = math.fsum([weight for _, relevant, weight in part if relevant])
        off, total = off + abs(said - true), total + weight
    return off / total if total else 0.0
