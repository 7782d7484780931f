"""Anthropic's replies, whole and streamed, bytes to canonical and back, and as its own SDK reads them."""

from __future__ import annotations

import json

import pytest
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.pagination import SyncPage
from anthropic.types import Message as SdkMessage
from anthropic.types import MessageTokensCount, ModelInfo, RawMessageStreamEvent
from hypothesis import given
from msgspec.structs import replace
from pydantic import TypeAdapter

from penstock.dialects import openai
from penstock.dialects.anthropic import CODEC, render_count, render_models
from penstock.dialects.codec import StreamHead
from penstock.kernel.chat import (
    ChatEvent,
    ChatReply,
    Message,
    Other,
    Reasoning,
    Text,
    ToolCall,
    ToolCallDelta,
)
from penstock.kernel.errors import Invalid, Upstream
from penstock.kernel.money import Usage
from tests.unit.dialects.anthropic_bodies import REPLY, STREAM, sse
from tests.unit.dialects.anthropic_shapes import replies, streams
from tests.unit.dialects.shapes import raws

HEAD = StreamHead(id="msg_1", model="m", created_s=7, input_tokens=3)
USED = Usage(
    input_tokens=117,
    cached_input_tokens=100,
    cache_write_tokens=7,
    cache_write_1h_tokens=3,
    output_tokens=50,
    reasoning_tokens=20,
)
EVENT = TypeAdapter(RawMessageStreamEvent)


def blocks(stream: bytes) -> list[bytes]:
    return [block + b"\n\n" for block in stream.split(b"\n\n") if block]


def written(events: list[ChatEvent], head: StreamHead = HEAD) -> list[bytes]:
    renderer = CODEC.renderer(head)
    return blocks(b"".join([renderer.event(event) for event in events]) + renderer.done())


def read(stream: list[bytes]) -> list[ChatEvent]:
    parser = CODEC.parser()
    return [event for block in stream for event in parser.feed(block)]


def told(stream: list[bytes]) -> list[dict]:
    return [json.loads(block.partition(b"\ndata: ")[2]) for block in stream]


def accumulated(stream: list[bytes]):
    """What the vendor's SDK makes of a stream."""
    message, pieces = None, {}
    for event in [event for event in told(stream) if event["type"] != "ping"]:
        parsed = EVENT.validate_python(event)
        message = accumulate_event(event=parsed, current_snapshot=message, json_bufs=pieces)
    return message


# ----------------------------------------------------------------------------------------------------- whole


@given(replies())
def test_a_whole_reply_comes_back_the_same(reply):
    assert CODEC.parse_reply(CODEC.render_reply(reply)) == reply


def test_a_reply_with_everything_means_the_same_afterwards():
    reply = CODEC.parse_reply(json.dumps(REPLY).encode())
    assert reply.usage == USED
    assert reply.finishes == ("tool_calls",)
    said = reply.choices[0]
    assert [type(part) for part in said.content] == [Reasoning, Other, Other, Text, Text]
    assert said.tool_calls == (ToolCall("toolu_1", "weather", '{"city": "Oslo"}'),)
    assert json.loads(CODEC.render_reply(reply)) == REPLY


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("pause_turn", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
        ("something_new", "stop"),
        (None, ""),
    ],
)
def test_every_stop_reason_has_a_canonical_word_and_returns(reason, finish):
    hit = "END" if reason == "stop_sequence" else None
    body = {**REPLY, "stop_reason": reason, "stop_sequence": hit}
    reply = CODEC.parse_reply(json.dumps(body).encode())
    assert reply.finishes == (finish,)
    assert CODEC.read_facts(json.dumps(body).encode()).finish == finish
    back = json.loads(CODEC.render_reply(reply))
    assert (back["stop_reason"], back["stop_sequence"]) == (reason, hit)


