"""Replies of the Responses API, whole and streamed, bytes to canonical and back; the official SDK reads them."""

from __future__ import annotations

import json

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw
from openai import OpenAI
from openai.types.responses import Response

from penstock.dialects import openai
from penstock.dialects.codec import DELTA, ERROR, MALFORMED, OTHER, StreamHead
from penstock.dialects.responses import (
    CODEC,
    StreamFacts,
    StreamParser,
    StreamRenderer,
    parse_reply,
    read_facts,
    render_error_event,
    render_reply,
)
from penstock.dialects.responses_replies import ids_of
from penstock.kernel.chat import ChatEvent, ChatReply, Message, Reasoning, Text, ToolCall, ToolCallDelta
from penstock.kernel.errors import Upstream
from penstock.kernel.money import Usage
from tests.unit.dialects.responses_shapes import NOTES, ODDS, replies
from tests.unit.dialects.shapes import NAMES, USAGES, WORDS

HEAD = StreamHead(id="resp_abc", model="m", created_s=7)
USAGE = Usage(
    input_tokens=5, output_tokens=7, cached_input_tokens=1, cache_write_tokens=2, reasoning_tokens=3
)
CUSTOM = {"type": Raw(b'"custom"')}


@given(replies())
def test_a_whole_reply_comes_back_the_same(reply):
    back = parse_reply(render_reply(reply))
    assert forgotten(back) == forgotten(reply)


def forgotten(reply: ChatReply) -> ChatReply:
    """The reply without the states of its items and with the id of a response: a renderer gives every item an id."""
    (message,) = reply.choices
    extras = {name: value for name, value in message.extras.items() if name != "items"}
    calm = Message(
        role=message.role,
        content=message.content,
        tool_calls=message.tool_calls,
        refusal=message.refusal,
        extras=extras,
    )
    members = {name: getattr(reply, name) for name in reply.__struct_fields__}
    return ChatReply(**{**members, "id": f"resp_{ids_of(reply.id)}", "choices": (calm,)})


VENDORS = {
    "id": "resp_1", "object": "response", "created_at": 7, "status": "completed", "background": False, "error": None,
    "incomplete_details": None, "instructions": "be brief", "max_output_tokens": 99, "model": "gpt-5", "output": [
        {"id": "rs_1", "type": "reasoning", "status": "completed", "summary": [
            {"type": "summary_text", "text": "a"}, {"type": "summary_text", "text": "b"}], "encrypted_content": "e"},
        {"id": "msg_1", "type": "message", "status": "completed", "role": "assistant", "content": [
            {"type": "output_text", "text": "hi", "annotations": [
                {"type": "url_citation", "url": "https://x", "title": "t", "start_index": 0, "end_index": 1}],
             "logprobs": [{"token": "hi", "logprob": -0.5, "bytes": [104, 105], "top_logprobs": []}]},
            {"type": "output_text", "text": "ho", "annotations": [
                {"type": "file_path", "file_id": "f", "index": 1}]}]},
        {"id": "fc_1", "type": "function_call", "status": "completed", "call_id": "c1", "name": "f", "arguments": "{}"},
        {"id": "ctc_1", "type": "custom_tool_call", "status": "completed", "call_id": "c2", "name": "p", "input": "i"},
    ],
    "parallel_tool_calls": True, "previous_response_id": None, "reasoning": {"effort": "low", "summary": "auto"},
    "store": False, "temperature": 1.0, "text": {"format": {"type": "text"}, "verbosity": "medium"},
    "tool_choice": "auto", "tools": [], "top_p": 0.98, "truncation": "disabled", "user": None, "metadata": {},
    "service_tier": "default", "usage": {
        "input_tokens": 5, "input_tokens_details": {"cached_tokens": 1, "cache_write_tokens": 2}, "output_tokens": 7,
        "output_tokens_details": {"reasoning_tokens": 3}, "total_tokens": 12},
}  # fmt: skip


