"""A conversation too long for its model goes on with a summary, which is paid for, told, kept and added to."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from penstock.adapters.cache.embedded import MemoryCache
from penstock.adapters.signals.embedded import EmbeddedSignals
from penstock.dialects.codecs import CODECS
from penstock.gateway.context_care import ContextCare, Windows
from penstock.gateway.faces import OPENAI
from penstock.gateway.inquiry import Inquiry
from penstock.gateway.story import Story
from penstock.gateway.structured_care import StructuredCare
from penstock.gateway.summaries import Summaries
from penstock.gateway.summariser import Summariser
from penstock.gateway.summary_care import SummaryCare
from penstock.gateway.wording import Wordings
from penstock.kernel.context import Principal
from penstock.kernel.errors import Invalid, OverBudget
from penstock.kernel.settings_context import ContextSettings
from penstock.mechanisms.answer_cache import AnswerCache
from penstock.mechanisms.token_lengths import TokenLengths
from penstock.ports.providers import ProviderFailure
from tests.support import run
from tests.unit.gateway.doubles import ScriptedLedger
from tests.unit.gateway.rig import (
    CHATS,
    DONE,
    FINISH,
    HANG,
    USAGE,
    Caller,
    House,
    Reply,
    Vendor,
    chat,
    full,
    stream,
    text,
    whole,
)
from tests.unit.gateway.test_admission import principal

RULES = ContextSettings(on_overflow="summarise", summary_model="big", summary_tokens=64)
USED: dict[str, Any] = {"usage": {"prompt_tokens": 9, "completion_tokens": 3}}
SUMMARY_USED: dict[str, Any] = {"usage": {"prompt_tokens": 700, "completion_tokens": 20}}
SUMMARY_NANOS = 700 * 10_000 + 20 * 20_000
"""What "big" bills for a summary."""
ANSWER_NANOS = 9 * 1_000 + 3 * 2_000


def turns(count: int, words: str = "ha " * 100) -> list[dict[str, str]]:
    """Return turns of 300 bytes each way, each with a number of its own."""
    return [
        {"role": role, "content": f"{number} {words}"}
        for number in range(count)
        for role in ("user", "assistant")
    ]


class LongHouse(House):
    """A house whose rules have "big" summarise what is too long for "small" and its window of 1,000."""

    def __init__(
        self, *summaries: Any, rules: ContextSettings = RULES, small: tuple[Any, ...] = (), **rig: Any
    ) -> None:
        self.small = Vendor("sim", *(small or (full(whole(**USED)),)))
        self.big = Vendor("dear", *(summaries or (full(whole("So far: much ha.", **SUMMARY_USED)),)))
        super().__init__(self.small, self.big, **rig)
        lengths = TokenLengths()
        windows = Windows({("", ""): rules}, lengths)
        store = MemoryCache(None, self.clock, max_bytes=1 << 20, max_entry_bytes=1 << 16)
        cache = AnswerCache(store, EmbeddedSignals(), self.clock, secret=b"s" * 32, shared=False, stale_s=0)
        self.care = ContextCare(windows)
        self.summaries = Summaries(
            cache,
            Summariser(
                routes=lambda: self.table,
                wordings=Wordings(CODECS, self.clock),
                admission=self.pipeline._admission,
                resilience=self.resilience,
                loads=None,
                lengths=lengths,
            ),
        )
        self.pipeline.inspections = (self.care, SummaryCare(self.care, self.summaries), StructuredCare())

    async def ask(
        self,
        *messages: dict[str, Any],
        who: Principal | None = None,
        headers: dict[bytes, bytes] | None = None,
        **members: Any,
    ) -> Caller:
        """Say `messages` after the system's; returns whom it was answered to."""
        caller, context = Caller(), self.context(who)
        context.header = (headers or {}).get
        words = [{"role": "system", "content": "Be brief."}, *messages]
        body = chat(messages=words, **{"max_tokens": 10, **members})
        await self.pipeline.serve(context, Inquiry(OPENAI, CHATS, body), caller, Story(context, self.clock))
        return caller

    @property
    def sent(self) -> list[dict[str, Any]]:
        """The messages that "small" was sent last."""
        return msgspec.json.decode(self.small.calls[-1].body)["messages"]

    @property
    def read(self) -> str:
        """What "big" was last given to read."""
        return msgspec.json.decode(self.big.calls[-1].body)["messages"][1]["content"]


QUESTION = {"role": "user", "content": "Well?"}


