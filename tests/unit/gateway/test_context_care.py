"""Conversations longer than their window fit without their oldest turns, and what belongs together stays together."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.gateway.context_care import ContextCare, Windows
from penstock.gateway.context_fit import Room, fitted
from penstock.kernel.chat import ChatRequest, Message, Text, ToolCall
from penstock.kernel.errors import Forbidden, Invalid
from penstock.kernel.settings_context import ContextSettings
from penstock.mechanisms.token_lengths import TokenLengths
from penstock.mechanisms.tokens import bound_input_tokens
from penstock.ports.providers import ProviderFailure
from tests.support import run
from tests.unit.gateway.rig import House, Vendor, full, whole

USED: dict[str, Any] = {"usage": {"prompt_tokens": 9, "completion_tokens": 3}}
TRUNCATES = ContextSettings(on_overflow="truncate_oldest")
TOOL_STEP = "tool step"
"""A call of the assistant and two results, of which `late` ones come after a further user message."""
STEPS = st.lists(
    st.tuples(st.sampled_from(("system", "user", "assistant", TOOL_STEP, "late")), st.integers(0, 60)),
    max_size=14,
)


def message(role: str, size: int, **members: Any) -> Message:
    """Return a message of so many bytes."""
    return Message(role=role, content=(Text("x" * size),), **members)


def conversation(steps: list[tuple[str, int]]) -> ChatRequest:
    """Return a conversation of these steps that ends with a user's question."""
    messages: list[Message] = []
    for number, (kind, size) in enumerate(steps):
        if kind not in (TOOL_STEP, "late"):
            messages.append(message(kind, size, name=f"m{number}"))
            continue
        ids = (f"a{number}", f"b{number}")
        calls = tuple(ToolCall(each, "read", "{}") for each in ids)
        messages.append(message("assistant", 0, tool_calls=calls, name=f"m{number}"))
        if kind == "late":
            messages.append(message("user", 1, name=f"u{number}"))
        messages += [message("tool", size, tool_call_id=each) for each in ids]
    return ChatRequest(model="small", messages=(*messages, message("user", 5, name="last")))


def room(tokens: int, bytes_per_token: float = 1.0) -> Room:
    return Room(tokens=tokens, image_tokens=10, document_tokens=100, bytes_per_token=bytes_per_token)


@given(STEPS, st.integers(130, 900))
def test_what_is_left_fits_and_nothing_that_belongs_together_parts(
    steps: list[tuple[str, int]], tokens: int
) -> None:
    asked = conversation(steps)
    fit = fitted(asked, room(tokens))
    if fit is None:
        return
    kept = fit.messages
    assert bound_input_tokens(fit, 10, 100) <= tokens
    assert fitted(fit, room(tokens)) is fit, "a second pass changes nothing"
    rest = iter(asked.messages)
    assert all(any(each is other for other in rest) for each in kept), "the order is the caller's"
    assert kept[-1] is asked.messages[-1]
    assert [m for m in asked.messages if m.role == "system"] == [m for m in kept if m.role == "system"]
    calls = {call.id for each in kept for call in each.tool_calls}
    assert calls == {each.tool_call_id for each in kept if each.role == "tool"}


@given(STEPS)
def test_what_just_fits_is_not_touched_and_one_token_less_drops_the_oldest_alone(
    steps: list[tuple[str, int]],
) -> None:
    asked = conversation([("user", 50), ("assistant", 50), ("user", 9), *steps])
    tokens = bound_input_tokens(asked, 10, 100)
    assert fitted(asked, room(tokens)) is asked
    fit = fitted(asked, room(tokens - 1))
    assert fit is not None
    assert fit.messages == asked.messages[2:]


def test_an_agent_that_works_long_on_one_question_keeps_the_question_and_its_newest_step() -> None:
    asked = conversation([])
    steps = conversation([(TOOL_STEP, 100)] * 5).messages[:-1]
    asked = msgspec.structs.replace(asked, messages=(*asked.messages, *steps))
    fit = fitted(asked, room(600))
    assert fit is not None
    assert fit.messages == (asked.messages[0], *steps[-3:])
    exact = bound_input_tokens(fit, 10, 100)
    assert fitted(asked, room(exact)) == fit
    assert fitted(asked, room(exact - 1)) is None, "the newest step stays, so one token less cannot fit"


def test_a_question_that_is_too_long_by_itself_is_not_touched() -> None:
    asked = conversation([("user", 100), ("assistant", 100)])
    assert fitted(asked, room(140)) is None


def test_longer_tokens_leave_more() -> None:
    asked = conversation([("user", 400), ("assistant", 400)] * 3)
    assert fitted(asked, room(1_000, bytes_per_token=4)) is asked
    sure = fitted(asked, room(1_100))
    assert sure is not None
    assert len(sure.messages) == 3


def too_long() -> ProviderFailure:
    return ProviderFailure("too long", kind="context_overflow", status=400)


