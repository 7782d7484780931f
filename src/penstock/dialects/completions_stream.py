"""Streamed replies of the legacy completions wire, both ways: SSE events and `kernel.chat.ChatEvent`.

Promises: feeding a `StreamParser` what a `StreamRenderer` wrote gives the same words, finishes and usage; what chat can
say and this wire cannot stands in the choice under chat's names, as in a whole reply.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Raw

from penstock.dialects.codec import DELTA, DONE, ERROR, MALFORMED, OTHER, USAGE, StreamHead
from penstock.dialects.completions_replies import chat_logprobs, legacy_finish, legacy_logprobs
from penstock.dialects.members import Members
from penstock.dialects.openai_errors import read_vendor_error
from penstock.dialects.openai_facts import WireUsage, event_data
from penstock.dialects.openai_messages import REMEDIES
from penstock.dialects.openai_replies import canonical_finish, parse_usage, render_usage
from penstock.dialects.openai_stream import DONE_EVENT
from penstock.dialects.strict_json import decode_object
from penstock.dialects.tally import Tally
from penstock.kernel.chat import ChatEvent, Extras
from penstock.kernel.errors import Invalid, Upstream

_WHOLE: Final = msgspec.json.Decoder(int)
_NOTHING: Final = Raw()
_LOGPROBS: Final = "choice.logprobs"


class StreamParser:
    """Reads one stream, event by event. `id`, `model` and `created_s` are known after the first chunk."""

    __slots__ = ("created_s", "done", "id", "model")

    def __init__(self) -> None:
        """Start before the first event."""
        self.id = ""
        self.model = ""
        self.created_s = 0
        self.done = False
        """The end mark was seen."""

    def feed(self, block: bytes) -> list[ChatEvent]:
        """Take one SSE event and return what it says. Raises `Upstream` for an error event and for nonsense."""
        data = event_data(block)
        if not data:
            return []
        if data == b"[DONE]":
            self.done = True
            return []
        try:
            return self._chunk(Members(decode_object(data), "", REMEDIES), data)
        except (Invalid, msgspec.ValidationError) as error:
            raise Upstream(
                f"An event of the provider's stream is malformed: {error}", code="malformed_reply"
            ) from None

    def _chunk(self, members: Members, data: bytes) -> list[ChatEvent]:
        if members.take_raw("error") is not None:
            said = read_vendor_error(200, data)
            raise Upstream(f"The provider gave up mid-stream: {said.message}", code=said.kind)
        self.id = members.take_text("id") or self.id
        self.model = members.take_text("model") or self.model
        self.created_s = members.take("created", _WHOLE, 0) or self.created_s
        members.take_text("object")
        usage = parse_usage(members)
        items = members.take_list("choices") or []
        around = members.rest("chunk.")
        events = [
            _event(Members.of(item, f"choices[{at}]", REMEDIES), around) for at, item in enumerate(items)
        ]
        if usage is not None:
            events.append(ChatEvent(usage=usage, extras={} if items else around))
        return events


def _event(choice: Members, around: Extras) -> ChatEvent:
    odds = choice.take_raw("logprobs")
    extras: Extras = {} if odds is None else {_LOGPROBS: chat_logprobs(odds)}
    return ChatEvent(
        index=choice.take("index", _WHOLE, 0),
        text=choice.take_text("text"),
        reasoning=choice.take_text("reasoning_content"),
        refusal=choice.take_text("refusal"),
        finish=canonical_finish(choice.take_text("finish_reason")),
        extras={**extras, **choice.rest("choice."), **around},
    )


class StreamRenderer:
    """Writes one stream."""

    __slots__ = ("_head", "_include_usage", "_offsets")

    def __init__(self, head: StreamHead) -> None:
        """Fix what every chunk repeats."""
        self._head = {
            "id": head.id,
            "object": "text_completion",
            "created": head.created_s,
            "model": head.model,
        }
        self._include_usage = head.include_usage
        self._offsets: dict[int, int] = {}
        """By choice: how many characters were written."""

    def event(self, event: ChatEvent) -> bytes:
        """Return the SSE events that say `event`: nothing for a role alone."""
        around: dict[str, Any] = {}
        own: dict[str, Any] = {}
        for name, value in event.extras.items():
            start, _, rest = name.partition(".")
            if start == "chunk":
                around[rest] = value
            elif name != _LOGPROBS:
                own[rest if start == "choice" else name] = value
        own |= {name: words for name, words in self._aside(event) if words}
        out = b""
        if event.text or event.finish or own or (event.extras and event.usage is None):
            out = self._chunk([self._choice(event, own)], around)
        if event.usage is not None and self._include_usage:
            out += self._chunk([], {**around, "usage": render_usage(event.usage)})
        return out

    def done(self) -> bytes:
        """Return the end mark."""
        return DONE_EVENT

    def _aside(self, event: ChatEvent) -> tuple[tuple[str, object], ...]:
        calls = [{"name": call.name, "arguments": call.arguments} for call in event.tool_calls]
        return ("reasoning_content", event.reasoning), ("refusal", event.refusal), ("tool_calls", calls)

    def _choice(self, event: ChatEvent, own: dict[str, Any]) -> dict[str, Any]:
        start = self._offsets.get(event.index, 0)
        self._offsets[event.index] = start + len(event.text)
        odds = event.extras.get(_LOGPROBS)
        return {
            "text": event.text,
            "index": event.index,
            "logprobs": None if odds is None else legacy_logprobs(odds, start),
            "finish_reason": legacy_finish(event.finish),
            **own,
        }

    def _chunk(self, choices: list[dict[str, Any]], others: dict[str, Any]) -> bytes:
        return b"data: %b\n\n" % msgspec.json.encode({**self._head, "choices": choices, **others})


# ------------------------------------------------------------------------------------------------ accounting


class _Choice(msgspec.Struct, gc=False):
    text: str | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct, gc=False):
    id: str | None = None
    model: str | None = None
    choices: list[_Choice] | None = None
    usage: WireUsage | None = None
    error: Raw = _NOTHING


# Not strict: a vendor that writes 12.0 or "12" for a count still gets paid exactly.
_CHUNK: Final = msgspec.json.Decoder(_Chunk, strict=False)


class StreamFacts(Tally):
    """What a stream means to accounting, kept up to date event by event."""

    __slots__ = ()

    def feed(self, block: bytes) -> int:
        """Take one SSE event and return its kind."""
        data = event_data(block)
        if not data:
            return OTHER
        if data == b"[DONE]":
            self.done = True
            return DONE
        try:
            chunk = _CHUNK.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self.malformed += 1
            return MALFORMED
        self.id = self.id or chunk.id or "-"
        self.model = self.model or chunk.model or ""
        if chunk.usage is not None:
            self.count(chunk.usage.usage())
        if bytes(chunk.error) not in (b"", b"null"):
            self.error = bytes(chunk.error)
            return ERROR
        if not chunk.choices:
            return OTHER if chunk.usage is None else USAGE
        for choice in chunk.choices:
            self.hear(choice.text or "")
            self.finish = choice.finish_reason or self.finish
        return DELTA
