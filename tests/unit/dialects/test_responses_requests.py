"""Requests of the Responses API, bytes to canonical and back, and into and out of other dialects."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from msgspec import UNSET, Raw
from msgspec.structs import replace

from penstock.dialects import openai
from penstock.dialects.codecs import CODECS
from penstock.dialects.responses import CODEC, parse_request, redirect, render_request
from penstock.kernel.chat import ChatRequest, Media, Message, Other, Reasoning, Text, Thinking, Tool, ToolCall
from penstock.kernel.errors import Invalid
from tests.unit.dialects.responses_shapes import requests
from tests.unit.dialects.shapes import raws
from tests.unit.dialects.shapes import requests as chat_requests


def body(**members) -> bytes:
    return json.dumps({"model": "m", "input": "hello", **members}).encode()


def refused(text: bytes) -> Invalid:
    with pytest.raises(Invalid) as refusal:
        parse_request(text)
    return refusal.value


def said(request: ChatRequest) -> dict:
    return json.loads(render_request(request).body)


@given(requests())
def test_what_is_rendered_is_parsed_back_the_same(request):
    rendered = render_request(request)
    assert parse_request(rendered.body) == request
    assert rendered.left_out == ()


CONVERSATION = [
    {"type": "message", "role": "user", "content": [
        {"type": "input_text", "text": "what?"},
        {"type": "input_image", "image_url": "https://x/y.png", "detail": "low"},
        {"type": "input_file", "file_url": "https://x/a.pdf"},
    ]},
    {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hmm"}], "encrypted_content": "e"},
    {"type": "message", "id": "msg_1", "role": "assistant", "phase": "commentary", "content": [
        {"type": "output_text", "text": "look", "annotations": [
            {"type": "url_citation", "url": "https://x", "title": "t", "start_index": 0, "end_index": 4}]}]},
    {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": '{"a": 1'},
    {"type": "function_call", "call_id": "c2", "name": "g", "arguments": ""},
    {"type": "custom_tool_call", "call_id": "c3", "name": "patch", "input": "*** Begin"},
    {"type": "function_call_output", "call_id": "c1", "output": "42"},
    {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_image", "image_url": "https://x/z.png",
                                                                  "detail": "auto"}]},
    {"type": "custom_tool_call_output", "call_id": "c3", "output": "done"},
    {"type": "reasoning", "id": "rs_2", "encrypted_content": "e2", "summary": []},
    {"type": "web_search_call", "id": "ws_1", "status": "completed"},
    {"type": "message", "role": "user", "content": "and?"},
]  # fmt: skip


def test_a_conversation_with_every_item_comes_back_as_it_was():
    wire = {
        "model": "m", "instructions": "be brief", "input": CONVERSATION, "store": False,
        "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": True},
                  {"type": "custom", "name": "patch"}, {"type": "web_search"}],
        "tool_choice": {"type": "function", "name": "f"}, "parallel_tool_calls": False, "max_output_tokens": 99,
        "text": {"format": {"type": "json_schema", "name": "n", "schema": {}, "strict": True}, "verbosity": "low"},
        "reasoning": {"effort": "high", "summary": "detailed", "mode": "pro"},
        "include": ["reasoning.encrypted_content", "message.output_text.logprobs"], "metadata": {"a": "b"},
        "prompt_cache_key": "k", "service_tier": "flex", "temperature": 0.5, "new_member": [1],
    }  # fmt: skip
    request = parse_request(json.dumps(wire).encode())
    assert said(request) == wire
    assert request.messages[0] == Message(role="system", content=(Text("be brief"),))
    answer = request.messages[2]
    assert answer.content == (Reasoning("hmm", "e"), Text("look"))
    assert [call.id for call in answer.tool_calls] == ["c1", "c2", "c3"]
    assert request.messages[6].content == (Reasoning("", redacted="e2"),)
    assert request.thinking == Thinking(effort="high", shown=True)
    assert request.logprobs is True


def test_a_string_is_one_user_message():
    assert parse_request(body()).messages == (Message(role="user", content=(Text("hello"),)),)


def test_the_easy_form_of_a_message_needs_no_type():
    items = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
    ]
    roles = [message.role for message in parse_request(body(input=items)).messages]
    assert roles == ["user", "assistant", "user"]


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"store": True}, "store"),
        ({"background": True}, "background"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0]"),
        ({"input": [{"role": "user", "content": "x"}, {"id": "msg_1"}]}, "input[1]"),
    ],
)
def test_what_builds_on_a_kept_response_is_refused_with_a_way_out(members, field):
    error = refused(body(**members))
    assert error.field == field
    assert "keeps no responses" in error.remedy


@pytest.mark.parametrize("members", [{"store": False}, {"background": False}, {"previous_response_id": None}])
def test_what_asks_for_nothing_to_be_kept_is_taken(members):
    assert parse_request(body(**members)) == parse_request(body())
    assert said(parse_request(body()))["store"] is False


@pytest.mark.parametrize(
    ("text", "field"),
    [
        (body(model=""), "model"),
        (b'{"input":"x"}', "model"),
        (b'{"model":"m"}', "input"),
        (body(input=[]), "input"),
        (body(input=7), "input"),
        (body(input=[7]), "input[0]"),
        (body(input=[{"role": "tool", "content": "x"}]), "input[0].role"),
        (body(input=[{"role": "user"}]), "input[0].content"),
        (body(input=[{"role": "user", "content": [{"text": "x"}]}]), "input[0].content[0].type"),
        (body(input=[{"role": "user", "content": [{"type": "input_text"}]}]), "input[0].content[0].text"),
        (body(input=[{"role": "user", "content": [{"type": "input_image", "image_url": "ftp://x"}]}]),
         "input[0].content[0].image_url"),
        (body(input=[{"type": "function_call", "name": "f"}]), "input[0].call_id"),
        (body(input=[{"type": "function_call_output", "output": "x"}]), "input[0].call_id"),
        (body(input=[{"type": "reasoning", "summary": "x"}]), "input[0].summary"),
        (body(tools=[{"type": "function"}]), "tools[0].name"),
        (body(tools=[{}] * 1025), "tools"),
        (body(text={"format": {}}), "text.format.type"),
        (body(temperature=2.1), "temperature"),
        (body(max_output_tokens=0), "max_output_tokens"),
        (body(include="x"), "include"),
    ],
)  # fmt: skip
def test_a_refusal_names_the_whole_path(text, field):
    error = refused(text)
    assert error.field == field
    assert error.remedy


def test_numbers_beyond_a_double_are_refused_wherever_they_stand():
    assert refused(body()[:-1] + b',"metadata":{"a":1e999}}').limit == "64-bit integers and doubles"


# -------------------------------------------------------------------------------------------- other dialects


def test_a_conversation_can_be_said_to_a_chat_provider():
    """Calls and what else the model said in that turn are one message there; pictures follow the results."""
    items = [item for item in CONVERSATION if item["type"] != "web_search_call"]
    items[0] = {"role": "user", "content": "what?"}
    rendered = openai.render_request(parse_request(body(input=items, reasoning={"summary": "auto"})))
    wire = json.loads(rendered.body)
    assert [message["role"] for message in wire["messages"]] == [
        "user", "assistant", "tool", "tool", "tool", "user", "assistant", "user",
    ]  # fmt: skip
    assert [call["id"] for call in wire["messages"][1]["tool_calls"]] == ["c1", "c2", "c3"]
    assert wire["messages"][1]["tool_calls"][2]["custom"] == {"name": "patch", "input": "*** Begin"}
    assert rendered.left_out == ("reasoning.summary", "input.reasoning", "input.phase", "input.annotations")


def test_what_was_said_between_calls_does_not_part_them_from_their_results():
    """Chat wants the results right behind the message with the calls."""
    call = {"type": "function_call", "name": "f", "arguments": "{}"}
    items = [
        {"role": "user", "content": "u"},
        {**call, "call_id": "c1"}, {"role": "assistant", "content": "and"}, {**call, "call_id": "c2"},
        {"type": "function_call_output", "call_id": "c1", "output": "1"},
        {"type": "function_call_output", "call_id": "c2", "output": "2"},
    ]  # fmt: skip
    request = parse_request(body(input=items))
    assert [item["type"] for item in said(request)["input"]] == [
        "message", "function_call", "message", "function_call", "function_call_output", "function_call_output",
    ]  # fmt: skip
    told = json.loads(openai.render_request(request).body)["messages"]
    assert [message["role"] for message in told] == ["user", "assistant", "tool", "tool"]
    assert (told[1]["content"], [each["id"] for each in told[1]["tool_calls"]]) == ("and", ["c1", "c2"])


def test_an_item_only_this_wire_knows_is_refused_elsewhere():
    request = parse_request(
        body(input=[{"type": "web_search_call", "id": "w"}, {"role": "user", "content": "x"}])
    )
    with pytest.raises(Invalid) as refusal:
        openai.render_request(request)
    assert refusal.value.field == "input.item"
    assert "web_search_call" in refusal.value.value


@given(chat_requests())
def test_a_chat_request_is_said_or_refused_by_name(request):
    """Whatever chat can say either arrives whole or is refused by name: what arrives means the same."""
    request = replace(
        request, tool_choice=UNSET, response_format=UNSET
    )  # here any JSON, of which no vendor takes most
    try:
        rendered = render_request(request)
    except Invalid as error:
        told = error
    else:
        told = None
    if told is not None:
        assert told.reason == "untranslatable"
        assert told.field
        return
    back = parse_request(rendered.body)
    assert [message.role for message in back.messages] == [message.role for message in request.messages]
    assert back.max_output_tokens == request.max_output_tokens


@pytest.mark.parametrize(
    ("dialect", "member", "field"),
    [
        ("openai", {"n": 2}, "n"),
        ("gemini", {"n": 2}, "generationConfig.candidateCount"),
        ("anthropic", {"stop": ("x",)}, "stop_sequences"),
        ("openai", {"seed": 0}, "seed"),
        ("gemini", {"top_k": 3}, "generationConfig.topK"),
        ("openai", {"presence_penalty": 0.0}, "presence_penalty"),
        ("openai", {"extras": {"logit_bias": raws({})}}, "logit_bias"),
        ("openai", {"tools": (Tool(name="f", extras={"type": raws("web_search")}),)}, "tools[0].type"),
        ("openai", {"messages": (Message(role="user", name="ann", content=(Text("x"),)),)}, "messages"),
        ("openai", {"messages": (Message(role="user", content=(Other("openai", Raw(b"{}")),)),)}, "messages"),
        (
            "openai",
            {"messages": (Message(role="user", content=(Media("video/mp4", "data:,"),)),)},
            "messages",
        ),
    ],
)
def test_what_this_wire_cannot_say_is_refused_by_the_callers_name(dialect, member, field):
    members = {
        "model": "m",
        "messages": (Message(role="user", content=(Text("x"),)),),
        "dialect": dialect,
        **member,
    }
    with pytest.raises(Invalid) as refusal:
        render_request(ChatRequest(**members))
    assert (refusal.value.field, refusal.value.reason) == (field, "untranslatable")


def test_a_chat_conversation_keeps_its_words():
    wire = {
        "model": "m", "verbosity": "low", "service_tier": "flex", "metadata": {"a": "b"}, "store": False,
        "reasoning_effort": "low", "logprobs": True, "top_logprobs": 2, "max_completion_tokens": 9,
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}}},
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "tools": [{"type": "function", "function": {"name": "f"}},
                  {"type": "custom", "custom": {"name": "p", "format": {
                      "type": "grammar", "grammar": {"syntax": "lark", "definition": "d"}}}}],
        "messages": [
            {"role": "system", "content": "s"},
            {"role": "user", "content": "u"},
            {"role": "assistant", "content": None, "tool_calls": [
                {"id": "c1", "type": "custom", "custom": {"name": "p", "input": "i"}}]},
            {"role": "tool", "tool_call_id": "c1", "content": "r"},
        ],
    }  # fmt: skip
    rendered = render_request(openai.parse_request(json.dumps(wire).encode()))
    told = json.loads(rendered.body)
    assert told["input"][1:] == [
        {"type": "custom_tool_call", "call_id": "c1", "name": "p", "input": "i"},
        {"type": "custom_tool_call_output", "call_id": "c1", "output": "r"},
    ]
    assert told["instructions"] == "s"
    assert told["text"] == {"verbosity": "low", "format": {"type": "json_schema", "name": "n", "schema": {}}}
    assert told["tool_choice"] == {"type": "function", "name": "f"}
    assert told["tools"][1] == {
        "type": "custom", "name": "p", "format": {"type": "grammar", "syntax": "lark", "definition": "d"},
    }  # fmt: skip
    assert told["include"] == ["message.output_text.logprobs"]
    assert (told["reasoning"], told["max_output_tokens"]) == ({"effort": "low"}, 9)
    assert rendered.left_out == ("store",)


def test_a_failed_tool_says_so_in_words():
    result = Message(role="tool", tool_call_id="c", content=(Text("no"),), extras={"is_error": raws(True)})
    request = ChatRequest(model="m", messages=(result,), dialect="anthropic")
    assert said(request)["input"][0]["output"] == "Error: no"


def test_calls_of_another_dialect_lose_only_what_means_nothing_here():
    call = ToolCall(
        "c", "f", "{}", {"position": raws(1), "extra_content": raws({}), "caller": raws({"type": "direct"})}
    )
    request = ChatRequest(
        model="m", messages=(Message(role="assistant", tool_calls=(call,)),), dialect="anthropic"
    )
    rendered = render_request(request)
    assert json.loads(rendered.body)["input"] == [
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    ]
    assert rendered.left_out == ("messages.extra_content", "messages.caller")


def test_a_redirected_request_keeps_every_other_byte_and_asks_for_nothing_to_be_kept():
    told = redirect(b'{"model": "a", "input" : [ {"role":"user","content":"x"} ],"store":null}', "b", 7)
    assert (
        told == b'{"model":"b","input":[ {"role":"user","content":"x"} ],"store":false,"max_output_tokens":7}'
    )
    assert CODEC.redirect is redirect


@pytest.mark.parametrize("codec", CODECS.values(), ids=lambda codec: codec.name)
def test_the_phase_of_an_earlier_answer_is_kept_here_and_told_where_others_have_no_word_for_it(codec):
    """Models read it (commentary is no final answer), so whoever sends it hears that it did not arrive."""
    earlier = {"type": "message", "role": "assistant", "phase": "commentary", "content": "I will look."}
    request = parse_request(
        body(input=[{"role": "user", "content": "hi"}, earlier, {"role": "user", "content": "so?"}])
    )
    assert said(request)["input"][1]["phase"] == "commentary"
    rendered = codec.render_request(request, "max_tokens")
    assert rendered.left_out == ("input.phase",)
    assert b"commentary" not in rendered.body
