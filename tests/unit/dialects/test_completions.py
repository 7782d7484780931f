"""Legacy completions over chat: one prompt in, text out; what chat cannot do is refused with a way out."""

from __future__ import annotations

import json

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET
from msgspec.structs import replace
from openai import OpenAI
from openai.types import Completion

from penstock.dialects import openai
from penstock.dialects.codec import DELTA, DONE, ERROR, MALFORMED, OTHER, USAGE, StreamHead
from penstock.dialects.completions import (
    CODEC,
    StreamFacts,
    StreamParser,
    StreamRenderer,
    parse_reply,
    parse_request,
    read_facts,
    render_reply,
    render_request,
)
from penstock.dialects.completions_requests import DEFAULT_TOKENS, MAX_TOP_LOGPROBS
from penstock.dialects.members import raw
from penstock.kernel.chat import (
    ChatEvent,
    ChatReply,
    ChatRequest,
    Image,
    Message,
    Reasoning,
    Text,
    Thinking,
    Tool,
)
from penstock.kernel.errors import Invalid, Upstream
from penstock.kernel.money import Usage
from tests.unit.dialects.shapes import FINISHES, NAMES, USAGES, WORDS, extras, raws

HEAD = StreamHead(id="cmpl-1", model="m", created_s=7)
ODDS = raw(
    {
        "content": [
            {
                "token": "hi", "logprob": -0.5, "bytes": [104, 105],
                "top_logprobs": [{"token": "ho", "logprob": -1.5, "bytes": [104, 111]}],
            },
            {"token": "é", "logprob": None, "bytes": [195, 169], "top_logprobs": []},
        ],
        "refusal": None,
        "text_offset": [3, 5],
    }
)  # fmt: skip


def body(**members) -> bytes:
    return json.dumps({"model": "m", "prompt": "once", **members}).encode()


@st.composite
def requests(draw) -> ChatRequest:
    stream = draw(st.booleans())
    top = draw(st.none() | st.integers(0, MAX_TOP_LOGPROBS))
    return ChatRequest(
        model=draw(NAMES),
        messages=(Message(role="user", content=(Text(draw(WORDS)),)),),
        dialect="completions",
        stream=stream,
        include_usage=stream and draw(st.booleans()),
        max_output_tokens=draw(st.integers(1, 2**31 - 1)),
        temperature=draw(st.none() | st.floats(0, 2)),
        top_p=draw(st.none() | st.floats(0, 1)),
        presence_penalty=draw(st.none() | st.floats(-2, 2)),
        frequency_penalty=draw(st.none() | st.floats(-2, 2)),
        logprobs=None if top is None else True,
        top_logprobs=top,
        n=draw(st.integers(1, 128)),
        stop=tuple(draw(st.lists(WORDS, max_size=4))),
        seed=draw(st.none() | st.integers(-(2**63), 2**63 - 1)),
        user=draw(WORDS),
        extras=draw(extras()),
    )


@given(requests())
def test_what_is_rendered_is_parsed_back_the_same(request):
    assert parse_request(render_request(request).body) == request


@given(requests())
def test_every_legacy_request_can_be_said_to_a_chat_provider(request):
    rendered = openai.render_request(request)
    wire = json.loads(rendered.body)
    assert wire["messages"] == [{"role": "user", "content": request.messages[0].content[0].text}]
    assert (wire.get("logprobs"), wire.get("top_logprobs")) == (request.logprobs, request.top_logprobs)
    assert rendered.left_out == ()


def test_a_list_of_one_prompt_is_that_prompt_and_the_default_limit_is_the_apis():
    request = parse_request(body(prompt=["once"]))
    assert request == parse_request(body())
    assert request.max_output_tokens == DEFAULT_TOKENS


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({"prompt": None}, "prompt"),
        ({"prompt": ["a", "b"]}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [1, 2]}, "prompt"),
        ({"prompt": [[1], [2]]}, "prompt"),
        ({"prompt": {}}, "prompt"),
        ({"suffix": "end"}, "suffix"),
        ({"echo": True}, "echo"),
        ({"best_of": 2}, "best_of"),
        ({"logprobs": MAX_TOP_LOGPROBS + 1}, "logprobs"),
        ({"logprobs": True}, "logprobs"),
        ({"messages": []}, "messages"),
        ({"tools": []}, "tools"),
        ({"n": 0}, "n"),
        ({"model": ""}, "model"),
    ],
)
def test_what_chat_cannot_do_is_refused_with_a_way_out(members, field):
    with pytest.raises(Invalid) as refusal:
        parse_request(body(**members))
    assert refusal.value.field == field
    assert refusal.value.remedy


@pytest.mark.parametrize("members", [{"suffix": ""}, {"echo": False}, {"best_of": 1}, {"suffix": None}])
def test_what_asks_for_the_usual_is_taken(members):
    assert parse_request(body(**members)) == parse_request(body())