def test_a_vendors_reply_is_understood_and_comes_back_as_it_was():
    reply = parse_reply(json.dumps(VENDORS).encode())
    (message,) = reply.choices
    assert message.content == (Reasoning("a\n\nb", "e"), Text("hi"), Text("ho"))
    assert message.tool_calls == (ToolCall("c1", "f", "{}"), ToolCall("c2", "p", "i", CUSTOM))
    assert json.loads(bytes(message.extras["annotations"]))[0]["url_citation"]["title"] == "t"
    assert json.loads(bytes(message.extras["choice.logprobs"]))["content"][0]["token"] == "hi"
    assert (reply.finishes, reply.usage) == (("tool_calls",), USAGE)
    assert json.loads(render_reply(reply)) == VENDORS


def test_a_chat_reply_is_a_response_and_the_sdk_validates_it():
    message = {
        "role": "assistant", "content": "x", "reasoning_content": "hm", "refusal": None,
        "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
    }  # fmt: skip
    wire = {
        "id": "chatcmpl-1", "created": 7, "model": "m", "system_fingerprint": "fp",
        "choices": [{"index": 0, "finish_reason": "tool_calls", "logprobs": None, "message": message}],
    }  # fmt: skip
    said = json.loads(render_reply(openai.parse_reply(json.dumps(wire).encode())))
    assert [item["type"] for item in said["output"]] == ["reasoning", "message", "function_call"]
    assert [item["id"] for item in said["output"]] == ["rs_1_0", "msg_1_1", "fc_1_2"]
    assert said["id"] == "resp_1"
    assert (said["status"], said["system_fingerprint"], said["usage"]) == ("completed", "fp", None)
    assert Response.model_validate(said).output_text == "x"


@pytest.mark.parametrize(
    ("status", "reason", "finish"),
    [
        ("completed", None, "stop"),
        ("incomplete", "max_output_tokens", "length"),
        ("incomplete", "content_filter", "content_filter"),
        ("cancelled", None, "error"),
    ],
)
def test_why_an_answer_ended(status, reason, finish):
    wire = {"status": status, "incomplete_details": reason and {"reason": reason}, "output": []}
    body = json.dumps(wire).encode()
    assert parse_reply(body).finishes == (finish,)
    assert read_facts(body).finish == finish


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"output":7}', b'{"output":[{}]}', b'{"output":[7]}'])
def test_what_is_no_reply_is_malformed(body):
    with pytest.raises(Upstream) as error:
        parse_reply(body)
    assert error.value.reason == "malformed_reply"


def test_a_reply_that_failed_raises_the_vendors_kind():
    wire = {"status": "failed", "output": [], "error": {"code": "rate_limit_exceeded", "message": "slow"}}
    with pytest.raises(Upstream) as error:
        parse_reply(json.dumps(wire).encode())
    assert error.value.reason == "rate_limited"


@given(replies())
def test_the_official_sdk_validates_what_we_write(reply):
    wire = json.loads(render_reply(reply))
    read = Response.model_validate(wire)
    assert read.status == wire["status"]
    assert wire["store"] is False
    assert len({item.id for item in read.output}) == len(read.output)


# ---------------------------------------------------------------------------------------------------- streams


@st.composite
def streams(draw) -> list[ChatEvent]:
    """An answer as a provider would stream it: thoughts, words and calls in any order, then why it ended."""
    events = [ChatEvent(role="assistant")]
    named: set[int] = set()
    for _ in range(draw(st.integers(0, 6))):
        kind = draw(st.sampled_from(["think", "sign", "hide", "speak", "refuse", "call", "custom"]))
        words = draw(WORDS.filter(bool))
        index = draw(st.integers(0, 3))
        match kind:
            case "think":
                events.append(ChatEvent(reasoning=words))
            case "sign":
                events += [ChatEvent(reasoning=words), ChatEvent(signature="s")]
            case "hide":
                events.append(ChatEvent(redacted=words))
            case "speak":
                events.append(ChatEvent(text=words))
            case "refuse":
                events.append(ChatEvent(refusal=words))
            case "call" | "custom" if index not in named:
                named.add(index)
                extras = CUSTOM if kind == "custom" else {}
                events.append(
                    ChatEvent(tool_calls=(ToolCallDelta(index, f"c{index}", draw(NAMES), words, extras),))
                )
            case _:
                events.append(
                    ChatEvent(tool_calls=(ToolCallDelta(index, arguments=words),) if index in named else ())
                )
    finish = draw(st.sampled_from(["length", "tool_calls" if named else "stop"]))
    return [*events, ChatEvent(finish=finish), ChatEvent(usage=draw(USAGES))]


