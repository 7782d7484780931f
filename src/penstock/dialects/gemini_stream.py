"""Streamed replies of the Gemini wire, both ways: SSE events and `kernel.chat.ChatEvent`.

How they meet
- Every event is a whole ``GenerateContentResponse`` with the next parts. Each part is a `ChatEvent` of its own; the
  last of a candidate carries its finish reason. Every event repeats the usage so far: it becomes one `ChatEvent` after
  a candidate's end.
- Gemini has no end mark: the last event carries finish reason and usage together. So the renderer holds a finish back
  until the usage comes, or the end.
- Gemini's calls are whole: fragments are joined and said when the next one begins or their choice ends.

Promises: feeding a `StreamParser` what a `StreamRenderer` wrote gives the same events. Joined calls take at most
`MAX_CALL_BYTES`. A text delta is read and written in a few µs.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Raw

from penstock.dialects.codec import StreamHead
from penstock.dialects.gemini_facts import REASONS, event_json
from penstock.dialects.gemini_foreign import Translation
from penstock.dialects.gemini_logprobs import render_logprobs
from penstock.dialects.gemini_parts import REDACTED, render_call, render_parts
from penstock.dialects.gemini_replies import (
    USAGE,
    Candidate,
    finish_of,
    given_up,
    is_blocked,
    malformed_calls,
    not_an_answer,
    parse_candidate,
    parse_created,
    parse_usage,
    render_created,
    usage_member,
)
from penstock.dialects.gemini_words import REMEDIES, camel_cased, is_object, made_id
from penstock.dialects.members import Members, raw
from penstock.dialects.nonsense import UNREADABLE
from penstock.dialects.strict_json import decode_object
from penstock.kernel.chat import ChatEvent, Extras, Other, Reasoning, Text, ToolCall, ToolCallDelta
from penstock.kernel.errors import Invalid, Upstream

MAX_CALL_BYTES: Final = 8 * 2**20
"""Most bytes of unfinished tool calls that one renderer joins."""
PART: Final = "part"
"""The extra of an event that is a part we do not interpret: its JSON."""


class _PlainPart(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    text: str
    thought: bool = False


class _PlainContent(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    parts: tuple[_PlainPart]
    role: str = ""


class _PlainCandidate(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    content: _PlainContent
    index: int = 0


class _Plain(msgspec.Struct, gc=False, forbid_unknown_fields=True, rename="camel"):
    """An event that is nothing but the next words of one candidate."""

    candidates: tuple[_PlainCandidate]
    usage_metadata: Raw = Raw()
    model_version: str = ""
    response_id: str = ""


_PLAIN: Final = msgspec.json.Decoder(_Plain)


class StreamParser:
    """Reads one stream, event by event. `id`, `model` and `created_s` are known after the first event."""

    __slots__ = ("_calls", "_ended", "created_s", "id", "model")

    def __init__(self) -> None:
        """Start before the first event."""
        self.id = ""
        self.model = ""
        self.created_s = 0
        self._calls: dict[int, int] = {}
        """Candidates that began → their calls so far."""
        self._ended = False

    def feed(self, block: bytes) -> list[ChatEvent]:
        """Take one SSE event and return what it says, nothing for a comment.

        Raises `Upstream`: with the vendor's kind of failure for an error, with ``malformed_reply`` for nonsense.
        """
        data = event_json(block)
        if not data:
            return []
        try:
            plain = _PLAIN.decode(data)
        except UNREADABLE:
            return self._whole(data)
        candidate = plain.candidates[0]
        part = candidate.content.parts[0]
        if candidate.index not in self._calls or self._ended or not part.text:
            return self._whole(data)
        if part.thought:
            return [ChatEvent(index=candidate.index, reasoning=part.text)]
        return [ChatEvent(index=candidate.index, text=part.text)]

    def _whole(self, data: bytes) -> list[ChatEvent]:
        try:
            members = Members(camel_cased(decode_object(data), ""), "", REMEDIES)
            failed = given_up(members, data)
            if failed is not None:
                raise failed
            return self._response(members)
        except Invalid as error:
            raise not_an_answer(error) from None

    def _response(self, members: Members) -> list[ChatEvent]:
        self.id = members.take_text("responseId") or self.id
        self.model = members.take_text("modelVersion") or self.model
        created_s, created = parse_created(members)
        self.created_s = created_s or self.created_s
        items = members.take_list("candidates") or []
        feedback = members.take_raw("promptFeedback")
        usage, uncounted = parse_usage(members)
        around = {f"chunk.{name}": value for name, value in {**members.rest(), **created}.items()}
        if feedback is not None:
            around["chunk.promptFeedback"] = feedback
        events: list[ChatEvent] = []
        for index, item in enumerate(items):
            events += self._candidate(parse_candidate(item, f"candidates[{index}]"), around)
        if not items and is_blocked(feedback):
            self._ended = True
            events.append(ChatEvent(role="assistant", finish="content_filter", extras=around))
        if usage is not None and self._ended:
            extras = {f"chunk.{name}": value for name, value in uncounted.items()}
            events.append(ChatEvent(usage=usage, extras=extras))
        return events

    def _candidate(self, candidate: Candidate, around: Extras) -> list[ChatEvent]:
        index = candidate.index
        fields = _part_fields(candidate.parts) or [{}]
        if index not in self._calls:
            fields[0]["role"] = "assistant"
        calls = self._calls.setdefault(index, 0)
        for told in fields:
            if "call" in told:
                told["tool_calls"] = (self._delta(told.pop("call"), calls),)
                calls += 1
        self._calls[index] = calls
        extras = {**candidate.extras, **around}
        if candidate.finish:
            self._ended = True
            fields[-1]["finish"], kept = finish_of(candidate.finish, calls=calls > 0)
            extras |= kept
        if extras:
            fields[-1]["extras"] = {**fields[-1].get("extras", {}), **extras}
        return [ChatEvent(index=index, **told) for told in fields if told]

    def _delta(self, call: ToolCall, position: int) -> ToolCallDelta:
        id = call.id or made_id(position, call.name, self.id)
        return ToolCallDelta(position, id, call.name, call.arguments, call.extras)


def _part_fields(parts: list[Any]) -> list[dict[str, Any]]:
    """Return what each part says in an event; a signature goes with the part it signs."""
    fields: list[dict[str, Any]] = []
    signature = ""
    for part in parts:
        told: dict[str, Any]
        if isinstance(part, Reasoning) and part.signature and not part.text:
            signature = part.signature
            continue
        match part:
            case Text(text):
                told = {"text": text} if text else {}
            case Reasoning(text, signed, redacted):
                told = {"reasoning": text, "signature": signed, "redacted": redacted}
            case ToolCall():
                told = {"call": part}
            case Other():
                told = {"extras": {PART: part.raw}}
            case _:
                told = {"extras": {PART: raw(render_parts((part,), "", Translation())[0])}}
        if signature:
            told["signature"] = signature
            signature = ""
        if told:
            fields.append(told)
    return [*fields, {"signature": signature}] if signature else fields


# ------------------------------------------------------------------------------------------------- rendering


class StreamRenderer:
    """Writes one stream as SSE. Usage is always told: Gemini's callers do not ask for it."""

    __slots__ = ("_around", "_call_bytes", "_calls", "_head", "_held", "_usage", "_wrong")

    def __init__(self, head: StreamHead) -> None:
        """Fix what every event repeats."""
        self._head: dict[str, Any] = {"modelVersion": head.model, "responseId": head.id}
        if head.created_s:
            self._head["createTime"] = render_created(head.created_s)
        self._calls: dict[tuple[int, int], ToolCallDelta] = {}
        """Calls that may still grow, by choice and index."""
        self._call_bytes = 0
        self._wrong: dict[int, list[ToolCall]] = {}
        """By choice: calls whose arguments are no object, told when it ends."""
        self._held: list[dict[str, Any]] | None = None
        """The candidates that ended, waiting for the usage; empty for a blocked prompt."""
        self._around: Extras = {}
        self._usage: dict[str, Any] | None = None

    def event(self, event: ChatEvent) -> bytes:
        """Return the SSE events that say `event`; maybe b"", when it is not whole yet. Raises `Upstream`."""
        index = event.index
        if event.text and not (event.extras or event.signature or event.finish or self._calls):
            content = {"role": "model", "parts": _parts_of(event)}
            return self._chunk([{"content": content, "index": index}])
        own, around, content = _sorted(event.extras)
        parts = _parts_of(event)
        if PART in content:
            parts.append(content.pop(PART))
        grows = any((index, call.index) in self._calls for call in event.tool_calls)
        ended = self._take_calls(index) if not grows and (parts or event.tool_calls or event.finish) else []
        out = self._chunk([_candidate(index, ended, {})]) if ended else b""
        for call in event.tool_calls:
            self._join(index, call)
        if event.usage is not None:
            self._usage = usage_member(event.usage, around.pop(USAGE, None))
        if event.finish:
            self._hold(
                _candidate(index, [*parts, *self._take_calls(index)], content, own), event.finish, around
            )
        elif parts or content or own or around:
            out += self._chunk([_candidate(index, parts, content, own)], around)
        return out + self.done() if event.usage is not None and self._held is not None else out

    def done(self) -> bytes:
        """Return what is still held back: Gemini has no end mark."""
        held, usage, around = self._held, self._usage, self._around
        self._held, self._usage, self._around = None, None, {}
        if held is None and usage is None:
            return b""
        return self._chunk(held or [], around if usage is None else {**around, USAGE: usage})

    def _chunk(self, candidates: list[dict[str, Any]], around: dict[str, Any] | None = None) -> bytes:
        wire: dict[str, Any] = {"candidates": candidates, **self._head} if candidates else dict(self._head)
        return b"data: %b\n\n" % msgspec.json.encode({**wire, **around} if around else wire)

    def _hold(self, candidate: dict[str, Any], finish: str, around: Extras) -> None:
        self._held = self._held or []
        self._around |= around
        if finish == "content_filter" and is_blocked(around.get("promptFeedback")):
            return
        candidate.setdefault("finishReason", REASONS[finish])
        wrong = self._wrong.pop(candidate["index"], None)
        self._held.append(candidate | malformed_calls(wrong) if wrong else candidate)

    def _join(self, index: int, call: ToolCallDelta) -> None:
        """Add a fragment of a call to what is there of it."""
        before = self._calls.get((index, call.index))
        self._call_bytes += len(call.arguments.encode())
        if self._call_bytes > MAX_CALL_BYTES:
            raise Upstream(
                "The tool calls of this answer are too large.", code="reply_too_large", limit=MAX_CALL_BYTES
            )
        if before is not None:
            call = ToolCallDelta(
                call.index,
                before.id or call.id,
                before.name or call.name,
                before.arguments + call.arguments,
                {**before.extras, **call.extras},
            )
        self._calls[index, call.index] = call

    def _take_calls(self, index: int) -> list[object]:
        """Return the calls of a choice as parts, whole now; keep aside those that are none."""
        parts: list[object] = []
        for key in [key for key in self._calls if key[0] == index]:
            joined = self._calls.pop(key)
            self._call_bytes -= len(joined.arguments.encode())
            call = ToolCall(joined.id, joined.name, joined.arguments, joined.extras)
            if is_object(call.arguments or "{}"):
                parts.append(render_call(call, "", Translation()))
            else:
                self._wrong.setdefault(index, []).append(call)
        return parts


