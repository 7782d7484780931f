"""The scanner finds what is there, where it is, and nothing else; in any script, any length, any hostile text."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.kernel.findings import PATTERN_ENTITIES, Finding, apart
from penstock.mechanisms.redaction.scanner import OVERLAP_CHARS, PIECE_CHARS, Scanner
from tests import pii_corpus

SCANNER = Scanner()


def found(text: str) -> list[tuple[str, str]]:
    """Return (entity, words) of each finding."""
    return [(each.entity, text[each.start : each.end]) for each in SCANNER.scan(text, PATTERN_ENTITIES)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mail bob@example.com, please", [("EMAIL", "bob@example.com")]),
        ("an Jürgen.Weiß@münchen.de!", [("EMAIL", "Jürgen.Weiß@münchen.de")]),
        ("card 4111 1111 1111 1111 12/27", [("CARD", "4111 1111 1111 1111")]),
        ("no 12 4111111111111111", [("CARD", "4111111111111111")]),
        ("1234 5678 4111 1111 1111 1111", [("CARD", "4111 1111 1111 1111")]),
        ("id a4111111111111111", []),
        ("id 4111111111111111-2222", []),
        ("ssn: 123456789", [("SSN", "123456789")]),
        ("order 123456789", []),
        ("x 10.0.0.1-10.0.0.9 y", [("IP", "10.0.0.1"), ("IP", "10.0.0.9")]),
        ("192.168.0.0.12", []),
        ("call 0393 1144137", [("PHONE", "0393 1144137")]),
        ("room 72 128 827", []),
        ("phone: 72 128 827", [("PHONE", "72 128 827")]),
        ("password = 'hunter22!'", [("SECRET", "hunter22!")]),
        ("Passwort: hunter22.", [("SECRET", "hunter22")]),
        ("the password: please choose one", []),
        ("postgres://app:p4ssw0rd@db.example.com/x", [("SECRET", "p4ssw0rd")]),
        ("postgres://app:{password}@db.example.com/x", []),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY----- ok", [
            ("SECRET", "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----")
        ]),
        ("😀 bob@example.com 😀 10.20.30.40", [("EMAIL", "bob@example.com"), ("IP", "10.20.30.40")]),
        ("\ud800 bob@example.com", [("EMAIL", "bob@example.com")]),
    ],
)  # fmt: skip
def test_a_finding_is_exactly_the_thing(text: str, expected: list[tuple[str, str]]) -> None:
    assert found(text) == expected


def test_only_what_is_wanted_is_sought() -> None:
    text = "bob@example.com 10.20.30.40"
    assert [each.entity for each in SCANNER.scan(text, frozenset({"IP"}))] == ["IP"]
    assert SCANNER.scan(text, frozenset()) == []


def test_the_surest_of_two_overlapping_findings_stays() -> None:
    sure, long, after = Finding(4, 8, "CARD", 1.0), Finding(0, 9, "PHONE", 0.5), Finding(8, 12, "IP", 0.3)
    assert apart([long, sure, after]) == [sure, after]


@pytest.mark.parametrize("at", [*range(PIECE_CHARS - 24, PIECE_CHARS + 3), 3 * PIECE_CHARS - 5])
def test_a_finding_on_the_border_of_a_piece_is_found_once(at: int) -> None:
    card = "4111 1111 1111 1111"
    text = "a " * (at // 2) + card + " b" * PIECE_CHARS
    assert found(text) == [("CARD", card)]


def test_a_long_key_across_a_border_is_found_whole() -> None:
    key = "sk-proj-" + "aB3" * 60
    assert len(key) < OVERLAP_CHARS
    assert found("a " * (PIECE_CHARS // 2 - 50) + key + " b" * 50) == [("SECRET", key)]


@given(
    st.text(max_size=60),
    st.sampled_from(["bob@example.com", "4111 1111 1111 1111", "10.20.30.40"]),
    st.text(max_size=60),
)
def test_whatever_stands_around_it_findings_are_in_order_apart_and_inside(
    before: str, value: str, after: str
) -> None:
    text = f"{before} {value} {after}"
    findings = SCANNER.scan(text, PATTERN_ENTITIES)
    assert any(each.start <= len(before) + 1 + len(value) and each.end > len(before) for each in findings)
    assert all(0 <= each.start < each.end <= len(text) for each in findings)
    assert all(a.end <= b.start for a, b in pairwise(findings))


HOSTILE: dict[str, Callable[[random.Random], str]] = {
    "digits": lambda c: "".join(c.choice("0123456789") for _ in range(PIECE_CHARS)),
    "spaced digits": lambda c: "4 " * (PIECE_CHARS // 2),
    "groups of four": lambda c: "4111 " * (PIECE_CHARS // 5),
    "hexadecimal and colons": lambda c: "".join(c.choice("0123456789abcdef:") for _ in range(PIECE_CHARS)),
    "at signs": lambda c: "a@" * (PIECE_CHARS // 2),
    "addresses": lambda c: "a@b.co " * (PIECE_CHARS // 7),
    "one word": lambda c: "aB3" * (PIECE_CHARS // 3),
    "plus signs": lambda c: "+1-" * (PIECE_CHARS // 3),
    "half an IBAN": lambda c: "GB82 WEST 1234 " * (PIECE_CHARS // 15),
    "empty passwords": lambda c: "password: " * (PIECE_CHARS // 10),
    "tokens": lambda c: "".join(c.choice("abcABC123_-/ ") for _ in range(PIECE_CHARS)),
    "PEM heads": lambda c: "-----BEGIN A PRIVATE KEY-----" * (PIECE_CHARS // 29),
    "brackets": lambda c: "(0" * (PIECE_CHARS // 2),
    "half a JWT": lambda c: "eyJhbGciOi." * (PIECE_CHARS // 11),
    "noise": lambda c: "".join(chr(c.randrange(32, 0x3000)) for _ in range(PIECE_CHARS)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_time_grows_with_the_text_and_not_with_its_square(name: str) -> None:
    """Four pieces take at most about four times one; a square would take sixteen. CPU time, the best of three."""
    text = HOSTILE[name](random.Random(7))
    once, four = (min(_cpu_s(text * times) for _ in range(3)) for times in (1, 4))
    assert four < 10 * max(once, 0.001)


def _cpu_s(text: str) -> float:
    before = time.process_time()
    SCANNER.scan(text, PATTERN_ENTITIES)
    return time.process_time() - before


FLOORS = {  # recall, precision; see the head of the sample for what the first judgement was
    "CARD": (1.0, 1.0),
    "EMAIL": (1.0, 1.0),
    "IBAN": (1.0, 1.0),
    "IP": (1.0, 1.0),
    "SSN": (1.0, 1.0),
    "PHONE": (0.9, 1.0),
}


def test_recall_and_precision_on_others_sentences_do_not_fall() -> None:
    scores = pii_corpus.judge(SCANNER, pii_corpus.sampled())
    assert set(scores) == set(FLOORS)
    for entity, (recall, precision) in FLOORS.items():
        score = scores[entity]
        assert (score.recall, score.precision) >= (recall, precision), f"{entity}: {score}"
        assert score.precision >= precision, f"{entity}: {score.false}"


def test_every_format_is_found_and_no_look_alike_is() -> None:
    scores = pii_corpus.judge(SCANNER, pii_corpus.generated(seed=3, rounds=4))
    for entity, score in scores.items():
        assert score.recall >= 0.97, f"{entity} missed: {score.missed}"
        assert set(score.false) <= pii_corpus.KNOWN_FALSE, f"{entity} false: {score.false}"
