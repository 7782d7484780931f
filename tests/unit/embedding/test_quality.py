"""Judged sets are read as they are written, and measured as the books have it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import pytest

from penstock.embedding.search.quality import Measures, agreement, measured, read_judged
from penstock.kernel.errors import Invalid
from penstock.ports.encoder import Encoder, Tokenized
from penstock.wiring.measuring import BENCH_TOKENS, ENOUGH, WAIT_MS, Batch, chosen, texts_of
from tests.support import run

LINES = (
    b'{"document": "a", "text": "water", "title": "W"}\n',
    b"\n",
    b'{"question": "what?", "relevant": ["a"]}',
    b'{"question": "who?"}',
)


def test_documents_and_questions_are_read_in_any_order_and_blank_lines_left_out() -> None:
    judged = read_judged(LINES)
    assert [(each.id, each.title, each.text) for each in judged.documents] == [("a", "W", "water")]
    assert [(each.question, set(each.relevant)) for each in judged.questions] == [
        ("what?", {"a"}),
        ("who?", set()),
    ]
    assert not judged.is_labelled
    assert read_judged(LINES[:3]).is_labelled
    assert read_judged(reversed(LINES[:3])) == read_judged(LINES[:3])


@pytest.mark.parametrize("line", [b"{", b"[]", b'{"text": "no id"}', b'{"question": 3}'])
def test_a_line_that_is_neither_is_told_by_its_number(line: bytes) -> None:
    with pytest.raises(Invalid) as refused:
        read_judged([*LINES, line])
    assert refused.value.field == "line 5"


@pytest.mark.parametrize("lines", [LINES[:1], LINES[2:], ()])
def test_half_a_set_is_nothing_to_measure(lines: tuple[bytes, ...]) -> None:
    with pytest.raises(Invalid):
        read_judged(lines)


def test_the_measures_are_the_books() -> None:
    # The first relevant document stands third, the second not at all.
    ideal = 1 + 1 / math.log2(3)
    assert measured([["x", "y", "a"]], [frozenset("ab")]) == Measures(
        ndcg_10=round((1 / math.log2(4)) / ideal, 4), mrr=round(1 / 3, 4), recall_3=0.5, recall_10=0.5
    )
    perfect = Measures(ndcg_10=1, mrr=1, recall_3=1, recall_10=1)
    assert measured([["a", "b"]], [frozenset("ab")]) == perfect
    # What stands eleventh counts for the reciprocal rank alone.
    late = measured([[*"0123456789", "a"]], [frozenset("a")])
    assert (late.ndcg_10, late.recall_10, late.mrr) == (0, 0, round(1 / 11, 4))
    assert measured([["a"], ["x"]], [frozenset("a"), frozenset("a")]).mrr == 0.5


def test_agreement_is_the_share_of_the_exact_first_ten() -> None:
    ten = [*"0123456789"]
    assert agreement([ten], [ten[::-1]]) == 1
    assert agreement([[*"01234", *"abcde"]], [ten]) == 0.5
    assert agreement([["a"], ["b"]], [["a"], []]) == 1


def curve(*pairs: tuple[int, float, float]) -> list[Batch]:
    """Return batches of (tokens, p50 in ms, tokens a second)."""
    return [
        Batch(tokens=tokens, texts=1, p50_ms=p50, p99_ms=p50, tokens_per_s=speed)
        for tokens, p50, speed in pairs
    ]


def test_batches_are_the_largest_that_keeps_nobody_waiting_and_the_smallest_at_full_speed() -> None:
    assert chosen(curve((64, 3, 10e3), (512, WAIT_MS, 19.5e3), (2048, 80, 20e3))) == (512, 512)
    assert chosen(curve((64, 3, 10e3), (512, WAIT_MS + 1, 18e3), (2048, 80, 20e3))) == (64, 2048)
    assert chosen(curve((64, 90, 20e3 * ENOUGH), (512, 99, 20e3))) == (64, 64)


class Words:
    """Knows nine words, a token each, and marks around."""

    spec = None

    async def tokenize(self, texts: Sequence[str]) -> Sequence[Tokenized]:
        """Return a token a word."""
        return [
            Tokenized((101, *range(len(text.split())), 102), ((0, 0),) * (len(text.split()) + 2))
            for text in texts
        ]


def test_texts_to_measure_with_have_their_length_and_no_two_are_the_same() -> None:
    encoder = cast("Encoder", Words())
    for tokens in BENCH_TOKENS:
        texts = run(texts_of(encoder, tokens, 128)) + run(texts_of(encoder, tokens, 128, 128))
        assert {len(each) for each in texts} == {tokens}
        assert len(set(texts)) == 256
