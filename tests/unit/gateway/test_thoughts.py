"""Signatures of thoughts: each goes back to the vendor that made it, as it made it, and to no other."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.gateway.thoughts import MARK, Signing, returned, signed_by, signer_of
from penstock.kernel.chat import ChatEvent, ChatReply, ChatRequest, Message, Reasoning, Text
from tests.support import run
from tests.unit.gateway.rig import House, Vendor, full, whole
from tests.unit.gateway.test_wording import anthropic, house_body, message

WORDS = Text("Half full.")


def conversation(*thoughts: Reasoning, dialect: str = "openai") -> ChatRequest:
    """Return a request with an earlier answer that was thought over."""
    return ChatRequest(
        model="m",
        dialect=dialect,
        messages=(
            Message(role="user", content=(WORDS,)),
            Message(role="assistant", content=(*thoughts, WORDS)),
        ),
    )


def left(request: ChatRequest, dialect: str) -> tuple[list[Any], bool]:
    """Return which thoughts `dialect` is told, and whether others were left out."""
    told, is_less = returned(request, dialect)
    assert told.messages[1].content[-1] == WORDS
    return list(told.messages[1].content[:-1]), is_less


@given(st.sampled_from(["anthropic", "gemini"]), st.text(min_size=1, max_size=60))
def test_an_envelope_keeps_signer_and_signature_through_an_sdk_that_decodes_base64(
    dialect: str, signature: str
) -> None:
    envelope = signed_by(dialect, signature)
    assert envelope.encode().startswith(MARK)
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        again = encode(base64.urlsafe_b64decode(envelope)).decode()
        assert signer_of(again, "openai") == signer_of(again.rstrip("="), "openai") == (dialect, signature)


def test_no_signature_needs_no_envelope_and_one_without_is_the_callers_own_vendors() -> None:
    assert signed_by("gemini", "") == ""
    assert signer_of("EqQBCkgIBRABGAI=", "anthropic") == ("anthropic", "EqQBCkgIBRABGAI=")


@pytest.mark.parametrize("broken", [MARK.decode() + "!", MARK.decode() + "a", MARK.decode() + "_w=="])
def test_a_changed_envelope_is_nobodys(broken: str) -> None:
    assert left(conversation(Reasoning("Hm.", broken)), "anthropic") == ([], True)


@pytest.mark.parametrize("hidden", [False, True])
@pytest.mark.parametrize("target", ["anthropic", "gemini", "openai"])
@pytest.mark.parametrize("signer", ["anthropic", "gemini"])
def test_a_thought_goes_back_to_its_signer_alone(signer: str, target: str, hidden: bool) -> None:
    thought = Reasoning("", redacted="c2ln") if hidden else Reasoning("Hm.", "c2ln")
    [[event]] = [Signing(signer).event(ChatEvent(signature=thought.signature, redacted=thought.redacted))]
    [told] = (
        Signing(signer)
        .reply(
            ChatReply(
                id="r",
                model="m",
                created_s=0,
                choices=(Message(role="assistant", content=(thought,)),),
                finishes=("stop",),
            )
        )
        .choices[0]
        .content
    )
    assert isinstance(told, Reasoning)
    assert (event.signature, event.redacted) == (told.signature, told.redacted)
    assert "c2ln" not in (told.signature, told.redacted)
    assert left(conversation(told), target) == (([thought], False) if target == signer else ([], True))


def test_a_signature_in_no_envelope_goes_to_the_vendor_of_the_callers_dialect_alone() -> None:
    thought = Reasoning("Hm.", "c2ln")
    assert left(conversation(thought, dialect="anthropic"), "anthropic") == ([thought], False)
    assert left(conversation(thought, dialect="anthropic"), "gemini") == ([], True)


def test_what_nobody_signed_is_left_to_the_dialect() -> None:
    assert left(conversation(Reasoning("Hm.")), "gemini") == ([Reasoning("Hm.")], False)


def thought_message() -> bytes:
    """Return an answer on Anthropic's wire that was thought over."""
    said = msgspec.json.decode(message("Half full."))
    said["content"].insert(0, {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"})
    return msgspec.json.encode(said)


def test_a_callers_history_reaches_the_signer_as_it_was_signed_and_another_vendor_without_it() -> None:
    house = House(anthropic("sim", full(thought_message())))
    run(house.serve())
    answer = msgspec.json.decode(house.caller.body)["choices"][0]["message"]
    history = [{"role": "user", "content": "How full?"}, answer, {"role": "user", "content": "And now?"}]
    assert MARK.decode() in str(answer)

    same = House(anthropic("sim", full(thought_message())))
    run(same.serve(messages=history))
    assert b'"signature":"c2ln"' in house_body(same)
    assert b"x-penstock-left-out" not in same.caller.headers

    other = House(Vendor("sim", full(whole("Full.", usage={"prompt_tokens": 9, "completion_tokens": 3}))))
    run(other.serve(messages=history))
    assert MARK not in house_body(other) and b"And now?" in house_body(other)
    assert b"x-penstock-left-out: messages.reasoning\r\n" in other.caller.headers
