"""Whole replies of the Gemini wire: read and written again they mean the same, and another vendor's fit in."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings

from penstock.dialects import openai
from penstock.dialects.gemini import parse_reply, render_reply
from penstock.kernel.chat import ChatReply, Message, Reasoning, Text, ToolCall
from penstock.kernel.errors import Upstream
from penstock.kernel.money import Usage
from tests.unit.dialects.gemini_shapes import replies, same
from tests.unit.dialects.shapes import raws


@given(replies())
@settings(max_examples=200)
def test_what_is_rendered_reads_back_as_it_was(reply):
    assert parse_reply(render_reply(reply)) == reply


CANDIDATE = {"content": {"parts": [{"text": "Hi"}], "role": "model"}, "finishReason": "STOP"}
USAGE = {"promptTokenCount": 4, "candidatesTokenCount": 9, "totalTokenCount": 13}
BODIES = [
    {
        "candidates": [{**CANDIDATE, "avgLogprobs": -0.03, "index": 0}],
        "usageMetadata": {
            **USAGE,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 4}],
            "candidatesTokensDetails": [{"modality": "TEXT", "tokenCount": 9}],
            "trafficType": "ON_DEMAND",
        },
        "modelVersion": "gemini-2.0-flash",
        "createTime": "2026-03-10T14:54:45.066123Z",
        "responseId": "tTCwacuEBMvnitYP06qsgQY",
    },
    {
        "candidates": [
            {
                "content": {
                    "parts": [
                        {"text": "I need to check.", "thought": True, "thoughtSignature": "QQ=="},
                        {"functionCall": {"name": "w", "args": {"city": "Paris"}}, "thoughtSignature": "Qg=="},
                        {"functionCall": {"name": "w", "args": {"city": "Rome"}, "id": "gp737npz"}},
                    ],
                    "role": "model",
                },
                "finishReason": "STOP",
                "finishMessage": "Model generated function call(s).",
                "safetyRatings": [{"category": "c", "probability": "NEGLIGIBLE"}],
            }
        ],
        "usageMetadata": {
            "promptTokenCount": 44, "candidatesTokenCount": 15, "thoughtsTokenCount": 65, "toolUsePromptTokenCount": 7,
            "cachedContentTokenCount": 30, "totalTokenCount": 131,
        },
        "modelVersion": "gemini-3-flash",
        "responseId": "r",
    },
    {
        "promptFeedback": {"blockReason": "PROHIBITED_CONTENT", "safetyRatings": []},
        "usageMetadata": {"promptTokenCount": 4, "totalTokenCount": 4},
        "modelVersion": "gemini-2.5-flash",
    },
    {
        "candidates": [
            {"finishReason": "RECITATION", "citationMetadata": {"citationSources": []}},
            {**CANDIDATE, "index": 1},
        ],
        "promptFeedback": {"safetyRatings": []},
        "usageMetadata": USAGE,
    },
    {
        "candidates": [
            {
                **CANDIDATE,
                "logprobsResult": {
                    "topCandidates": [{"candidates": [{"token": "H", "tokenId": 2, "logProbability": -0.5}]}],
                    "chosenCandidates": [{"token": "H", "tokenId": 2, "logProbability": -0.5}],
                    "logProbabilitySum": -0.5,
                },
                "groundingMetadata": {"webSearchQueries": ["q"]},
            }
        ],
        "modelStatus": {"modelStage": "STABLE"},
    },
    {
        "candidates": [
            {
                "content": {
                    "parts": [
                        {"text": "x"},
                        {"inlineData": {"mimeType": "image/png", "data": "AA"}, "thoughtSignature": "QQ=="},
                    ],
                    "role": "model",
                },
                "finishReason": "MALFORMED_FUNCTION_CALL",
                "finishMessage": "Malformed function call: print(x)",
            },
            {"content": {"role": "model"}, "finishReason": "MAX_TOKENS", "index": 1},
        ]
    },
]  # fmt: skip


@pytest.mark.parametrize("body", BODIES)
def test_a_reply_read_and_rendered_again_means_the_same(body):
    text = json.dumps(body).encode()
    assert same(render_reply(parse_reply(text)), text)


def read(**members) -> ChatReply:
    return parse_reply(json.dumps({"candidates": [CANDIDATE], **members}).encode())


def test_thoughts_are_output_and_what_tools_fed_back_is_input():
    assert read(**{key: BODIES[1][key] for key in ("candidates", "usageMetadata")}).usage == Usage(
        input_tokens=51, cached_input_tokens=30, output_tokens=80, reasoning_tokens=65
    )


@pytest.mark.parametrize(
    ("reason", "calls", "finish"),
    [
        ("STOP", False, "stop"), ("STOP", True, "tool_calls"), ("MAX_TOKENS", True, "length"),
        ("SAFETY", False, "content_filter"), ("RECITATION", False, "content_filter"),
        ("PROHIBITED_CONTENT", False, "content_filter"), ("MALFORMED_FUNCTION_CALL", False, "error"),
        ("OTHER", False, "error"), ("SOMETHING_NEW", False, "stop"), (None, False, ""),
    ],
)  # fmt: skip
def test_every_finish_reason_has_our_word(reason, calls, finish):
    parts = [{"functionCall": {"name": "f"}}] if calls else [{"text": "x"}]
    reply = read(candidates=[{"content": {"parts": parts}, "finishReason": reason}])
    assert reply.finishes == (finish,)


def test_a_blocked_prompt_is_an_empty_answer_that_a_filter_ended():
    reply = parse_reply(json.dumps(BODIES[2]).encode())
    assert (reply.finishes, reply.choices) == (("content_filter",), (Message(role="assistant"),))
    assert b"PROHIBITED_CONTENT" in bytes(reply.extras["promptFeedback"])


def test_two_answers_never_give_their_calls_the_same_ids():
    candidates = [{"content": {"parts": [{"functionCall": {"name": "f"}}, {"functionCall": {"name": "f"}}]}}]
    first, second = (read(candidates=candidates, responseId=id) for id in ("r1", "r2"))
    ids = [call.id for reply in (first, second) for call in reply.choices[0].tool_calls]
    assert len(set(ids)) == 4
    assert read(candidates=candidates, responseId="r1") == first


@pytest.mark.parametrize(
    "body",
    [
        b"<html>", b"[]", b"{}", b'{"usageMetadata":{"promptTokenCount":1}}',
        b'{"candidates":[{"content":{"parts":[5]}}]}',
        b'{"candidates":[{"content":{"parts":[{"text":"x"}]}}],"usageMetadata":{"promptTokenCount":"many"}}',
        b'{"candidates":[{"content":{"parts":[{"functionResponse":{"name":"f"}}]}}]}',
        b'{"candidates":[{"logprobsResult":5}]}',
    ],
)  # fmt: skip
def test_what_is_no_answer_is_the_providers_fault(body):
    with pytest.raises(Upstream) as caught:
        parse_reply(body)
    assert caught.value.reason == "malformed_reply"


def test_an_error_with_status_200_is_that_error():
    with pytest.raises(Upstream) as caught:
        parse_reply(b'{"error":{"code":503,"message":"The model is overloaded.","status":"UNAVAILABLE"}}')
    assert caught.value.reason == "overloaded"


# ------------------------------------------------------------------------------------ across the dialects


def rendered(message: Message, finish: str, **members) -> dict:
    reply = ChatReply(id="r", model="m", created_s=0, choices=(message,), finishes=(finish,), **members)
    return json.loads(render_reply(reply))


def test_openais_logprobs_read_as_geminis():
    logprobs = {
        "content": [
            {"token": "a", "logprob": -1.0, "bytes": [97], "top_logprobs": [{"token": "b", "logprob": -2.0}]}
        ]
    }
    candidate = rendered(
        Message(role="assistant", content=(Text("a"),), extras={"choice.logprobs": raws(logprobs)}), "stop"
    )["candidates"][0]
    assert candidate["logprobsResult"] == {
        "topCandidates": [{"candidates": [{"token": "b", "logProbability": -2.0}]}],
        "chosenCandidates": [{"token": "a", "logProbability": -1.0}],
    }


@pytest.mark.parametrize(
    ("created_s", "told"),
    [
        (253_402_300_799, "9999-12-31T23:59:59Z"), (253_402_300_800, "9999-12-31T23:59:59Z"),
        (2**62, "9999-12-31T23:59:59Z"),
        (1, "1970-01-01T00:00:01Z"), (-1, "1970-01-01T00:00:00Z"),
    ],
)  # fmt: skip
def test_a_time_is_told_within_the_years_that_google_writes(created_s, told):
    reply = ChatReply(id="", model="", created_s=created_s, choices=(), finishes=())
    assert json.loads(render_reply(reply))["createTime"] == told


def test_calls_that_are_no_json_end_a_candidate_as_geminis_own_do():
    calls = (ToolCall("1", "f", '{"a":'), ToolCall("2", "g", ""))
    candidate = rendered(Message(role="assistant", tool_calls=calls), "tool_calls")["candidates"][0]
    assert candidate["finishReason"] == "MALFORMED_FUNCTION_CALL"
    assert candidate["finishMessage"] == 'Malformed function call: f({"a":)'
    assert candidate["content"]["parts"] == [{"functionCall": {"name": "g", "args": {}, "id": "2"}}]


def test_hidden_thoughts_of_another_vendor_come_back_from_a_gemini_caller():
    message = Message(role="assistant", content=(Reasoning("", redacted="UmVk"), Text("x")))
    reply = ChatReply(id="", model="", created_s=0, choices=(message,), finishes=("stop",))
    assert parse_reply(render_reply(reply)).choices == (message,)


def test_a_gemini_answer_reaches_a_caller_of_openai_whole():
    reply = parse_reply(json.dumps({**BODIES[3], "candidates": [CANDIDATE]}).encode())
    told = json.loads(openai.render_reply(reply))
    assert told["choices"][0]["message"]["content"] == "Hi"
    assert told["choices"][0]["finish_reason"] == "stop"
    assert told["usage"]["total_tokens"] == 13