def folded(events) -> dict:
    """What a stream said, all in all."""
    calls: dict[int, list] = {}
    thoughts = ""
    for event in events:
        for mark, word in (
            ("", event.reasoning),
            ("<signed>", event.signature),
            ("<hidden>", event.redacted),
        ):
            thoughts += f"{mark}{word}" if word else ""
        for call in event.tool_calls:
            whole = calls.setdefault(call.index, ["", "", "", ""])
            kind = bytes(call.extras.get("type", b"")).decode()
            for at, more in enumerate((call.id, call.name, call.arguments, kind)):
                whole[at] += more
    return {
        "text": "".join(event.text for event in events),
        "refusal": "".join(event.refusal for event in events),
        "thoughts": thoughts,
        "calls": list(calls.values()),
        "finish": next((event.finish for event in events if event.finish), ""),
        "usage": next((event.usage for event in reversed(events) if event.usage), None),
    }


def written(events) -> list[bytes]:
    renderer = StreamRenderer(HEAD)
    said = b"".join([*map(renderer.event, events), renderer.done()])
    return [block + b"\n\n" for block in said.split(b"\n\n")[:-1]]


def data_of(block: bytes) -> dict:
    kind, data = block.removeprefix(b"event: ").split(b"\ndata: ")
    wire = json.loads(data)
    assert wire["type"] == kind.decode()
    return wire


@given(streams())
def test_a_stream_says_the_same_when_it_is_read_again(events):
    parser = StreamParser()
    back = [event for block in written(events) for event in parser.feed(block)]
    assert folded(back) == folded(events)
    assert (parser.id, parser.model, parser.created_s, parser.done) == ("resp_abc", "m", 7, True)


@given(streams())
def test_the_object_at_the_end_is_what_the_events_said(events):
    """Numbers have no gaps, every item that was opened is closed, and the last event holds them all."""
    blocks = [data_of(block) for block in written(events)]
    assert [block["sequence_number"] for block in blocks] == list(range(len(blocks)))
    assert [block["type"] for block in blocks[:2]] == ["response.created", "response.in_progress"]
    done = {
        block["output_index"]: block["item"]
        for block in blocks
        if block["type"] == "response.output_item.done"
    }
    last = blocks[-1]["response"]
    assert last["output"] == [done[index] for index in range(len(done))]
    assert sum(block["type"] == "response.output_item.added" for block in blocks) == len(done)
    said = folded(events)
    words = [part.get("text", "") for item in last["output"] for part in item.get("content", ())]
    assert "".join(words) == said["text"]
    assert [item["call_id"] for item in last["output"] if "call_id" in item] == [
        call[0] for call in said["calls"]
    ]
    assert last["status"] == ("incomplete" if said["finish"] == "length" else "completed")


@given(streams())
def test_facts_and_events_agree(events):
    facts = StreamFacts()
    kinds = [facts.feed(block) for block in written(events)]
    said = folded(events)
    assert facts.done
    assert set(kinds) <= {DELTA, OTHER}
    assert (facts.finish, facts.usage, facts.tool_calls) == (
        said["finish"],
        said["usage"],
        len(said["calls"]),
    )
    assert (facts.id, facts.model, facts.usage_repeated) == ("resp_abc", "m", False)


def served(body: bytes) -> OpenAI:
    """The official SDK in front of a server that answers `body` to everything."""
    answer = httpx2.Response(200, content=body, headers={"content-type": "text/event-stream"})
    transport = httpx2.MockTransport(lambda _: answer)
    return OpenAI(
        api_key="x", base_url="http://x/v1", http_client=httpx2.Client(transport=transport), max_retries=0
    )


