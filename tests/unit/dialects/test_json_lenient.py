"""The JSON value in a whole answer: valid JSON untouched, the usual defects mended, the unknowable refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.dialects.json_lenient import MAX_CHARS, Mended, Unreadable, mend
from tests.unit.dialects.broken_answers import BROKEN, MAN, REFUSED
from tests.unit.dialects.test_json_mend import HOLDERS, STYLES, dirty
from tests.unit.dialects.test_json_stream import VALUES

SIX_WORDS = st.lists(st.sampled_from(["Here", "is", "it:", "so,", "well.", "(see)", "*below*"]), max_size=6)


@given(VALUES, STYLES, st.text(" \n\t\r", max_size=2), st.booleans())
def test_valid_json_comes_back_byte_for_byte(value, style, space, at_limit):
    text = space + json.dumps(value, **style) + space
    assert mend(text, cut=at_limit) == Mended(text, value)


@given(HOLDERS, STYLES, SIX_WORDS, SIX_WORDS, st.sampled_from(["{}", "```json\n{}\n```", "```\n{}\n```"]))
def test_what_stands_around_a_value_changes_nothing(value, style, before, after, fence):
    text = json.dumps(value, **style)
    got = mend(f"{' '.join(before)}\n{fence.replace('{}', text)}\n{' '.join(after)}")
    assert isinstance(got, Mended)
    assert (got.value, json.loads(got.text)) == (value, value)


@given(dirty())
def test_what_is_mended_is_valid_and_says_what_was_done(text):
    got = mend(text)
    if isinstance(got, Mended):
        assert json.loads(got.text) == got.value
        assert got.repairs or got.text == text
    else:
        assert got.reason


@pytest.mark.parametrize(("name", "text", "value"), BROKEN, ids=[name for name, _, _ in BROKEN])
def test_the_labelled_answers(name, text, value):
    got = mend(text)
    if value is REFUSED:
        assert isinstance(got, Unreadable)
    else:
        assert isinstance(got, Mended)
        assert (got.value, json.loads(got.text)) == (value, value)
        assert got.repairs


def test_of_several_values_the_only_one_that_is_accepted_is_meant():
    text = 'Instead of {"name": "Ann"} say {"name": "Ann", "age": 31}.'
    assert isinstance(mend(text), Unreadable)
    got = mend(text, accepts=lambda value: "age" in value)
    assert isinstance(got, Mended)
    assert got.value == MAN
    assert got.repairs == ("text_before", "text_after", "other_values")
    assert isinstance(mend(text, accepts=lambda value: "name" in value), Unreadable)
    assert isinstance(mend(text, accepts=lambda value: False), Unreadable)


def test_the_only_value_comes_back_accepted_or_not_so_that_its_errors_can_be_told():
    got = mend("{name: 'Ann'}", accepts=lambda value: False)
    assert isinstance(got, Mended)
    assert got.value == {"name": "Ann"}


def test_a_fence_goes_before_the_prose_around_it():
    got = mend('From {"a": 1} follows:\n```json\n{"a": 2}\n```\nand not {"a": 3}.')
    assert isinstance(got, Mended)
    assert got.value == {"a": 2}
    got = mend('{"code": "```js\\nlet x = {};\\n```"}\nThat is it.')
    assert isinstance(got, Mended)
    assert got.value == {"code": "```js\nlet x = {};\n```"}


def test_json_in_a_json_string_is_unwrapped_only_where_a_string_will_not_do():
    text = json.dumps('{"a": 1}')
    assert mend(text) == Mended(text, '{"a": 1}')
    assert mend(text, accepts=lambda value: isinstance(value, str)) == Mended(text, '{"a": 1}')
    assert mend(text, accepts=lambda value: isinstance(value, dict)) == Mended(
        '{"a": 1}', {"a": 1}, ("unwrapped",)
    )


def test_a_number_at_a_limit_is_dropped_and_elsewhere_kept():
    text = 'Total: {"n": 1, "sum": 12'
    assert mend(text, cut=True).value == {"n": 1}
    assert mend(text).value == {"n": 1, "sum": 12}


def test_the_reason_names_the_place():
    assert mend('{"a": 1, "b": what}') == Unreadable("unknown word 'what', at character 15")
    assert mend("no") == Unreadable("no JSON value begins in the answer")
    assert mend(' {"a": 1} {"a": 2}').reason.startswith("the answer holds 2 JSON values")


def test_an_answer_is_mended_up_to_a_length_and_read_after_any_prose():
    assert mend("x" * 100_000 + " {'a': 1}").value == {"a": 1}
    at = '"' + "x" * (MAX_CHARS - 2) + '"'
    assert isinstance(mend(at), Mended)
    assert mend(at + " ") == Unreadable(f"the answer has more than {MAX_CHARS} characters")
