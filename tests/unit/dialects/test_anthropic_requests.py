"""Anthropic's requests, bytes to canonical and back."""

from __future__ import annotations

import json

import pytest
from hypothesis import given

from penstock.dialects.anthropic import CODEC, parse_count_request
from penstock.kernel.chat import Media, Message, Text, Thinking, ToolCall
from penstock.kernel.errors import Invalid
from tests.unit.dialects.anthropic_bodies import REQUEST
from tests.unit.dialects.anthropic_shapes import requests
from tests.unit.dialects.shapes import raws


def parse(**changes):
    whole = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}], **changes}
    return CODEC.parse_request(json.dumps(whole).encode())


def render(request) -> dict:
    rendered = CODEC.render_request(request, "max_tokens")
    assert rendered.left_out == ()
    return json.loads(rendered.body)


@given(requests())
def test_a_request_comes_back_the_same(request_):
    assert CODEC.parse_request(CODEC.render_request(request_, "max_tokens").body) == request_


def test_a_body_with_everything_means_the_same_afterwards():
    assert render(CODEC.parse_request(json.dumps(REQUEST).encode())) == REQUEST


def test_a_user_turn_of_results_and_words_is_taken_apart():
    messages = CODEC.parse_request(json.dumps(REQUEST).encode()).messages
    assert [message.role for message in messages] == [
        *("system", "user", "assistant", "tool", "tool", "user", "system", "assistant")
    ]
    assistant, failed, noon, user = messages[2:6]
    assert assistant.tool_calls[0] == ToolCall(
        "toolu_1", "weather", '{"city": "Oslo"}', {"position": raws(3)}
    )
    assert "position" not in assistant.tool_calls[1].extras
    assert failed.extras == {"is_error": raws(True)}
    assert noon.tool_call_id == "toolu_2"
    assert user.content[2] == Media("text/plain", "data:text/plain;base64,w6k=", "T")


def test_results_lead_their_turn_wherever_they_stood():
    words, result = {"type": "text", "text": "x"}, {"type": "tool_result", "tool_use_id": "t"}
    request = parse(messages=[{"role": "user", "content": [words, result]}])
    assert [message.role for message in request.messages] == ["tool", "user"]
    assert render(request)["messages"] == [{"role": "user", "content": [result, words]}]


def test_a_turn_of_nothing_but_results_keeps_its_unknown_members():
    turn = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t"}], "x_new": 1}
    assert render(parse(messages=[turn]))["messages"] == [turn]


def test_results_do_not_join_a_turn_that_somebody_else_interrupted():
    result = {"type": "tool_result", "tool_use_id": "t"}
    turns = [
        {"role": "user", "content": [result]},
        {"role": "system", "content": "x"},
        {"role": "user", "content": "y"},
    ]
    assert render(parse(messages=turns))["messages"] == turns


@pytest.mark.parametrize(
    ("given_", "thinking", "extra"),
    [
        ({}, None, {}),
        ({"thinking": {"type": "adaptive"}}, Thinking(), {}),
        ({"thinking": {"type": "disabled"}}, Thinking(effort="none"), {}),
        ({"thinking": {"type": "enabled", "budget_tokens": 5}}, Thinking(budget_tokens=5), {}),
        ({"output_config": {"effort": "max"}}, Thinking(effort="max"), {"thinking"}),
        ({"output_config": {"effort": "odd"}}, None, {"output_config"}),
        ({"thinking": {"type": "enabled"}}, None, {"thinking"}),
        (
            {"thinking": {"type": "disabled"}, "output_config": {"effort": "low"}},
            Thinking(effort="none"),
            {"output_config"},
        ),
        ({"thinking": {"type": "between_tools"}}, None, {"thinking"}),
    ],
)
def test_every_way_to_ask_for_thought_returns_as_it_came(given_, thinking, extra):
    request = parse(**given_)
    assert request.thinking == thinking
    assert set(request.extras) == set(extra)
    back = render(request)
    assert {name: back[name] for name in ("thinking", "output_config") if name in back} == given_


def test_the_older_name_of_the_answers_format_is_read():
    form = {"type": "json_schema", "schema": {"type": "object"}}
    back = render(parse(output_format=form))
    assert back["output_config"] == {"format": form}
    assert "output_format" not in back


def test_a_choice_of_tools_from_the_future_is_kept():
    choice = {"type": "some", "names": ["a"]}
    assert render(parse(tool_choice=choice))["tool_choice"] == choice


def test_only_a_count_may_lack_the_output_limit():
    body = b'{"model":"m","messages":[{"role":"user","content":"hi"}]}'
    assert parse_count_request(body).messages == (Message(role="user", content=(Text("hi"),)),)
    with pytest.raises(Invalid) as error:
        CODEC.parse_request(body)
    assert (error.value.reason, error.value.field) == ("missing_field", "max_tokens")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"model": ""}, "model"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 2**31}, "max_tokens"),
        ({"temperature": 1.01}, "temperature"),
        ({"top_k": -1}, "top_k"),
        ({"messages": []}, "messages"),
        ({"messages": None}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image"}]}]},
            "messages[0].content[0].source",
        ),
        (
            {
                "messages": [
                    {
                        "role": "assistant",
                        "content": [{"type": "tool_use", "id": "t", "name": "f", "input": []}],
                    }
                ]
            },
            "messages[0].content[0].input",
        ),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {
                                "type": "tool_result",
                                "tool_use_id": "t",
                                "content": [{"type": "text", "text": 7}],
                            }
                        ],
                    }
                ]
            },
            "messages[0].content[0].content[0].text",
        ),
        ({"tools": [{"name": "f"}]}, "tools[0].input_schema"),
        ({"tools": [{"input_schema": {}}]}, "tools[0].name"),
        ({"stop_sequences": ["x"] * 257}, "stop_sequences"),
        ({"stream": "yes"}, "stream"),
    ],
)
def test_a_refusal_names_the_path_and_the_remedy(changes, field):
    with pytest.raises(Invalid) as error:
        parse(**changes)
    assert error.value.field == field
    assert error.value.remedy


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"model":"a","model":"b"}', b'{"max_tokens":1e999}'])
def test_what_is_no_request_is_refused(body):
    with pytest.raises(Invalid):
        CODEC.parse_request(body)


def test_bounds_hold_at_and_over_the_edge():
    tool = {"name": "f", "input_schema": {}}
    assert len(parse(tools=[tool] * 1024).tools) == 1024
    with pytest.raises(Invalid):
        parse(tools=[tool] * 1025)
    block = {"type": "text", "text": "x"}
    assert len(parse(messages=[{"role": "user", "content": [block] * 10_000}]).messages[0].content) == 10_000
    with pytest.raises(Invalid):
        parse(messages=[{"role": "user", "content": [block] * 10_001}])


def test_a_redirected_body_keeps_every_other_byte():
    body = b'{"max_tokens" : 9, "x": 1.50, "model":"a","messages":[ ]}'
    assert CODEC.redirect is not None
    moved = CODEC.redirect(body, "b", 5)
    assert moved == b'{"max_tokens":5,"x":1.50,"model":"b","messages":[ ]}'
