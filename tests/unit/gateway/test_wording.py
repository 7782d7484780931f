"""One request in the words of each provider: raw where both ends agree, translated where not, refused by name."""

from __future__ import annotations

import msgspec
import pytest

from penstock.kernel.chat import ChatEvent, ChatReply, Text
from penstock.kernel.errors import Invalid
from tests.support import run
from tests.unit.gateway.doubles import ScriptedLedger
from tests.unit.gateway.rig import (
    DONE,
    FINISH,
    ROLE,
    USAGE,
    House,
    Vendor,
    full,
    stream,
    text,
    whole,
)
from tests.unit.gateway.test_admission import principal


def anthropic(name: str, *answers: object) -> Vendor:
    """Return a vendor that speaks Anthropic's dialect."""
    vendor = Vendor(name, *answers)  # pyright: ignore[reportArgumentType]  # makers of replies
    vendor.dialect = "anthropic"
    return vendor


def message(words: str) -> bytes:
    """Return a whole reply on Anthropic's wire."""
    return msgspec.json.encode(
        {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "small",
            "content": [{"type": "text", "text": words}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": {"input_tokens": 9, "output_tokens": 3},
        }
    )


def sse(kind: str, **members: object) -> bytes:
    """Return one event on Anthropic's wire."""
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), msgspec.json.encode({"type": kind, **members}))


