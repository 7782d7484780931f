"""What accounting learns from Anthropic's answers, whole and streamed."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.dialects.anthropic import CODEC
from penstock.dialects.codec import DELTA, DONE, ERROR, MALFORMED, OTHER, StreamHead
from penstock.kernel.errors import Upstream
from penstock.kernel.money import Usage
from tests.unit.dialects.anthropic_bodies import REPLY, STREAM, sse
from tests.unit.dialects.anthropic_shapes import streams
from tests.unit.dialects.test_anthropic_replies import USED


def fed(*events: dict):
    facts = CODEC.facts()
    return facts, [facts.feed(block) for block in sse(*events)]


def test_a_whole_reply_is_counted_in_the_platforms_way():
    facts = CODEC.read_facts(json.dumps(REPLY).encode())
    assert facts.usage == USED
    assert (facts.id, facts.model, facts.finish) == ("msg_1", "claude-opus-4-8", "tool_calls")
    assert (facts.tool_calls, facts.choices, facts.error) == (1, 1, b"")


def test_counts_written_as_text_still_count():
    facts = CODEC.read_facts(b'{"content":[],"usage":{"input_tokens":"12","output_tokens":3.0}}')
    assert facts.usage == Usage(input_tokens=12, output_tokens=3)


def test_cache_writes_told_only_by_lifetime_count():
    usage = {
        "input_tokens": 1,
        "cache_creation": {"ephemeral_5m_input_tokens": 2, "ephemeral_1h_input_tokens": 4},
    }
    facts = CODEC.read_facts(json.dumps({"content": [], "usage": usage}).encode())
    assert facts.usage == Usage(input_tokens=7, cache_write_tokens=6, cache_write_1h_tokens=4)


def test_an_error_with_status_200_is_seen():
    assert b"overloaded" in CODEC.read_facts(b'{"type":"error","error":{"type":"overloaded_error"}}').error


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"content":7}'])
def test_what_is_no_reply_is_malformed(body):
    with pytest.raises(Upstream):
        CODEC.read_facts(body)


def test_a_stream_is_followed_to_its_end():
    facts, kinds = fed(*STREAM)
    assert facts.usage == USED
    assert (facts.id, facts.model, facts.finish, facts.done) == (
        "msg_1",
        "claude-opus-4-8",
        "tool_calls",
        True,
    )
    assert facts.tool_calls == 1
    assert kinds[-1] == DONE
    assert [kind for event, kind in zip(STREAM, kinds, strict=True) if event["type"] == "ping"] == [OTHER]
    assert kinds.count(DELTA) == len(STREAM) - 2 - sum(e["type"] == "content_block_stop" for e in STREAM)
    words = ["Hm.", '{"query":"q"}', "It is", " noon é.", "weather", '{"city":', '"Oslo"}']
    assert (facts.deltas, facts.text_bytes) == (len(words), sum(len(word.encode()) for word in words))
    assert not (facts.usage_repeated or facts.usage_decreased)


def test_a_stream_cut_before_its_end_knows_the_prompt():
    facts, _ = fed(*STREAM[:5])
    assert facts.usage == Usage(
        input_tokens=117,
        cached_input_tokens=100,
        cache_write_tokens=7,
        cache_write_1h_tokens=3,
        output_tokens=1,
    )
    assert not (facts.done or facts.finish)


@pytest.mark.parametrize(
    "ending", [[{"type": "message_stop"}], [{"type": "message_delta", "delta": {"stop_reason": "end_turn"}}]]
)
def test_an_answer_that_ended_without_figures_has_none(ending):
    facts, _ = fed(*STREAM[:5], *ending)
    assert facts.usage is None


def test_figures_that_come_twice_or_go_down_are_flagged():
    end = STREAM[-2]
    facts, _ = fed(*STREAM[:-1], end)
    assert facts.usage_repeated
    assert not facts.usage_decreased
    facts, _ = fed(*STREAM[:-1], {**end, "usage": {"output_tokens": 49}})
    assert facts.usage_decreased


def test_figures_along_the_way_are_neither():
    running = {"type": "message_delta", "delta": {}, "usage": {"output_tokens": 20}}
    facts, _ = fed(*STREAM[:-2], running, *STREAM[-2:])
    assert not (facts.usage_repeated or facts.usage_decreased)
    assert facts.usage == USED


def test_an_error_event_is_kept():
    facts, kinds = fed(STREAM[0], {"type": "error", "error": {"type": "overloaded_error", "message": "x"}})
    assert kinds == [DELTA, ERROR]
    assert b"overloaded_error" in facts.error
    assert fed({"type": "error"})[1] == [ERROR]


@pytest.mark.parametrize(
    "block", [b"data: {\n\n", b"data: 7\n\n", b"event: x\ndata: {}\n\n", b"data: \xff\n\n"]
)
def test_nonsense_is_malformed_and_never_raises(block):
    facts = CODEC.facts()
    assert facts.feed(block) == MALFORMED
    assert facts.malformed == 1


@pytest.mark.parametrize("block", [b": ping\n\n", b"event: ping\n\n", b"\n\n"])
def test_what_carries_no_data_says_nothing(block):
    assert CODEC.facts().feed(block) == OTHER


def test_an_event_in_another_spelling_of_sse_is_read():
    facts = CODEC.facts()
    facts.feed(b"event:message_start\r\ndata:" + json.dumps(STREAM[0]).encode() + b"\r\n\r\n")
    assert facts.id == "msg_1"
    assert facts.feed(b'data: {"type":\ndata: "message_stop"}\n\n') == DONE


@given(st.binary(max_size=60))
def test_no_bytes_make_it_raise(data):
    CODEC.facts().feed(b"event: x\ndata: " + data + b"\n\n")


@given(streams())
def test_facts_and_events_agree(events):
    renderer, facts = CODEC.renderer(StreamHead(id="i", model="m", created_s=0)), CODEC.facts()
    stream = b"".join([renderer.event(event) for event in events]) + renderer.done()
    for block in stream.split(b"\n\n")[:-1]:
        facts.feed(block + b"\n\n")
    said = sum(len((event.text + event.reasoning).encode()) for event in events)
    called = sum(len((call.name + call.arguments).encode()) for event in events for call in event.tool_calls)
    unknown = sum(b"input_json_delta" in bytes(raw) for event in events for raw in event.extras.values())
    assert facts.text_bytes == said + called + unknown
    assert facts.usage == events[-1].usage
    assert facts.finish == events[-2].finish
    assert facts.done
