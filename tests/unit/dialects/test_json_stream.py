"""JSON that is still arriving: whatever the pieces, the reader sees what a parser of the whole text would see."""

from __future__ import annotations

import json

import jiter
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from msgspec import UNSET

from penstock.dialects.json_stream import MAX_TOKEN, JsonStream
from penstock.dialects.strict_json import MAX_DEPTH
from penstock.kernel.errors import Upstream

WORDS = st.text(st.characters(codec="utf-8"), max_size=8) | st.sampled_from(
    ["😀", '"\\/\b\f\n\r\t', "\u2028", "~/"]
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | WORDS
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=12,
)
STYLES = st.sampled_from([{}, {"indent": 1}, {"ensure_ascii": False}, {"separators": (",", ":")}])


@st.composite
def cut(draw, text: str) -> list[str]:
    """`text` in pieces."""
    places = sorted(draw(st.sets(st.integers(0, len(text)), max_size=12)))
    return [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]


def read(pieces, field=None) -> tuple[JsonStream, str]:
    stream = JsonStream(field)
    said = "".join([stream.feed(piece) for piece in pieces])
    stream.close()
    return stream, said


@given(st.data(), VALUES, STYLES)
def test_any_cutting_gives_the_value_of_the_whole(data, value, style):
    text = json.dumps(value, **style)
    stream, _ = read(data.draw(cut(text)))
    assert stream.value == value
    assert json.dumps(stream.value) == json.dumps(value)  # 1, 1.0 and true differ
    assert stream.complete


@given(VALUES, st.data())
def test_the_value_so_far_is_what_a_lenient_parser_reads_in_the_text_so_far(value, data):
    """The judge is jiter, written by others: it keeps an open string and drops an open number, as we do."""
    text = json.dumps({"root": value}, ensure_ascii=data.draw(st.booleans()))
    end = data.draw(st.integers(1, len(text)))
    so_far = text[:end]
    # jiter shows an unfinished number and a literal that nothing follows yet, and drops what is near an open escape.
    assume(so_far[-1] not in "-+.eE0123456789l" and "\\" not in so_far[-12:])
    stream = JsonStream()
    for piece in data.draw(cut(so_far)):
        stream.feed(piece)
        _ = stream.value  # looking must change nothing
    assert stream.value == jiter.from_json(so_far.encode(), partial_mode="trailing-strings")


@given(WORDS, WORDS, st.data())
def test_a_chosen_string_is_handed_on_as_it_arrives(words, others, data):
    value = {"a": [{"words": others}, {"words": words}], "words": others}
    text = json.dumps(value, ensure_ascii=data.draw(st.booleans()))
    assert read(data.draw(cut(text)), "/a/1/words")[1] == words
    assert read(data.draw(cut(text)), "/words")[1] == others
    assert read(data.draw(cut(text)), "/nowhere")[1] == ""


def test_every_letter_is_handed_on_at_once_and_an_escape_when_it_is_whole():
    stream = JsonStream("/answer")
    said = [stream.feed(char) for char in r'{"answer": "h\n\u00e9\ud83d\ude00!", "b": "no"}']
    assert [word for word in said if word] == ["h", "\n", "é", "😀", "!"]


def test_the_pointer_follows_the_writer():
    stream = JsonStream()
    seen = {}
    for char in '{"a/b": [1, {"~c": "x"}], "d": 2}':
        stream.feed(char)
        seen[char] = stream.path
    assert seen["x"] == "/a~1b/1/~0c"
    assert seen["2"] == "/d"
    field = JsonStream("/a~1b/1/~0c")
    assert field.feed('{"a/b": [1, {"~c": "x"}]}') == "x"


def test_a_string_at_the_root_has_the_empty_pointer():
    assert read(['"wor', 'ds"'], "")[1] == "words"


def test_nothing_is_known_before_the_first_value_and_a_number_shows_when_it_ends():
    stream = JsonStream()
    stream.feed("  ")
    assert stream.value is UNSET
    stream.feed('{"price": 12')
    assert stream.value == {}
    stream.feed("3,")
    assert stream.value == {"price": 123}
    assert not stream.complete


def test_the_later_of_two_members_stands_but_a_field_handed_on_is_not_taken_back():
    assert read(['{"a": 1, "a": 2}'])[0].value == {"a": 2}
    stream = JsonStream("/a")
    stream.feed('{"a": "one", ')
    with pytest.raises(Upstream, match="twice"):
        stream.feed('"a": "two"}')


BROKEN = [
    "{a: 1}", "{'a': 1}", '{"a" 1}', '{"a": 1,}', "[1,]", "[,1]", "[1 2]", "[01]", "[.5]", "[1.]", "[+1]", "[NaN]",
    "[True]", "[tru]", '{"a": 1]', "[1}", "]", "1 2", '"a" "b"', '["\n"]', r'["\x"]', r'["\u12g4"]', '{"a": 1} x',
    "{,}", '{"a"}', ":", '{"a":: 1}', "[1e]", "[--1]", "```json", "{1: 2}",
    "[" * (MAX_DEPTH + 1), "[" + "1" * (MAX_TOKEN + 1),
]  # fmt: skip
UNFINISHED = ["", " ", "{", "[", '"', '"a', "-", "tru", '{"a"', '{"a":', '{"a": 1', "[1,", r'"\u00', '"\\']


@pytest.mark.parametrize("text", BROKEN)
def test_what_is_not_json_is_refused_alike_whole_and_in_letters(text):
    with pytest.raises(ValueError):
        json.loads(text, parse_constant=int)
    with pytest.raises(Upstream) as whole:
        read([text])
    with pytest.raises(Upstream) as letters:
        read(text)
    assert (whole.value.reason, whole.value.message) == (letters.value.reason, letters.value.message)


@pytest.mark.parametrize("text", UNFINISHED)
def test_an_end_before_the_value_is_whole_is_refused(text):
    stream = JsonStream()
    stream.feed(text)
    assert not stream.complete
    with pytest.raises(Upstream, match="not JSON"):
        stream.close()


def test_every_bound_holds_at_its_value_and_not_past_it():
    at_depth = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert read([at_depth])[0].complete
    with pytest.raises(Upstream, match="deep") as deep:
        read(["[" + at_depth + "]"])
    assert (deep.value.reason, deep.value.limit) == ("json_too_deep", MAX_DEPTH)
    assert read(["1" * MAX_TOKEN])[0].value == int("1" * MAX_TOKEN)
    stream = JsonStream(max_chars=6)
    stream.feed('"abcd"')
    with pytest.raises(Upstream) as long:
        stream.feed(" ")
    assert (long.value.reason, long.value.limit) == ("json_too_long", 6)


def test_half_a_pair_is_a_replacement_character_never_a_lone_surrogate():
    assert read([r'["\ud83d", "\ud83dx", "\ude00"]'])[0].value == ["�", "�x", "�"]
    assert read([r'["\ud83d\ud83d\ude00"]'])[0].value == ["�😀"]


def test_a_field_is_a_json_pointer():
    with pytest.raises(ValueError, match="slash"):
        JsonStream("answer")
