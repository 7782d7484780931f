"""What is typed into forms: money to the last nano-dollar, every mistake at its field, nothing half understood."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.console.inputs import (
    COUNT_MOST,
    NANOS_MOST,
    Reading,
    fingerprint,
    must_be_seen,
    nanos_of,
    typed_dollars,
)
from penstock.kernel.errors import StaleVersion


@given(st.integers(0, NANOS_MOST))
def test_money_comes_back_from_a_form_as_it_went_in(nanos):
    assert nanos_of(typed_dollars(nanos)) == nanos


@pytest.mark.parametrize(
    ("text", "nanos"),
    [
        ("20", 20_000_000_000),
        ("$20", 20_000_000_000),
        ("0", 0),
        ("0.1", 100_000_000),
        ("0.000000001", 1),
        ("1,234.5", 1_234_500_000_000),
        ("9000000000", NANOS_MOST),
        ("0.29", 290_000_000),  # 0.29 * 1e9 is 289999999.99999994 in floats
        ("4503599627.370497", 4_503_599_627_370_497_000),
    ],
)
def test_dollars_become_nano_dollars_exactly(text, nanos):
    assert nanos_of(text) == nanos


@pytest.mark.parametrize(
    "text", ["1,5", "1.", ".5", "-1", "1e3", "1.0000000001", "٣", "twenty", "1 000", "12,34", "NaN", "$"]
)
def test_what_could_be_meant_otherwise_is_refused_with_how_to_write_it(text):
    reading = Reading({"most": text})
    assert reading.dollars("most") is None
    assert "like 20 or 0.005" in reading.wrong["most"]


def test_an_amount_at_the_api_s_bound_is_taken_and_one_over_it_refused():
    at, over = Reading({"most": "9,000,000,000"}), Reading({"most": "9000000000.000000001"})
    assert (at.dollars("most"), at.wrong) == (NANOS_MOST, {})
    over.dollars("most")
    assert over.wrong == {"most": "The most is $9,000,000,000."}


@pytest.mark.parametrize(
    ("text", "number"), [("", 0), ("7", 7), ("1,000", 1_000), ("1 000 000", 1_000_000), (str(COUNT_MOST), COUNT_MOST)]
)  # fmt: skip
def test_counts_are_whole_numbers_and_nothing_is_no_limit(text, number):
    reading = Reading({"n": text})
    assert (reading.count("n"), reading.wrong) == (number, {})


@pytest.mark.parametrize("text", ["-1", "1.5", "1e3", "many", str(COUNT_MOST + 1), "10,00", "٣"])
def test_what_is_no_count_is_wrong_at_its_field(text):
    reading = Reading({"n": text})
    reading.count("n")
    assert list(reading.wrong) == ["n"]


@pytest.mark.parametrize("text", ["a", "A.b_c-9", "x" * 64])
def test_names_the_platform_takes_are_taken(text):
    reading = Reading({"team": text})
    assert (reading.name("team"), reading.wrong) == (text, {})


@pytest.mark.parametrize("text", ["", "x" * 65, "two words", "a/b", "é", "a\n"])
def test_names_the_platform_refuses_are_refused_before_it(text):
    reading = Reading({"team": text})
    reading.name("team")
    assert list(reading.wrong) == ["team"]


@pytest.mark.parametrize(
    ("text", "percents"), [("50, 80, 100", (50, 80, 100)), ("80 50% 50", (50, 80)), ("", ())]
)
def test_percentages_are_in_order_and_once(text, percents):
    assert Reading({"warn": text}).percents("warn") == percents


@pytest.mark.parametrize("text", ["0", "101", "half", "1,2,3,4,5,6,7,8,9,10,11"])
def test_percentages_outside_their_bounds_are_wrong(text):
    reading = Reading({"warn": text})
    reading.percents("warn")
    assert list(reading.wrong) == ["warn"]


def test_a_list_is_read_by_line_and_comma_each_word_once():
    assert Reading({"models": " a \r\nb, c,,a\n\n"}).lines("models") == ("a", "b", "c")


@pytest.mark.parametrize("text", ["x" * 257, "\n".join(str(n) for n in range(201))])
def test_a_list_past_its_bounds_is_wrong(text):
    reading = Reading({"models": text})
    reading.lines("models")
    assert list(reading.wrong) == ["models"]


def test_every_mistake_of_a_form_is_found_at_once():
    reading = Reading({"team": "no good", "most": "1,5", "n": "many", "role": "king"})
    reading.name("team"), reading.dollars("most"), reading.count("n"), reading.choice("role", ["a"], "a")
    assert set(reading.wrong) == {"team", "most", "n", "role"}


def test_a_form_of_something_else_is_stale():
    must_be_seen({"seen": fingerprint("a", 1)}, fingerprint("a", 1))
    with pytest.raises(StaleVersion):
        must_be_seen({"seen": fingerprint("a", 1)}, fingerprint("a", 2))
    with pytest.raises(StaleVersion):
        must_be_seen({}, fingerprint("a", 1))
