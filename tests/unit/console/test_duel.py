"""A duel: what is read of a question, what is told of an answer, and the bounds of both. On a scripted platform."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from penstock.console import duel
from penstock.kernel.clock import ManualClock
from penstock.kernel.errors import Invalid, TooLarge
from tests.stage import until
from tests.support import run
from tests.unit.console.support import CSRF, NOW_S, Answered, Browser, Platform
from tests.unit.console.test_pages import EVIL
from tests.unit.console.test_playground import HEADERS, question, text_of, told

CHAT = "POST /v1/chat/completions"


def words(*pieces: str, **more: object) -> list[tuple[str, Any]]:
    """Return the events of an answer."""
    return [("", {"choices": [{"index": 0, "delta": {"content": piece}}], **more}) for piece in pieces]


def writes(events: list[tuple[str, Any]], *, then: asyncio.Event | None = None) -> Any:
    """Return an answer of these events that ends well, or waits for what never comes."""

    async def speech() -> AsyncIterator[tuple[str, Any]]:
        for each in events:
            yield each
        if then is not None:
            await then.wait()
        yield "", msgspec.Raw(b"[DONE]")

    return lambda _: speech()


def ask(platform: Platform, asked: object, **more: Any) -> Answered:
    body = asked if isinstance(asked, bytes) else msgspec.json.encode(asked)
    return run(
        Browser(platform).call(
            "POST", "/playground/ask", body, headers={**HEADERS, "x-csrf-token": CSRF}, **more
        )
    )


def test_a_thought_and_a_refusal_are_told_apart_from_the_answer():
    delta = {"reasoning_content": "Hm."}
    events = [("", {"choices": [{"index": 0, "delta": delta}]}), *words("Nine.")]
    events += [("", {"choices": [{"index": 0, "delta": {"refusal": " No."}, "finish_reason": "stop"}]})]
    lines = told(ask(Platform(**{CHAT: writes(events)}), question("m")))
    assert [line.get("thought") for line in lines if line["kind"] == "said"] == ["Hm.", None, None]
    assert text_of(lines) == "Nine. No."
    assert lines[-1]["finish"] == "stop"


def test_line_ends_and_separators_of_every_kind_stay_inside_one_line():
    hostile = "a\nb\r\nc\u2028d\u2029e\x85f\x0bg" + EVIL
    reply = ask(Platform(**{CHAT: writes(words(hostile))}), question("m"))
    assert text_of(told(reply)) == hostile


def test_what_is_not_given_is_left_to_the_model_and_what_is_goes_along():
    platform = Platform(**{CHAT: writes(words("x"))})
    ask(platform, question("m"))
    (sent,) = platform.bodies(CHAT)
    assert not {"temperature", "max_tokens"} & set(sent)
    assert [each["role"] for each in sent["messages"]] == ["user"]
    platform = Platform(**{CHAT: writes(words("x"))})
    ask(platform, question("m", temperature=0, max_tokens=5, system="Be brief."))
    (sent,) = platform.bodies(CHAT)
    assert (sent["temperature"], sent["max_tokens"]) == (0, 5)
    assert sent["messages"][0] == {"role": "system", "content": "Be brief."}


def test_leaving_closes_every_stream_also_of_a_model_that_says_nothing(monkeypatch):
    monkeypatch.setattr(duel, "QUIET_S", 0.001)
    platform = Platform(**{CHAT: writes(words("x"), then=asyncio.Event())})
    browser, body = Browser(platform), msgspec.json.encode(question("m", "n"))

    async def nothing_is_open() -> bool:
        return platform.open_streams == 0

    async def scene() -> None:
        reply = await browser.call(
            "POST", "/playground/ask", body, headers={**HEADERS, "x-csrf-token": CSRF}, most=2
        )
        assert reply.status == 200
        assert len(platform.bodies(CHAT)) == 2
        await until(nothing_is_open, 1.0)

    run(scene())


def test_silence_is_said_to_be_alive(monkeypatch):
    monkeypatch.setattr(duel, "QUIET_S", 0.001)
    reply = ask(Platform(**{CHAT: writes([], then=asyncio.Event())}), question("m"), most=4)
    assert "\n\n" in reply.text


@pytest.mark.parametrize("over", [0, 1])
def test_an_answer_is_read_up_to_its_bound_and_not_further(monkeypatch, over):
    monkeypatch.setattr(duel, "ANSWER_CHARS_MOST", 10)
    platform = Platform(**{CHAT: writes(words("x" * 10, *(["y"] * over)))})
    last = told(ask(platform, question("m")))[-1]
    assert (last["kind"], last.get("code", "")) == (("failed", "answer_too_long") if over else ("ended", ""))
    assert platform.open_streams == 0


def test_an_answer_that_only_trickles_ends_when_its_time_is_up():
    clock = ManualClock(wall_s=NOW_S)
    platform = Platform()

    async def trickle() -> AsyncIterator[tuple[str, Any]]:
        while True:
            clock.advance(duel.ANSWER_S / 2)
            yield words("x")[0]

    platform.answers[CHAT] = lambda _: trickle()

    async def scene() -> list[dict[str, Any]]:
        asked = duel.read(msgspec.json.encode(question("m")))
        lines = duel.lines(platform.connect("t", ""), asked, clock)
        return [json.loads(line) async for each in lines for line in each.split(b"\n") if line.strip()]

    assert run(scene())[-1]["code"] == "answer_too_slow"
    assert platform.open_streams == 0


def test_a_bug_in_one_answer_is_told_as_one_and_the_other_goes_on(monkeypatch):
    real = duel._said

    def broken(pane: int, chunk: Any) -> Any:
        if pane == 0:
            raise RuntimeError("no")
        return real(pane, chunk)

    monkeypatch.setattr(duel, "_said", broken)
    reply = ask(Platform(**{CHAT: writes(words("x"))}), question("m", "n"))
    assert [told(reply, pane)[-1]["kind"] for pane in (0, 1)] == ["failed", "ended"]
    assert "This is a bug" in told(reply, 0)[-1]["message"]


def turns(count: int) -> list[dict[str, str]]:
    return [{"role": "user", "content": "x"}] * count


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        (b"{", "body"),
        (b"[]", "body"),
        ({"panes": []}, "panes"),
        (question("a", "b", "c"), "panes"),
        (question(""), "panes[0].model"),
        (question("m" * 257), "panes[0].model"),
        (question("m", text=""), "panes[0].turns[0].content"),
        ({"panes": [{"model": "m", "turns": turns(65)}]}, "panes[0].turns"),
        ({"panes": [{"model": "m", "turns": [{"role": "system", "content": "x"}]}]}, "panes[0].turns[0].role"),
        (question("m", temperature=2.1), "temperature"),
        (question("m", max_tokens=0), "max_tokens"),
        (question("m", max_tokens=duel.TOKENS_MOST + 1), "max_tokens"),
        (question("m", tools=[]), "body"),
    ],
)  # fmt: skip
def test_a_question_out_of_bounds_is_refused_by_name_and_asks_nobody(asked, field):
    platform = Platform()
    body = asked if isinstance(asked, bytes) else msgspec.json.encode(asked)
    with pytest.raises(Invalid) as refused:
        duel.read(body)
    assert refused.value.field == field
    assert ask(platform, asked).status == 400
    assert platform.bodies(CHAT) == []


def test_the_longest_question_is_read_and_one_byte_more_is_not():
    room = duel.BODY_BYTES_MOST - len(msgspec.json.encode(question("m", text="")))
    assert duel.read(msgspec.json.encode(question("m", text="x" * room)))
    with pytest.raises(TooLarge):
        duel.read(msgspec.json.encode(question("m", text="x" * (room + 1))))
