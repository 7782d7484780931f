"""JSON mended while it flows: valid JSON is left alone, what comes out is JSON or a named problem."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.dialects.json_mend import JsonMender
from penstock.dialects.json_words import LOOK, MAX_GAP, MAX_HELD, MAX_WORD
from penstock.dialects.strict_json import MAX_DEPTH
from tests.unit.dialects.broken_answers import BROKEN, REFUSED
from tests.unit.dialects.test_json_stream import VALUES, WORDS, cut

HOLDERS = st.lists(VALUES, max_size=4) | st.dictionaries(WORDS, VALUES, max_size=4)
STYLES = st.sampled_from(
    [{}, {"indent": 2}, {"indent": "\t"}, {"ensure_ascii": False}, {"separators": (",", ":")}]
)
DIRT = st.text(st.sampled_from("{}[]:,\"'`\\/#*+-.0aetrufnN \n“”$_"), min_size=1, max_size=4)

# What only the whole answer can settle: the stream has let the value's beginning out.
ONLY_WHOLE = {
    "braces in the prose": "the first brace might have been the value",
    "escaped as if in a string": "the second reading needs the end of the text",
    "two different values": "the first has been sent when the second comes",
    "list without brackets": "likewise",
    "closed too early": "likewise",
}


def mended(pieces, *, cut=False, opens="{[") -> tuple[str, JsonMender]:
    mender = JsonMender(opens)
    text = "".join([mender.feed(piece) for piece in pieces])
    return text + mender.close(cut=cut), mender


@st.composite
def dirty(draw) -> str:
    """JSON with a few characters put in, taken out or written over."""
    text = json.dumps(draw(HOLDERS), **draw(STYLES))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(DIRT | st.just("")) + text[at + draw(st.integers(0, 3)) :]
    return text


@given(st.data(), HOLDERS, STYLES, st.text(" \n\t\r", max_size=3))
def test_valid_json_passes_byte_for_byte(data, value, style, space):
    text = space + json.dumps(value, **style) + space
    out, mender = mended(data.draw(cut(text)))
    assert (out, mender.repairs, mender.problem) == (text, [], "")


@given(st.data(), dirty())
def test_what_comes_out_is_json_unless_a_problem_is_named(data, text):
    out, mender = mended(data.draw(cut(text)))
    if not mender.problem:
        json.loads(out)
    assert mender.problem or mender.repairs or out == text


@given(st.data(), dirty(), st.booleans())
def test_any_cutting_gives_the_same(data, text, at_limit):
    whole, one = mended([text], cut=at_limit)
    pieces, other = mended(data.draw(cut(text)), cut=at_limit)
    assert (pieces, other.repairs, other.problem) == (whole, one.repairs, one.problem)
    assert (other.began, other.ended, other.meant) == (one.began, one.ended, one.meant)


@given(HOLDERS, STYLES, st.data())
def test_an_answer_cut_anywhere_is_closed_to_a_beginning_of_the_value(value, style, data):
    text = json.dumps(value, **style)
    out, mender = mended(data.draw(cut(text[: data.draw(st.integers(1, len(text)))])), cut=True)
    assert mender.problem == ""
    assert begins(json.loads(out), value)


def begins(part, whole) -> bool:
    """Whether `part` is `whole`, or what of it came before a cut."""
    if isinstance(whole, dict):
        return all(name in whole and begins(inner, whole[name]) for name, inner in part.items())
    if isinstance(whole, list):
        return len(part) <= len(whole) and all(map(begins, part, whole))
    return whole.startswith(part.removesuffix("�")) if isinstance(whole, str) else part == whole


@given(st.data(), st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=9),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=5), inner, max_size=4),
).filter(lambda value: isinstance(value, list | dict)))  # fmt: skip
def test_what_python_writes_is_read_as_meant(data, value):
    out, mender = mended(data.draw(cut(repr(value))))
    assert mender.problem == ""
    assert json.loads(out) == value


@pytest.mark.parametrize(("name", "text", "value"), BROKEN, ids=[name for name, _, _ in BROKEN])
def test_the_usual_defects_are_mended_as_they_flow(name, text, value):
    out, mender = mended(text)
    if name in ONLY_WHOLE:
        assert mender.problem or "text_after" in mender.repairs
    elif value is REFUSED:
        assert mender.problem
    else:
        assert (json.loads(out), mender.problem) == (value, "")


def test_what_is_sent_before_a_problem_and_after_it_is_all_that_came():
    text = '{"a": 1, "b": what, "c": [1, 2'
    out, mender = mended(text)
    assert out == text
    assert mender.problem == "unknown word 'what', at character 15"
    assert mended("I cannot do that.")[0] == "I cannot do that."


def test_each_character_goes_out_as_soon_as_it_is_known_to_stand():
    mender = JsonMender()
    sent = [mender.feed(char) for char in 'So: {"a": "hi", "b": [1, 2, ], }']
    assert "".join(sent) == '{"a": "hi", "b": [1, 2 ] }'
    assert sent[4:8] == ["", "{", "", ""]  # a brace waits for what follows it, a name for its value
    assert sent[10:13] == ['"a": "', "h", "i"]
    assert sent[13:17] == ["", "", "", '"']  # a quote waits for what follows it


def test_a_comma_waits_and_is_sent_only_before_another_value():
    mender = JsonMender()
    assert mender.feed("[1,") == "[1"
    assert mender.feed(" ") == ""
    assert mender.feed("]") == " ]"
    assert mender.repairs == ["trailing_comma"]


def test_a_number_before_a_cut_is_dropped_since_it_may_go_on():
    assert mended('{"a": 1, "b": 12', cut=True)[0] == '{"a": 1}'
    assert mended('{"a": 1, "b": 12', cut=False)[0] == '{"a": 1, "b": 12}'
    assert mended("[true, nul", cut=True)[0] == "[true, null]"


def test_only_the_bracket_that_was_asked_for_begins_the_value():
    text = 'As in [1] and [2]: {"a": 3}'
    assert mended(text, opens="{")[0] == '{"a": 3}'
    assert mended(text, opens="[")[0] == "[1] "


@pytest.mark.parametrize(
    ("at", "over"),
    [
        ("[" * MAX_DEPTH + "]" * MAX_DEPTH, "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1)),
        ("x" * (MAX_HELD - 9) + '{"a": 1}', "x" * (MAX_HELD + 1) + '{"a": 1}'),
        (f"[{'0.' + '1' * (MAX_WORD - 2)}]", f"[{'0.' + '1' * (MAX_WORD - 1)}]"),
        (f'{{"{"n" * (2 * MAX_HELD - 2)}": 1}}', f'{{"{"n" * (2 * MAX_HELD)}": 1}}'),
        (f"[1 //{' ' * MAX_GAP}\n]", f"[1 //{' ' * (MAX_GAP + 1)}\n]"),
    ],
    ids=["depth", "prose", "number", "name", "comment"],
)
def test_every_bound_holds_at_its_value_and_past_it_the_text_passes_as_it_is(at, over):
    out, mender = mended(at)
    assert mender.problem == ""
    json.loads(out)
    out, mender = mended(over)
    assert mender.problem
    assert out == over


def test_white_space_without_end_is_not_kept():
    out, mender = mended(['{"a": 1,', *[" " * 1000] * 50, '"b": 2}'])
    assert json.loads(out) == {"a": 1, "b": 2}
    assert len(out) < MAX_HELD + 32
    assert mender.problem == ""


def test_a_quote_within_the_words_is_known_by_what_follows_within_sight():
    near = '{"a": "x" ' + "y" * LOOK + '", "b": 1}'
    assert json.loads(mended(near)[0]) == {"a": 'x" ' + "y" * LOOK, "b": 1}
    assert mended('{"a": "x" 1, "b": 2}')[1].problem.startswith("a quote stands where none can")
