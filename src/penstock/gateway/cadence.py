"""In which pieces a stream is passed on: what is held back, and when it goes.

    token      as it comes: nothing of this file is used
    100ms      what came within a tenth of a second, together
    sentence   whole sentences (or lines)
    whole      everything, at its end

Whatever looks into answers and changes them (redaction, structured output) comes after this and so sees whole pieces.
While nothing leaves, the caller gets a sign of life in its own dialect every `SIGN_S` seconds, so that nobody takes
the silence for the end.

Promises: pieces join to what came, in its order; `PIECE_CHARS` at most are held for a piece, and `WHOLE_CHARS` in
`WHOLE_EVENTS` for a whole answer, past which it is an error; one read of the vendor is under way at a time, and none is
begun while the caller is behind; what was held when an answer breaks off leaves before the error, unless it is to leave
whole or not at all.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable
from itertools import groupby
from typing import Final, Protocol

import msgspec

from penstock.kernel.chat import ChatEvent
from penstock.kernel.clock import Clock
from penstock.kernel.errors import Upstream
from penstock.kernel.settings_output import CADENCES, Cadence

TICK_S: Final = 0.1
SIGN_S: Final = 5.0
PIECE_CHARS: Final = 4_096
WHOLE_CHARS: Final = 8 * 1024 * 1024
WHOLE_EVENTS: Final = 262_144
"""An event is held though it says nothing: a provider that sends only such ones is not held for ever."""
_SENTENCE: Final = re.compile(r"[.!?\u2026][\"')\]\u201d\u2019]*\s+|[\u3002\uff01\uff1f]|\n+")
"""Where a sentence ends, in scripts with spaces and without; a line is one too."""


class Holding:
    """What of one answer is held back."""

    __slots__ = ("_cadence", "_chars", "_events", "_usage")

    def __init__(self, cadence: Cadence) -> None:
        """Hold nothing yet."""
        self._cadence = cadence
        self._events: list[ChatEvent] = []
        self._chars = 0
        self._usage: ChatEvent | None = None
        """The latest count of what was used: some vendors send one with every piece."""

    def __len__(self) -> int:
        """Return how many events are held."""
        return len(self._events) + (self._usage is not None)

    def add(self, events: Iterable[ChatEvent]) -> list[ChatEvent]:
        """Hold `events`; returns what is complete with them. Raises Upstream for an answer that is too long to hold."""
        out: list[ChatEvent] = []
        for event in events:
            if event.usage is not None and event == ChatEvent(index=event.index, usage=event.usage):
                self._usage = event
                continue
            self._hold(event)
            if self._cadence == "sentence":
                out += self._sentences(event)
            if self._cadence == "whole":
                if self._chars > WHOLE_CHARS or len(self._events) > WHOLE_EVENTS:
                    raise Upstream(
                        "The answer is too long to be held back.", code="reply_too_large", limit=WHOLE_CHARS
                    )
            elif self._chars > PIECE_CHARS:
                out += self.release()
        return out

    def release(self) -> list[ChatEvent]:
        """Return all that is held, texts that follow each other as one."""
        usage, self._usage = self._usage, None
        return self._taken() if usage is None else [*self._taken(), usage]

    def _taken(self) -> list[ChatEvent]:
        events, self._events, self._chars = self._events, [], 0
        return [_joined(tuple(run)) for _, run in groupby(events, _Run())]

    def _hold(self, event: ChatEvent) -> None:
        self._chars += len(event.text) + len(event.reasoning) + len(event.signature) + len(event.redacted)
        self._chars += len(event.refusal) + sum([len(call.arguments) for call in event.tool_calls])
        self._events.append(event)

    def _sentences(self, event: ChatEvent) -> list[ChatEvent]:
        """Return what is held up to the end of the last whole sentence; all of it where more than text came."""
        if not _is_text(event):
            return self.release()
        *before, last = self._taken()
        ends = [found.end() for found in _SENTENCE.finditer(last.text)]
        rest = last.text[ends[-1] :] if ends else last.text
        done = last.text.removesuffix(rest) if rest else last.text
        if not done:
            self._hold(last)
            return before
        if rest:
            self._hold(msgspec.structs.replace(last, role="", text=rest))
        return [*before, msgspec.structs.replace(last, text=done)]


class Held(Protocol):
    """A stream that holds back (`gateway/attempt.StreamedAnswer`)."""

    @property
    def holds(self) -> bool:
        """Tell whether anything is held."""
        ...

    async def next(self) -> bytes:
        """Return the next bytes to send on. Raises ProviderFailure."""
        ...

    def release(self) -> bytes:
        """Return what is held, to be sent on."""
        ...


class Pace:
    """Reads one held stream in time: pieces when they are due, signs of life while nothing is."""

    __slots__ = ("_answer", "_cadence", "_clock", "_due_s", "_failure", "_reading", "_sign", "_silent_s")

    def __init__(self, answer: Held, cadence: Cadence, clock: Clock, sign: Callable[[], bytes]) -> None:
        """Read `answer`; `sign()` renders a sign of life."""
        self._answer = answer
        self._cadence = cadence
        self._clock = clock
        self._sign = sign
        self._reading: asyncio.Task[bytes] | None = None
        self._failure: BaseException | None = None
        self._due_s = self._silent_s = clock.monotonic_s()

    async def next(self) -> bytes:
        """Return the next bytes to send on; maybe b"". Raises what reading raises, after what came before it."""
        if self._failure is not None:
            raise self._failure
        out = await self._read()
        if out:
            self._silent_s = self._clock.monotonic_s()
        return out

    def close(self) -> None:
        """Stop reading."""
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    async def _read(self) -> bytes:
        now_s = self._clock.monotonic_s()
        wakes_s = self._silent_s + SIGN_S
        ticks = self._cadence == "100ms" and self._answer.holds
        if ticks:
            wakes_s = min(wakes_s, self._due_s)
        reading = self._reading or asyncio.ensure_future(self._answer.next())
        self._reading = reading
        await asyncio.wait((reading,), timeout=max(wakes_s - now_s, 0.0))
        out = b""
        if reading.done():
            self._reading = None
            out = self._taken(reading)
        now_s = self._clock.monotonic_s()
        if self._cadence == "100ms" and now_s >= self._due_s and self._answer.holds:
            self._due_s = now_s + TICK_S
            out += self._answer.release()
        if not out and not reading.done() and now_s >= self._silent_s + SIGN_S:
            return self._sign()
        return out

    def _taken(self, reading: asyncio.Task[bytes]) -> bytes:
        failure = reading.exception()
        if failure is None:
            return reading.result()
        if self._cadence == "whole" or not self._answer.holds:
            raise failure
        self._failure = failure
        return self._answer.release()


def slower(one: Cadence, other: Cadence) -> Cadence:
    """Return whichever of two holds back more."""
    return one if CADENCES.index(one) > CADENCES.index(other) else other


class _Run:
    """Numbers the runs of events that can be told as one: texts of one choice, with nothing new beside them."""

    __slots__ = ("_last", "_number")

    def __init__(self) -> None:
        self._last: ChatEvent | None = None
        self._number = 0

    def __call__(self, event: ChatEvent) -> int:
        last, self._last = self._last, event
        joins = (
            last is not None
            and last.index == event.index
            and _is_text(last)
            and _is_text(event)
            and event.role in ("", last.role)
            and event.extras == last.extras
        )
        self._number += not joins
        return self._number


def _is_text(event: ChatEvent) -> bool:
    """Tell whether an event says text and nothing else of the answer."""
    return bool(event.text) and event == ChatEvent(
        index=event.index, role=event.role, text=event.text, extras=event.extras
    )


def _joined(run: tuple[ChatEvent, ...]) -> ChatEvent:
    """Return the events of a run as one."""
    if len(run) == 1:
        return run[0]
    return msgspec.structs.replace(run[0], text="".join([event.text for event in run]))
