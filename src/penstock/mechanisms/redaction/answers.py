"""Reads an answer on its way back: personal data that the model wrote is dealt with, then what was taken out of the
request is put back.

    events ──▶ screen (if the policy looks at answers) ──▶ restorer (if anything was replaced) ──▶ events

Promises: a streamed answer and a whole one come out the same; events keep their order, and whatever was held back of
one run of text is said before another run, a tool call or the finish begins; what the caller's own request held comes
back unmasked (it is put back after the look). Arguments of tool calls stay valid JSON: values are escaped, and where
answers are looked at a call's arguments are read whole, up to `ARGUMENTS_MAX_CHARS`; longer ones pass unread and are
counted. Reasoning is left as it is, stand-ins and all: a vendor has signed it and wants it back unchanged.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final, Protocol

import msgspec

from penstock.kernel.chat import ChatEvent, ChatReply, Message, Text, ToolCall, ToolCallDelta
from penstock.kernel.errors import PolicyRefused
from penstock.mechanisms.redaction.policy import Action, RedactionPolicy, Tally
from penstock.mechanisms.redaction.scanner import Scanner
from penstock.mechanisms.redaction.screen import Screen
from penstock.mechanisms.redaction.texts import in_json
from penstock.mechanisms.redaction.vault import Vault

ARGUMENTS_MAX_CHARS: Final = 262_144

_TEXT: Final = "text"
_REFUSAL: Final = "refusal"


class _Run(Protocol):
    """One run of text under way."""

    def feed(self, text: str) -> str: ...

    def end(self) -> str: ...


@dataclass(slots=True)
class _Said:
    """What an event will say."""

    text: str = ""
    refusal: str = ""
    calls: list[ToolCallDelta] = field(default_factory=list[ToolCallDelta])

    def event(self, index: int) -> tuple[ChatEvent, ...]:
        """Return it as an event of its own, none if there is nothing."""
        if not (self.text or self.refusal or self.calls):
            return ()
        return (ChatEvent(index=index, text=self.text, refusal=self.refusal, tool_calls=tuple(self.calls)),)


class AnswerReader:
    """Reads one answer. Make one only if `needed`; without either step events need not pass here at all."""

    def __init__(self, scanner: Scanner, policy: RedactionPolicy, vault: Vault | None, tally: Tally) -> None:
        """`vault` is that of the request, None if nothing was replaced."""
        self._scanner = scanner
        self._actions = policy.answers
        self._looks = bool(policy.wanted_in_answers)
        self._vault = vault or Vault()
        self._tally = tally
        self._open: dict[int, tuple[str | int, _Run]] = {}
        self.found: Counter[str] = Counter()
        """What the model wrote by itself, by entity."""
        self.unread = 0
        """Tool calls whose arguments were too long to be looked at."""

    @staticmethod
    def needed(policy: RedactionPolicy, vault: Vault | None) -> bool:
        """Whether answers under `policy` have anything to be looked for or put back."""
        return vault is not None or bool(policy.wanted_in_answers)

    def feed(self, event: ChatEvent) -> tuple[ChatEvent, ...]:
        """Return what can be said now that `event` has come. Raises PolicyRefused if the policy ends the answer."""
        index = event.index
        before, now = _Said(), _Said()
        held = self._open.get(index)
        if held is not None and _begins_with(event) not in {None, held[0]}:
            self._close(index, before)
        if event.text:
            now.text += self._run_of(index, _TEXT, now).feed(event.text)
        if event.refusal:
            now.refusal += self._run_of(index, _REFUSAL, now).feed(event.refusal)
        for call in event.tool_calls:
            arguments = self._run_of(index, call.index, now).feed(call.arguments)
            now.calls.append(msgspec.structs.replace(call, arguments=arguments))
        if event.finish:
            self._close(index, now)
        said = msgspec.structs.replace(event, text=now.text, refusal=now.refusal, tool_calls=tuple(now.calls))
        return (*before.event(index), said)

    def end(self) -> tuple[ChatEvent, ...]:
        """Return what is held back of an answer that was cut off before its finish."""
        events: list[ChatEvent] = []
        for index in sorted(self._open):
            rest = _Said()
            self._close(index, rest)
            events.extend(rest.event(index))
        return tuple(events)

    def whole(self, reply: ChatReply) -> ChatReply:
        """Return a whole answer read."""
        return msgspec.structs.replace(reply, choices=tuple(map(self._message, reply.choices)))

    def _message(self, message: Message) -> Message:
        content = tuple(
            msgspec.structs.replace(part, text=self._all(_TEXT, part.text))
            if isinstance(part, Text)
            else part
            for part in message.content
        )
        calls = tuple(self._call(place, call) for place, call in enumerate(message.tool_calls))
        refusal = self._all(_REFUSAL, message.refusal)
        return msgspec.structs.replace(message, content=content, tool_calls=calls, refusal=refusal)

    def _call(self, place: int, call: ToolCall) -> ToolCall:
        return msgspec.structs.replace(call, arguments=self._all(place, call.arguments))

    def _all(self, channel: str | int, text: str) -> str:
        run = self._run(channel)
        return run.feed(text) + run.end()

    def _run_of(self, index: int, channel: str | int, said: _Said) -> _Run:
        """Return the run of choice `index` that goes on with `channel`; one that was open ends into `said`."""
        held = self._open.get(index)
        if held is not None and held[0] == channel:
            return held[1]
        self._close(index, said)
        run = self._run(channel)
        self._open[index] = (channel, run)
        return run

    def _close(self, index: int, said: _Said) -> None:
        """End the open run of choice `index`: what it held back goes into `said`."""
        held = self._open.pop(index, None)
        if held is None:
            return
        channel, run = held
        rest = run.end()
        if isinstance(channel, int):
            said.calls.extend([ToolCallDelta(index=channel, arguments=rest)] if rest else [])
        elif channel == _TEXT:
            said.text += rest
        else:
            said.refusal += rest

    def _run(self, channel: str | int) -> _Run:
        is_json = isinstance(channel, int)
        restorer = self._vault.restorer(in_json=is_json)
        if not self._looks:
            return restorer
        return _Chain(_Arguments(self) if is_json else self.screen(), restorer)

    def screen(self) -> Screen:
        """Return a new look at one run of text."""
        return Screen(self._scanner, self._actions, self._seen)

    def _seen(self, entity: str) -> None:
        action = self._actions[entity]
        self.found[entity] += 1
        self._tally.found["answer", entity, action] += 1
        if action is Action.REFUSE:
            self._tally.refused += 1
            raise PolicyRefused(
                f"The answer holds what your organisation does not let through: {entity}.",
                code="personal_data_refused",
            )


class _Chain:
    """One run after another."""

    def __init__(self, first: _Run, second: _Run) -> None:
        self._first = first
        self._second = second

    def feed(self, text: str) -> str:
        return self._second.feed(self._first.feed(text))

    def end(self) -> str:
        return self._second.feed(self._first.end()) + self._second.end()


class _Arguments:
    """JSON arguments of one call, looked at when they are whole."""

    def __init__(self, reader: AnswerReader) -> None:
        self._reader = reader
        self._parts: list[str] | None = []
        self._chars = 0

    def feed(self, text: str) -> str:
        if self._parts is None:
            return text
        self._parts.append(text)
        self._chars += len(text)
        if self._chars <= ARGUMENTS_MAX_CHARS:
            return ""
        self._reader.unread += 1
        passed, self._parts = "".join(self._parts), None
        return passed

    def end(self) -> str:
        return in_json("".join(self._parts), self._looked) if self._parts else ""

    def _looked(self, text: str) -> str:
        screen = self._reader.screen()
        return screen.feed(text) + screen.end()


def _begins_with(event: ChatEvent) -> str | int | None:
    """Return the run of text that `event` goes on with first; None if it says nothing."""
    if event.reasoning or event.redacted or event.signature:
        return "reasoning"
    if event.text:
        return _TEXT
    if event.refusal:
        return _REFUSAL
    return event.tool_calls[0].index if event.tool_calls else None
