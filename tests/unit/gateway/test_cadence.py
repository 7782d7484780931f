"""Streams in pieces: nothing is lost, nothing is held longer or larger than promised, and silence is never the end."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.gateway import cadence
from penstock.gateway.cadence import PIECE_CHARS, WHOLE_CHARS, WHOLE_EVENTS, Holding, Pace, slower
from penstock.kernel.chat import ChatEvent, ToolCallDelta
from penstock.kernel.clock import SystemClock
from penstock.kernel.errors import Upstream
from penstock.kernel.money import Usage
from penstock.kernel.settings_output import CADENCES, Cadence
from penstock.ports.providers import ProviderFailure
from tests.support import run

TEXTS = st.text(alphabet="ab .!?\n。", max_size=6).map(lambda text: ChatEvent(text=text))
OTHERS = st.sampled_from(
    (
        ChatEvent(role="assistant"),
        ChatEvent(index=1, text="other. "),
        ChatEvent(reasoning="hm"),
        ChatEvent(tool_calls=(ToolCallDelta(0, arguments="{"),)),
        ChatEvent(finish="stop"),
    )
)


def said(events: list[ChatEvent]) -> list[Any]:
    """Return what events say, in order, with the texts of one choice that follow each other as one."""
    out: list[Any] = []
    for event in events:
        if event.text and out and isinstance(out[-1], tuple) and out[-1][0] == event.index:
            out[-1] = (event.index, out[-1][1] + event.text)
        elif event.text:
            out.append((event.index, event.text))
        else:
            out.append(event)
    return [each for each in out if each != ChatEvent()]


@given(st.lists(st.one_of(TEXTS, OTHERS), max_size=30), st.sampled_from(CADENCES[1:]))
def test_pieces_join_to_what_came_in_its_order(events: list[ChatEvent], chosen: Cadence) -> None:
    holding = Holding(chosen)
    out = [passed for event in events for passed in holding.add([event])]
    assert said([*out, *holding.release()]) == said(events)
    assert not holding.release()


def pieces(chosen: Cadence, *texts: str) -> list[str]:
    holding = Holding(chosen)
    return [event.text for text in texts for event in holding.add([ChatEvent(text=text)])]


def test_sentences_leave_whole() -> None:
    assert pieces("sentence", "One", " is. Tw", "o", " is", '!" ', "Three") == ["One is. ", 'Two is!" ']
    assert pieces("sentence", "3.14 is pi") == [], "a point inside a number ends nothing"
    assert pieces("sentence", "水が。流", "れる\n", "x") == ["水が。", "流れる\n"]


def test_what_is_no_text_takes_everything_before_it_along() -> None:
    holding = Holding("sentence")
    holding.add([ChatEvent(text="Half a sent")])
    assert holding.add([ChatEvent(finish="stop")]) == [
        ChatEvent(text="Half a sent"),
        ChatEvent(finish="stop"),
    ]


@pytest.mark.parametrize("chosen", CADENCES[1:])
def test_what_vendors_count_along_parts_no_sentence_and_only_the_latest_is_told(chosen: Cadence) -> None:
    holding = Holding(chosen)
    out: list[ChatEvent] = []
    for number, piece in enumerate(("One", " is. Tw", "o")):
        count = ChatEvent(usage=Usage(output_tokens=number))
        out += holding.add([ChatEvent(text=piece), count])
    out += holding.release()
    assert out[-1] == ChatEvent(usage=Usage(output_tokens=2))
    texts = [event.text for event in out[:-1]]
    assert texts == (["One is. ", "Two"] if chosen == "sentence" else ["One is. Two"])


@pytest.mark.parametrize("chosen", ["sentence", "100ms"])
def test_a_piece_has_a_bound(chosen: Cadence) -> None:
    assert pieces(chosen, "x" * PIECE_CHARS) == []
    assert pieces(chosen, "x" * PIECE_CHARS, "y") == ["x" * PIECE_CHARS + "y"]


def test_a_whole_answer_has_a_bound() -> None:
    holding = Holding("whole")
    assert holding.add([ChatEvent(text="x" * WHOLE_CHARS), ChatEvent(finish="stop")]) == []
    with pytest.raises(Upstream) as error:
        holding.add([ChatEvent(text="x")])
    assert error.value.reason == "reply_too_large"


def test_what_says_nothing_is_not_held_for_ever_either() -> None:
    holding, nothing = Holding("whole"), [ChatEvent(role="assistant")]
    assert holding.add(nothing * WHOLE_EVENTS) == []
    with pytest.raises(Upstream):
        holding.add(nothing)


@pytest.mark.parametrize("one", CADENCES)
@pytest.mark.parametrize("other", CADENCES)
def test_the_slower_of_two_is_the_later_in_the_list(one: Cadence, other: Cadence) -> None:
    assert CADENCES.index(slower(one, other)) == max(CADENCES.index(one), CADENCES.index(other))


class Answer:
    """A held stream of text, each piece after a gate opens."""

    def __init__(self, chosen: Cadence) -> None:
        self._holding = Holding(chosen)
        self.coming: asyncio.Queue[bytes | BaseException] = asyncio.Queue()
        self.reads = 0
        self.cancelled = False

    @property
    def holds(self) -> bool:
        return bool(self._holding)

    async def next(self) -> bytes:
        self.reads += 1
        try:
            came = await self.coming.get()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        if isinstance(came, BaseException):
            raise came
        return b"".join([event.text.encode() for event in self._holding.add([ChatEvent(text=came.decode())])])

    def release(self) -> bytes:
        return b"".join([event.text.encode() for event in self._holding.release()])


def pace(answer: Answer, chosen: Cadence) -> Pace:
    return Pace(answer, chosen, SystemClock(), lambda: b": alive\n\n")


def test_what_is_held_leaves_when_it_is_due_though_nothing_more_comes() -> None:
    async def scene() -> None:
        answer = Answer("100ms")
        reading = pace(answer, "100ms")
        out: list[bytes] = []
        for piece in (b"first", b"second"):
            answer.coming.put_nowait(piece)
            while piece not in out:
                out.append(await reading.next())
            assert not answer.holds
        assert [each for each in out if each] == [b"first", b"second"]
        assert answer.reads <= 3, "one read is under way, and no more"
        reading.close()
        await asyncio.sleep(0)

    run(scene())


@pytest.mark.parametrize("chosen", CADENCES[1:])
def test_while_nothing_leaves_there_are_signs_of_life(
    monkeypatch: pytest.MonkeyPatch, chosen: Cadence
) -> None:
    monkeypatch.setattr(cadence, "SIGN_S", 0.01)

    async def scene() -> None:
        answer = Answer(chosen)
        reading = pace(answer, chosen)
        out = b""
        while out.count(b": alive\n\n") < 3:
            out += await reading.next()
        assert not out.replace(b": alive\n\n", b"")
        assert answer.reads == 1
        reading.close()
        await asyncio.sleep(0)
        assert answer.cancelled, "nobody goes on reading for a caller that is gone"

    run(scene())


@pytest.mark.parametrize(("chosen", "left"), [("sentence", b"half"), ("100ms", b"half"), ("whole", b"")])
def test_an_answer_that_breaks_off_ends_with_what_was_held_unless_it_leaves_whole(
    chosen: Cadence, left: bytes
) -> None:
    async def scene() -> None:
        answer = Answer(chosen)
        answer.coming.put_nowait(b"half")
        answer.coming.put_nowait(ProviderFailure("cut", kind="cut"))
        reading = pace(answer, chosen)
        out = b""
        with suppress(ProviderFailure):
            while True:
                out += await reading.next()
        assert out == left

    run(scene())