def _candidate(index: int, parts: list[object], content: Extras, own: Extras | None = None) -> dict[str, Any]:
    wire: dict[str, Any] = {"role": "model"}
    if parts:
        wire["parts"] = parts
    told: dict[str, Any] = {"content": {**wire, **content}, "index": index, **(own or {})}
    logprobs = told.pop("logprobs", None)
    return told if logprobs is None else {**told, "logprobsResult": render_logprobs(logprobs)}


def _sorted(extras: Extras) -> tuple[Extras, Extras, Extras]:
    """Return the extras of the candidate, of the event around it and of its content."""
    own: Extras = {}
    around: Extras = {}
    content: Extras = {}
    for name, value in extras.items():
        if name.startswith("choice."):
            own[name.removeprefix("choice.")] = value
        elif name.startswith("chunk."):
            around[name.removeprefix("chunk.")] = value
        else:
            content[name] = value
    return own, around, content


def _parts_of(event: ChatEvent) -> list[object]:
    """Return the words of an event as parts, thoughts first. A signature goes with what it stands beside."""
    parts: list[dict[str, Any]] = []
    if event.reasoning:
        parts.append({"text": event.reasoning, "thought": True})
    if event.redacted:
        parts.append({"text": "", "thought": True, "thoughtSignature": REDACTED + event.redacted})
    parts += [{"text": words} for words in (event.text, event.refusal) if words]
    if event.signature:
        if not parts or event.redacted:
            parts.insert(0, {"text": "", "thought": True})
        parts[0]["thoughtSignature"] = event.signature
    return [*parts]


class JsonArray:
    """Turns the SSE events of a stream into one JSON array of the same objects, as Gemini sends without ``alt=sse``.

    Errors are elements like any other.
    """

    __slots__ = ("_begun",)

    def __init__(self) -> None:
        """Start before the first event."""
        self._begun = False

    def add(self, events: bytes) -> bytes:
        """Return the SSE events in `events`, whole ones, as further elements; maybe b""."""
        elements = [data for data in map(event_json, events.replace(b"\r\n", b"\n").split(b"\n\n")) if data]
        if not elements:
            return b""
        start = b",\r\n" if self._begun else b"["
        self._begun = True
        return start + b",\r\n".join(elements)

    def end(self) -> bytes:
        """Return what closes the array."""
        return b"]" if self._begun else b"[]"