def events(*words: str) -> list[bytes]:
    """Return a stream on Anthropic's wire."""
    start = {"id": "msg_1", "type": "message", "role": "assistant", "model": "small", "content": []}
    return [
        sse("message_start", message={**start, "usage": {"input_tokens": 9, "output_tokens": 1}}),
        sse("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        *[sse("content_block_delta", index=0, delta={"type": "text_delta", "text": each}) for each in words],
        sse("content_block_stop", index=0),
        sse("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 3}),
        sse("message_stop"),
    ]


def test_between_equal_dialects_every_byte_passes() -> None:
    reply = whole("Hi.", usage={"prompt_tokens": 9, "completion_tokens": 3}, unheard_of={"a": [1, 2]})
    house = House(Vendor("sim", full(reply)))
    run(house.serve(unheard_of={"b": 1.50}))
    assert house.caller.body == reply
    sent = house_body(house)
    assert b'"unheard_of":{"b":1.5' in sent.replace(b" ", b"")


def house_body(house: House) -> bytes:
    """Return the body that the first vendor was sent."""
    provider = house.table.find("both").targets[0].provider
    assert isinstance(provider, Vendor)
    return provider.calls[0].body


def test_another_dialect_is_spoken_to_and_answered_in_the_callers() -> None:
    house = House(anthropic("sim", full(message("Hi."))))
    run(house.serve(temperature=0.5))
    told = msgspec.json.decode(house_body(house))
    assert told["messages"][0]["role"] == "user" and told["max_tokens"] > 0 and told["temperature"] == 0.5
    got = msgspec.json.decode(house.caller.body)
    assert got["choices"][0]["message"]["content"] == "Hi." and got["usage"]["prompt_tokens"] == 9
    assert house.ledger.postings[0].amount_nanos == 9 * 1_000 + 3 * 2_000


@pytest.mark.parametrize("at_once", [True, False])
def test_a_stream_of_another_dialect_ends_with_the_callers_own_mark(at_once: bool) -> None:
    steps = events("How ", "much")
    house = House(anthropic("sim", stream(*([b"".join(steps)] if at_once else steps))))
    run(house.serve(stream=True))
    body = house.caller.body
    assert body.endswith(DONE) and body.count(DONE) == 1
    chunks = [msgspec.json.decode(block[6:]) for block in body.split(b"\n\n") if block.startswith(b"data: {")]
    assert "".join(each["choices"][0]["delta"].get("content") or "" for each in chunks) == "How much"
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert not any("usage" in each for each in chunks)


def test_what_one_target_cannot_be_told_goes_to_one_that_can() -> None:
    speaks, does_not = Vendor("dear", full(whole())), anthropic("sim", full(message("Hi.")))
    house = House(does_not, speaks)
    run(house.serve(model="both", seed=7))
    assert len(speaks.calls) == 1 and not does_not.calls
    assert b'"seed":7' in speaks.calls[0].body


def test_what_no_target_can_be_told_is_refused_by_name_and_costs_nothing() -> None:
    house = House(anthropic("sim", full(message("Hi."))))
    with pytest.raises(Invalid, match="seed") as refused:
        run(house.serve(seed=7))
    assert refused.value.reason == "untranslatable" and refused.value.field == "seed"
    assert not house.ledger.holds and not house.caller.started


@pytest.mark.parametrize(
    ("members", "who", "room_nanos", "told"),
    [
        ({"max_tokens": 600}, {}, 10**12, b"500; instead-of=600"),  # the model's cap
        ({"max_completion_tokens": 600}, {"max_output_tokens": 40}, 10**12, b"40; instead-of=600"),
        ({"max_tokens": 600, "stream": True}, {}, 10**12, b"500; instead-of=600"),
        ({}, {}, 700_000, b"instead-of=500"),  # no length named, and money for some of the default
        ({"max_tokens": 500}, {}, 10**12, b""),
        ({}, {}, 10**12, b""),
    ],
)
def test_an_answer_that_may_not_be_as_long_as_asked_says_so(
    members: dict[str, object], who: dict[str, int], room_nanos: int, told: bytes
) -> None:
    streams = members.get("stream", False)
    answer = stream(ROLE, text("Hi."), FINISH, USAGE, DONE) if streams else full(whole())
    house = House(Vendor("sim", answer), ledger=ScriptedLedger(room_nanos=room_nanos))
    run(house.serve(who=msgspec.structs.replace(principal(), **who), **members))
    lines = [line for line in house.caller.headers.split(b"\r\n") if line.startswith(b"x-penstock-max-")]
    assert len(lines) == bool(told)
    assert told in b"".join(lines)
    sent = msgspec.json.decode(house_body(house))
    granted = sent.get("max_tokens") or sent["max_completion_tokens"]
    assert not told or lines[0].startswith(b"x-penstock-max-tokens: %d; instead-of=" % granted)


def test_what_changes_no_answer_is_left_out_and_named() -> None:
    house = House(anthropic("sim", full(message("Hi."))))
    run(house.serve(metadata={"job": "7"}))
    assert b"x-penstock-left-out: metadata\r\n" in house.caller.headers
    told = House(Vendor("sim", full(whole())))
    run(told.serve(metadata={"job": "7"}))
    assert b"left-out" not in told.caller.headers


class Shouting:
    """A filter that holds back every other event and gives it at the end."""

    def __init__(self) -> None:
        self.held: list[ChatEvent] = []

    def event(self, event: ChatEvent) -> list[ChatEvent]:
        loud = msgspec.structs.replace(event, text=event.text.upper())
        if not event.text:
            return [loud]
        self.held.append(loud)
        return [self.held.pop(0)] if len(self.held) > 1 else []

    def end(self) -> list[ChatEvent]:
        held, self.held = self.held, []
        return held

    def reply(self, reply: ChatReply) -> ChatReply:
        louder = tuple(
            msgspec.structs.replace(
                each, content=tuple(Text(p.text.upper()) for p in each.content if isinstance(p, Text))
            )
            for each in reply.choices
        )
        return msgspec.structs.replace(reply, choices=louder)


@pytest.mark.parametrize("streamed", [False, True])
def test_a_filter_sees_the_whole_answer_and_what_it_held_comes_before_the_end(streamed: bool) -> None:
    house = House(
        Vendor(
            "sim",
            stream(ROLE, text("one "), text("two"), FINISH, USAGE, DONE)
            if streamed
            else full(whole("one two")),
        )
    )
    house.pipeline.inspections = (Adding(),)
    run(house.serve(stream=streamed))
    assert b"ONE" in house.caller.body and b"TWO" in house.caller.body and b"two" not in house.caller.body
    if streamed:
        assert house.caller.body.endswith(DONE) and house.caller.body.index(b"TWO") < house.caller.body.index(
            DONE
        )


class Adding:
    """An inspection that adds the filter."""

    async def inspect(self, _context: object, wording: object, _targets: object, _story: object) -> None:
        wording.filters = (Shouting(),)  # pyright: ignore[reportAttributeAccessIssue]  # it is a Wording, by its seam
