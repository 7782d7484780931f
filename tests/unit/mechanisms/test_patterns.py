"""Many patterns in one pass: what occurs is said and what is wrong is named."""

from __future__ import annotations

import random

import pytest

from penstock.mechanisms import patterns
from penstock.mechanisms.patterns import PatternSet


def test_hits_are_the_places_of_what_occurs_in_order() -> None:
    found = PatternSet(["b+", "x", r"\d{2}", "é"])
    assert found.hits("é 12 bb".encode()) == [0, 2, 3]
    assert found.hits(b"") == found.hits(b"none of them: 1") == []
    assert len(found) == 4
    assert PatternSet([]).hits(b"anything") == []


def test_a_group_is_found_from_a_position_on() -> None:
    found = PatternSet([r"key=(\w+)"])
    assert found.search(0, b"key=a key=bc", 0, 1) == (4, 5)
    assert found.search(0, b"key=a key=bc", 5, 1) == (10, 12)
    assert found.search(0, b"key=a key=bc", 11) is None


@pytest.mark.parametrize("wrong", ["(", "a(?=b)", "a{2000}"])
def test_a_pattern_that_cannot_be_read_is_named(wrong: str) -> None:
    with pytest.raises(ValueError, match="not a pattern"):
        PatternSet(["a", wrong])


def test_patterns_too_large_together_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns, "MEMORY_BYTES", 1 << 20)
    with pytest.raises(ValueError, match="too large together"):
        PatternSet([rf"[^\pL]a{number}[^\pL]" for number in range(100)])


def test_a_text_that_fills_the_automaton_again_and_again_is_still_searched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(patterns, "MEMORY_BYTES", 400_000)
    starved = PatternSet([rf"a[ab]{{40}}{number}" for number in range(5)])
    chance = random.Random(1)
    noise = bytes(chance.choice(b"ab") for _ in range(20_000))
    assert starved.hits(noise) == []
    assert starved.hits(noise + b"a" * 41 + b"3" + noise) == [3]
