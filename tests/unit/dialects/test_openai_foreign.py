"""Requests of other dialects on the OpenAI chat wire: said, left out and told, or refused; never lost."""

from __future__ import annotations

import json

import pytest
from msgspec import Raw
from msgspec.structs import replace

from penstock.dialects.openai import render_request
from penstock.dialects.thinking import BUDGETS, budget_of, effort_of
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

ASKED = Message(role="user", content=(Text("hello"),))


def asked(dialect="anthropic", *messages, **members) -> ChatRequest:
    return ChatRequest(model="m", messages=messages or (ASKED,), dialect=dialect, **members)


def said(request: ChatRequest) -> tuple[dict, tuple[str, ...]]:
    rendered = render_request(request)
    return json.loads(rendered.body), rendered.left_out


def refused(request: ChatRequest) -> Invalid:
    with pytest.raises(Invalid) as refusal:
        render_request(request)
    assert refusal.value.reason == "untranslatable"
    assert refusal.value.remedy
    return refusal.value


@pytest.mark.parametrize(
    ("dialect", "name", "value"),
    [
        ("anthropic", "metadata", {"user_id": "u"}),
        ("anthropic", "service_tier", "standard_only"),
        ("anthropic", "cache_control", {"type": "ephemeral"}),
        ("gemini", "labels", {"team": "a"}),
        ("gemini", "safetySettings", [{"category": "C", "threshold": "BLOCK_NONE"}]),
        ("responses", "metadata", {"a": "b"}),
        ("responses", "truncation", "disabled"),
        ("responses", "include", ["reasoning.encrypted_content"]),
    ],
)
def test_what_cannot_change_an_answer_is_left_out_and_told(dialect, name, value):
    wire, left_out = said(asked(dialect, extras={name: raws(value)}))
    assert name not in wire
    assert left_out == (name,)


@pytest.mark.parametrize(
    ("dialect", "name", "value"),
    [
        ("anthropic", "container", "c"),
        ("anthropic", "service_tier", "turbo"),
        ("anthropic", "mcp_servers", []),
        ("gemini", "cachedContent", "cachedContents/1"),
        ("gemini", "safetySettings", [{"category": "C", "threshold": "BLOCK_LOW_AND_ABOVE"}]),
        ("responses", "truncation", "auto"),
        ("responses", "prompt", {"id": "p"}),
        ("elsewhere", "anything", 1),
    ],
)
def test_what_could_change_an_answer_is_refused_by_its_own_name(dialect, name, value):
    assert refused(asked(dialect, extras={name: raws(value)})).field == name


def test_what_responses_and_chat_share_keeps_its_meaning():
    wire, left_out = said(
        asked(
            "responses",
            extras={
                "text.verbosity": raws("low"),
                "prompt_cache_key": raws("k"),
                "service_tier": raws("flex"),
            },
            tools=(
                Tool(
                    name="custom",
                    extras={
                        "type": raws("custom"),
                        "name": raws("patch"),
                        "format": raws({"type": "grammar", "syntax": "lark", "definition": "d"}),
                    },
                ),
            ),
        )
    )
    assert (wire["verbosity"], wire["prompt_cache_key"], wire["service_tier"]) == ("low", "k", "flex")
    assert wire["tools"] == [
        {
            "type": "custom",
            "custom": {
                "name": "patch",
                "format": {"type": "grammar", "grammar": {"syntax": "lark", "definition": "d"}},
            },
        }
    ]
    assert left_out == ()


def test_unknown_members_of_a_legacy_completion_go_along():
    wire, left_out = said(asked("completions", extras={"min_p": raws(0.1), "logit_bias": raws({"1": 2})}))
    assert (wire["min_p"], wire["logit_bias"]) == (0.1, {"1": 2})
    assert left_out == ()


def test_a_tool_the_vendor_runs_is_refused():
    tool = Tool(name="web_search_20250305", extras={"type": raws("web_search_20250305")})
    assert refused(asked(tools=(Tool(name="f"), tool))).field == "tools[1].type"
    assert (
        refused(asked("responses", tools=(Tool(name="x", extras={"type": raws("mcp")}),))).field
        == "tools[0].type"
    )


def test_harmless_json_may_have_spaces():
    tool = Tool(name="f", extras={"allowed_callers": Raw(b'[ "direct" ]')})
    assert said(asked(tools=(tool,)))[1] == ("tools[0].allowed_callers",)


def test_an_unknown_member_of_a_tool_is_refused():
    tool = Tool(name="f", cache="1h", extras={"input_examples": raws([])})
    assert refused(asked(tools=(tool,))).field == "tools[0].input_examples"


