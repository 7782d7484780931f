"""Requests of the Gemini wire: what is said comes back, what has no words is refused or named, nothing is lost."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings

from penstock.dialects.gemini import parse_request, redirect, render_request
from penstock.dialects.gemini_tools import from_google, to_google
from penstock.kernel.chat import (
    ChatRequest,
    Message,
    Text,
    Thinking,
)
from penstock.kernel.errors import Invalid
from tests.unit.dialects.gemini_shapes import SCHEMAS, requests, same

USER = {"role": "user", "parts": [{"text": "hi"}]}
HELLO = Message(role="user", content=(Text("hi"),))


def said(request: ChatRequest) -> dict[str, Any]:
    return json.loads(render_request(request).body)


def read(**members: Any) -> ChatRequest:
    return parse_request(json.dumps({"contents": [USER], **members}).encode())


@given(requests())
@settings(max_examples=200)
def test_what_is_rendered_reads_back_as_it_was(request):
    assert parse_request(render_request(request).body, request.model, stream=request.stream) == request


BODIES = [
    {"contents": [{"parts": [{"text": "Explain AI"}], "role": "user"}]},
    {
        "systemInstruction": {"role": "user", "parts": [{"text": "Call tools exactly as requested."}]},
        "contents": [{"role": "user", "parts": [{"text": "Call get_weather with city exactly Paris."}]}],
        "tools": [
            {
                "functionDeclarations": [
                    {
                        "name": "get_weather",
                        "description": "Get current weather for a city.",
                        "parameters": {
                            "required": ["city"],
                            "type": "OBJECT",
                            "properties": {"city": {"type": "STRING", "nullable": True}},
                        },
                        "behavior": "BLOCKING",
                    }
                ]
            },
            {"googleSearch": {}},
            {"codeExecution": {}},
        ],
        "toolConfig": {
            "functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["get_weather"]},
            "retrievalConfig": {"latLng": {"latitude": 1}},
        },
        "generationConfig": {"maxOutputTokens": 90, "temperature": 0, "candidateCount": 1},
        "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
        "cachedContent": "cachedContents/abc",
        "labels": {"team_name": "a"},
        "store": False,
    },
    {
        "contents": [
            {
                "role": "user",
                "parts": [
                    {"text": "what is this"},
                    {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}},
                    {"fileData": {"mimeType": "video/mp4", "fileUri": "https://x.googleapis.com/v1beta/files/q"}},
                    {
                        "fileData": {"fileUri": "https://www.youtube.com/watch?v=9hE5-98ZeCg"},
                        "videoMetadata": {"startOffset": "1s"},
                    },
                ],
            },
            {
                "role": "model",
                "parts": [
                    {"text": "Let me see.", "thought": True},
                    {"text": "I shall look.", "thoughtSignature": "QQ=="},
                    {
                        "functionCall": {"id": "fc1", "name": "look", "args": {"at": [1, 2.5]}},
                        "thoughtSignature": "Qg==",
                    },
                    {"functionCall": {"name": "look", "args": {}}},
                ],
            },
            {
                "role": "user",
                "parts": [
                    {
                        "functionResponse": {
                            "id": "fc1",
                            "name": "look",
                            "response": {"output": "a cat"},
                            "parts": [{"inlineData": {"mimeType": "image/png", "data": "AAAA"}}],
                            "scheduling": "SILENT",
                        }
                    },
                    {"functionResponse": {"name": "look", "response": {"rows": [1], "more": None}}},
                ],
            },
            {
                "role": "model",
                "parts": [
                    {"executableCode": {"language": "PYTHON", "code": "print(1)"}},
                    {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1\n"}},
                ],
            },
            {"role": "user", "parts": [{"text": "go on"}]},
        ],
        "generationConfig": {
            "responseMimeType": "application/json",
            "responseSchema": {
                "type": "ARRAY",
                "items": {"type": "OBJECT", "properties": {"n": {"type": "INTEGER"}}, "propertyOrdering": ["n"]},
            },
            "thinkingConfig": {"includeThoughts": True, "thinkingBudget": -1},
            "stopSequences": ["END"],
            "topK": 40,
            "responseLogprobs": True,
            "logprobs": 3,
            "speechConfig": {"languageCode": "de-DE"},
        },
    },
    {
        "contents": [USER],
        "generationConfig": {
            "responseMimeType": "application/json",
            "responseJsonSchema": {"type": "object", "additionalProperties": False, "properties": {}},
            "thinkingConfig": {"thinkingLevel": "HIGH"},
        },
    },
    {
        "contents": [USER],
        "generationConfig": {"responseMimeType": "text/x.enum", "thinkingConfig": {"thinkingBudget": 0}},
        "tools": [{"functionDeclarations": [{"name": "f"}]}],
        "toolConfig": {"functionCallingConfig": {"mode": "VALIDATED"}},
    },
]  # fmt: skip


@pytest.mark.parametrize("body", BODIES)
def test_a_request_read_and_rendered_again_means_the_same(body):
    text = json.dumps(body).encode()
    assert same(render_request(parse_request(text, "m")).body, text)


def test_snake_case_is_read_like_camel_case_but_a_callers_own_names_are_left_alone():
    request = read(
        system_instruction={"parts": [{"text": "s"}]},
        generation_config={"max_output_tokens": 5, "thinking_config": {"thinking_budget": 9}},
        tools=[
            {
                "function_declarations": [
                    {
                        "name": "f",
                        "parameters": {"type": "OBJECT", "properties": {"my_name": {"any_of": [{"type": "STRING"}]}}},
                    }
                ]
            }
        ],
        labels={"my_label": "x"},
    )  # fmt: skip
    assert (request.max_output_tokens, request.thinking) == (5, Thinking(budget_tokens=9))
    assert request.messages[0].role == "system"
    assert json.loads(bytes(request.tools[0].parameters)) == {
        "type": "object",
        "properties": {"my_name": {"anyOf": [{"type": "string"}]}},
    }
    assert json.loads(bytes(request.extras["labels"])) == {"my_label": "x"}


def test_a_member_in_both_spellings_is_refused():
    with pytest.raises(Invalid) as caught:
        read(generationConfig={"topP": 0.1, "top_p": 0.9})
    assert (caught.value.reason, caught.value.field) == ("duplicate_member", "generationConfig.topP")


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({"contents": []}, "contents"),
        ({"contents": None}, "contents"),
        ({"contents": [{"role": "user", "parts": []}]}, "contents[0].parts"),
        ({"contents": [{"role": "system", "parts": [{"text": "x"}]}]}, "contents[0].role"),
        ({"contents": [USER, {"role": "user", "parts": [{"text": 5}]}]}, "contents[1].parts[0].text"),
        ({"contents": [{"parts": [{"inlineData": {"data": "AA"}}]}]}, "contents[0].parts[0].inlineData.mimeType"),
        ({"contents": [{"parts": [{"functionCall": {"name": "f"}}]}]}, "contents[0].parts"),
        (
            {"contents": [{"role": "model", "parts": [{"functionCall": {"name": "f", "args": []}}]}]},
            "contents[0].parts[0].functionCall.args",
        ),
        ({"generationConfig": {"temperature": 2.5}}, "generationConfig.temperature"),
        ({"generationConfig": {"maxOutputTokens": 0}}, "generationConfig.maxOutputTokens"),
        (
            {"generationConfig": {"thinkingConfig": {"thinkingLevel": "HUGE"}}},
            "generationConfig.thinkingConfig.thinkingLevel",
        ),
        ({"tools": [{"functionDeclarations": [{}]}]}, "tools[0].functionDeclarations[0].name"),
    ],
)  # fmt: skip
def test_a_refusal_names_the_field_and_a_remedy(members, field):
    with pytest.raises(Invalid) as caught:
        read(**members)
    assert caught.value.field == field
    assert caught.value.remedy


@pytest.mark.parametrize(("name", "value"), [("candidateCount", "3"), ("topK", 40.0), ("seed", "7")])
def test_numbers_that_google_writes_as_text_or_floats_are_numbers(name, value):
    request = read(generationConfig={name: value})
    assert {"candidateCount": request.n, "topK": request.top_k, "seed": request.seed}[name] == int(value)


# -------------------------------------------------------------------------------------------------- the ids


def test_calls_without_ids_get_the_same_ids_every_time_and_their_answers_find_them_by_name_and_order():
    model = {"role": "model", "parts": [{"functionCall": {"name": name}} for name in ("a", "b", "a")]}
    answers = [
        {"functionResponse": {"name": name, "response": {"output": name * 2}}} for name in ("b", "a", "a")
    ]
    first, again = (read(contents=[USER, model, {"role": "user", "parts": answers}]) for _ in range(2))
    ids = [call.id for call in first.messages[1].tool_calls]
    assert len(set(ids)) == 3
    assert [message.tool_call_id for message in first.messages[2:]] == [ids[1], ids[0], ids[2]]
    assert first == again


def test_an_answer_to_no_call_keeps_its_name():
    request = read(contents=[USER, {"parts": [{"functionResponse": {"name": "f", "response": {}}}]}])
    assert (request.messages[1].role, request.messages[1].name) == ("tool", "f")
    assert said(request)["contents"][1]["parts"] == [{"functionResponse": {"name": "f", "response": {}}}]


def test_a_budget_that_leaves_it_to_the_model_is_no_bound_but_comes_back():
    request = read(generationConfig={"thinkingConfig": {"thinkingBudget": -1}})
    assert request.thinking == Thinking()
    assert said(request)["generationConfig"] == {"thinkingConfig": {"thinkingBudget": -1}}


# ---------------------------------------------------------------------------------------------------- schemas


@given(SCHEMAS)
def test_a_schema_in_googles_writing_reads_back_as_json_schema(schema):
    google = to_google(schema)
    assert google is None or from_google(google) == schema


@pytest.mark.parametrize(
    "schema",
    [
        {"additionalProperties": False},
        {"type": ["string", "integer"]},
        {"enum": [1]},
        {"oneOf": []},
        {"items": {"$ref": "x"}},
    ],
)
def test_a_schema_that_google_cannot_write_is_not_bent(schema):
    assert to_google(schema) is None


# ---------------------------------------------------------------------------------------------------- redirect


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, {"generationConfig": {"maxOutputTokens": 5}}),
        ({"generationConfig": None}, {"generationConfig": {"maxOutputTokens": 5}}),
        (
            {"generationConfig": {"topK": 1, "maxOutputTokens": 9}},
            {"generationConfig": {"topK": 1, "maxOutputTokens": 5}},
        ),
        ({"generation_config": {"max_output_tokens": 9}}, {"generation_config": {"max_output_tokens": 5}}),
    ],
)  # fmt: skip
def test_a_redirected_request_differs_in_its_output_limit_alone(config, expected):
    body = json.dumps({"contents": [USER], "x": 1.0, **config}).encode()
    assert json.loads(redirect(body, "other", 5)) == {"contents": [USER], "x": 1.0, **expected}
