"""Late interaction: the helper's arithmetic against a naive loop, what is kept, and /v1/rerank of this machine."""

from __future__ import annotations

import math
import random
from array import array
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import pytest

from penstock.adapters.matching import worker
from penstock.adapters.matching.numpy import NumpyMatcher
from penstock.embedding.search.late_interaction import LateInteraction
from penstock.kernel.errors import Invalid
from tests.support import run

DIMENSIONS = 64


def matrix(rng: random.Random, tokens: int) -> bytes:
    """Return random rows of length 1."""
    numbers = array("f")
    for _ in range(tokens):
        row = [rng.gauss(0, 1) for _ in range(DIMENSIONS)]
        length = math.sqrt(sum([number * number for number in row]))
        numbers.extend([number / length for number in row])
    return numbers.tobytes()


def rows(content: bytes) -> list[list[float]]:
    """Return a matrix's rows between the marks."""
    numbers = array("f", content)
    return [list(numbers[at : at + DIMENSIONS]) for at in range(0, len(numbers), DIMENSIONS)][1:-1]


def naive(question: bytes, passage: bytes) -> float:
    """Return the mean MaxSim with the signs of a passage, one number at a time."""
    scale = math.sqrt(DIMENSIONS) * math.sqrt(2 / math.pi)
    best = [
        max(
            sum(x * (1 if y > 0 else -1) for x, y in zip(mine, theirs, strict=True)) / scale
            for theirs in rows(passage)
        )
        for mine in rows(question)
    ]
    return min(sum(best) / len(best), 1.0)


@asynccontextmanager
async def matching() -> AsyncGenerator[NumpyMatcher]:
    """Open a matcher."""
    matcher = NumpyMatcher()
    try:
        yield matcher
    finally:
        await matcher.close()


def test_the_helper_computes_what_a_naive_loop_does() -> None:
    async def compare() -> None:
        rng = random.Random(1)
        question, passages = matrix(rng, 7), [matrix(rng, tokens) for tokens in (3, 40, 12, 5)]
        async with matching() as matcher:
            packed = await matcher.compress(passages, DIMENSIONS)
            assert [len(each) for each in packed] == [DIMENSIONS // 8 * tokens for tokens in (1, 38, 10, 3)]
            scores = await matcher.match(question, packed, DIMENSIONS)
            # One alone, and all in another order, score the same.
            assert await matcher.match(question, packed[2:3], DIMENSIONS) == scores[2:3]
        assert scores == pytest.approx([naive(question, each) for each in passages], abs=1e-5)

    run(compare())


def test_passages_without_tokens_score_nothing_and_shift_no_others() -> None:
    async def compare() -> None:
        rng = random.Random(2)
        question, passage = matrix(rng, 5), matrix(rng, 9)
        async with matching() as matcher:
            full, marks = await matcher.compress([passage, matrix(rng, 2)], DIMENSIONS)
            assert marks == b""
            scores = await matcher.match(question, [b"", full, b"", full], DIMENSIONS)
            assert scores == pytest.approx(
                (0, naive(question, passage), 0, naive(question, passage)), abs=1e-5
            )
            assert await matcher.match(matrix(rng, 2), [full], DIMENSIONS) == (0.0,)
            assert await matcher.match(b"", [full], DIMENSIONS) == (0.0,)
            assert await matcher.match(question, [], DIMENSIONS) == ()

    run(compare())


def test_more_rows_than_are_spread_out_at_a_time() -> None:
    async def compare() -> None:
        rng = random.Random(3)
        question, passage, other = matrix(rng, 4), matrix(rng, 30), matrix(rng, 22)
        async with matching() as matcher:
            one, two = await matcher.compress([passage, other], DIMENSIONS)
            scores = await matcher.match(question, [one, two] * 600, DIMENSIONS)
        assert len(set(scores[::2])) == 1 == len(set(scores[1::2]))
        assert scores[:2] == pytest.approx((naive(question, passage), naive(question, other)), abs=1e-5)

    run(compare())


def test_bytes_that_are_no_matrix_are_refused_and_the_next_is_served() -> None:
    async def compare() -> None:
        rng = random.Random(4)
        async with matching() as matcher:
            for wrong in (
                matcher.compress([b"abc"], DIMENSIONS),
                matcher.match(matrix(rng, 4), [b"abc"], DIMENSIONS),
                matcher.compress([matrix(rng, 3)], 30),
            ):
                with pytest.raises(Invalid):
                    await wrong
            assert len(await matcher.compress([matrix(rng, 3)], DIMENSIONS)) == 1

    run(compare())


class Counted:
    """Makes matrices, and counts the texts it made them of."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    async def __call__(self, texts: Sequence[str]) -> tuple[bytes, ...]:
        self.texts += texts
        return tuple([matrix(random.Random(text), 4 + len(text) % 5) for text in texts])


def test_a_passage_is_computed_once_while_it_is_kept_and_kept_within_the_bound() -> None:
    async def compare() -> None:
        async with matching() as matcher:
            made = Counted()
            late = LateInteraction(matcher, kept_bytes=60)
            texts = {f"d{n}": f"text {n}" for n in range(3)}
            first = await late.scores(
                "why", {}, texts, tenant="a/t", space="s", dimensions=DIMENSIONS, matrices=made
            )
            assert made.texts == ["why", *texts.values()]
            assert 0 < late.kept_bytes <= 60
            # The oldest went for want of room, the newest is there, of no other space and for no other tenant.
            assert late.known("a/t", "s", "d0") is None
            kept = late.known("a/t", "s", "d2")
            assert kept
            assert late.known("a/t", "other", "d2") is None
            assert late.known("b/t", "s", "d2") is None
            again = await late.scores(
                "why", {"d2": kept}, {}, tenant="a/t", space="s", dimensions=DIMENSIONS, matrices=made
            )
            assert made.texts[4:] == ["why"]
            assert again["d2"] == first["d2"]

    run(compare())


def test_rows_are_spread_out_within_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given passages of 3 rows and a bound of 7
    groups: list[list[int]] = []
    monkeypatch.setattr(worker, "ROWS_MOST", 7)
    monkeypatch.setattr(
        worker, "_match", lambda _question, _passages, group, _scores: groups.append([*group])
    )
    question = worker.rows(matrix(random.Random(6), 4), DIMENSIONS)
    # When five are matched, then they go two by two, and each once
    worker.matched(question, [bytes(3 * DIMENSIONS // 8)] * 5, DIMENSIONS)
    assert groups == [[0, 1], [2, 3], [4]]