@pytest.mark.parametrize(
    "part",
    [
        Other("anthropic", Raw(b'{"type":"search_result"}')),
        Media("application/pdf", "https://x/a.pdf"),
        Media("video/mp4", "data:video/mp4;base64,AA"),
        Media("", "file:anthropic-id"),
    ],
)
def test_a_part_this_wire_cannot_carry_is_refused(part):
    message = Message(role="user", content=(part,))
    assert refused(asked("anthropic", message)).field == "messages"
    assert refused(asked("gemini", message)).field == "contents"


def test_a_file_id_of_the_same_vendor_is_good():
    wire, _ = said(asked("responses", Message(role="user", content=(Media("", "file:file-1"),))))
    assert wire["messages"][0]["content"] == [{"type": "file", "file": {"file_id": "file-1"}}]


def test_caching_and_thoughts_of_earlier_turns_are_left_out_once():
    request = asked(
        "anthropic",
        Message(role="user", content=(Text("a", "5m"), Image("https://x/y.png", cache="1h"))),
        Message(role="assistant", content=(Reasoning("t", "s"), Reasoning("", redacted="h"), Text("b"))),
        tools=(Tool(name="f", cache="5m"),),
    )
    wire, left_out = said(request)
    assert b"cache_control" not in render_request(request).body
    assert wire["messages"][1] == {"role": "assistant", "content": "b"}
    assert left_out == ("messages.cache_control", "messages.reasoning", "tools[0].cache_control")


def test_what_a_tool_shows_follows_its_results():
    """A tool message carries words only, and results of one turn must stand together."""
    calls = (ToolCall("c1", "f", "{}"), ToolCall("c2", "g", "{}"))
    wire, _ = said(
        asked(
            "anthropic",
            ASKED,
            Message(role="assistant", tool_calls=calls),
            Message(role="tool", tool_call_id="c1", content=(Text("seen"), Image("https://x/y.png"))),
            Message(role="tool", tool_call_id="c2", content=(Image("https://x/z.png"),)),
            Message(role="assistant", content=(Text("ok"),)),
        )
    )
    assert [message["role"] for message in wire["messages"]] == [
        "user",
        "assistant",
        "tool",
        "tool",
        "user",
        "assistant",
    ]
    assert wire["messages"][2]["content"] == "seen"
    shown = [part["type"] for part in wire["messages"][4]["content"]]
    assert shown == ["text", "image_url", "text", "image_url"]
    assert "c1" in wire["messages"][4]["content"][0]["text"]


def test_what_the_last_tool_shows_is_not_lost():
    result = Message(role="tool", tool_call_id="c1", content=(Image("https://x/y.png"),))
    wire, _ = said(asked("gemini", ASKED, result))
    assert wire["messages"][-1]["role"] == "user"


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ((Text("no such file"),), "Error: no such file"),
        ((Text("Error 7"),), "Error 7"),
        ((), "Error:"),
    ],
)
def test_a_failed_tool_says_so_in_words(parts, expected):
    result = Message(role="tool", tool_call_id="c", content=parts, extras={"is_error": raws(True)})
    wire, left_out = said(asked("anthropic", result))
    content = wire["messages"][0]["content"]
    assert (content if isinstance(content, str) else content[0]["text"]).strip() == expected
    assert left_out == ()


def test_a_thinking_budget_becomes_an_effort():
    wire, left_out = said(asked("gemini", thinking=Thinking(budget_tokens=5_000, shown=True)))
    assert wire["reasoning_effort"] == "medium"
    assert left_out == ("generationConfig.thinkingConfig.includeThoughts",)


@pytest.mark.parametrize("effort", BUDGETS)
def test_an_efforts_budget_is_that_effort_again(effort):
    tokens = budget_of(Thinking(effort=effort))
    assert effort_of(Thinking(budget_tokens=tokens)) == effort
    assert (
        effort_of(Thinking(budget_tokens=tokens - 1)) == effort
        or tokens == 0
        or tokens - 1 in BUDGETS.values()
    )


def test_what_was_not_said_stays_unsaid():
    assert (effort_of(Thinking()), budget_of(Thinking()), budget_of(Thinking(effort="new"))) == (
        "",
        None,
        None,
    )
    assert effort_of(Thinking(budget_tokens=10**9)) == "max"


def test_a_thought_signature_of_another_vendor_is_left_out():
    call = ToolCall("c", "f", "{}", {"extra_content": raws({"google": {"thought_signature": "s"}})})
    wire, left_out = said(asked("gemini", Message(role="assistant", tool_calls=(call,))))
    assert "extra_content" not in wire["messages"][0]["tool_calls"][0]
    assert left_out == ("contents.extra_content",)


def test_a_request_of_this_dialect_is_not_touched():
    request = replace(asked("openai"), extras={"anything": raws(1)})
    wire, left_out = said(request)
    assert wire["anything"] == 1
    assert left_out == ()