ASKED = ChatRequest(
    model="m", messages=(Message(role="user", content=(Text("a"), Text("b", "5m"))),), max_output_tokens=5
)


def test_one_message_of_a_user_can_be_said_to_a_legacy_provider():
    told = {"metadata": raws({}), "logit_bias": raws({"1": 2})}
    request = replace(ASKED, extras=told, logprobs=True, parallel_tool_calls=False)
    rendered = render_request(request)
    assert json.loads(rendered.body) == {
        "model": "m", "prompt": "a\nb", "max_tokens": 5, "logprobs": 0, "logit_bias": {"1": 2},
    }  # fmt: skip
    assert rendered.left_out == ("messages.cache_control", "parallel_tool_calls", "metadata")


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({"messages": ASKED.messages * 2}, "messages"),
        ({"messages": (Message(role="system", content=(Text("a"),)),)}, "messages"),
        ({"messages": (Message(role="user", content=(Image("https://x/y.png"),)),)}, "messages"),
        ({"tools": (Tool(name="f"),)}, "tools"),
        ({"tool_choice": raws("auto")}, "tool_choice"),
        ({"response_format": raws({"type": "json_object"})}, "response_format"),
        ({"thinking": Thinking(effort="low")}, "reasoning_effort"),
        ({"extras": {"functions": raws([])}}, "functions"),
    ],
)
def test_what_a_legacy_provider_cannot_be_told_is_refused_by_name(members, field):
    assert render_request(replace(ASKED, tool_choice=UNSET))
    with pytest.raises(Invalid) as refusal:
        render_request(replace(ASKED, **members))
    assert (refusal.value.field, refusal.value.reason) == (field, "untranslatable")


# ---------------------------------------------------------------------------------------------------- replies


MESSAGES = st.builds(
    lambda text, more, choice: Message(role="assistant", content=(Text(text),), extras={**more, **choice}),
    WORDS,
    extras(prefix="choice."),
    st.sampled_from([{}, {"choice.logprobs": ODDS}]),
)


@st.composite
def replies(draw) -> ChatReply:
    choices = tuple(draw(st.lists(MESSAGES, max_size=3)))
    finishes = tuple(draw(FINISHES.filter(lambda finish: finish != "tool_calls")) for _ in choices)
    return ChatReply(
        id=draw(WORDS),
        model=draw(WORDS),
        created_s=draw(st.integers(0, 2**40)),
        choices=choices,
        finishes=finishes,
        usage=draw(st.none() | USAGES),
        extras=draw(extras()),
    )


def named_plainly(reply: ChatReply) -> ChatReply:
    """A choice is flat here: unknown members of choice and message cannot be told apart."""
    plain = [
        replace(
            message,
            extras={
                name if name == "choice.logprobs" else name.removeprefix("choice."): value
                for name, value in message.extras.items()
            },
        )
        for message in reply.choices
    ]
    return replace(reply, choices=tuple(plain))


@given(replies())
def test_a_whole_reply_comes_back_the_same(reply):
    assert parse_reply(render_reply(reply)) == named_plainly(reply)


def test_a_vendors_reply_comes_back_as_it_was_and_the_sdk_validates_it():
    wire = {
        "id": "cmpl-1", "object": "text_completion", "created": 7, "model": "m", "system_fingerprint": "fp",
        "choices": [{"text": "hié", "index": 0, "finish_reason": "length", "logprobs": {
            "tokens": ["hi", "é"], "token_logprobs": [-0.5, -2.0], "top_logprobs": [{"ho": -1.5}, {}],
            "text_offset": [4, 6]}}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3,
                  "prompt_tokens_details": {"cached_tokens": 0}, "completion_tokens_details": {"reasoning_tokens": 0}},
    }  # fmt: skip
    reply = parse_reply(json.dumps(wire).encode())
    assert json.loads(render_reply(reply)) == wire
    assert json.loads(bytes(reply.choices[0].extras["choice.logprobs"]))["content"][0]["bytes"] == [104, 105]
    assert Completion.model_validate(wire).choices[0].text == "hié"


def test_what_chat_said_besides_words_is_not_lost():
    chat = ChatReply(
        id="c", model="m", created_s=7, finishes=("tool_calls",),
        choices=(Message(role="assistant", content=(Reasoning("hm"), Text("hi")), refusal="no"),),
    )  # fmt: skip
    choice = json.loads(render_reply(chat))["choices"][0]
    assert choice == {
        "text": "hi", "index": 0, "logprobs": None, "finish_reason": "stop", "reasoning_content": "hm", "refusal": "no",
    }  # fmt: skip
    assert parse_reply(render_reply(chat)).choices == chat.choices


@pytest.mark.parametrize("odds", [None, {"content": None, "refusal": None}])
def test_a_chat_reply_without_log_probabilities_has_none_here(odds):
    choice = {
        "index": 0,
        "finish_reason": "stop",
        "logprobs": odds,
        "message": {"role": "assistant", "content": "x"},
    }
    chat = openai.parse_reply(json.dumps({"choices": [choice]}).encode())
    assert json.loads(render_reply(chat))["choices"][0]["logprobs"] is None