def test_the_official_sdk_puts_the_stream_together():
    events = [
        ChatEvent(role="assistant"), ChatEvent(reasoning="hm"), ChatEvent(signature="sig"), ChatEvent(redacted="h"),
        ChatEvent(text="hel", extras={"choice.logprobs": ODDS}), ChatEvent(text="lo", extras={"annotations": NOTES}),
        ChatEvent(tool_calls=(ToolCallDelta(0, "c1", "f", ""),)),
        ChatEvent(tool_calls=(ToolCallDelta(1, "c2", "g", "{}"),)),
        ChatEvent(tool_calls=(ToolCallDelta(0, arguments='{"a":1}'),)), ChatEvent(finish="tool_calls"),
        ChatEvent(usage=USAGE, extras={"chunk.service_tier": Raw(b'"flex"')}),
    ]  # fmt: skip
    with served(b"".join(written(events))).responses.stream(model="m", input="x") as stream:
        for _ in stream:
            pass
        final = stream.get_final_response()
    assert final.output_text == "hello"
    assert [item.type for item in final.output] == [
        "reasoning",
        "reasoning",
        "message",
        "function_call",
        "function_call",
    ]
    assert (final.output[0].summary[0].text, final.output[0].encrypted_content) == ("hm", "sig")
    assert final.output[2].content[0].annotations[0].title == "t"
    assert final.output[2].content[0].logprobs[0].token == "a"
    assert [item.arguments for item in final.output[3:]] == ['{"a":1}', "{}"]
    assert (final.usage.total_tokens, final.service_tier) == (12, "flex")


def test_an_answer_without_words_has_a_beginning_and_an_end():
    assert [data_of(block)["type"] for block in written([])] == [
        "response.created", "response.in_progress", "response.completed",
    ]  # fmt: skip


def test_a_stream_that_breaks_ends_in_sequence():
    renderer = StreamRenderer(HEAD)
    blocks = [renderer.event(ChatEvent(text="x")), renderer.failed(Upstream("gone", code="cut"))]
    last = data_of(blocks[1].removesuffix(b"\n\n"))
    assert (last["type"], last["sequence_number"], last["response"]["status"]) == (
        "response.failed",
        5,
        "failed",
    )
    with pytest.raises(Upstream):
        StreamParser().feed(blocks[1])
    facts = StreamFacts()
    assert facts.feed(blocks[1]) == ERROR
    assert not facts.done


def test_the_official_sdk_raises_what_an_error_event_says():
    stream = served(render_error_event(Upstream("gone", code="overloaded"))).responses.create(
        model="m", input="x", stream=True
    )
    with pytest.raises(Exception, match="gone"):
        list(stream)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        ({"type": "error", "code": "rate_limit_exceeded", "message": "x", "param": None}, "rate_limited"),
        ({"type": "error", "error": {"type": "server_error", "code": "server_overloaded"}}, "overloaded"),
        (
            {"type": "response.failed", "response": {"error": {"code": "insufficient_quota"}}},
            "quota_exhausted",
        ),
    ],
)
def test_an_error_event_raises_its_kind(data, kind):
    block = b"data: " + json.dumps(data).encode() + b"\n\n"
    with pytest.raises(Upstream) as error:
        StreamParser().feed(block)
    assert error.value.reason == kind
    facts = StreamFacts()
    assert facts.feed(block) == ERROR
    assert facts.error


@pytest.mark.parametrize("block", [b"data: {\n\n", b"data: 7\n\n", b'data: {"type":7}\n\n'])
def test_a_malformed_event_raises_and_is_counted(block):
    with pytest.raises(Upstream) as error:
        StreamParser().feed(block)
    assert error.value.reason == "malformed_reply"
    facts = StreamFacts()
    assert (facts.feed(block), facts.malformed) == (MALFORMED, 1)


def test_counts_a_vendor_writes_as_words_are_still_counted():
    usage = {"input_tokens": "5", "output_tokens": 7.0}
    block = (
        b"data: "
        + json.dumps({"type": "response.completed", "response": {"usage": usage}}).encode()
        + b"\n\n"
    )
    facts = StreamFacts()
    facts.feed(block)
    facts.feed(block)
    assert facts.usage == Usage(input_tokens=5, output_tokens=7)
    assert facts.usage_repeated


def test_facts_of_a_whole_reply():
    facts = read_facts(json.dumps(VENDORS).encode())
    assert (facts.usage, facts.finish, facts.id, facts.model) == (USAGE, "tool_calls", "resp_1", "gpt-5")
    assert (facts.tool_calls, facts.choices, facts.error) == (2, 1, b"")
    assert read_facts(b'{"error":{"code":"x"}}').error == b'{"code":"x"}'
    with pytest.raises(Upstream):
        read_facts(b"[]")


def test_the_end_carries_data_so_the_gateway_sends_none_itself():
    assert CODEC.end == b""