def test_older_turns_give_way_to_a_summary_that_is_on_the_same_bill() -> None:
    it = LongHouse()
    caller = run(it.ask(*turns(8), QUESTION))
    said = [
        each["content"].removeprefix("Summary of the earlier part of this conversation:\n")
        for each in it.sent
    ]
    assert said[:3] == ["Be brief.", "So far: much ha.", "Noted. I go on from there."]
    assert [words.split()[0] for words in said[3:]] == ["6", "6", "7", "7", "Well?"]
    assert it.read.startswith("user: 0 ha ha")
    assert "assistant: 5 ha" in it.read and "user: 6" not in it.read
    assert b"x-penstock-context: summarised 12 of 18\r\n" in caller.headers
    [event] = it.events
    assert event.flags == ("context_summarised",)
    assert [(each.model, each.outcome, each.cost_nanos) for each in event.calls] == [
        ("big", "ok", SUMMARY_NANOS),
        ("small", "ok", ANSWER_NANOS),
    ]
    [posting] = it.ledger.postings
    assert posting.amount_nanos == SUMMARY_NANOS + ANSWER_NANOS
    assert [each.cost_nanos for each in posting.attempts] == [SUMMARY_NANOS, ANSWER_NANOS]
    held = [hold for hold in it.ledger.holds if hold.operation == posting.operation]
    assert len(held) == 2 and posting.amount_nanos <= sum(hold.amount_nanos for hold in held)


def test_the_next_turn_uses_the_summary_again_and_later_ones_only_add_to_it() -> None:
    it = LongHouse()

    async def talk() -> None:
        for count in (8, 9, 8):
            await it.ask(*turns(count), QUESTION)
        assert len(it.big.calls) == 1, "a summary of the first six turns leaves room for a ninth"
        assert [each["content"].split()[0] for each in it.sent[3:]] == ["6", "6", "7", "7", "Well?"]
        caller = await it.ask(*turns(14), QUESTION)
        assert b"summarised 24 of 30" in caller.headers
        assert len(it.big.calls) == 2
        assert it.read.startswith(
            "What came before, in short:\nSo far: much ha.\n\nWhat follows it:\nuser: 6 ha"
        )
        await it.ask(*turns(14), QUESTION, who=principal(team="others"))
        assert len(it.big.calls) == 3, "another team meets nothing of it"

    run(talk())
    assert it.summaries.made == 3


@pytest.mark.parametrize("headers", [{b"cache-control": b"no-store"}])
def test_who_wants_nothing_stored_has_no_summary_kept(headers: dict[bytes, bytes]) -> None:
    it = LongHouse()

    async def talk() -> None:
        await it.ask(*turns(8), QUESTION, headers=headers)
        await it.ask(*turns(8), QUESTION)

    run(talk())
    assert len(it.big.calls) == 2


def test_the_answer_is_as_long_as_asked_for_and_its_call_begins_where_the_summarys_ended() -> None:
    def slowly() -> Reply:
        it.clock.advance(2.0)
        return full(whole("So far: much ha.", **SUMMARY_USED))()

    it = LongHouse(slowly, small=(slowly,))
    run(it.ask(*turns(8), QUESTION))
    sent = msgspec.json.decode(it.small.calls[0].body)
    assert (sent.get("max_tokens") or sent.get("max_completion_tokens")) == 10
    [summary, answer] = it.events[0].calls
    assert (summary.ended_ms - summary.began_ms, answer.began_ms) == (2_000.0, summary.ended_ms)


def failing(kind: str = "invalid") -> ProviderFailure:
    return ProviderFailure("no", kind=kind, status=400)


@pytest.mark.parametrize(
    "summary",
    [failing(), full(whole("", **SUMMARY_USED)), full(b"{"), stream(text("x"), FINISH, USAGE, DONE)],
)
def test_a_summary_that_cannot_be_had_leaves_the_older_turns_out_and_says_so(summary: Any) -> None:
    it = LongHouse(summary)
    caller = run(it.ask(*turns(8), QUESTION))
    assert caller.status == 200
    assert [each["content"].split()[0] for each in it.sent] == ["Be", "6", "6", "7", "7", "Well?"]
    assert b"x-penstock-context: truncated; dropped=12\r\n" in caller.headers
    assert b"summarised" not in caller.headers
    [event] = it.events
    assert event.flags == ("context_truncated",)
    assert len(event.calls) == event.attempts
    assert (
        it.ledger.postings[0].amount_nanos
        == sum(each.cost_nanos for each in event.calls)
        <= sum(hold.amount_nanos for hold in it.ledger.holds)
    )


def test_or_the_request_is_refused_where_the_rules_say_so() -> None:
    it = LongHouse(failing(), rules=msgspec.structs.replace(RULES, unsummarised="reject"))
    with pytest.raises(Invalid) as refusal:
        run(it.ask(*turns(8), QUESTION))
    assert refusal.value.reason == "context_length_exceeded"
    assert not it.small.calls
    assert it.ledger.postings[0].amount_nanos == 0


def test_no_summary_is_asked_for_without_money_for_it() -> None:
    it = LongHouse(ledger=ScriptedLedger(room_nanos=6_000_000))
    caller = run(it.ask(*turns(8), QUESTION))
    assert not it.big.calls
    assert b"truncated; dropped=12" in caller.headers
    assert it.ledger.postings[0].amount_nanos == ANSWER_NANOS