def test_offsets_are_counted_when_chat_gave_none():
    odds = raws(
        {"content": [{"token": "hi", "logprob": -1, "top_logprobs": []}, {"token": "!", "logprob": -2}]}
    )
    renderer = StreamRenderer(HEAD)
    offsets = []
    for _ in range(2):
        chunk = json.loads(renderer.event(ChatEvent(text="hi!", extras={"choice.logprobs": odds}))[6:])
        offsets += chunk["choices"][0]["logprobs"]["text_offset"]
    assert offsets == [0, 2, 3, 5]


@pytest.mark.parametrize(
    "wrong",
    [b"", b"{}", b'{"choices":7}', b'{"choices":[{"logprobs":{"tokens":7}}]}', b'{"choices":[{"text":7}]}'],
)
def test_what_is_no_reply_is_malformed(wrong):
    with pytest.raises(Upstream) as error:
        parse_reply(wrong)
    assert error.value.reason == "malformed_reply"


# ---------------------------------------------------------------------------------------------------- streams

EVENTS = st.builds(
    ChatEvent,
    index=st.integers(0, 3),
    text=WORDS.filter(bool),
    reasoning=WORDS,
    refusal=WORDS,
    finish=FINISHES.filter(lambda finish: finish != "tool_calls"),
    extras=st.one_of(extras(prefix="choice."), extras(prefix="chunk."), st.just({"choice.logprobs": ODDS})),
) | st.builds(ChatEvent, usage=USAGES)


@given(st.lists(EVENTS, max_size=6))
def test_a_stream_comes_back_the_same(events):
    renderer, parser, facts = StreamRenderer(HEAD), StreamParser(), StreamFacts()
    blocks = [renderer.event(event) for event in events]
    assert [event for block in blocks for event in parser.feed(block)] == events
    for block in blocks:
        facts.feed(block)
    assert facts.text_bytes == sum(len(event.text.encode()) for event in events)
    assert facts.finish == next((event.finish for event in reversed(events) if event.finish), "")
    assert parser.feed(renderer.done()) == []
    assert parser.done


def test_the_official_sdk_puts_the_stream_together():
    renderer = StreamRenderer(HEAD)
    events = (
        ChatEvent(role="assistant"), ChatEvent(text="he"), ChatEvent(text="llo"), ChatEvent(finish="stop"),
        ChatEvent(usage=Usage(input_tokens=1, output_tokens=2)),
    )  # fmt: skip
    said = b"".join([*map(renderer.event, events), renderer.done()])
    answer = httpx2.Response(200, content=said, headers={"content-type": "text/event-stream"})
    client = httpx2.Client(transport=httpx2.MockTransport(lambda _: answer))
    chunks = list(
        OpenAI(api_key="x", base_url="http://x/v1", http_client=client).completions.create(
            model="m", prompt="x", stream=True
        )
    )
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == "hello"
    assert chunks[-1].usage.total_tokens == 3
    assert len(chunks) == 4


def test_usage_is_kept_from_a_caller_who_did_not_ask():
    renderer = StreamRenderer(StreamHead(id="c", model="m", created_s=7, include_usage=False))
    assert renderer.event(ChatEvent(usage=Usage(input_tokens=1))) == b""


def test_facts_know_every_kind():
    facts = StreamFacts()
    kinds = [
        facts.feed(b"data: " + data + b"\n\n")
        for data in (
            b'{"id":"c","model":"m","choices":[{"text":"hi"}]}',
            b'{"choices":[],"usage":{"prompt_tokens":"3","completion_tokens":1}}',
            b'{"choices":[]}', b'{"error":{"message":"x"}}', b"{", b"[DONE]", b"",
        )
    ]  # fmt: skip
    assert kinds == [DELTA, USAGE, OTHER, ERROR, MALFORMED, DONE, OTHER]
    assert (facts.id, facts.model, facts.usage) == ("c", "m", Usage(input_tokens=3, output_tokens=1))
    assert (facts.error, facts.malformed, facts.done) == (b'{"message":"x"}', 1, True)


@pytest.mark.parametrize(
    ("data", "kind"),
    [(b'{"error":{"message":"x","type":"overloaded_error"}}', "overloaded"), (b"{", "malformed_reply"),
     (b'{"choices":[{"logprobs":7}]}', "malformed_reply")],
)  # fmt: skip
def test_a_stream_that_breaks_raises_its_kind(data, kind):
    with pytest.raises(Upstream) as error:
        StreamParser().feed(b"data: " + data + b"\n\n")
    assert error.value.reason == kind


def test_facts_of_a_whole_reply():
    facts = read_facts(b'{"id":"c","model":"m","choices":[{"text":"x","finish_reason":"length"}]}')
    assert (facts.finish, facts.choices, facts.id, facts.usage) == ("length", 1, "c", None)
    assert CODEC.end == b"data: [DONE]\n\n"
