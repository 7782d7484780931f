"""The events of one streamed answer, joined to the whole answer they say.

Promise: `joined` gives what the same vendor would have said whole, or None: an answer that did not end, or that says
something which cannot be joined without guessing (log probabilities by the piece, blocks of a vendor's own).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from penstock.kernel.chat import (
    ChatEvent,
    ChatReply,
    Extras,
    Message,
    Part,
    Reasoning,
    Text,
    ToolCall,
    ToolCallDelta,
)
from penstock.kernel.money import Usage

AROUND: Final = "chunk."
PADDING: Final = "chunk.obfuscation"
"""OpenAI pads its chunks with it, so that their sizes tell nothing; it says nothing."""


def joined(events: Iterable[ChatEvent], *, id: str, model: str, created_s: int) -> ChatReply | None:
    """Return the whole answer; `id`, `model` and `created_s` (seconds since 1970) become its own."""
    choices: dict[int, _Choice] = {}
    usage: Usage | None = None
    around: Extras = {}
    for event in events:
        if event.usage is not None:
            usage = event.usage
        extras: Extras = {}
        for name, value in event.extras.items():
            if name.startswith(AROUND):
                if name != PADDING:
                    around.setdefault(name.removeprefix(AROUND), value)
            else:
                extras[name] = value
        if event.usage is None or extras or event.finish or event.text:
            choice = choices.setdefault(event.index, _Choice())
            if not choice.take(event, extras):
                return None
    whole = [choices[index] for index in sorted(choices)]
    if not whole or sorted(choices) != list(range(len(whole))) or not all(each.finish for each in whole):
        return None
    return ChatReply(
        id=id,
        model=model,
        created_s=created_s,
        choices=tuple([each.message() for each in whole]),
        finishes=tuple([each.finish for each in whole]),
        usage=usage,
        extras=around,
    )


class _Call:
    """One tool call as far as it has come."""

    __slots__ = ("arguments", "extras", "id", "name")

    def __init__(self) -> None:
        self.id = self.name = ""
        self.arguments: list[str] = []
        self.extras: Extras = {}

    def take(self, delta: ToolCallDelta) -> None:
        self.id = self.id or delta.id
        self.name = self.name or delta.name
        self.arguments.append(delta.arguments)
        self.extras = {**self.extras, **delta.extras}


class _Choice:
    """One choice as far as it has come. `_runs` are its parts: what kind each is of, and its pieces."""

    __slots__ = ("_calls", "_extras", "_refusal", "_runs", "finish")

    def __init__(self) -> None:
        self._runs: list[tuple[str, list[str]]] = []
        self._calls: dict[int, _Call] = {}
        self._refusal: list[str] = []
        self._extras: Extras = {}
        self.finish = ""

    def take(self, event: ChatEvent, extras: Extras) -> bool:
        """Take one event in; False when it cannot be joined."""
        for name, value in extras.items():
            if self._extras.setdefault(name, value) != value:
                return False
        if event.reasoning:
            self._add("reasoning", event.reasoning)
        if event.signature:
            self._runs.append(("signature", [event.signature]))
        if event.redacted:
            self._runs.append(("redacted", [event.redacted]))
        if event.text:
            self._add("text", event.text)
        self._refusal.append(event.refusal)
        for delta in event.tool_calls:
            self._calls.setdefault(delta.index, _Call()).take(delta)
        self.finish = event.finish or self.finish
        return True

    def message(self) -> Message:
        """Return what was said."""
        calls = [self._calls[index] for index in sorted(self._calls)]
        return Message(
            role="assistant",
            content=tuple(self._parts()),
            tool_calls=tuple([ToolCall(c.id, c.name, "".join(c.arguments), c.extras) for c in calls]),
            refusal="".join(self._refusal),
            extras=self._extras,
        )

    def _add(self, kind: str, piece: str) -> None:
        if self._runs and self._runs[-1][0] == kind:
            self._runs[-1][1].append(piece)
        else:
            self._runs.append((kind, [piece]))

    def _parts(self) -> list[Part]:
        parts: list[Part] = []
        for kind, pieces in self._runs:
            words = "".join(pieces)
            last = parts[-1] if parts else None
            if kind == "text":
                parts.append(Text(words))
            elif kind == "reasoning":
                parts.append(Reasoning(words))
            elif kind == "redacted":
                parts.append(Reasoning("", redacted=words))
            elif isinstance(last, Reasoning) and not last.signature and not last.redacted:
                parts[-1] = Reasoning(last.text, words)
            else:
                parts.append(Reasoning("", words))
        return parts