@pytest.mark.parametrize("body", [b"", b"[]", b'{"content":7}', b'{"content":[{}]}', b'{"usage":7}'])
def test_what_is_no_reply_is_malformed(body):
    with pytest.raises(Upstream) as error:
        CODEC.parse_reply(body)
    assert error.value.reason == "malformed_reply"


def test_the_sdk_validates_what_another_vendor_answered():
    call = {"id": "", "type": "function", "function": {"name": "f", "arguments": "{oops"}}
    body = {
        "id": "chat-1",
        "model": "m",
        "created": 7,
        "choices": [
            {
                "index": 0,
                "finish_reason": "tool_calls",
                "logprobs": None,
                "message": {
                    "role": "assistant",
                    "content": "hi",
                    "reasoning_content": "hm",
                    "tool_calls": [call],
                },
            }
        ],
        "usage": {"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}},
    }
    message = SdkMessage.model_validate_json(
        CODEC.render_reply(openai.CODEC.parse_reply(json.dumps(body).encode()))
    )
    assert [block.type for block in message.content] == ["thinking", "text", "tool_use"]
    assert message.content[2].input == {"INVALID_JSON": "{oops"}
    assert message.content[2].id == "toolu_chat1_0"
    assert message.stop_reason == "tool_use"
    assert (message.usage.input_tokens, message.usage.cache_read_input_tokens) == (5, 4)


def test_a_refusal_in_words_is_a_refusal_here():
    message = Message(role="assistant", refusal="no")
    reply = ChatReply(id="i", model="m", created_s=0, choices=(message,), finishes=("stop",))
    wire = json.loads(CODEC.render_reply(reply))
    assert (wire["content"], wire["stop_reason"]) == ([{"type": "text", "text": "no"}], "refusal")


def test_several_choices_cannot_be_said():
    reply = ChatReply(
        id="i", model="m", created_s=0, choices=(Message(role="assistant"),) * 2, finishes=("", "")
    )
    with pytest.raises(Invalid):
        CODEC.render_reply(reply)


def test_counts_and_models_are_as_the_sdk_expects():
    assert MessageTokensCount.model_validate_json(render_count(7)).input_tokens == 7
    page = SyncPage[ModelInfo].model_validate_json(render_models([("a", "me"), ("b", "me")]))
    assert [model.id for model in page.data] == ["a", "b"]
    assert (page.first_id, page.last_id, page.has_more) == ("a", "b", False)
    assert json.loads(render_models([]))["last_id"] is None


# -------------------------------------------------------------------------------------------------- streamed


@given(streams())
def test_a_stream_comes_back_the_same(events):
    assert read(written(events)) == events


@given(streams())
def test_blocks_are_begun_filled_and_closed_in_order(events):
    open_block, last = None, -1
    stream = [event for event in told(written(events)) if event["type"] != "news"]
    for event in stream[1:-2]:
        match event["type"]:
            case "content_block_start":
                assert (open_block, event["index"]) == (None, last + 1)
                open_block = last = event["index"]
            case "content_block_delta":
                assert event["index"] == open_block
            case "content_block_stop":
                assert event["index"] == open_block
                open_block = None
            case _:
                pytest.fail(event["type"])
    assert open_block is None
    assert [event["type"] for event in (stream[0], *stream[-2:])] == [
        *("message_start", "message_delta", "message_stop")
    ]


def test_a_stream_with_everything_means_the_same_afterwards():
    events = read(sse(*STREAM))
    assert events[0].role == "assistant"
    assert ChatEvent(finish="tool_calls", extras={"usage.service_tier": raws("standard")}) in events
    assert events[-1].usage == USED
    head = StreamHead(id="msg_1", model="claude-opus-4-8", created_s=0)
    again, original = accumulated(written(events, head)), accumulated(sse(*STREAM))
    assert again.model_dump(exclude={"usage"}) == original.model_dump(exclude={"usage"})
    assert again.usage.output_tokens == 50
    assert again.usage.cache_read_input_tokens == 100


def test_every_event_is_one_the_sdk_validates():
    events = [
        ChatEvent(role="assistant"),
        ChatEvent(reasoning="hm"),
        ChatEvent(text="a", extras={"chunk.system_fingerprint": raws("f"), "choice.logprobs": raws({})}),
        ChatEvent(tool_calls=(ToolCallDelta(0, "t1", "f", '{"a":'),)),
        ChatEvent(tool_calls=(ToolCallDelta(1, "", "g", "{}"),)),
        ChatEvent(tool_calls=(ToolCallDelta(0, arguments="1}"),)),
        ChatEvent(finish="tool_calls"),
        ChatEvent(usage=Usage(input_tokens=9, cached_input_tokens=4, output_tokens=2)),
    ]
    stream = written(events)
    message = accumulated(stream)
    assert b"fingerprint" not in b"".join(stream)
    assert b"logprobs" not in b"".join(stream)
    assert [block.type for block in message.content] == ["thinking", "text", "tool_use", "tool_use"]
    assert [block.input for block in message.content[2:]] == [{"a": 1}, {}]
    assert [block.id for block in message.content[2:]] == ["t1", "toolu_msg1_1"]
    assert message.stop_reason == "tool_use"
    assert (message.usage.input_tokens, message.usage.output_tokens) == (5, 2)
    assert told(stream)[0]["message"]["usage"]["input_tokens"] == HEAD.input_tokens


def test_an_answer_of_nothing_is_still_a_whole_message():
    assert [event["type"] for event in told(written([]))] == [
        "message_start",
        "message_delta",
        "message_stop",
    ]


def test_the_end_mark_is_the_last_thing_written_and_only_by_done():
    renderer = CODEC.renderer(HEAD)
    said = renderer.event(ChatEvent(text="x", finish="stop", usage=Usage(output_tokens=1)))
    assert b"stop_reason" not in said.partition(b"\n\n")[2]
    assert renderer.done().endswith(CODEC.end)


def test_a_refusal_told_in_pieces_ends_as_one():
    stream = written([ChatEvent(refusal="n"), ChatEvent(refusal="o"), ChatEvent(finish="stop")])
    message = accumulated(stream)
    assert (message.content[0].text, message.stop_reason) == ("no", "refusal")


def test_a_call_without_arguments_is_an_empty_object_for_whoever_joins_fragments():
    start = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
    stream = sse(
        {"type": "content_block_start", "index": 0, "content_block": start},
        {"type": "content_block_stop", "index": 0},
    )
    fragments = [call.arguments for event in read(stream) for call in event.tool_calls]
    assert fragments == ["", "{}"]


def test_an_error_event_raises_its_kind():
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    with pytest.raises(Upstream) as raised:
        read(sse(error))
    assert raised.value.reason == "overloaded"


@pytest.mark.parametrize(
    "block",
    [
        b"event: x\ndata: {\n\n",
        b"data: 7\n\n",
        b"data: {}\n\n",
        b'data: {"type":"message_start"}\n\n',
        b'data: {"type":"content_block_start"}\n\n',
        b'data: {"type":"content_block_start","content_block":{"type":"tool_use"}}\n\n',
        b'data: {"type":"content_block_delta","delta":{}}\n\n',
    ],
)
def test_a_malformed_event_raises(block):
    with pytest.raises(Upstream) as error:
        read([block])
    assert error.value.reason == "malformed_reply"


def test_keep_alives_say_nothing():
    assert read([b": x\n\n", *sse({"type": "ping"}, {"type": "message_stop"})]) == []


def test_an_unknown_member_of_a_delta_is_kept_with_its_words():
    start = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    delta = {
        "type": "content_block_delta",
        "index": 0,
        "delta": {"type": "text_delta", "text": "x", "new": 1},
    }
    (event,) = read(sse(start, delta))
    assert event == ChatEvent(text="x", extras={"new": raws(1)})
    assert told(written([event]))[2] == delta
    assert replace(event, extras={}) == ChatEvent(text="x")
