"""Streamed replies of the Anthropic wire, read: SSE events to `kernel.chat.ChatEvent`.

How they meet
- The canonical stream has no blocks: a block begins where the kind of what is said changes. Where that would lose a
  border (a text right behind a text), and for every block and delta without a canonical field (tools the vendor runs,
  citations …), an event carries it raw in its extras ``content_block`` and ``content_block_delta``; an event of unknown
  type is ``event``.
- The first event's extras are unknown members of the message, the finishing one's those of its delta, another's those
  of its own; figures that `Usage` has no place for are ``usage.<name>``.
- Finish and usage are one event here (``message_delta``), written when the answer is done: a broken answer never claims
  an end. What other vendors say around an answer (``chunk.*``, ``choice.*``) has no place and is not written.

Promise: feeding a `MessageParser` what a `MessageRenderer` wrote gives the same answer, and the other way round.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec
from msgspec import Raw

from penstock.dialects.anthropic_blocks import REMEDIES
from penstock.dialects.anthropic_errors import read_error
from penstock.dialects.anthropic_facts import message_data
from penstock.dialects.anthropic_replies import given, take_finish, take_usage
from penstock.dialects.members import Members
from penstock.dialects.nonsense import UNREADABLE, no_event
from penstock.dialects.strict_json import decode_object
from penstock.kernel.chat import ChatEvent, Extras, ToolCallDelta
from penstock.kernel.errors import Invalid, Upstream
from penstock.kernel.money import Usage

_encode: Final = msgspec.json.Encoder().encode


class _Words(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    type: Literal["text_delta", "thinking_delta", "input_json_delta", "signature_delta"]
    text: str = ""
    thinking: str = ""
    partial_json: str = ""
    signature: str = ""


class _Said(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """Nearly every event of a stream: words, and no member that we do not know."""

    type: Literal["content_block_delta"]
    index: int
    delta: _Words


_SAID: Final = msgspec.json.Decoder(_Said)


class MessageParser:
    """Reads one stream, event by event. `id` and `model` are known after the first."""

    __slots__ = ("_arguments", "_calls", "_kind", "_opening", "_unsaid", "done", "id", "model")

    def __init__(self) -> None:
        """Start before the first event."""
        self.id = ""
        self.model = ""
        self.done = False
        """The end mark was seen."""
        self._kind = ""  # of the block under way; the one before it until the next begins
        self._calls = 0
        self._arguments = False  # the call under way has some
        self._opening: Extras = {}
        self._unsaid: Raw | None = None  # the block under way, while nothing of it has been told

    def feed(self, block: bytes) -> list[ChatEvent]:
        """Take one SSE event and return what it says, nothing for a keep-alive or a border.

        Raises `Upstream`: with the vendor's kind of failure for an error event, with ``malformed_reply`` for nonsense.
        """
        data = message_data(block)
        if not data:
            return []
        try:
            said = _SAID.decode(data)
        except UNREADABLE:
            pass
        else:
            if self._kind in _KINDS:
                return self._words(said.delta)
        try:
            return self._event(Members(decode_object(data), "", REMEDIES), data)
        except Invalid as error:
            raise no_event(error) from None

    def _words(self, words: _Words) -> list[ChatEvent]:
        self._unsaid = None
        if words.text:
            return [ChatEvent(text=words.text)]
        if words.thinking:
            return [ChatEvent(reasoning=words.thinking)]
        if words.partial_json:
            self._arguments = True
            return [ChatEvent(tool_calls=(ToolCallDelta(self._calls - 1, arguments=words.partial_json),))]
        if words.signature:
            self._kind = "thinking, signed"
            return [ChatEvent(signature=words.signature)]
        return []

    def _event(self, members: Members, data: bytes) -> list[ChatEvent]:
        match members.need_text("type"):
            case "message_start":
                return self._message_start(members)
            case "content_block_start":
                return self._block_start(members)
            case "content_block_delta":
                return self._block_delta(members)
            case "content_block_stop":
                return self._block_stop()
            case "message_delta":
                return self._message_delta(members)
            case "message_stop":
                self.done = True
                return []
            case "ping":
                return []
            case "error":
                said = read_error(200, data)
                raise Upstream(f"The provider gave up mid-stream: {said.message}", code=said.kind)
            case _:
                return [ChatEvent(extras={"event": Raw(data)})]

    def _message_start(self, members: Members) -> list[ChatEvent]:
        message = members.take_object("message")
        if message is None:
            raise members.missing("message")
        self.id, self.model = message.take_text("id"), message.take_text("model")
        for name in ("type", "content", "stop_reason", "stop_sequence"):
            message.take_raw(name)
        usage = message.take_raw("usage")
        if usage is not None:
            self._opening = Members.of(usage, "message.usage", REMEDIES).rest()
        return [ChatEvent(role=message.take_text("role", "assistant"), extras=given(message.rest()))]

    def _block_start(self, members: Members) -> list[ChatEvent]:
        raw = members.take_raw("content_block")
        if raw is None:
            raise members.missing("content_block")
        block = Members.of(raw, "content_block", REMEDIES)
        before, self._kind = self._kind, block.need_text("type")
        unknown = [ChatEvent(extras={"content_block": Raw(bytes(raw))})]
        match self._kind:
            case "text" | "thinking":
                words = block.take_text("text"), block.take_text("thinking")
                block.take_text("signature")
                cited = block.take_list("citations")
                if cited or block.rest() or before == self._kind:
                    return unknown
                self._unsaid = None if any(words) else raw
                return [ChatEvent(text=words[0], reasoning=words[1])] if any(words) else []
            case "redacted_thinking":
                hidden = block.need_text("data")
                return unknown if block.rest() else [ChatEvent(redacted=hidden)]
            case "tool_use":
                return [self._call_start(block)]
            case _:
                return unknown

    def _call_start(self, block: Members) -> ChatEvent:
        call_id, name, filled = block.need_text("id"), block.need_text("name"), block.take_raw("input")
        arguments = "" if filled is None or bytes(filled) == b"{}" else bytes(filled).decode()
        self._calls += 1
        self._arguments = bool(arguments)
        call = ToolCallDelta(self._calls - 1, call_id, name, arguments, given(block.rest()))
        return ChatEvent(tool_calls=(call,))

    def _block_delta(self, members: Members) -> list[ChatEvent]:
        """Take a delta that the usual shape did not fit: one of a block, or with members, that we do not know."""
        raw = members.take_raw("delta")
        if raw is None:
            raise members.missing("delta")
        delta = Members.of(raw, "delta", REMEDIES)
        kind = delta.need_text("type")
        if self._kind not in _KINDS or kind not in _DELTAS:
            begun, self._unsaid = self._unsaid, None
            start = [] if begun is None else [ChatEvent(extras={"content_block": begun})]
            return [*start, ChatEvent(extras={"content_block_delta": Raw(bytes(raw))})]
        said = {name: delta.take_text(name) for name in _DELTAS[kind]}
        events = self._words(msgspec.convert({"type": kind, **said}, _Words))
        members.take_raw("index")
        extras = {**delta.rest(), **members.rest("event.")}
        if not extras:
            return events
        return [msgspec.structs.replace(events[0] if events else ChatEvent(), extras=extras)]

    def _block_stop(self) -> list[ChatEvent]:
        if self._kind != "tool_use" or self._arguments:
            return []
        # A call without arguments streams none; whoever joins fragments still wants an object.
        self._arguments = True
        return [ChatEvent(tool_calls=(ToolCallDelta(self._calls - 1, arguments="{}"),))]

    def _message_delta(self, members: Members) -> list[ChatEvent]:
        delta = members.take_object("delta") or Members({}, "delta", REMEDIES)
        finish = take_finish(delta)
        counted = members.take_raw("usage")
        extras = given(delta.rest())
        usage: Usage | None = None
        if counted is not None:
            figures = given(Members.of(counted, "usage", REMEDIES).rest())
            holder = Members({"usage": Raw(_encode({**self._opening, **figures}))}, "", REMEDIES)
            usage = take_usage(holder)
            extras |= holder.rest()
        events = [ChatEvent(finish=finish, extras=extras)] if finish or extras else []
        if usage is not None:
            events.append(ChatEvent(usage=usage))
        return events


_DELTAS: Final = {
    "text_delta": ("text",),
    "thinking_delta": ("thinking",),
    "input_json_delta": ("partial_json",),
    "signature_delta": ("signature",),
}
_KINDS: Final = frozenset({"text", "thinking", "thinking, signed", "tool_use"})
