"""Streamed replies of the Responses wire, read: SSE events to `kernel.chat.ChatEvent`, and what accounting must know.

The end mark carries data: ``response.completed`` or ``response.incomplete`` hold the whole object. So a codec of this
wire has no `end` of its own, and `StreamFacts` tells of that event as a delta with `done` set.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Raw

from penstock.dialects.codec import DELTA, ERROR, MALFORMED, OTHER, ReplyFacts
from penstock.dialects.members import raw
from penstock.dialects.nonsense import UNREADABLE, no_event, no_reply
from penstock.dialects.openai_errors import read_vendor_error
from penstock.dialects.openai_facts import event_data
from penstock.dialects.responses_parts import chat_annotation, chat_logprobs
from penstock.dialects.responses_replies import Incomplete, WireUsage, canonical_finish, failed
from penstock.dialects.tally import Tally, told
from penstock.kernel.chat import ChatEvent, Extras, ToolCallDelta
from penstock.kernel.errors import Upstream

_NOTHING: Final = Raw()
_CUSTOM: Final = Raw(b'"custom"')
_CALLS: Final = frozenset({"function_call", "custom_tool_call"})
_ENDS: Final = frozenset({"response.completed", "response.incomplete"})


class _Item(msgspec.Struct, gc=False):
    type: str = ""
    call_id: str = ""
    name: str = ""
    arguments: str | None = None
    input: str | None = None
    summary: list[Raw] | None = None
    encrypted_content: str | None = None

    def said(self) -> str:
        return self.arguments or self.input or ""


class _Response(msgspec.Struct, gc=False):
    id: str | None = None
    model: str | None = None
    created_at: float | None = None
    status: str | None = None
    usage: WireUsage | None = None
    incomplete_details: Incomplete | None = None
    error: Raw = _NOTHING
    output: list[_Item] | None = None

    def finish(self) -> str:
        """Return why it ended."""
        called = any(item.type in _CALLS for item in self.output or ())
        details = self.incomplete_details
        return canonical_finish(
            self.status or "", "" if details is None else details.reason or "", called=called
        )


class _Event(msgspec.Struct, gc=False):
    type: str = ""
    delta: str | None = None
    output_index: int = 0
    summary_index: int = 0
    logprobs: Raw = _NOTHING
    annotation: Raw = _NOTHING
    item: _Item | None = None
    response: _Response | None = None


# Not strict: a vendor that writes 12.0 or "12" for a count still gets paid exactly.
_EVENT: Final = msgspec.json.Decoder(_Event, strict=False)
_REPLY: Final = msgspec.json.Decoder(_Response, strict=False)
_WORDS: Final = frozenset(
    {
        "response.output_text.delta",
        "response.refusal.delta",
        "response.reasoning_summary_text.delta",
        "response.reasoning_text.delta",
        "response.function_call_arguments.delta",
        "response.custom_tool_call_input.delta",
    }
)


class StreamParser:
    """Reads one stream, event by event. `id`, `model` and `created_s` are known after the first event."""

    __slots__ = ("_calls", "_spoken", "created_s", "done", "id", "model")

    def __init__(self) -> None:
        """Start before the first event."""
        self.id = ""
        self.model = ""
        self.created_s = 0
        self.done = False
        """The answer is whole."""
        self._calls: dict[int, int] = {}
        """Position among the items → number of the call."""
        self._spoken: set[int] = set()
        """Items of whose words or arguments some came as deltas."""

    def feed(self, block: bytes) -> list[ChatEvent]:
        """Take one SSE event and return what it says. Raises `Upstream` for an error event and for nonsense."""
        data = event_data(block)
        if not data or data == b"[DONE]":
            return []
        try:
            event = _EVENT.decode(data)
        except UNREADABLE as error:
            raise no_event(error) from None
        if event.delta is not None:
            return self._delta(event, event.delta)
        match event.type:
            case "response.created":
                return self._created(event.response)
            case "response.output_item.added":
                return self._added(event)
            case "response.output_item.done":
                return self._item_done(event)
            case "response.reasoning_summary_part.added":
                return [ChatEvent(reasoning="\n\n")] if event.summary_index else []
            case "response.output_text.annotation.added":
                return [ChatEvent(extras={"annotations": raw([chat_annotation(event.annotation)])})]
            case _:
                return self._end(event, data)

    def _delta(self, event: _Event, words: str) -> list[ChatEvent]:
        self._spoken.add(event.output_index)
        match event.type:
            case "response.output_text.delta":
                return [ChatEvent(text=words, extras=_odds(event.logprobs))]
            case "response.refusal.delta":
                return [ChatEvent(refusal=words)]
            case "response.reasoning_summary_text.delta" | "response.reasoning_text.delta":
                return [ChatEvent(reasoning=words)]
            case "response.function_call_arguments.delta" | "response.custom_tool_call_input.delta":
                number = self._calls.setdefault(event.output_index, len(self._calls))
                return [ChatEvent(tool_calls=(ToolCallDelta(number, arguments=words),))]
            case _:
                return []

    def _created(self, response: _Response | None) -> list[ChatEvent]:
        if response is not None:
            self.id, self.model = response.id or "", response.model or ""
            self.created_s = int(response.created_at or 0)
        return [ChatEvent(role="assistant")]

    def _added(self, event: _Event) -> list[ChatEvent]:
        item = event.item
        if item is None or item.type not in _CALLS:
            return []
        number = self._calls.setdefault(event.output_index, len(self._calls))
        extras: Extras = {"type": _CUSTOM} if item.type == "custom_tool_call" else {}
        if item.said():
            self._spoken.add(event.output_index)
        return [ChatEvent(tool_calls=(ToolCallDelta(number, item.call_id, item.name, item.said(), extras),))]

    def _item_done(self, event: _Event) -> list[ChatEvent]:
        item = event.item
        if item is None:
            return []
        if item.type == "reasoning" and item.encrypted_content:
            if item.summary or event.output_index in self._spoken:
                return [ChatEvent(signature=item.encrypted_content)]
            return [ChatEvent(redacted=item.encrypted_content)]
        if item.type in _CALLS and event.output_index not in self._spoken and item.said():
            number = self._calls.setdefault(event.output_index, len(self._calls))
            return [ChatEvent(tool_calls=(ToolCallDelta(number, arguments=item.said()),))]
        return []

    def _end(self, event: _Event, data: bytes) -> list[ChatEvent]:
        response = event.response
        if event.type in ("error", "response.failed"):
            if response is not None and bytes(response.error):
                raise failed(response.error)
            said = read_vendor_error(200, data)
            raise Upstream(f"The provider gave up mid-stream: {said.message}", code=said.kind)
        if event.type not in _ENDS or response is None:
            return []
        self.done = True
        events = [ChatEvent(finish=response.finish())]
        if response.usage is not None:
            events.append(ChatEvent(usage=response.usage.usage()))
        return events


def _odds(logprobs: Raw) -> Extras:
    return (
        {}
        if not logprobs or bytes(logprobs) in (b"[]", b"null")
        else {"choice.logprobs": chat_logprobs(logprobs)}
    )


# ------------------------------------------------------------------------------------------------ accounting


def read_facts(body: bytes) -> ReplyFacts:
    """Read a whole reply. Raises `Upstream` (``malformed_reply``) when it is not one."""
    try:
        reply = _REPLY.decode(body)
    except UNREADABLE as error:
        raise no_reply("a response", error) from None
    return ReplyFacts(
        usage=None if reply.usage is None else reply.usage.usage(),
        finish=reply.finish() if reply.status else "",
        id=reply.id or "",
        model=reply.model or "",
        tool_calls=sum(item.type in _CALLS for item in reply.output or ()),
        choices=0 if reply.output is None else 1,
        error=told(reply.error),
    )


class StreamFacts(Tally):
    """What a stream means to accounting, kept up to date event by event."""

    __slots__ = ()

    def feed(self, block: bytes) -> int:
        """Take one SSE event and return its kind; the end is a delta that leaves `done` set."""
        data = event_data(block)
        if not data or data == b"[DONE]":
            return OTHER
        try:
            event = _EVENT.decode(data)
        except UNREADABLE:
            self.malformed += 1
            return MALFORMED
        if event.delta is not None and event.type in _WORDS:
            self.hear(event.delta)
            return DELTA
        if event.response is not None:
            return self._response(event, event.response)
        if event.type == "error":
            self.error = data
            return ERROR
        if (
            event.type == "response.output_item.added"
            and event.item is not None
            and event.item.type in _CALLS
        ):
            self.tool_calls += 1
            self.text_bytes += len(event.item.name.encode())
        return DELTA if event.type else OTHER

    def _response(self, event: _Event, response: _Response) -> int:
        self.id = self.id or response.id or "-"
        self.model = self.model or response.model or ""
        if response.usage is not None:
            self.count(response.usage.usage())
        if event.type == "response.failed":
            self.error = told(response.error) or b"{}"
            return ERROR
        if event.type not in _ENDS:
            return OTHER
        self.done = True
        self.finish = response.finish()
        return DELTA
