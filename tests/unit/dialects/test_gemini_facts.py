"""What accounting reads of a passing Gemini answer: exact, cumulative, unmoved by what a model says."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.dialects.codec import DELTA, ERROR, MALFORMED, OTHER, USAGE
from penstock.dialects.gemini import StreamFacts, read_reply_facts
from penstock.kernel.errors import Upstream
from penstock.kernel.money import Usage


def event(**members) -> bytes:
    return b"data: " + json.dumps({"responseId": "r", "modelVersion": "m", **members}).encode() + b"\r\n\r\n"


def said(*parts, index=0, finish=None, **members) -> bytes:
    return event(
        candidates=[{"content": {"parts": list(parts)}, "index": index, "finishReason": finish}], **members
    )


def counts(prompt, candidates, **members):
    return {"promptTokenCount": prompt, "candidatesTokenCount": candidates, **members}


def fed(*blocks: bytes) -> StreamFacts:
    facts = StreamFacts()
    for block in blocks:
        facts.feed(block)
    return facts


def test_a_whole_stream():
    facts = StreamFacts()
    kinds = [
        facts.feed(block)
        for block in (
            said({"text": "think", "thought": True}, usageMetadata={"trafficType": "ON_DEMAND"}),
            said({"text": "é"}, usageMetadata=counts(5, 1)),
            b": ping\n\n",
            said({"functionCall": {"name": "f", "args": {"a": 1}}}, usageMetadata=counts(5, 2)),
            said(finish="STOP", usageMetadata=counts(5, 2, thoughtsTokenCount=7, cachedContentTokenCount=4)),
            event(usageMetadata=counts(5, 2, thoughtsTokenCount=7, cachedContentTokenCount=4)),
        )
    ]
    assert kinds == [DELTA, DELTA, OTHER, DELTA, DELTA, USAGE]
    assert (facts.deltas, facts.text_bytes, facts.tool_calls) == (3, 5 + 2 + 1 + len('{"a": 1}'), 1)
    assert (facts.finish, facts.done, facts.id, facts.model) == ("tool_calls", True, "r", "m")
    assert facts.usage == Usage(input_tokens=5, output_tokens=9, reasoning_tokens=7, cached_input_tokens=4)
    assert not facts.usage_repeated
    assert not facts.usage_decreased


def test_a_stream_is_done_when_every_candidate_has_ended():
    facts = fed(said({"text": "a"}), said({"text": "b"}, index=1), said(finish="STOP"))
    assert not facts.done
    facts.feed(said(finish="MAX_TOKENS", index=1))
    assert (facts.done, facts.finish) == (True, "length")


def test_a_cut_stream_is_not_done():
    assert not fed(said({"text": "a"}, usageMetadata=counts(1, 1))).done


def test_a_figure_that_goes_down_is_noticed_and_the_last_one_counts():
    facts = fed(
        said({"text": "a"}, usageMetadata=counts(5, 9)), said({"text": "a"}, usageMetadata=counts(5, 3))
    )
    assert facts.usage_decreased
    assert facts.usage == Usage(input_tokens=5, output_tokens=3)


def test_counts_written_as_text_count():
    assert fed(said({"text": "a"}, usageMetadata=counts("5", 2.0))).usage == Usage(
        input_tokens=5, output_tokens=2
    )


def test_a_blocked_prompt_is_done():
    facts = fed(event(promptFeedback={"blockReason": "SAFETY"}, usageMetadata={"promptTokenCount": 4}))
    assert (facts.done, facts.finish, facts.usage) == (True, "content_filter", Usage(input_tokens=4))


@pytest.mark.parametrize("wrap", [b"data: %b\n\n", b"data: %b\r\n\r\n", b"%b\n", b"[%b]"])
def test_an_error_is_told_however_it_comes(wrap):
    facts = fed(said({"text": "x"}))
    assert facts.feed(wrap % b'{"error": {"code": 500}}') == ERROR
    assert json.loads(facts.error) == {"code": 500}
    assert not facts.done


@pytest.mark.parametrize(
    "text",
    ['"finishReason":"STOP"', '{"error":{}}', '"usageMetadata":{"promptTokenCount":9}', "data: {}\n\n"],
)
def test_a_model_cannot_talk_itself_into_usage_error_or_end(text):
    facts = fed(said({"text": text}))
    assert (facts.usage, facts.error, facts.finish, facts.done, facts.deltas) == (None, b"", "", False, 1)


@given(st.binary(max_size=60))
def test_nonsense_never_raises(noise):
    assert StreamFacts().feed(b"data: {" + noise + b"\n\n") in range(6)
    assert StreamFacts().feed(noise) in range(6)


@pytest.mark.parametrize(
    "block",
    [b'data: {"candidates": 5}\n\n', said({"text": 5}), said({"text": "x"}, usageMetadata=counts("many", 1))],
)
def test_another_shape_is_malformed_and_counted(block):
    facts = StreamFacts()
    assert facts.feed(block) == MALFORMED
    assert facts.malformed == 1


def test_a_candidate_with_an_absurd_index_costs_nothing():
    assert fed(said({"text": "x"}, index=10**15, finish="STOP")).done


# ------------------------------------------------------------------------------------------------------- whole


def test_a_whole_reply():
    facts = read_reply_facts(
        json.dumps(
            {
                "candidates": [
                    {
                        "content": {"parts": [{"functionCall": {"name": "f"}}, {"text": "x"}]},
                        "finishReason": "STOP",
                    },
                    {"finishReason": "SAFETY"},
                ],
                "usageMetadata": counts(5, 2, toolUsePromptTokenCount=3, thoughtsTokenCount=1),
                "responseId": "r",
                "modelVersion": "m",
            }
        ).encode()
    )
    assert (facts.finish, facts.tool_calls, facts.choices, facts.id, facts.model) == (
        "tool_calls",
        1,
        2,
        "r",
        "m",
    )
    assert facts.usage == Usage(input_tokens=8, output_tokens=3, reasoning_tokens=1)
    assert facts.error == b""


def test_a_blocked_reply_is_one_filtered_choice_and_an_error_is_told():
    blocked = read_reply_facts(b'{"promptFeedback":{"blockReason":"OTHER"}}')
    assert (blocked.finish, blocked.choices, blocked.usage) == ("content_filter", 1, None)
    assert read_reply_facts(b'{"error":{"code":500}}').error == b'{"code":500}'


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"candidates":{}}', b"\xff"])
def test_what_is_no_reply_is_the_providers_fault(body):
    with pytest.raises(Upstream) as caught:
        read_reply_facts(body)
    assert caught.value.reason == "malformed_reply"
