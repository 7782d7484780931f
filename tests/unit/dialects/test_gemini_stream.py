"""Streamed replies of the Gemini wire: the same events come back, fragments become whole calls, the end says it all."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.dialects.codec import StreamHead
from penstock.dialects.gemini import JsonArray, StreamParser, StreamRenderer
from penstock.dialects.gemini_stream import MAX_CALL_BYTES
from penstock.kernel.chat import ChatEvent, ToolCallDelta
from penstock.kernel.errors import Upstream
from penstock.kernel.money import Usage
from tests.unit.dialects.gemini_shapes import streams
from tests.unit.dialects.shapes import raws

HEAD = StreamHead(id="r1", model="m", created_s=0)
USAGE = Usage(input_tokens=3, output_tokens=5, reasoning_tokens=2)


def event(**members) -> bytes:
    return b"data: " + json.dumps({"responseId": "r1", "modelVersion": "m", **members}).encode() + b"\r\n\r\n"


def said(*parts, index=0, finish=None, **members) -> bytes:
    candidate = {"content": {"parts": list(parts), "role": "model"}, "index": index}
    if finish:
        candidate["finishReason"] = finish
    return event(candidates=[candidate], **members)


def parsed(*blocks: bytes) -> list[ChatEvent]:
    parser = StreamParser()
    return [each for block in blocks for each in parser.feed(block)]


def rendered(events: list[ChatEvent], head: StreamHead = HEAD) -> list[dict]:
    renderer = StreamRenderer(head)
    out = b"".join([renderer.event(each) for each in events]) + renderer.done()
    return [json.loads(block.removeprefix(b"data: ")) for block in out.split(b"\n\n") if block]


@given(streams())
@settings(max_examples=200)
def test_what_is_rendered_reads_back_as_it_was(events):
    renderer = StreamRenderer(HEAD)
    out = b"".join([renderer.event(each) for each in events]) + renderer.done()
    assert parsed(*[block + b"\n\n" for block in out.split(b"\n\n") if block]) == events


def test_a_recorded_stream_is_read_event_by_event():
    usage = {"promptTokenCount": 1, "candidatesTokenCount": 9, "totalTokenCount": 10}
    events = parsed(
        said({"text": "Hello!"}, usageMetadata={"trafficType": "ON_DEMAND"}),
        said({"text": " How"}, usageMetadata={"promptTokenCount": 1}),
        said({"text": "", "thoughtSignature": "QQ=="}, finish="STOP", usageMetadata=usage),
    )
    assert events == [
        ChatEvent(role="assistant", text="Hello!"),
        ChatEvent(text=" How"),
        ChatEvent(signature="QQ==", finish="stop"),
        ChatEvent(usage=Usage(input_tokens=1, output_tokens=9)),
    ]


def test_usage_is_told_once_though_every_event_repeats_it():
    counts = {"promptTokenCount": 1, "candidatesTokenCount": 1}
    blocks = [said({"text": "x"}, usageMetadata=counts) for _ in range(3)]
    events = parsed(*blocks, said({"text": "x"}, finish="STOP", usageMetadata=counts))
    assert [each.usage is not None for each in events] == [False] * 4 + [True]


def test_the_last_event_carries_finish_and_usage_together():
    told = rendered([ChatEvent(text="a"), ChatEvent(finish="stop"), ChatEvent(usage=USAGE)])
    assert [each["candidates"][0].get("finishReason") for each in told] == [None, "STOP"]
    assert "usageMetadata" not in told[0]
    assert told[1]["usageMetadata"] == {
        "promptTokenCount": 3, "candidatesTokenCount": 3, "thoughtsTokenCount": 2, "totalTokenCount": 8,
    }  # fmt: skip
    assert {each["responseId"] for each in told} == {"r1"}


@pytest.mark.parametrize("order", [["usage", "finish"], ["finish"], ["finish", "usage", "usage"]])
def test_an_end_is_said_whatever_comes_when(order):
    steps = {"usage": ChatEvent(usage=USAGE), "finish": ChatEvent(finish="length")}
    told = rendered([ChatEvent(text="a"), *[steps[each] for each in order]])
    assert [each["candidates"][0]["finishReason"] for each in told[1:2]] == ["MAX_TOKENS"]
    assert sum("usageMetadata" in each for each in told) == order.count("usage")


def test_fragments_of_calls_are_joined_and_said_whole_in_order():
    told = rendered(
        [
            ChatEvent(role="assistant"),
            ChatEvent(tool_calls=(ToolCallDelta(0, "a", "f", '{"x'),)),
            ChatEvent(tool_calls=(ToolCallDelta(0, "", "", '":1}'),)),
            ChatEvent(tool_calls=(ToolCallDelta(1, "b", "g"),)),
            ChatEvent(finish="tool_calls"),
        ]
    )
    calls = [
        part["functionCall"] for each in told for part in each["candidates"][0]["content"].get("parts", [])
    ]
    assert calls == [{"name": "f", "args": {"x": 1}, "id": "a"}, {"name": "g", "args": {}, "id": "b"}]
    assert told[-1]["candidates"][0]["finishReason"] == "STOP"


def test_calls_of_two_choices_do_not_mix():
    told = rendered(
        [
            ChatEvent(index=0, tool_calls=(ToolCallDelta(0, "a", "f", '{"x":'),)),
            ChatEvent(index=1, tool_calls=(ToolCallDelta(0, "b", "f", '{"y":'),)),
            ChatEvent(index=0, tool_calls=(ToolCallDelta(0, "", "", "1}"),)),
            ChatEvent(index=1, tool_calls=(ToolCallDelta(0, "", "", "2}"),)),
            ChatEvent(index=0, finish="tool_calls"),
            ChatEvent(index=1, finish="tool_calls"),
        ]
    )
    ends = [each for event in told for each in event["candidates"] if "finishReason" in each]
    assert [each["index"] for each in ends] == [0, 1]
    parts = {each["index"]: each["content"]["parts"][0]["functionCall"]["args"]
             for event in told for each in event["candidates"] if "parts" in each["content"]}  # fmt: skip
    assert parts == {0: {"x": 1}, 1: {"y": 2}}


def test_a_call_that_is_no_json_ends_the_answer_as_geminis_own_do():
    told = rendered(
        [ChatEvent(tool_calls=(ToolCallDelta(0, "a", "f", "{oops"),)), ChatEvent(finish="tool_calls")]
    )
    assert told[-1]["candidates"][0]["finishReason"] == "MALFORMED_FUNCTION_CALL"
    assert "{oops" in told[-1]["candidates"][0]["finishMessage"]


@pytest.mark.parametrize(("over", "refused"), [(0, False), (1, True)])
def test_joined_calls_are_bounded(over, refused):
    renderer = StreamRenderer(HEAD)
    half = ToolCallDelta(0, "a", "f", "x" * (MAX_CALL_BYTES // 2))
    renderer.event(ChatEvent(tool_calls=(half,)))
    last = ChatEvent(tool_calls=(ToolCallDelta(0, "", "", "x" * (MAX_CALL_BYTES // 2 + over)),))
    if not refused:
        assert renderer.event(last) == b""
        return
    with pytest.raises(Upstream) as caught:
        renderer.event(last)
    assert caught.value.reason == "reply_too_large"


def test_calls_that_are_whole_make_room_for_others():
    renderer = StreamRenderer(HEAD)
    arguments = '"' + "x" * (MAX_CALL_BYTES // 2) + '"'
    out = b""
    for index in range(4):
        out += renderer.event(ChatEvent(tool_calls=(ToolCallDelta(index, "a", "f", f'{{"a":{arguments}}}'),)))
    assert out.count(b'"functionCall"') == 3


def test_a_blocked_prompt_ends_by_the_filter_and_is_rendered_without_candidates():
    feedback = {"blockReason": "SAFETY"}
    events = parsed(event(promptFeedback=feedback, usageMetadata={"promptTokenCount": 4}))
    assert [each.finish for each in events] == ["content_filter", ""]
    told = rendered(events)
    assert len(told) == 1
    assert "candidates" not in told[0]
    assert told[0]["promptFeedback"] == feedback
    assert told[0]["usageMetadata"]["promptTokenCount"] == 4


@pytest.mark.parametrize("wrap", [b"data: %b\n\n", b"%b\n\n", b"[%b]\n\n"])
def test_an_error_is_raised_by_its_kind_even_bare(wrap):
    error = b'{"error":{"code":429,"message":"Resource exhausted.","status":"RESOURCE_EXHAUSTED"}}'
    with pytest.raises(Upstream) as caught:
        parsed(said({"text": "x"}), wrap % error)
    assert caught.value.reason == "rate_limited"


@pytest.mark.parametrize("block", [b"data: {\n\n", b"data: 5\n\n", said(5), said({"functionCall": 5})])
def test_nonsense_is_the_providers_fault(block):
    with pytest.raises(Upstream) as caught:
        parsed(block)
    assert caught.value.reason == "malformed_reply"


def test_comments_say_nothing():
    assert parsed(b": ping\n\n", b"\n\n") == []


def test_a_picture_in_a_stream_keeps_its_json():
    part = {"inlineData": {"mimeType": "image/png", "data": "AA"}}
    (first,) = parsed(said(part))
    assert json.loads(bytes(first.extras["part"])) == part
    assert rendered([first])[0]["candidates"][0]["content"]["parts"] == [part]


def test_what_stands_around_a_delta_stays_with_it():
    delta = ChatEvent(
        text="x", extras={"choice.groundingMetadata": raws({"a": 1}), "chunk.modelStatus": raws({"b": 2})}
    )
    told = rendered([delta])[0]
    assert (told["candidates"][0]["groundingMetadata"], told["modelStatus"]) == ({"a": 1}, {"b": 2})


# ------------------------------------------------------------------------------------------------ as an array


@given(st.lists(st.integers(0, 9), max_size=6), st.integers(1, 3))
def test_an_array_is_the_same_events_however_they_come(numbers, step):
    array = JsonArray()
    blocks = [b'data: {"n":%d}\n\n' % number for number in numbers]
    out = (
        b"".join([array.add(b"".join(blocks[at : at + step])) for at in range(0, len(blocks), step)])
        + array.end()
    )
    assert json.loads(out) == [{"n": number} for number in numbers]


def test_an_array_passes_over_comments_and_holds_errors_too():
    array = JsonArray()
    out = (
        array.add(b": ping\n\n")
        + array.add(b'data: {"a":1}\r\n\r\n')
        + array.add(b'data: {"error":{}}\n\n')
        + array.end()
    )
    assert out == b'[{"a":1},\r\n{"error":{}}]'
