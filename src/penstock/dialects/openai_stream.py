"""Streamed replies of the OpenAI wire, both ways: SSE events and `kernel.chat.ChatEvent`.

Promises: feeding a `StreamParser` what a `StreamRenderer` wrote gives the same events; a chunk of several choices is
several events; usage on a chunk with choices becomes an event of its own after them. Unknown members of a delta are
kept in the event's `extras`, those of its choice under ``choice.<name>``, those of the chunk under ``chunk.<name>``.
A signature or a hidden thought is one entry of `reasoning_details` (see `openai_messages`), with the whole text of its
block, so that the message an SDK puts together can be sent back as it is.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Raw

from penstock.dialects.members import Members, raw
from penstock.dialects.nonsense import no_event
from penstock.dialects.openai_errors import read_vendor_error
from penstock.dialects.openai_facts import event_data
from penstock.dialects.openai_messages import REMEDIES, detail, read_details
from penstock.dialects.openai_replies import canonical_finish, parse_usage, render_usage, settle_reasoning
from penstock.dialects.strict_json import decode_object
from penstock.kernel.chat import ChatEvent, Extras, Reasoning, ToolCallDelta
from penstock.kernel.errors import Invalid, Upstream

DONE_EVENT: Final = b"data: [DONE]\n\n"
WHOLE: Final = msgspec.json.Decoder(int)


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
        """Take one SSE event and return what it says, nothing for a comment or the end mark.

        Raises `Upstream`: with the vendor's kind of failure for an error event, with ``malformed_reply`` for nonsense.
        """
        data = event_data(block)
        if not data:
            return []
        if data == b"[DONE]":
            self.done = True
            return []
        try:
            return self._chunk(Members(decode_object(data), "", REMEDIES), data)
        except Invalid as error:
            raise no_event(error) from None

    def _chunk(self, members: Members, data: bytes) -> list[ChatEvent]:
        if members.take_raw("error") is not None:
            said = read_vendor_error(200, data)
            raise Upstream(f"The provider gave up mid-stream: {said.message}", code=said.kind)
        self.id = members.take_text("id") or self.id
        self.model = members.take_text("model") or self.model
        self.created_s = members.take("created", WHOLE, 0) or self.created_s
        members.take_text("object")
        usage = parse_usage(members)
        items = members.take_list("choices") or []
        around = members.rest("chunk.")
        events = [
            self._event(Members.of(item, f"choices[{index}]", REMEDIES), around)
            for index, item in enumerate(items)
        ]
        if usage is not None:
            events.append(ChatEvent(usage=usage, extras={} if items else around))
        return events

    @staticmethod
    def _event(choice: Members, around: Extras) -> ChatEvent:
        index = choice.take("index", WHOLE, 0)
        finish = canonical_finish(choice.take_text("finish_reason"))
        delta = choice.take_object("delta") or Members({}, choice.at("delta"), REMEDIES)
        settle_reasoning(delta)
        signature, redacted = _closing(delta)
        return ChatEvent(
            index=index,
            role=delta.take_text("role"),
            text=delta.take_text("content"),
            reasoning=delta.take_text("reasoning_content"),
            signature=signature,
            redacted=redacted,
            refusal=delta.take_text("refusal"),
            tool_calls=_call_deltas(delta),
            finish=finish,
            extras={**delta.rest(), **_given(choice.rest("choice.")), **around},
        )


def _closing(delta: Members) -> tuple[str, str]:
    """Take the signature and the hidden thought out of `reasoning_details`, when they say no more than one of each."""
    details = delta.take_raw("reasoning_details")
    if details is None:
        return "", ""
    known = read_details(details) or []
    signatures = [each.signature for each in known if each.signature]
    hidden = [each.redacted for each in known if each.redacted]
    if len(signatures) + len(hidden) != len(known) or len(signatures) > 1 or len(hidden) > 1 or not known:
        delta.put_back("reasoning_details", details)
        return "", ""
    return "".join(signatures), "".join(hidden)


def _given(extras: Extras) -> Extras:
    """Drop what is null: every chunk says ``"logprobs": null``."""
    return {name: value for name, value in extras.items() if value != Raw(b"null")}


def _call_deltas(delta: Members) -> tuple[ToolCallDelta, ...]:
    calls: list[ToolCallDelta] = []
    for position, item in enumerate(delta.take_list("tool_calls") or []):
        call = Members.of(item, f"{delta.at('tool_calls')}[{position}]", REMEDIES)
        kind = call.take_text("type", "function")
        body = call.take_object("function" if kind == "function" else kind)
        body = body or Members({}, call.at("function"), REMEDIES)
        extras: Extras = {} if kind == "function" else {"type": raw(kind)}
        calls.append(
            ToolCallDelta(
                index=call.take("index", WHOLE, position),
                id=call.take_text("id"),
                name=body.take_text("name"),
                arguments=body.take_text("arguments" if kind == "function" else "input"),
                extras={**extras, **call.rest(), **body.rest("function.")},
            )
        )
    return tuple(calls)


class StreamRenderer:
    """Writes one stream. `include_usage` says whether the caller asked for the usage chunk."""

    __slots__ = ("_blocks", "_head", "_include_usage", "_thought")

    def __init__(self, id: str, model: str, created_s: int, *, include_usage: bool = True) -> None:
        """Fix what every chunk repeats."""
        self._head = {"id": id, "object": "chat.completion.chunk", "created": created_s, "model": model}
        self._include_usage = include_usage
        self._thought: dict[int, list[str]] = {}
        """By choice: the pieces of the block of reasoning that is open."""
        self._blocks: dict[int, int] = {}
        """By choice: how many blocks of reasoning were closed."""

    def event(self, event: ChatEvent) -> bytes:
        """Return the SSE events that say `event`: a chunk, and a usage chunk when it carries usage; maybe b""."""
        around = {
            name.removeprefix("chunk."): raw
            for name, raw in event.extras.items()
            if name.startswith("chunk.")
        }
        out = b""
        if event.usage is None or _says_something(event):
            out = self._chunk([_choice(event, self._details(event))], around)
        if event.usage is not None and self._include_usage:
            out += self._chunk([], {**around, "usage": render_usage(event.usage)})
        return out

    def done(self) -> bytes:
        """Return the end mark."""
        return DONE_EVENT

    def _details(self, event: ChatEvent) -> list[dict[str, Any]]:
        """Return what closes a block of reasoning: entries that hold all of it."""
        if event.reasoning:
            self._thought.setdefault(event.index, []).append(event.reasoning)
        closed: list[Reasoning] = []
        if event.signature:
            words = "".join(self._thought.pop(event.index, ()))
            closed.append(Reasoning(words, event.signature))
        if event.redacted:
            closed.append(Reasoning("", redacted=event.redacted))
        first = self._blocks.get(event.index, 0)
        if closed:
            self._blocks[event.index] = first + len(closed)
        return [detail(first + at, each) for at, each in enumerate(closed)]

    def _chunk(self, choices: list[dict[str, Any]], others: dict[str, Any]) -> bytes:
        return b"data: %b\n\n" % msgspec.json.encode({**self._head, "choices": choices, **others})


def _says_something(event: ChatEvent) -> bool:
    return bool(
        event.role
        or event.text
        or event.reasoning
        or event.signature
        or event.redacted
        or event.refusal
        or event.tool_calls
        or event.finish
    )


def _choice(event: ChatEvent, details: list[dict[str, Any]]) -> dict[str, Any]:
    delta: dict[str, Any] = {
        name: value
        for name, value in (
            ("role", event.role),
            ("content", event.text),
            ("reasoning_content", event.reasoning),
            ("refusal", event.refusal),
        )
        if value or (name == "content" and event.role and not event.tool_calls)
    }
    if details:
        delta["reasoning_details"] = details
    if event.tool_calls:
        delta["tool_calls"] = [_render_call(call) for call in event.tool_calls]
    own: dict[str, Any] = {}
    for name, value in event.extras.items():
        if name.startswith("choice."):
            own[name.removeprefix("choice.")] = value
        elif not name.startswith("chunk."):
            delta[name] = value
    return {
        "index": event.index,
        "delta": delta,
        "logprobs": None,
        "finish_reason": event.finish or None,
        **own,
    }


def _render_call(call: ToolCallDelta) -> dict[str, Any]:
    wire: dict[str, Any] = {"index": call.index}
    extras = dict(call.extras)
    kind = msgspec.json.decode(extras.pop("type", b'"function"'), type=str)
    if call.id:
        wire |= {"id": call.id, "type": kind}
    elif kind != "function":
        wire["type"] = kind
    body: dict[str, Any] = {"name": call.name} if call.name else {}
    body["arguments" if kind == "function" else "input"] = call.arguments
    for name in [name for name in extras if name.startswith("function.")]:
        body[name.removeprefix("function.")] = extras.pop(name)
    return {**wire, kind: body, **extras}
