"""Requests of other dialects on their way to Gemini: said in its words, refused by their own, or left out and told."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec import Raw

from penstock.dialects.gemini import render_request
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

HELLO = Message(role="user", content=(Text("hi"),))


def said(request: ChatRequest) -> dict[str, Any]:
    return json.loads(render_request(request).body)


def asked(**members: Any) -> ChatRequest:
    return ChatRequest(**{"model": "gemini-2.5-flash", "messages": (HELLO,), **members})


def refusal(**members: Any) -> Invalid:
    with pytest.raises(Invalid) as caught:
        render_request(asked(**members))
    assert caught.value.reason == "untranslatable"
    assert caught.value.remedy
    return caught.value


def test_another_vendors_answer_takes_the_functions_name_from_its_call_and_parallel_answers_share_a_turn():
    calls = (ToolCall("x1", "f", '{"a":1}'), ToolCall("x2", "g", ""))
    wire = said(
        asked(
            messages=(
                HELLO,
                Message(role="assistant", tool_calls=calls),
                Message(
                    role="tool",
                    tool_call_id="x2",
                    content=(Text("no"),),
                    extras={"is_error": raws(value=True)},
                ),
                Message(
                    role="tool",
                    tool_call_id="x1",
                    content=(Text('{"b":2}'), Image("data:image/png;base64,AA")),
                ),
                HELLO,
            )
        )
    )
    assert [content["role"] for content in wire["contents"]] == ["user", "model", "user", "user"]
    assert wire["contents"][1]["parts"][1] == {"functionCall": {"name": "g", "args": {}, "id": "x2"}}
    assert wire["contents"][2]["parts"] == [
        {"functionResponse": {"name": "g", "response": {"error": "no"}, "id": "x2"}},
        {
            "functionResponse": {
                "name": "f",
                "response": {"b": 2},
                "parts": [{"inlineData": {"mimeType": "image/png", "data": "AA"}}],
                "id": "x1",
            }
        },
    ]


def test_gemini_3_is_told_that_unsigned_calls_are_another_models_and_older_ones_are_not():
    messages = (
        HELLO,
        Message(role="assistant", tool_calls=(ToolCall("x", "f", "{}"), ToolCall("y", "f", "{}"))),
    )
    for model, signature in (("gemini-3-pro", "skip_thought_signature_validator"), ("gemini-2.5-pro", None)):
        parts = said(asked(model=model, messages=messages))["contents"][1]["parts"]
        assert [part.get("thoughtSignature") for part in parts] == [signature, None]
    own = asked(model="gemini-3-pro", messages=messages, dialect="gemini")
    assert "thoughtSignature" not in said(own)["contents"][1]["parts"][0]


def test_a_signature_that_came_through_another_dialect_returns_unchanged():
    extra = {"extra_content": raws({"google": {"thought_signature": "U2ln"}})}
    messages = (HELLO, Message(role="assistant", tool_calls=(ToolCall("x", "f", "{}", extra),)))
    part = said(asked(model="gemini-3-pro", messages=messages))["contents"][1]["parts"][0]
    assert part["thoughtSignature"] == "U2ln"


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({"parallel_tool_calls": False}, "parallel_tool_calls"),
        ({"parallel_tool_calls": False, "dialect": "anthropic"}, "tool_choice.disable_parallel_tool_use"),
        ({"stop": ("a",) * 6}, "stop"),
        ({"seed": 2**31}, "seed"),
        ({"extras": {"logit_bias": raws({"1": 2})}}, "logit_bias"),
        ({"extras": {"store": raws(value=True)}}, "store"),
        ({"extras": {"service_tier": raws("scale")}}, "service_tier"),
        ({"extras": {"verbosity": raws("low")}}, "verbosity"),
        ({"messages": (Message(role="user", content=(Text("x"),), name="ann"),)}, "messages[0].name"),
        ({"messages": (HELLO, Message(role="system", content=(Text("x"),)))}, "messages[1].role"),
        ({"messages": (Message(role="user", content=(Other("openai", Raw(b"{}")),)),)}, "messages[0].content[0]"),
        ({"messages": (Message(role="user", content=(Image("https://x/y"),)),)}, "messages[0].content[0]"),
        ({"messages": (Message(role="user", content=(Image("data:,x"),)),)}, "messages[0].content[0]"),
        ({"messages": (Message(role="user", content=(Media("a/b", "file:id"),)),)}, "messages[0].content[0]"),
        ({"messages": (Message(role="tool", tool_call_id="?", content=(Text("x"),)),)}, "messages[0].tool_call_id"),
        (
            {"messages": (HELLO, Message(role="assistant", tool_calls=(ToolCall("i", "f", "[1]"),)))},
            "messages[1].tool_calls[0].function.arguments",
        ),
        (
            {
                "messages": (
                    Message(role="assistant", tool_calls=(ToolCall("i", "f", "{}", {"type": raws("custom")}),)),
                )
            },
            "messages[0].tool_calls[0].type",
        ),
        ({"messages": (HELLO, Message(role="assistant", extras={"audio": raws({})}))}, "messages[1].audio"),
        ({"tools": (Tool(name="web_search", extras={"type": raws("web_search")}),)}, "tools[0].type"),
        ({"tools": (Tool(name="f", extras={"function.x": raws(1)}),)}, "tools[0].function.x"),
        ({"tool_choice": raws({"type": "custom", "custom": {"name": "c"}})}, "tool_choice"),
        ({"response_format": raws({"type": "grammar"})}, "response_format.type"),
        ({"thinking": Thinking(effort="extreme")}, "reasoning_effort"),
        (
            {"dialect": "responses", "messages": (HELLO, Message(role="system", content=(Text("x"),)))},
            "input.role",
        ),
    ],
)  # fmt: skip
def test_what_gemini_has_no_words_for_is_refused_by_its_callers_name(members, field):
    assert refusal(**members).field == field


def test_a_picture_by_url_is_told_by_its_suffix_and_refused_with_a_remedy_without_one():
    image = Message(role="user", content=(Image("https://x/y.jpeg?a=b"),))
    part = said(asked(messages=(image,)))["contents"][0]["parts"][0]
    assert part == {"fileData": {"mimeType": "image/jpeg", "fileUri": "https://x/y.jpeg?a=b"}}
    nameless = Message(role="user", content=(Image("https://x/y"),))
    assert "data: URL" in refusal(messages=(nameless,)).remedy


def test_what_changes_no_answer_is_left_out_and_told():
    request = asked(
        user="u",
        messages=(
            Message(role="user", content=(Text("x", cache="5m"), Image("data:image/png;base64,AA", "low"))),
            Message(role="assistant", content=(Reasoning("", redacted="R"), Text("y"))),
            HELLO,
        ),
        tools=(Tool(name="f", cache="1h", extras={"eager_input_streaming": raws(value=True)}),),
        response_format=raws({"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}),
        extras={
            "metadata": raws({"a": "b"}), "store": raws(value=False), "service_tier": raws("auto"),
            "prompt_cache_key": raws("k"), "safety_identifier": raws("s"), "logit_bias": raws(None),
        },
    )  # fmt: skip
    rendered = render_request(request)
    assert set(rendered.left_out) == {
        "user", "cache_control", "image_url.detail", "redacted_thinking", "tools[0].eager_input_streaming",
        "response_format.json_schema.name", "metadata", "store", "service_tier", "prompt_cache_key",
        "safety_identifier",
    }  # fmt: skip
    assert json.loads(rendered.body)["generationConfig"]["responseJsonSchema"] == {"type": "object"}


def test_what_gemini_says_in_other_words_is_translated():
    wire = said(
        asked(
            messages=(
                Message(role="system", content=(Text("a"),)), Message(role="developer", content=(Text("b"),)), HELLO,
            ),
            tools=(Tool(name="f", strict=True, parameters=raws({"type": "object", "oneOf": []})),),
            logprobs=True, top_logprobs=2, top_k=7, max_output_tokens=9, n=2, stop=("s",),
            response_format=raws(
                {"type": "json_schema", "json_schema": {"name": "n", "description": "d", "schema": {}}}
            ),
            extras={"service_tier": raws("flex")},
        )
    )  # fmt: skip
    assert wire["systemInstruction"] == {"parts": [{"text": "a"}, {"text": "b"}]}
    assert wire["toolConfig"] == {"functionCallingConfig": {"mode": "VALIDATED"}}
    declared = wire["tools"][0]["functionDeclarations"][0]
    assert declared["parametersJsonSchema"] == {"type": "object", "oneOf": []}
    assert wire["serviceTier"] == "flex"
    assert wire["generationConfig"] == {
        "topK": 7, "maxOutputTokens": 9, "responseLogprobs": True, "logprobs": 2, "candidateCount": 2,
        "stopSequences": ["s"], "responseMimeType": "application/json", "responseJsonSchema": {"description": "d"},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("model", "thinking", "config"),
    [
        ("gemini-2.5-pro", Thinking(effort="low"), {"thinkingBudget": 1_024}),
        ("gemini-2.5-pro", Thinking(effort="max"), {"thinkingBudget": 24_576}),
        ("gemini-3-pro", Thinking(effort="max"), {"thinkingLevel": "XHIGH"}),
        (
            "gemini-2.5-pro",
            Thinking(effort="high", shown=True),
            {"thinkingBudget": 24_576, "includeThoughts": True},
        ),
        ("gemini-3-pro", Thinking(effort="high"), {"thinkingLevel": "HIGH"}),
        ("gemini-flash-latest", Thinking(effort="minimal"), {"thinkingLevel": "MINIMAL"}),
        ("gemini-3-pro", Thinking(budget_tokens=2_000), {"thinkingBudget": 2_000}),
        ("gemini-3-pro", Thinking(effort="high", budget_tokens=2_000), {"thinkingBudget": 2_000}),
        ("gemini-2.5-flash", Thinking(effort="none"), {"thinkingBudget": 0}),
    ],
)
def test_thinking_is_a_level_or_a_budget_as_the_model_takes_it(model, thinking, config):
    assert said(asked(model=model, thinking=thinking))["generationConfig"]["thinkingConfig"] == config