def test_a_summary_gets_half_of_the_time_and_is_billed_though_nobody_waited_for_it() -> None:
    it = LongHouse(HANG, deadline_s=0.2)

    async def asking() -> Caller:
        async with asyncio.timeout(5):
            return await it.ask(*turns(8), QUESTION)

    caller = run(asking())
    assert b"truncated; dropped=12" in caller.headers
    [given_up, answer] = it.ledger.postings[0].attempts
    assert (given_up.outcome, answer.outcome) == ("abandoned", "ok")
    assert given_up.estimated and given_up.cost_nanos > 0


def test_nothing_is_sent_on_without_money_where_the_summary_cost_more_than_could_be_foreseen() -> None:
    ledger = ScriptedLedger()

    def dear() -> Reply:
        ledger.room_nanos = 0
        bill = {"prompt_tokens": 1_000_000, "completion_tokens": 20}
        return Reply(whole("So far: much ha.", usage=bill), streamed=False)

    it = LongHouse(dear, ledger=ledger)
    with pytest.raises(OverBudget):
        run(it.ask(*turns(8), QUESTION))
    assert not it.small.calls
    assert [attempt.outcome for attempt in ledger.postings[0].attempts] == ["ok"]


def test_a_caller_that_leaves_while_it_is_summarised_ends_the_request() -> None:
    ledger, asked = ScriptedLedger(), asyncio.Event()

    class Slow(Reply):
        async def read(self, max_bytes: int) -> bytes:
            ledger.room_nanos = 0
            asked.set()
            return await super().read(max_bytes)

    it = LongHouse(failing("connection_reset"), lambda: Slow(HANG, streamed=False), ledger=ledger)

    async def asking() -> None:
        asking = asyncio.ensure_future(it.ask(*turns(8), QUESTION))
        await asked.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking

    run(asking())
    assert not it.small.calls
    assert [attempt.outcome for attempt in ledger.postings[0].attempts] == ["connection_reset", "abandoned"]


def test_what_the_vendor_finds_too_long_is_summarised_then() -> None:
    too_long = failing("context_overflow")
    it = LongHouse(small=(too_long, full(whole(**USED))))
    caller = run(it.ask(*turns(8, "hydroelectric" * 23), QUESTION))
    assert b"x-penstock-context: summarised 12 of 18\r\n" in caller.headers
    assert [each.model for each in it.events[0].calls] == ["small", "big", "small"]
    assert len(msgspec.json.decode(it.small.calls[0].body)["messages"]) == 18


def test_what_fits_is_not_touched() -> None:
    it = LongHouse()
    caller = run(it.ask(*turns(2), QUESTION))
    assert len(it.sent) == 6
    assert not it.big.calls and b"x-penstock-context" not in caller.headers


def test_a_long_document_is_summarised_once_wherever_it_comes_again() -> None:
    it = LongHouse()
    document = {"role": "user", "content": "water " * 2_000}
    answer = {"role": "assistant", "content": "I see."}

    async def talk() -> None:
        caller = await it.ask(document, answer, QUESTION)
        assert b"x-penstock-context: summarised 0 of 4; documents=1\r\n" in caller.headers
        assert it.sent[1]["content"] == "Summary of a long text that stood here:\nSo far: much ha."
        await it.ask(document, answer, {"role": "user", "content": "And else?"})

    run(talk())
    assert len(it.big.calls) == 1


def test_a_text_longer_than_the_summarisers_window_is_read_in_pieces() -> None:
    it = LongHouse(
        rules=msgspec.structs.replace(RULES, summary_model="small"), small=(full(whole("So far.", **USED)),)
    )
    run(it.ask(*turns(8), QUESTION))
    read = [msgspec.json.decode(call.body)["messages"][1]["content"] for call in it.small.calls[:-1]]
    assert len(read) > 1
    assert all(each.startswith("What came before, in short:\nSo far.") for each in read[1:])
    assert len(it.events[0].calls) == len(it.small.calls)


def test_a_validated_answer_is_asked_for_again_about_what_was_sent() -> None:
    bad = full(whole("no json", **USED))
    it = LongHouse(small=(bad, full(whole("{}", **USED))))
    run(it.ask(*turns(8), QUESTION, response_format={"type": "json_object"}))
    assert "~~~" not in it.small.calls[-1].body.decode(), "no gap is left where a summary belongs"
    assert [each["content"].split()[0] for each in it.sent][:3] == ["Be", "Summary", "Noted."]
    assert it.sent[-2]["content"] == "no json"


@pytest.mark.parametrize(("unsummarised", "sent"), [("truncate_oldest", 2), ("reject", 0)])
def test_where_no_summary_helps_the_rules_say_whether_turns_go(unsummarised: Any, sent: int) -> None:
    it = LongHouse(rules=msgspec.structs.replace(RULES, unsummarised=unsummarised))
    asking = it.ask(*turns(3, "ha " * 400), QUESTION)
    if not sent:
        with pytest.raises(Invalid):
            run(asking)
    else:
        caller = run(asking)
        assert b"x-penstock-context: truncated" in caller.headers
        assert it.sent[-1]["content"] == "Well?"
    assert not it.big.calls
    assert len(it.small.calls) == min(sent, 1)
