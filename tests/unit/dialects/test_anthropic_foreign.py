"""Requests of other dialects on their way to Anthropic: said, left out and told, or refused."""

from __future__ import annotations

import json

import pytest
from msgspec.structs import replace

from penstock.dialects import openai
from penstock.dialects.anthropic import CODEC
from penstock.kernel.chat import (
    ChatRequest,
    Image,
    Media,
    Message,
    Other,
    Reasoning,
    Text,
    Thinking,
    Tool,
    ToolCall,
)
from penstock.kernel.errors import Invalid
from tests.unit.dialects.shapes import raws

USER = Message(role="user", content=(Text("hi"),))
PLAIN = ChatRequest(model="claude-opus-4-8", messages=(USER,), max_output_tokens=2_000)
SCHEMA = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}, "strict": True}}


def said(request: ChatRequest) -> tuple[dict, set[str]]:
    rendered = CODEC.render_request(request, "max_tokens")
    return json.loads(rendered.body), set(rendered.left_out)


def asked(**changes) -> tuple[dict, set[str]]:
    return said(replace(PLAIN, **changes))


def refusal(**changes) -> Invalid:
    with pytest.raises(Invalid) as error:
        asked(**changes)
    assert error.value.reason == "untranslatable"
    assert error.value.remedy
    return error.value


def test_an_openai_conversation_with_tools_is_said_in_turns():
    body = {
        "model": "claude-opus-4-8",
        "max_completion_tokens": 2000,
        "parallel_tool_calls": False,
        "tool_choice": "required",
        "messages": [
            {"role": "system", "content": "one"},
            {"role": "developer", "content": "two"},
            {"role": "user", "content": "hi"},
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [
                    {"id": "call:1", "type": "function", "function": {"name": "f", "arguments": ""}},
                    {"id": "call_2", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}},
                ],
            },
            {"role": "tool", "tool_call_id": "call:1", "content": "r1"},
            {"role": "tool", "tool_call_id": "call_2", "content": "r2"},
            {"role": "user", "content": "so?"},
            {"role": "developer", "content": "later"},
        ],
        "tools": [{"type": "function", "function": {"name": "f", "strict": None, "parameters": {}}}],
    }
    wire, left_out = said(openai.parse_request(json.dumps(body).encode()))
    assert left_out == set()
    assert wire == {
        "model": "claude-opus-4-8",
        "max_tokens": 2000,
        "system": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}],
        "messages": [
            {"role": "user", "content": "hi"},
            {
                "role": "assistant",
                "content": [
                    {"type": "tool_use", "id": "call_1", "name": "f", "input": {}},
                    {"type": "tool_use", "id": "call_2", "name": "f", "input": {"a": 1}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "call_1", "content": "r1"},
                    {"type": "tool_result", "tool_use_id": "call_2", "content": "r2"},
                    {"type": "text", "text": "so?"},
                ],
            },
            {"role": "system", "content": "later"},
        ],
        "tools": [{"name": "f", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
    }


def test_parts_and_hints_are_carried_over():
    parts = (
        Text("x", "1h"),
        Image("data:image/png;base64,AA=="),
        Media("text/markdown", "data:text/markdown;base64,IyBo", "notes"),
        Media("application/pdf", "https://x/y.pdf"),
    )
    wire, left_out = asked(messages=(Message(role="user", content=parts),), user="u", top_k=3, stop=("END",))
    assert left_out == set()
    assert wire["messages"][0]["content"] == [
        {"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}},
        {
            "type": "document",
            "title": "notes",
            "source": {"type": "text", "media_type": "text/plain", "data": "# h"},
        },
        {"type": "document", "source": {"type": "url", "url": "https://x/y.pdf"}},
    ]
    assert (wire["metadata"], wire["top_k"], wire["stop_sequences"]) == ({"user_id": "u"}, 3, ["END"])


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"n": 2}, "n"),
        ({"seed": 0}, "seed"),
        ({"presence_penalty": 0.1}, "presence_penalty"),
        ({"frequency_penalty": -0.1}, "frequency_penalty"),
        ({"logprobs": True}, "logprobs"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"temperature": 1.01}, "temperature"),
        ({"response_format": raws({"type": "json_object"})}, "response_format"),
        ({"response_format": raws(7)}, "response_format"),
        ({"tool_choice": raws({"type": "allowed_tools"})}, "tool_choice"),
        ({"tool_choice": raws("sometimes")}, "tool_choice"),
        ({"extras": {"logit_bias": raws({"1": 2})}}, "logit_bias"),
        ({"extras": {"service_tier": raws("flex")}}, "service_tier"),
        ({"extras": {"x_new": raws(1)}}, "x_new"),
        ({"dialect": "gemini", "extras": {"cachedContent": raws("c")}}, "cachedContent"),
        (
            {"dialect": "gemini", "extras": {"safetySettings": raws([{"threshold": "BLOCK_LOW_AND_ABOVE"}])}},
            "safetySettings",
        ),
        ({"dialect": "gemini", "seed": 1}, "generationConfig.seed"),
        ({"dialect": "gemini", "n": 2}, "generationConfig.candidateCount"),
        ({"tools": (Tool(name="web_search", extras={"type": raws("web_search")}),)}, "tools[0].type"),
        ({"tools": (Tool(name="f", extras={"x_new": raws(1)}),)}, "tools[0].x_new"),
    ],
)
def test_what_would_change_an_answer_is_refused(changes, field):
    assert refusal(**changes).field == field


