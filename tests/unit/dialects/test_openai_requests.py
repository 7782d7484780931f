"""Chat requests, bytes to canonical and back: nothing lost, every refusal exact."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from msgspec import UNSET

from penstock.dialects.openai import parse_request, render_request
from penstock.dialects.openai_requests import MAX_STOPS, MAX_TOOLS, MAX_TOP_LOGPROBS
from penstock.kernel.chat import (
    ChatRequest,
    Image,
    Media,
    Message,
    Reasoning,
    Text,
    Thinking,
    ToolCall,
)
from penstock.kernel.errors import Invalid
from tests.unit.dialects.shapes import requests

USER = {"role": "user", "content": "hello"}


def body(**members) -> bytes:
    return json.dumps({"model": "m", "messages": [USER], **members}).encode()


def refused(text: bytes) -> Invalid:
    with pytest.raises(Invalid) as refusal:
        parse_request(text)
    return refusal.value


@given(requests())
def test_what_is_rendered_is_parsed_back_the_same(request):
    assert parse_request(render_request(request).body) == request


@given(requests())
def test_the_older_name_of_the_limit_is_the_same_limit(request):
    assert parse_request(render_request(request, "max_tokens").body) == request


def test_a_request_with_everything():
    wire = {
        "model": "m",
        "messages": [
            {"role": "developer", "content": "be brief"},
            {"role": "user", "name": "ann", "content": [
                {"type": "text", "text": "what?"},
                {"type": "image_url", "image_url": {"url": "https://x/y.png", "detail": "low"}},
                {"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}},
                {"type": "file", "file": {"file_data": "data:application/pdf;base64,AA", "filename": "a.pdf"}},
            ]},
            {"role": "assistant", "content": None, "reasoning_content": "hmm", "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1'}},
                {"id": "c2", "type": "function", "function": {"name": "g", "arguments": ""}},
            ], "audio": {"id": "a"}},
            {"role": "tool", "tool_call_id": "c1", "content": "42"},
        ],
        "stop": "END", "seed": 7, "logprobs": True, "top_logprobs": 3, "parallel_tool_calls": False,
        "reasoning_effort": "high", "presence_penalty": 1.5, "frequency_penalty": -2.0, "top_k": 7,
        "functions": [{"name": "old"}], "response_format": {"type": "json_schema", "json_schema": {"name": "s"}},
        "tool_choice": {"type": "function", "function": {"name": "f"}}, "n": 2,
    }  # fmt: skip
    request = parse_request(json.dumps(wire).encode())
    assert request.messages[1].content == (
        Text("what?"),
        Image("https://x/y.png", "low"),
        Media("audio/wav", "data:audio/wav;base64,AA"),
        Media("application/pdf", "data:application/pdf;base64,AA", "a.pdf"),
    )
    assert request.messages[2].content == (Reasoning("hmm"),)
    assert request.messages[2].tool_calls == (ToolCall("c1", "f", '{"a": 1'), ToolCall("c2", "g", ""))
    assert json.loads(bytes(request.messages[2].extras["audio"])) == {"id": "a"}
    assert request.stop == ("END",)
    assert (request.logprobs, request.top_logprobs, request.parallel_tool_calls) == (True, 3, False)
    assert (request.thinking, request.presence_penalty, request.top_k) == (Thinking(effort="high"), 1.5, 7)
    assert set(request.extras) == {"functions"}
    assert json.loads(render_request(request).body) == {**wire, "stop": ["END"]}


def test_null_means_not_given():
    request = parse_request(
        body(stop=None, tools=None, n=None, seed=None, tool_choice=None, stream=None, user=None)
    )
    assert request == ChatRequest(model="m", messages=(Message(role="user", content=(Text("hello"),)),))


def test_of_two_limits_the_smaller_counts():
    assert parse_request(body(max_tokens=9, max_completion_tokens=5)).max_output_tokens == 5


def test_strict_null_differs_from_strict_absent():
    tools = [
        {"type": "function", "function": {"name": "f", "strict": None}},
        {"type": "function", "function": {"name": "f"}},
    ]
    assert [tool.strict for tool in parse_request(body(tools=tools)).tools] == [None, UNSET]


def image(url) -> list:
    return [USER, USER, {"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]


@pytest.mark.parametrize(
    ("text", "field"),
    [
        (body(model=""), "model"),
        (b'{"messages":[]}', "model"),
        (b'{"model":"m"}', "messages"),
        (body(messages=[]), "messages"),
        (body(messages="x"), "messages"),
        (body(messages=[7]), "messages[0]"),
        (body(messages=[{"role": "function", "content": "x"}]), "messages[0].role"),
        (body(messages=[{"content": "x"}]), "messages[0].role"),
        (body(messages=[{"role": "user"}]), "messages[0].content"),
        (body(messages=[{"role": "user", "content": []}]), "messages[0].content"),
        (body(messages=[{"role": "user", "content": 7}]), "messages[0].content"),
        (body(messages=[{"role": "tool", "content": "x"}]), "messages[0].tool_call_id"),
        (body(messages=[{"role": "user", "content": [{"text": "x"}]}]), "messages[0].content[0].type"),
        (body(messages=[{"role": "user", "content": [{"type": "text", "text": 7}]}]), "messages[0].content[0].text"),
        (body(messages=image("ftp://x")), "messages[2].content[0].image_url.url"),
        (body(messages=image(7)), "messages[2].content[0].image_url.url"),
        (body(messages=[{"role": "assistant", "tool_calls": [{"id": "a", "type": "function"}]}]),
         "messages[0].tool_calls[0].function"),
        (body(messages=[{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {}}}]}]),
         "messages[0].tool_calls[0].function.arguments"),
        (body(tools=[{"type": "function"}]), "tools[0].function"),
        (body(tools=[{"type": "function", "function": {"name": ""}}]), "tools[0].function.name"),
        (body(tools=[{}] * (MAX_TOOLS + 1)), "tools"),
        (body(stop=["x"] * (MAX_STOPS + 1)), "stop"),
        (body(stop=7), "stop"),
        (body(top_p=1.5), "top_p"),
        (body(temperature="hot"), "temperature"),
        (body(n=0), "n"),
        (body(max_tokens=0), "max_tokens"),
        (body(seed=1.5), "seed"),
        (body(top_k=-2), "top_k"),
        (body(presence_penalty=2.1), "presence_penalty"),
        (body(frequency_penalty=-2.1), "frequency_penalty"),
        (body(logprobs=1), "logprobs"),
        (body(top_logprobs=-1), "top_logprobs"),
        (body(top_logprobs=MAX_TOP_LOGPROBS + 1), "top_logprobs"),
        (body(reasoning_effort=3), "reasoning_effort"),
        (body(stream_options={"include_usage": True}), "stream_options"),
        (body(stream=True, stream_options={"include_usage": 1}), "stream_options.include_usage"),
    ],
)  # fmt: skip
def test_a_refusal_names_the_whole_path(text, field):
    error = refused(text)
    assert error.field == field
    assert error.remedy


def test_numbers_beyond_a_double_are_refused_wherever_they_stand():
    assert refused(body()[:-1] + b',"logit_bias":{"a":1e999}}').limit == "64-bit integers and doubles"


@pytest.mark.parametrize("top_k", [0, -1])
def test_vllms_words_for_all_tokens_mean_not_given(top_k):
    assert parse_request(body(top_k=top_k)).top_k is None


def test_hidden_thoughts_and_signatures_come_back_in_order():
    """An SDK sends back the message it was given: every block of thought must reach the vendor again."""
    thoughts = (Reasoning("a", "s1"), Reasoning("", redacted="h"), Reasoning("b", "s2"))
    request = ChatRequest(model="m", messages=(Message(role="assistant", content=(*thoughts, Text("c"))),))
    wire = json.loads(render_request(request).body)["messages"][0]
    assert wire["reasoning_content"] == "ab"
    assert [entry["type"] for entry in wire["reasoning_details"]] == [
        "reasoning.text", "reasoning.encrypted", "reasoning.text",
    ]  # fmt: skip
    assert parse_request(json.dumps({"model": "m", "messages": [wire]}).encode()) == request


@pytest.mark.parametrize("more", [{"format": "anthropic-claude-v1"}, {"text": "something else"}])
def test_details_that_say_more_are_kept_as_they_are(more):
    details = [{"type": "reasoning.text", "text": "a", "signature": "s", **more}]
    message = {"role": "assistant", "content": "b", "reasoning_content": "a", "reasoning_details": details}
    request = parse_request(body(messages=[message]))
    assert request.messages[0].content == (Reasoning("a"), Text("b"))
    assert json.loads(render_request(request).body)["messages"][0] == message
