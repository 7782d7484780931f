"""Filters that keep answers within an operator's rules: where they stop, and what of them is shown.

Promise: the same of an answer whole and streamed; a filter holds back no more than the beginning of what it looks for.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from penstock.kernel.chat import ChatEvent, ChatReply, Message, Part, Reasoning, Text


class StopAt:
    """An `AnswerFilter` that ends each choice where the first of some texts begins; the rest of it is not passed on."""

    __slots__ = ("_ended", "_held", "_most", "_stops", "_told")

    def __init__(self, stops: Sequence[str]) -> None:
        """Stop at any of `stops`, none of them empty."""
        self._stops = tuple(stops)
        self._most = max(map(len, stops)) - 1
        self._held: dict[int, str] = {}
        self._ended: set[int] = set()
        self._told: set[int] = set()
        """Those of the ended whose end was passed on."""

    def has_ended(self, choices: int) -> bool:
        """Tell whether stops have ended so many choices: whatever else their vendor says of them is not passed on."""
        return len(self._ended) >= choices

    def event(self, event: ChatEvent) -> list[ChatEvent]:
        """Return what of `event` is before a stop, with what was held of the choice before."""
        index = event.index
        if index in self._ended:
            finish = self._finish(event)
            return _some(ChatEvent(index=index, finish=finish, usage=event.usage, extras=event.extras))
        text = self._held.pop(index, "") + event.text
        at = self._found(text)
        if at >= 0:
            self._ended.add(index)
            finish = self._finish(event)
            return _some(msgspec.structs.replace(event, text=text[:at], tool_calls=(), finish=finish))
        if _goes_on(event):
            keep = self._begun(text)
            if keep:
                self._held[index] = text[-keep:]
                text = text[:-keep]
        return _some(msgspec.structs.replace(event, text=text))

    def end(self) -> list[ChatEvent]:
        """Return what was held back, and the ends that its vendor did not come to tell."""
        held, self._held = self._held, {}
        untold = sorted(self._ended - self._told)
        return [
            *(ChatEvent(index=index, text=text) for index, text in held.items()),
            *(ChatEvent(index=index, finish="stop") for index in untold),
        ]

    def _finish(self, event: ChatEvent) -> str:
        """Return why a choice that a stop has ended ends, when its vendor says that it does."""
        if not event.finish:
            return ""
        self._told.add(event.index)
        return "stop"

    def reply(self, reply: ChatReply) -> ChatReply:
        """Return a whole answer, cut."""
        choices, finishes = list(reply.choices), list(reply.finishes)
        for place, message in enumerate(reply.choices):
            cut = self._cut(message)
            if cut is not message:
                choices[place], finishes[place] = cut, "stop"
        return msgspec.structs.replace(reply, choices=tuple(choices), finishes=tuple(finishes))

    def _cut(self, message: Message) -> Message:
        text = "".join([part.text for part in message.content if isinstance(part, Text)])
        left = self._found(text)
        if left < 0:
            return message
        parts: list[Part] = []
        for part in message.content:
            if not isinstance(part, Text):
                parts.append(part)
            elif left > 0:
                parts.append(msgspec.structs.replace(part, text=part.text[:left]))
                left -= len(part.text)
        return msgspec.structs.replace(message, content=tuple(parts), tool_calls=())

    def _found(self, text: str) -> int:
        """Return where the first stop begins, -1 where none does."""
        return min([at for stop in self._stops if (at := text.find(stop)) >= 0], default=-1)

    def _begun(self, text: str) -> int:
        """Return how much of the end of a text may be the beginning of a stop."""
        for size in range(min(self._most, len(text)), 0, -1):
            tail = text[-size:]
            if any(stop.startswith(tail) for stop in self._stops):
                return size
        return 0


class Thoughtless:
    """An `AnswerFilter` that keeps what the model thought to itself."""

    __slots__ = ()

    def event(self, event: ChatEvent) -> list[ChatEvent]:
        """Return `event` without thoughts."""
        if not (event.reasoning or event.signature or event.redacted):
            return [event]
        return _some(msgspec.structs.replace(event, reasoning="", signature="", redacted=""))

    def end(self) -> list[ChatEvent]:
        """Return nothing: nothing is held back."""
        return []

    def reply(self, reply: ChatReply) -> ChatReply:
        """Return a whole answer without thoughts."""
        choices = [
            msgspec.structs.replace(
                message, content=tuple([part for part in message.content if not isinstance(part, Reasoning)])
            )
            for message in reply.choices
        ]
        return msgspec.structs.replace(reply, choices=tuple(choices))


def _goes_on(event: ChatEvent) -> bool:
    """Tell whether more text of the same choice may follow at once: nothing else comes, and it has not ended."""
    return not (event.finish or event.tool_calls or event.reasoning or event.refusal)


def _some(event: ChatEvent) -> list[ChatEvent]:
    """Return an event that says something, or nothing."""
    return [] if event == ChatEvent(index=event.index) else [event]