@pytest.mark.parametrize(
    "message",
    [
        Message(role="user", content=(Text("x"),), name="ann"),
        Message(role="user", content=(Other("openai", raws({"type": "input_audio"})),)),
        Message(role="user", content=(Media("audio/wav", "data:audio/wav;base64,AA=="),)),
        Message(role="user", content=(Media("application/pdf", "file:file_1"),)),
        Message(role="user", content=(Media("text/plain", "data:text/plain;base64,/w=="),)),
        Message(role="user", content=(Image("file:1"),)),
        Message(role="user", content=(Text("x"),), extras={"x_new": raws(1)}),
        Message(role="assistant", tool_calls=(ToolCall("t", "f", "{}", {"type": raws("custom")}),)),
        Message(role="assistant", tool_calls=(ToolCall("t", "f", "[1]"),)),
        Message(role="assistant", tool_calls=(ToolCall("t", "f", "{oops"),)),
    ],
)
def test_a_message_that_cannot_be_said_is_refused(message):
    assert refusal(messages=(message,)).field.startswith("messages")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"extras": {"metadata": raws({"a": "b"}), "store": raws(True)}}, {"metadata", "store"}),
        ({"extras": {"service_tier": raws("auto"), "echo": raws(True)}}, {"service_tier", "echo"}),
        ({"dialect": "gemini", "extras": {"safetySettings": raws([{"threshold": "OFF"}])}}, {"safetySettings"}),
        (
            {"messages": (Message(role="user", content=(Image("https://x/y", "low"),)),)},
            {"messages.detail"},
        ),
        (
            {"messages": (Message(role="assistant", content=(Reasoning("hm"), Text("x"))),)},
            {"messages.reasoning"},
        ),
        (
            {
                "dialect": "gemini",
                "messages": (
                    Message(
                        role="assistant", tool_calls=(ToolCall("t", "f", "{}", {"extra_content": raws({})}),)
                    ),
                ),
            },
            {"contents.tool_calls.extra_content"},
        ),
        ({"response_format": raws(SCHEMA)}, {"response_format.name"}),
    ],
)  # fmt: skip
def test_what_cannot_change_an_answer_is_left_out_and_told(changes, told):
    assert asked(**changes)[1] == told


@pytest.mark.parametrize(
    "changes",
    [
        {"presence_penalty": 0.0, "frequency_penalty": 0.0, "logprobs": False, "top_logprobs": 0},
        {"response_format": raws({"type": "text"})},
        {"parallel_tool_calls": True},
        {"extras": {"audio": raws(None)}},
        {"messages": (USER, Message(role="user", content=(Text(""),)))},
    ],
)
def test_what_says_nothing_is_dropped(changes):
    wire, left_out = asked(**changes)
    assert left_out == set()
    assert set(wire) == {"model", "messages", "max_tokens"}


def test_signed_thoughts_and_an_earlier_refusal_return():
    parts = (Reasoning("hm", "EqQB"), Reasoning("", redacted="data"), Text("x"))
    wire, left_out = asked(messages=(Message(role="assistant", content=parts, refusal="no"),))
    assert left_out == set()
    assert [block["type"] for block in wire["messages"][0]["content"]] == [
        *("thinking", "redacted_thinking", "text", "text")
    ]