def talk(
    rules: ContextSettings | None,
    turns: int,
    header: bytes | None = None,
    *,
    words: str = "ha " * 100,
    refusals: int = 0,
    lengths: TokenLengths | None = None,
) -> tuple[House, list[Any], ContextCare]:
    """Ask a model of a window of 1,000 after so many turns of 300 bytes each way, which its vendor refuses as too long
    so many times; return what the vendor was sent.
    """
    vendor = Vendor("sim", *[too_long() for _ in range(refusals)], full(whole(**USED)))
    windows = Windows({} if rules is None else {("", ""): rules}, lengths or TokenLengths())
    care, it = ContextCare(windows), House(vendor)
    it.pipeline.inspections, it.pipeline.windows = (care,), windows
    context = it.context

    def with_header(who: Any = None) -> Any:
        made = context(who)
        made.header = lambda _name: header
        return made

    it.context = with_header  # pyright: ignore[reportAttributeAccessIssue]  # one header more
    old = [{"role": role, "content": words} for role in ("user", "assistant")] * turns
    messages = [{"role": "system", "content": "Be brief."}, *old, {"role": "user", "content": "Well?"}]
    run(it.serve(messages=messages, max_tokens=10))
    return it, [msgspec.json.decode(call.body) for call in vendor.calls], care


def test_a_long_conversation_is_answered_without_its_oldest_turns_and_its_record_says_so() -> None:
    it, [sent], care = talk(TRUNCATES, 10)
    words = [each["content"][:9] for each in sent["messages"]]
    assert words == ["Be brief.", *["ha ha ha "] * 6, "Well?"]
    assert it.caller.status == 200
    assert b"x-penstock-context: truncated; dropped=14\r\n" in it.caller.headers
    assert it.events[0].flags == ("context_truncated",)
    assert (care.truncated, care.dropped, care.too_long) == (1, 14, 0)


LONG_WORDS = "hydroelectric" * 23
"""299 bytes in one word: nobody can tell from here how many tokens that is."""


def test_what_may_fit_is_sent_as_it_came_and_the_vendor_judges() -> None:
    it, [sent], care = talk(TRUNCATES, 10, words=LONG_WORDS)
    assert len(sent["messages"]) == 22
    assert it.events[0].flags == ()
    assert care.truncated == 0


def test_what_the_vendor_finds_too_long_goes_again_shorter_and_then_as_what_certainly_fits() -> None:
    it, sent, care = talk(TRUNCATES, 10, words=LONG_WORDS, refusals=2)
    sizes = [len(each["messages"]) for each in sent]
    assert sizes == [22, 8, 4]
    assert it.caller.status == 200
    assert care.dropped == 18
    [call, again, last] = it.events[0].calls
    assert [call.outcome, again.outcome, last.outcome] == ["context_overflow", "context_overflow", "ok"]
    assert it.ledger.postings[0].amount_nanos == it.events[0].cost_nanos > 0


def test_a_vendor_that_refuses_what_certainly_fits_has_its_refusal_passed_on() -> None:
    with pytest.raises(ProviderFailure) as refusal:
        talk(TRUNCATES, 10, words=LONG_WORDS, refusals=3)
    assert refusal.value.kind == "context_overflow"


def test_without_a_rule_the_vendors_refusal_stands() -> None:
    with pytest.raises(ProviderFailure):
        talk(ContextSettings(), 10, words=LONG_WORDS, refusals=1)


def test_what_a_vendor_counted_tells_the_next_conversation_apart() -> None:
    lengths = TokenLengths()
    lengths.learn("sim/small", 3_000, 1_000)
    it, [sent], _ = talk(TRUNCATES, 10, words=LONG_WORDS, lengths=lengths)
    assert len(sent["messages"]) == 8, "3 bytes to a token: 6,000 bytes are certainly too many"
    assert it.events[0].flags == ("context_truncated",)


def test_lengths_are_learned_from_answers_that_were_counted() -> None:
    lengths = TokenLengths()
    talk(TRUNCATES, 2, lengths=lengths)
    assert lengths.longest("sim/small") > 100, "1,200 bytes, and the vendor said 9 tokens"


def test_a_conversation_that_fits_passes_as_it_came() -> None:
    it, [sent], care = talk(TRUNCATES, 1)
    assert len(sent["messages"]) == 4
    assert it.events[0].flags == ()
    assert care.truncated == 0


@pytest.mark.parametrize("rules", [None, ContextSettings()])
def test_without_a_rule_what_certainly_does_not_fit_is_refused(rules: ContextSettings | None) -> None:
    with pytest.raises(Invalid) as refusal:
        talk(rules, 10)
    assert refusal.value.reason == "context_length_exceeded"


def test_a_caller_may_choose_where_the_operator_lets_it() -> None:
    _, [sent], _ = talk(ContextSettings(callers_choose=True), 10, b" Truncate_Oldest")
    assert len(sent["messages"]) == 8
    with pytest.raises(Forbidden) as refusal:
        talk(ContextSettings(), 1, b"truncate_oldest")
    assert refusal.value.reason == "overflow_not_allowed"
    with pytest.raises(Invalid) as nonsense:
        talk(TRUNCATES, 1, b"shorten")
    assert nonsense.value.reason == "invalid_header"
    with pytest.raises(Forbidden):
        talk(ContextSettings(callers_choose=True), 1, b"summarise")  # there is no model for it
