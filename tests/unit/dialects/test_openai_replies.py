"""Replies, whole and streamed, bytes to canonical and back."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from penstock.dialects.openai import StreamParser, StreamRenderer, parse_reply, render_models, render_reply
from penstock.dialects.openai_facts import StreamFacts
from penstock.kernel.chat import ChatEvent, Message, Reasoning, Text, ToolCallDelta
from penstock.kernel.errors import Upstream
from penstock.kernel.money import Usage
from tests.unit.dialects.shapes import EVENTS, replies


@given(replies())
def test_a_whole_reply_comes_back_the_same(reply):
    assert parse_reply(render_reply(reply)) == reply


@given(st.lists(EVENTS, max_size=6))
def test_a_stream_comes_back_the_same(events):
    renderer, parser = StreamRenderer("id", "m", 7), StreamParser()
    back = [event for sent in events for event in parser.feed(renderer.event(sent))]
    assert back == events
    assert not events or (parser.id, parser.model, parser.created_s) == ("id", "m", 7)
    assert parser.feed(renderer.done()) == []
    assert parser.done


def test_a_vendors_reply_is_understood():
    wire = {
        "id": "c", "object": "chat.completion", "created": 7, "model": "m", "system_fingerprint": "fp",
        "choices": [{"index": 0, "finish_reason": "eos", "logprobs": {"content": []},
                     "message": {"role": "assistant", "content": "hi", "annotations": []}}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 1},
    }  # fmt: skip
    reply = parse_reply(json.dumps(wire).encode())
    assert reply.finishes == ("stop",)
    assert reply.choices[0].content == (Text("hi"),)
    assert set(reply.choices[0].extras) == {"annotations", "choice.logprobs"}
    assert reply.usage == Usage(input_tokens=3, output_tokens=1)
    assert reply.extras == {"system_fingerprint": Raw(b'"fp"')}


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[]", b'{"choices":7}', b'{"choices":[{}]}', b'{"choices":[{"message":{}}]}']
)
def test_what_is_no_reply_is_malformed(body):
    with pytest.raises(Upstream) as error:
        parse_reply(body)
    assert error.value.reason == "malformed_reply"


@given(replies())
def test_the_official_sdk_reads_what_we_write(reply):
    wire = json.loads(render_reply(reply))
    read = ChatCompletion.model_construct(**wire)
    assert len(read.choices) == len(reply.choices)
    if reply.usage is not None:
        assert wire["usage"]["total_tokens"] == reply.usage.input_tokens + reply.usage.output_tokens


def test_the_official_sdk_validates_a_plain_reply_and_chunk():
    renderer = StreamRenderer("c", "m", 7)
    call = ToolCallDelta(0, "t", "f", "{}")
    for event in (ChatEvent(role="assistant"), ChatEvent(text="x"), ChatEvent(tool_calls=(call,)),
                  ChatEvent(finish="stop"), ChatEvent(usage=Usage(input_tokens=1, output_tokens=2))):  # fmt: skip
        assert ChatCompletionChunk.model_validate_json(renderer.event(event)[6:])
    message = Message(role="assistant", content=(Text("x"),))
    reply = parse_reply(b'{"choices":[],"id":"c","created":7,"model":"m"}')
    whole = render_reply(type(reply)(id="c", model="m", created_s=7, choices=(message,), finishes=("stop",)))
    assert ChatCompletion.model_validate_json(whole).choices[0].message.content == "x"


def test_usage_is_kept_from_a_caller_who_did_not_ask():
    renderer = StreamRenderer("c", "m", 7, include_usage=False)
    assert renderer.event(ChatEvent(usage=Usage(input_tokens=1))) == b""
    both = renderer.event(ChatEvent(text="x", usage=Usage(input_tokens=1)))
    assert both.count(b"data: ") == 1
    assert b"usage" not in both


def test_a_chunk_of_several_choices_with_usage_is_several_events():
    chunk = {
        "choices": [{"index": n, "delta": {"content": str(n)}} for n in (0, 1)],
        "usage": {"prompt_tokens": 1},
    }
    events = StreamParser().feed(b"data: " + json.dumps(chunk).encode() + b"\n\n")
    assert [(event.index, event.text) for event in events[:2]] == [(0, "0"), (1, "1")]
    assert events[2] == ChatEvent(usage=Usage(input_tokens=1))


def test_a_finish_without_delta_and_a_comment():
    parser = StreamParser()
    assert parser.feed(b": ping\n\n") == []
    assert parser.feed(b'data: {"choices":[{"index":0,"finish_reason":"length"}]}\n\n') == [
        ChatEvent(finish="length")
    ]


def test_an_error_event_raises_its_kind():
    with pytest.raises(Upstream) as error:
        StreamParser().feed(b'data: {"error":{"message":"x","type":"overloaded_error"}}\n\n')
    assert error.value.reason == "overloaded"


@pytest.mark.parametrize("block", [b"data: {\n\n", b"data: 7\n\n", b'data: {"choices":[7]}\n\n'])
def test_a_malformed_event_raises(block):
    with pytest.raises(Upstream) as error:
        StreamParser().feed(block)
    assert error.value.reason == "malformed_reply"


@given(st.lists(EVENTS, max_size=6))
def test_facts_and_events_agree(events):
    renderer, facts = StreamRenderer("id", "m", 7), StreamFacts()
    for event in events:
        facts.feed(renderer.event(event))
    texts = [(event.text, event.reasoning, event.refusal) for event in events]
    said = sum(len(word.encode()) for words in texts for word in words)
    calls = [call for event in events for call in event.tool_calls if "type" not in call.extras]
    called = sum(len((call.name + call.arguments).encode()) for call in calls)
    assert facts.text_bytes == said + called
    assert facts.usage == next((event.usage for event in reversed(events) if event.usage), None)


def test_models_are_listed_as_the_sdk_expects():
    wire = json.loads(render_models([("a", "me"), ("b", "me")]))
    assert wire == {
        "object": "list",
        "data": [{"id": name, "object": "model", "created": 0, "owned_by": "me"} for name in ("a", "b")],
    }


def test_the_other_name_of_reasoning_is_understood():
    choice = {"message": {"role": "assistant", "content": "x", "reasoning": "why"}}
    assert parse_reply(json.dumps({"choices": [choice]}).encode()).choices[0].content[0] == Reasoning("why")
    chunk = {"choices": [{"index": 0, "delta": {"reasoning": "why"}}]}
    (event,) = StreamParser().feed(b"data: " + json.dumps(chunk).encode() + b"\n\n")
    assert event == ChatEvent(reasoning="why")


def test_what_an_sdk_puts_together_from_a_stream_can_be_sent_back():
    """Signatures come with the whole text of their block, numbered, so that joined fragments are whole blocks."""
    renderer = StreamRenderer("c", "m", 7)
    events = (
        ChatEvent(role="assistant"), ChatEvent(reasoning="a"), ChatEvent(reasoning="b"), ChatEvent(signature="s1"),
        ChatEvent(redacted="h"), ChatEvent(reasoning="c"), ChatEvent(signature="s2"), ChatEvent(text="d"),
    )  # fmt: skip
    deltas = [json.loads(renderer.event(event)[6:])["choices"][0]["delta"] for event in events]
    details = [entry for delta in deltas for entry in delta.get("reasoning_details", ())]
    assert [entry["index"] for entry in details] == [0, 1, 2]
    words = "".join(delta.get("reasoning_content", "") for delta in deltas)
    message = {"role": "assistant", "content": "d", "reasoning_content": words, "reasoning_details": details}
    reply = parse_reply(json.dumps({"choices": [{"message": message}]}).encode())
    assert reply.choices[0].content == (
        Reasoning("ab", "s1"), Reasoning("", redacted="h"), Reasoning("c", "s2"), Text("d"),
    )  # fmt: skip
