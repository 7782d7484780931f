"""Structured output while it streams: the events of an answer mended one by one, or one field of it alone.

    stream = StructuredStream(wanted, tally, field="/answer")
    for event in events:
        for out in stream.feed(event): …

Promises: the text of the events that go out joins to valid JSON for the usual defects (`dialects/json_mend`), byte for
byte what came in where nothing is wrong; with a `field`, it joins to that string's words, sent as they arrive; nothing
but text is touched; no event is held back, only text that is not settled yet; each answer is counted once.
"""

from __future__ import annotations

from typing import Final

import msgspec

from penstock.dialects.json_lenient import MAX_CHARS
from penstock.dialects.json_mend import JsonMender
from penstock.dialects.json_stream import JsonStream
from penstock.gateway.structured import NOT_AN_ANSWER, Tally, Wanted, failure
from penstock.kernel.chat import ChatEvent
from penstock.mechanisms.schemas import Mismatch

MAX_CHOICES: Final = 128
"""Most answers mended in one stream; further ones pass as they are."""

_SILENT: Final = ChatEvent()


class _Answer:
    """One choice: what mends it, what picks its field, and its text for the check at its end."""

    __slots__ = ("ended", "mender", "picker", "sent", "sent_chars")

    def __init__(self, opens: str, field: str | None) -> None:
        self.mender = JsonMender(opens)
        self.picker = None if field is None else JsonStream(field)
        self.sent: list[str] = []
        self.sent_chars = 0
        self.ended = False


class StructuredStream:
    """Mends the answers of one stream. `field` is the JSON pointer of the only string to send, None to send all."""

    def __init__(self, wanted: Wanted, tally: Tally, field: str | None = None) -> None:
        """Start before the first event. Raises `ValueError` for a field that is no JSON pointer."""
        self._wanted = wanted
        self._tally = tally
        self._field = field
        self._answers: dict[int, _Answer] = {}
        JsonStream(field)

    def feed(self, event: ChatEvent) -> ChatEvent | None:
        """Return what goes out for an event; None for nothing yet. Raises `Upstream` when the field cannot be had."""
        if not (event.text or event.finish) or not self._wanted.opens:
            return event
        answer = self._answers.get(event.index)
        if answer is None:
            if not event.text or len(self._answers) >= MAX_CHOICES:
                return event
            answer = self._answers[event.index] = _Answer(self._wanted.opens, self._field)
        text = "" if answer.ended else self._mend(answer, event)
        if text == event.text:
            return event
        out = msgspec.structs.replace(event, text=text)
        return None if msgspec.structs.replace(out, index=0) == _SILENT else out

    def _mend(self, answer: _Answer, event: ChatEvent) -> str:
        text = answer.mender.feed(event.text)
        if event.finish:
            text += answer.mender.close(cut=event.finish == "length")
        if answer.sent_chars <= MAX_CHARS:
            answer.sent.append(text)
            answer.sent_chars += len(text)
        if event.finish:
            answer.ended = True
        if event.finish in NOT_AN_ANSWER:
            return text
        if event.finish:
            self._count(answer)
        if answer.picker is None:
            return text
        if answer.mender.problem:
            raise failure((Mismatch("", answer.mender.problem, self._wanted.text),), attempts=1, cut=False)
        return answer.picker.feed(text)

    def _count(self, answer: _Answer) -> None:
        """Count the answer by what was sent: the schema judges it though nothing can be asked again."""
        text = "".join(answer.sent)
        got, mismatches = self._wanted.read(text, cut=False)
        if mismatches or got is None or got.repairs or answer.mender.problem:
            self._tally.failed += 1
        else:
            self._tally.end(reasks=0, repaired=bool(answer.mender.repairs))
