"""What accounting reads of a passing answer: exact on every chunk shape, unmoved by what a model says."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.dialects.openai_facts import (
    DELTA,
    DONE,
    ERROR,
    MALFORMED,
    OTHER,
    USAGE,
    StreamFacts,
    event_data,
    read_reply_facts,
)
from penstock.kernel.errors import Upstream
from penstock.kernel.money import Usage


def event(**members) -> bytes:
    return b"data: " + json.dumps({"id": "c1", "model": "m", **members}).encode() + b"\n\n"


def delta(finish=None, **members) -> bytes:
    return event(choices=[{"index": 0, "delta": members, "finish_reason": finish}], usage=None)


def usage(prompt, completion, **members) -> bytes:
    return event(choices=[], usage={"prompt_tokens": prompt, "completion_tokens": completion, **members})


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
            delta(role="assistant", content=""), delta(content="Hel"), delta(content="lo"), delta("stop"),
            usage(5, 2), b"data: [DONE]\n\n", b": ping\n\n",
        )
    ]  # fmt: skip
    assert kinds == [DELTA, DELTA, DELTA, DELTA, USAGE, DONE, OTHER]
    assert (facts.deltas, facts.text_bytes, facts.finish, facts.done) == (2, 5, "stop", True)
    assert (facts.id, facts.model) == ("c1", "m")
    assert facts.usage == Usage(input_tokens=5, output_tokens=2)
    assert not facts.usage_repeated


@given(st.text(max_size=40))
def test_text_is_measured_in_bytes_whatever_it_says(text):
    assert fed(delta(content="x"), delta(content=text)).text_bytes == 1 + len(text.encode())


@pytest.mark.parametrize(
    "text",
    ['"usage":{"prompt_tokens":9}', '"error":{"message":"x"}', "data: [DONE]\n\n", '"finish_reason":"stop"'],
)
def test_a_model_cannot_talk_itself_into_usage_error_or_end(text):
    facts = fed(delta(content="a"), delta(content=text))
    assert (facts.usage, facts.error, facts.finish, facts.done, facts.deltas) == (None, b"", "", False, 2)


def test_reasoning_refusals_and_tool_arguments_are_generated_text():
    facts = fed(
        delta(role="assistant", content=None),
        delta(reasoning_content="abc"),
        delta(reasoning="de"),
        delta(refusal="no"),
        delta(tool_calls=[{"index": 0, "id": "t", "function": {"name": "f", "arguments": ""}}]),
        delta(tool_calls=[{"index": 0, "function": {"arguments": '{"a"'}}]),
        delta("tool_calls", content="é", reasoning_content="x"),
    )
    assert facts.text_bytes == 3 + 2 + 2 + 1 + 4 + 3
    assert (facts.deltas, facts.tool_calls, facts.finish) == (6, 1, "tool_calls")


def test_several_choices_in_one_chunk_all_count():
    choices = [{"index": n, "delta": {"content": "ab"}, "finish_reason": None} for n in range(3)]
    assert fed(delta(content="x"), event(choices=choices)).text_bytes == 7


def test_usage_details_are_read():
    facts = fed(
        usage(
            100, 20,
            prompt_tokens_details={"cached_tokens": 80, "cache_write_tokens": 5},
            completion_tokens_details={"reasoning_tokens": 12},
        )
    )  # fmt: skip
    assert facts.usage == Usage(
        input_tokens=100, cached_input_tokens=80, cache_write_tokens=5, output_tokens=20, reasoning_tokens=12
    )


@pytest.mark.parametrize("details", [None, {"cached_tokens": None}, {}])
def test_usage_without_details_is_whole(details):
    assert fed(usage(3, 4, prompt_tokens_details=details)).usage == Usage(input_tokens=3, output_tokens=4)


def test_usage_written_as_text_or_float_still_counts():
    assert fed(usage("12", 4.0)).usage == Usage(input_tokens=12, output_tokens=4)


def test_usage_twice_the_last_counts_and_it_is_flagged():
    facts = fed(usage(5, 2), usage(5, 9))
    assert (facts.usage, facts.usage_repeated, facts.usage_decreased) == (
        Usage(input_tokens=5, output_tokens=9), True, False,
    )  # fmt: skip


def test_usage_that_shrinks_is_flagged():
    assert fed(usage(5, 9), usage(5, 2)).usage_decreased


def test_usage_on_a_chunk_with_text_is_not_hidden_from_the_caller():
    facts = StreamFacts()
    block = event(
        choices=[{"index": 0, "delta": {"content": "x"}}], usage={"prompt_tokens": 1, "completion_tokens": 1}
    )
    assert facts.feed(block) == DELTA
    assert facts.usage == Usage(input_tokens=1, output_tokens=1)
    assert facts.deltas == 1


@pytest.mark.parametrize(
    "block",
    [event(error={"message": "x"}), event(error="x"), b'event: error\ndata: {"error":{"message":"x"}}\n\n'],
)
def test_an_error_event_is_kept_as_written(block):
    facts = StreamFacts()
    assert facts.feed(block) == ERROR
    assert b"x" in facts.error


def test_a_null_error_is_none():
    assert fed(event(error=None, choices=[])).error == b""


@pytest.mark.parametrize(
    "block",
    [
        b'data: {"choices":[{"del\n\n',
        b"data: 7\n\n",
        b"data: []\n\n",
        b'data: {"choices":7}\n\n',
        b'data: {"id":"\xff"}\n\n',
    ],
)
def test_nonsense_is_counted_and_changes_nothing(block):
    facts = StreamFacts()
    assert facts.feed(block) == MALFORMED
    assert (facts.malformed, facts.deltas, facts.usage) == (1, 0, None)


@pytest.mark.parametrize(
    "block",
    [
        b'data:{"choices":[{"delta":{"content":"x"}}]}\n\n',
        b'data: {"choices":[{"delta":{"content":"x"}}]}\r\n\r\n',
        b'id: 7\nevent: message\ndata: {"choices":[{"delta":{"content":"x"}}]}\n\n',
        b'data: {"choices":\ndata: [{"delta":{"content":"x"}}]}\n\n',
        b'data:  {"choices" : [ {"delta" : {"content" : "x"}} ] }\n\n',
    ],
)
def test_every_way_to_write_an_event_counts_the_same(block):
    assert fed(block).deltas == 1


def test_event_data_joins_lines_as_the_standard_says():
    assert event_data(b"data: a\ndata:b\ndata:  c\n\n") == b"a\nb\n c"
    assert event_data(b": comment\n\n") == b""


def test_a_whole_reply():
    reply = {
        "id": "c1", "model": "m",
        "choices": [
            {"index": 0, "finish_reason": "tool_calls", "message": {"role": "assistant", "tool_calls": [{}, {}]}},
            {"index": 1, "finish_reason": "stop", "message": {"content": "x", "tool_calls": None}},
        ],
        "usage": {"prompt_tokens": 5, "completion_tokens": 2},
    }  # fmt: skip
    facts = read_reply_facts(json.dumps(reply).encode())
    assert (facts.id, facts.model, facts.finish, facts.tool_calls, facts.choices) == (
        "c1",
        "m",
        "tool_calls",
        2,
        2,
    )
    assert facts.usage == Usage(input_tokens=5, output_tokens=2)
    assert facts.error == b""


def test_a_reply_with_nothing_in_it():
    facts = read_reply_facts(b"{}")
    assert (facts.usage, facts.finish, facts.choices) == (None, "", 0)


def test_an_error_in_a_reply_is_kept():
    assert read_reply_facts(b'{"error":{"code":1}}').error == b'{"code":1}'


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"choices":{}}', b'{"choices":[{"mess'])
def test_a_body_that_is_no_reply_is_malformed(body):
    with pytest.raises(Upstream) as error:
        read_reply_facts(body)
    assert error.value.reason == "malformed_reply"


@given(st.binary(max_size=60))
def test_no_bytes_break_the_reader(junk):
    assert StreamFacts().feed(b"data: " + junk + b"\n\n") in (OTHER, DELTA, USAGE, DONE, ERROR, MALFORMED)


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r", b"\r\n\r", b"\n\r\n"])
def test_the_end_mark_is_known_by_whatever_ends_its_lines(end: bytes) -> None:
    """The splitter may give an event's last CR without the LF that follows in the next read."""
    facts = StreamFacts()
    assert facts.feed(b"data: [DONE]" + end) == DONE
    assert facts.done
