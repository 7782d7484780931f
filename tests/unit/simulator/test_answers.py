"""What the simulated provider says: deterministic, countable, valid for the schema it was asked for."""

from __future__ import annotations

import json

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.dialects.openai_envelope import open_chat
from penstock.simulator.answers import THOUGHT_TOKENS, answers, instance, pieces_of, prose
from penstock.simulator.asked import IMAGE_TOKENS, asked_in_openai


def asked(**members):
    body = {
        "model": "m",
        "messages": [{"role": "user", "content": "What is the weather in Oslo?"}],
        **members,
    }
    return asked_in_openai(open_chat(json.dumps(body).encode()))


TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 3}},
            "required": ["city", "days"],
        },
    },
}
OTHER = {"type": "function", "function": {"name": "other"}}


@given(st.integers(1, 200))
def test_an_answer_has_as_many_tokens_as_ordered(tokens):
    (answer,) = answers(asked(), tokens)
    assert answer.tokens == tokens == len("".join(answer.pieces).split())
    assert answer.finish == "stop"


def test_the_same_question_has_the_same_answer_and_another_has_another():
    assert answers(asked(), 9) == answers(asked(), 9)
    assert answers(asked(), 9) != answers(asked(messages=[{"role": "user", "content": "x"}]), 9)


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize(("limit", "tokens", "finish"), [(4, 4, "length"), (5, 5, "stop"), (6, 5, "stop")])
def test_the_limit_is_obeyed(name, limit, tokens, finish):
    (answer,) = answers(asked(**{name: limit}), 5)
    assert (answer.tokens, answer.finish) == (tokens, finish)


def test_every_choice_is_answered():
    assert len(answers(asked(n=3), 5)) == 3


def test_a_tool_is_called_with_arguments_that_fit():
    (answer,) = answers(asked(tools=[TOOL, OTHER]), 5)
    (call,) = answer.tools
    assert (call.name, answer.finish) == ("weather", "tool_calls")
    jsonschema_rs.validate(TOOL["function"]["parameters"], json.loads(call.arguments))


def test_tools_are_called_together_only_when_asked():
    (answer,) = answers(asked(tools=[TOOL, OTHER], parallel_tool_calls=True), 5)
    assert [call.name for call in answer.tools] == ["weather", "other"]
    assert len({call.id for call in answer.tools}) == 2


@pytest.mark.parametrize("choice", ["none", None])
def test_no_call_where_none_is_wanted(choice):
    members = {"tools": [TOOL], "tool_choice": choice} if choice else {"tools": []}
    (answer,) = answers(asked(**members), 5)
    assert not answer.tools


def test_a_named_tool_is_called():
    choice = {"type": "function", "function": {"name": "other"}}
    (answer,) = answers(asked(tools=[TOOL, OTHER], tool_choice=choice), 5)
    assert [call.name for call in answer.tools] == ["other"]


def test_after_a_tool_has_answered_there_is_text():
    turns = [{"role": "user", "content": "x"}, {"role": "tool", "tool_call_id": "c", "content": "42"}]
    (answer,) = answers(asked(tools=[TOOL], messages=turns), 5)
    assert answer.pieces


def test_a_call_is_cut_at_the_limit():
    (answer,) = answers(asked(tools=[TOOL], max_tokens=1), 5)
    assert (answer.tokens, answer.finish) == (1, "length")


SCHEMAS = [
    {"type": "object", "properties": {"a": {"type": "string", "format": "date"}}, "required": ["a"]},
    {"type": "object", "properties": {"e": {"enum": ["x", "y"]}, "c": {"const": 7}, "b": {"type": "boolean"}}},
    {"type": "array", "items": {"type": "number", "maximum": 0}, "minItems": 2},
    {"type": "object", "properties": {"n": {"type": ["null", "integer"], "exclusiveMinimum": 4}}},
    {"$defs": {"P": {"type": "object", "properties": {"x": {"type": "string", "minLength": 9, "maxLength": 9}}}},
     "type": "array", "items": {"$ref": "#/$defs/P"}},
    {"anyOf": [{"type": "integer"}, {"type": "null"}]},
    {"allOf": [{"type": "object"}, {"properties": {"u": {"type": "string", "format": "uuid"}}, "required": ["u"]}]},
    {"type": "null"},
]  # fmt: skip


@pytest.mark.parametrize("schema", SCHEMAS)
def test_an_instance_fits_its_schema(schema):
    jsonschema_rs.validate(schema, instance(schema))


def test_a_schema_that_contains_itself_ends():
    loop = {
        "$defs": {"T": {"type": "object", "properties": {"t": {"$ref": "#/$defs/T"}}}},
        "$ref": "#/$defs/T",
    }
    assert json.dumps(instance(loop)).count("t") < 40


@pytest.mark.parametrize("strict", [True, False])
def test_a_schema_is_answered_with_an_instance(strict):
    schema = TOOL["function"]["parameters"]
    wanted = {"type": "json_schema", "json_schema": {"name": "s", "strict": strict, "schema": schema}}
    (answer,) = answers(asked(response_format=wanted), 5)
    jsonschema_rs.validate(schema, json.loads("".join(answer.pieces)))


@given(st.text(max_size=60))
def test_pieces_put_together_are_the_text(text):
    assert "".join(pieces_of(text)) == text


@given(st.lists(st.text(max_size=50), min_size=1, max_size=5))
def test_prompt_tokens_are_at_least_one_and_never_more_than_bytes(texts):
    members = {"messages": [{"role": "user", "content": text} for text in texts]}
    assert 1 <= asked(**members).input_tokens <= len(json.dumps(members))


def test_pictures_are_counted():
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    one, two = (
        asked(messages=[{"role": "user", "content": [picture] * count}]).input_tokens for count in (1, 2)
    )
    assert two - one > IMAGE_TOKENS


@pytest.mark.parametrize(
    ("effort", "thoughts"), [("high", THOUGHT_TOKENS), ("none", 0), ("minimal", 0), (None, 0)]
)
def test_thoughts_come_first_and_count(effort, thoughts):
    (answer,) = answers(asked(reasoning_effort=effort), 5)
    assert (len(answer.thoughts), answer.tokens) == (thoughts, thoughts + 5)


@pytest.mark.parametrize(("limit", "thoughts", "words"), [(4, 4, 0), (6, 6, 0), (8, 6, 2), (11, 6, 5)])
def test_thoughts_are_within_the_limit(limit, thoughts, words):
    (answer,) = answers(asked(reasoning_effort="high", max_tokens=limit), 5)
    assert (len(answer.thoughts), len(answer.pieces)) == (thoughts, words)
    assert answer.finish == ("stop" if limit == 11 else "length")


def test_no_words_at_all():
    assert prose(7, 0) == ()