def test_a_schema_is_enforced():
    wire, left_out = asked(response_format=raws(SCHEMA))
    assert wire["output_config"] == {"format": {"type": "json_schema", "schema": {"type": "object"}}}
    loose = {**SCHEMA, "json_schema": {**SCHEMA["json_schema"], "strict": False, "description": "d"}}
    assert asked(response_format=raws(loose))[1] - left_out == {
        *("response_format.strict", "response_format.description")
    }


NEW, OLD = "claude-opus-4-8", "claude-sonnet-4-5-20250929"
ADAPTIVE = {"type": "adaptive"}


@pytest.mark.parametrize(
    ("model", "thinking", "limit", "wire"),
    [
        (NEW, Thinking(effort="none"), 2000, {"thinking": {"type": "disabled"}}),
        (NEW, Thinking(effort="minimal"), 2000, {"thinking": ADAPTIVE, "output_config": {"effort": "low"}}),
        (NEW, Thinking(effort="xhigh"), 2000, {"thinking": ADAPTIVE, "output_config": {"effort": "xhigh"}}),
        (NEW, Thinking(budget_tokens=8000), 2000, {"thinking": ADAPTIVE, "output_config": {"effort": "medium"}}),
        (NEW, Thinking(budget_tokens=0), 2000, {"thinking": {"type": "disabled"}}),
        (NEW, Thinking(shown=True), 2000, {"thinking": {"type": "adaptive", "display": "summarized"}}),
        (OLD, Thinking(effort="high"), 50_000, {"thinking": {"type": "enabled", "budget_tokens": 24_576}}),
        (OLD, Thinking(effort="high"), 2000, {"thinking": {"type": "enabled", "budget_tokens": 1999}}),
        (OLD, Thinking(effort="minimal"), 1025, {"thinking": {"type": "enabled", "budget_tokens": 1024}}),
        (OLD, Thinking(effort="low"), 1024, {}),
    ],
)  # fmt: skip
def test_thought_is_asked_for_in_the_words_of_the_model(model, thinking, limit, wire):
    body, left_out = asked(model=model, thinking=thinking, max_output_tokens=limit)
    assert {name: body[name] for name in ("thinking", "output_config") if name in body} == wire
    assert left_out == (set() if wire else {"reasoning_effort"})


@pytest.mark.parametrize(
    ("model", "only_budgets"),
    [
        ("claude-3-7-sonnet-20250219", True),
        ("claude-opus-4-20250514", True),
        ("claude-opus-4-1", True),
        ("anthropic/claude-opus-4.5", True),
        ("claude-haiku-4-5@20251001", True),
        ("claude-opus-4-6", False),
        ("claude-sonnet-4-6-20260101", False),
        ("claude-opus-5", False),
    ],
)
def test_models_that_know_only_budgets_are_told_apart(model, only_budgets):
    body, _ = asked(model=model, thinking=Thinking(effort="low"))
    assert body["thinking"]["type"] == ("enabled" if only_budgets else "adaptive")


def test_an_older_model_does_not_begin_to_think_behind_a_tools_result():
    call = Message(role="assistant", tool_calls=(ToolCall("t", "f", "{}"),))
    result = Message(role="tool", tool_call_id="t", content=(Text("r"),))
    body, left_out = asked(model=OLD, thinking=Thinking(effort="low"), messages=(USER, call, result))
    assert "thinking" not in body
    assert left_out == {"reasoning_effort"}
    thought = replace(call, content=(Reasoning("hm", "EqQB"),))
    assert (
        "thinking" in asked(model=OLD, thinking=Thinking(effort="low"), messages=(USER, thought, result))[0]
    )


def test_a_codecs_own_notes_are_dropped():
    noted = Message(role="user", content=(Text("hi"),), extras={"items": raws({"message": {"id": "m"}})})
    assert asked(dialect="responses", messages=(noted,))[1] == set()


def test_a_failed_result_stays_failed():
    result = Message(
        role="tool", tool_call_id="t", content=(Text("r"),), extras={"is_error": raws(True)}, name="f"
    )
    wire, left_out = asked(messages=(result,))
    assert wire["messages"][0]["content"][0]["is_error"] is True
    assert left_out == set()
