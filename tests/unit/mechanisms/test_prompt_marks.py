"""Marks for vendors' prompt caches: only where a prefix comes again, only what was there, never more than they take."""

from __future__ import annotations

from datetime import date
from typing import Any

import msgspec
import pytest
from msgspec import Raw

from penstock.kernel.chat import ChatRequest, Media, Message, Text, Tool
from penstock.kernel.clock import ManualClock
from penstock.kernel.money import Price, Rates, Usage
from penstock.mechanisms import prompt_marks
from penstock.mechanisms.prompt_marks import DATA, PromptMarks, least_tokens, saved_nanos

MODEL = "claude-sonnet-4-5"
LONG = "x" * 1024 * 4
RATES = Rates(
    input=3_000, cached_input=300, cache_write=3_750, cache_write_1h=6_000, output=15_000, reasoning=15_000
)
PRICE = Price(provider="anthropic", model=MODEL, version="v", effective_from=date.min, rates=RATES)


def said(role: str, *words: str) -> Message:
    """Return a message of some texts."""
    return Message(role=role, content=tuple(map(Text, words)))


def asked(*messages: Message, **members: Any) -> ChatRequest:
    """Return a request."""
    return ChatRequest(**{"model": MODEL, "messages": messages, **members})


def marks(request: ChatRequest | None) -> list[tuple[int, int]]:
    """Return where a request is marked: (message, part), (-1, -1) for the tools."""
    if request is None:
        return []
    found = [(-1, -1)] if request.tools and request.tools[-1].cache else []
    return found + [
        (number, at)
        for number, message in enumerate(request.messages)
        for at, part in enumerate(message.content)
        if isinstance(part, Text | Media) and part.cache
    ]


class Sent:
    """Requests of one tenant, one after another."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.marks = PromptMarks(self.clock)

    def __call__(self, request: ChatRequest, tenant: str = "a") -> ChatRequest | None:
        return self.marks.marked_request(request, tenant, MODEL)


def test_what_comes_for_the_first_time_is_not_marked_and_the_second_time_it_is() -> None:
    send = Sent()
    assert send(asked(said("system", LONG), said("user", "one"))) is None
    again = send(asked(said("system", LONG), said("user", "two")))
    assert marks(again) == [(0, 0)]
    assert send.marks.marked == 1


def test_marks_change_nothing_else() -> None:
    send = Sent()
    request = asked(said("system", LONG), said("user", "q"), tools=(Tool(name="f"),), temperature=0.5)
    send(request)
    marked = send(request)
    assert marked is not None
    told = msgspec.json.encode(marked).replace(b'"cache":"5m"', b'"cache":""')
    assert told == msgspec.json.encode(request)


def test_a_conversation_is_marked_where_it_ended_last_and_where_it_ends_now() -> None:
    send = Sent()
    turns = [said("user", LONG)]
    send(asked(*turns))
    turns += [said("assistant", "a"), said("user", "b")]
    assert marks(send(asked(*turns))) == [(0, 0), (2, 0)]
    turns += [said("assistant", "c"), said("user", "d")]
    assert marks(send(asked(*turns))) == [(2, 0), (4, 0)]


def test_documents_at_the_head_are_marked_without_the_question_behind_them() -> None:
    send = Sent()
    document = Media("application/pdf", "data:application/pdf;base64," + LONG)
    for words, expected in (("one?", []), ("two?", [(0, 0)])):
        question = Message(role="user", content=(document, Text(words)))
        assert marks(send(asked(question))) == expected


def test_never_more_marks_than_the_vendor_takes() -> None:
    send = Sent()
    turns = [said("system", LONG), said("developer", LONG), said("user", LONG)]
    tools = (Tool(name="f", description=LONG),)
    send(asked(*turns, tools=tools))
    turns += [said("assistant", "a"), said("user", "b")]
    found = marks(send(asked(*turns, tools=tools)))
    assert found == [(-1, -1), (1, 0), (2, 0), (4, 0)] and len(found) == DATA.marks_most


@pytest.mark.parametrize(("chars", "marked"), [(1024 * 4 - 200, False), (1024 * 4, True)])
def test_what_is_too_short_to_be_kept_is_not_marked(chars: int, marked: bool) -> None:
    send = Sent()
    for words in "ab":
        last = send(asked(said("system", "x" * chars), said("user", words)))
    assert bool(marks(last)) is marked


@pytest.mark.parametrize(
    "request_",
    [
        asked(Message(role="system", content=(Text(LONG, "1h"),)), said("user", "q")),
        asked(said("system", LONG), said("user", "q"), tools=(Tool(name="f", cache="5m"),)),
        asked(said("system", LONG), said("user", "q"), extras={"cache_control": Raw(b"{}")}),
    ],
)
def test_whoever_marks_for_itself_is_left_alone(request_: ChatRequest) -> None:
    send = Sent()
    send(request_)
    assert send(request_) is None


def test_what_the_vendor_has_forgotten_is_new_and_another_tenants_is_nobodys() -> None:
    send = Sent()
    request = asked(said("system", LONG), said("user", "q"))
    send(request)
    assert send(request, "b") is None
    send.clock.advance(DATA.lifetime_s)
    assert send(request) is None
    send.clock.advance(DATA.lifetime_s - 1)
    assert marks(send(request)) == [(0, 0), (1, 0)]


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompt_marks, "REMEMBERED_MOST", 10)
    send = Sent()
    for number in range(30):
        send(asked(said("user", LONG, str(number))))
    assert len(send.marks._seen) == 10


def test_least_lengths_are_by_model() -> None:
    assert [least_tokens(m) for m in ("claude-opus-4-5-20251101", "claude-opus-4-1", "claude-3-haiku-1", "new")] == [
        4096, 1024, 2048, 4096,
    ]  # fmt: skip


def test_the_saving_is_the_vendors_own_figures_at_todays_prices() -> None:
    def used(cached: int = 0, written: int = 0) -> Usage:
        return Usage(
            input_tokens=10_000_000, cached_input_tokens=cached, cache_write_tokens=written, output_tokens=5
        )

    assert saved_nanos(PRICE, used()) == 0
    assert saved_nanos(PRICE, used(cached=10_000_000)) == 27_000
    assert saved_nanos(PRICE, used(written=10_000_000)) == -7_500
