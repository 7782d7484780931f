"""How long tokens are is learned from what vendors counted, back end by back end, and from nothing that cannot tell."""

from __future__ import annotations

import pytest

from penstock.mechanisms.token_lengths import TELLING_BYTES, UNTOLD, TokenLengths


def test_a_back_end_that_told_nothing_has_no_longest_and_the_usual_mean() -> None:
    lengths = TokenLengths()
    lengths.learn("a", 4_000, 1_000)
    assert (lengths.mean("b"), lengths.longest("b")) == (UNTOLD, 0.0)
    assert (lengths.mean("a"), lengths.longest("a")) == (4.0, 4.0)


def test_the_mean_moves_slowly_and_the_longest_fades() -> None:
    lengths = TokenLengths()
    lengths.learn("a", 4_000, 1_000)
    lengths.learn("a", 2_000, 1_000)
    assert 3.8 < lengths.mean("a") < 4.0
    assert 3.9 < lengths.longest("a") < 4.0
    lengths.learn("a", 6_000, 1_000)
    assert lengths.longest("a") == 6.0
    for _ in range(10_000):
        lengths.learn("a", 2_000, 1_000)
    assert lengths.mean("a") == pytest.approx(2.0, abs=0.01)
    assert lengths.longest("a") == 2.0


@pytest.mark.parametrize(
    ("text_bytes", "tokens", "told"),
    [(TELLING_BYTES - 1, 100, False), (TELLING_BYTES, 100, True), (4_000, 0, False)],
)
def test_what_cannot_tell_teaches_nothing(text_bytes: int, tokens: int, told: bool) -> None:
    lengths = TokenLengths()
    lengths.learn("a", text_bytes, tokens)
    assert bool(lengths.longest("a")) == told


def test_no_token_has_less_than_a_byte() -> None:
    lengths = TokenLengths()
    lengths.learn("a", 4_000, 1_000_000)
    assert lengths.mean("a") == 1.0
