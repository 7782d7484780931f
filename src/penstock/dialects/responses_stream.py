"""Streamed replies of the Responses wire, written: `kernel.chat.ChatEvent` to SSE events.

    response.created, response.in_progress
      per item    response.output_item.added … response.output_item.done
        words       response.content_part.added, output_text.delta …, output_text.done, content_part.done
        refusal     likewise with refusal.delta
        thought     reasoning_summary_part.added, reasoning_summary_text.delta …, .done, reasoning_summary_part.done
        call        function_call_arguments.delta …, .done (custom_tool_call_input likewise)
    response.completed | response.incomplete | response.failed, with the whole object

Promises: sequence numbers count from 0 without gaps; every item and part that was opened is closed, in order, before
the end; the object at the end holds what the deltas said. Calls stay open until the answer ends: their fragments may
come in any order.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Raw

from penstock.dialects.codec import StreamHead
from penstock.dialects.responses_parts import flat_annotations, flat_logprobs
from penstock.dialects.responses_replies import ids_of, outcome, response_head
from penstock.kernel.chat import ChatEvent, Extras, ToolCallDelta
from penstock.kernel.errors import PenstockError
from penstock.kernel.money import Usage

_ENDS: Final = {
    "completed": "response.completed",
    "incomplete": "response.incomplete",
    "failed": "response.failed",
}
_CUSTOM: Final = Raw(b'"custom"')


class _Words:
    """A part of a message that is being written; `kind` is its type on the wire and `member` what holds its text."""

    __slots__ = ("annotations", "index", "kind", "logprobs", "member", "pieces")

    def __init__(self, kind: str, index: int) -> None:
        self.kind = kind
        self.member = "text" if kind == "output_text" else kind
        self.index = index
        self.pieces: list[str] = []
        self.annotations: list[Any] = []
        self.logprobs: list[Any] = []

    def wire(self) -> dict[str, Any]:
        """Return the part as it stands."""
        whole = {"type": self.kind, self.member: "".join(self.pieces)}
        if self.kind != "output_text":
            return whole
        return {**whole, "annotations": self.annotations, "logprobs": self.logprobs}


class _Call:
    """A call that is being written."""

    __slots__ = ("arguments", "item", "position")

    def __init__(self, item: dict[str, Any], position: int) -> None:
        self.item = item
        self.position = position
        self.arguments: list[str] = []

    @property
    def custom(self) -> bool:
        return self.item["type"] == "custom_tool_call"


class StreamRenderer:
    """Writes one stream."""

    def __init__(self, head: StreamHead) -> None:
        """Fix what every event repeats."""
        self._head = {**response_head(head.id, head.model, head.created_s), **head.echo}
        self._ids = ids_of(head.id)
        self._number = 0
        self._output: list[dict[str, Any]] = []
        """Every item begun, as it stands."""
        self._words: _Words | None = None
        """The open part of the message that is the last item."""
        self._message = False
        """The last item is a message that is open."""
        self._thought: list[str] | None = None
        """The text of the reasoning that is the last item and open."""
        self._calls: dict[int, _Call] = {}
        self._finish = "stop"
        self._usage: Usage | None = None
        self._extras: Extras = {}

    @property
    def number(self) -> int:
        """The sequence number of the next event."""
        return self._number

    # ----------------------------------------------------------------------------------------- the three doors

    def event(self, event: ChatEvent) -> bytes:
        """Return the SSE events that say `event`; maybe b""."""
        out = [] if self._number else self._begin()
        if event.reasoning or event.signature or event.redacted:
            out += self._think(event)
        if event.text or event.refusal:
            out += self._speak(event)
        for call in event.tool_calls:
            out += self._call(call)
        if event.extras:
            out += self._note(event.extras)
        self._finish = event.finish or self._finish
        self._usage = event.usage or self._usage
        return b"".join(out)

    def done(self) -> bytes:
        """Return what ends a good answer."""
        out = [] if self._number else self._begin()
        out += [*self._close_thought(), *self._close_message(), *self._close_calls()]
        end = outcome(self._finish, self._output, self._usage)
        response = {**self._head, **end, **self._extras}
        out.append(self._event(_ENDS[end["status"]], response=response))
        return b"".join(out)

    def failed(self, error: PenstockError) -> bytes:
        """Return the event that ends a stream which has begun and cannot go on; nothing may follow it."""
        out = [] if self._number else self._begin()
        said = {"code": "server_error", "message": str(error)}
        end = {**outcome("error", self._output, self._usage), "error": said}
        return b"".join([*out, self._event("response.failed", response={**self._head, **end})])

    # ------------------------------------------------------------------------------------------------ beginning

    def _begin(self) -> list[bytes]:
        response: dict[str, Any] = {**self._head, "status": "in_progress", "output": [], "usage": None}
        return [
            self._event("response.created", response=response),
            self._event("response.in_progress", response=response),
        ]

    def _event(self, kind: str, **members: object) -> bytes:
        data = msgspec.json.encode({"type": kind, "sequence_number": self._number, **members})
        self._number += 1
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), data)

    def _open_item(self, kind: str, **members: Any) -> bytes:
        position = len(self._output)
        item: dict[str, Any] = {**members, "id": f"{kind}_{self._ids}_{position}", "status": "in_progress"}
        self._output.append(item)
        return self._event("response.output_item.added", output_index=position, item=item)

    def _close_item(self, position: int) -> bytes:
        item = self._output[position]
        item["status"] = "completed"
        return self._event("response.output_item.done", output_index=position, item=item)

    def _at(self, position: int) -> dict[str, Any]:
        return {"item_id": self._output[position]["id"], "output_index": position}

    @property
    def _last(self) -> int:
        return len(self._output) - 1

    # ------------------------------------------------------------------------------------------------- thoughts

    def _think(self, event: ChatEvent) -> list[bytes]:
        out = self._close_message()
        if self._thought is None and (event.reasoning or event.signature):
            out += self._open_thought()
        if self._thought is not None and event.reasoning:
            self._thought.append(event.reasoning)
            where = {**self._at(self._last), "summary_index": 0}
            out.append(self._event("response.reasoning_summary_text.delta", **where, delta=event.reasoning))
        if event.signature:
            out += self._close_thought(event.signature)
        if event.redacted:
            out += self._close_thought()
            out.append(self._open_item("rs", type="reasoning", summary=[], encrypted_content=event.redacted))
            out.append(self._close_item(self._last))
        return out

    def _open_thought(self) -> list[bytes]:
        self._thought = []
        opened = self._open_item("rs", type="reasoning", summary=[])
        part = {"type": "summary_text", "text": ""}
        where = {**self._at(self._last), "summary_index": 0}
        return [opened, self._event("response.reasoning_summary_part.added", **where, part=part)]

    def _close_thought(self, signature: str = "") -> list[bytes]:
        if self._thought is None:
            return []
        text = "".join(self._thought)
        self._thought = None
        part = {"type": "summary_text", "text": text}
        where = {**self._at(self._last), "summary_index": 0}
        self._output[-1]["summary"] = [part]
        if signature:
            self._output[-1]["encrypted_content"] = signature
        return [
            self._event("response.reasoning_summary_text.done", **where, text=text),
            self._event("response.reasoning_summary_part.done", **where, part=part),
            self._close_item(self._last),
        ]

    # --------------------------------------------------------------------------------------------------- words

    def _speak(self, event: ChatEvent) -> list[bytes]:
        out = self._close_thought()
        odds = event.extras.get("choice.logprobs")
        said = flat_logprobs(odds) if odds is not None else []
        for kind, text in (("output_text", event.text), ("refusal", event.refusal)):
            if not text:
                continue
            words, opened = self._open_words(kind)
            words.pieces.append(text)
            where = {**self._at(self._last), "content_index": words.index}
            more: dict[str, Any] = {}
            if kind == "output_text":
                words.logprobs += said
                more = {"logprobs": said}
            out += [*opened, self._event(f"response.{kind}.delta", **where, delta=text, **more)]
        return out

    def _open_words(self, kind: str) -> tuple[_Words, list[bytes]]:
        """Return the part that takes words of this kind, opening item and part where there is none."""
        if self._words is not None and self._words.kind == kind:
            return self._words, []
        out = self._close_part()
        if not self._message:
            out.append(self._open_item("msg", type="message", role="assistant", content=[]))
            self._message = True
        words = self._words = _Words(kind, len(self._output[-1]["content"]))
        where = {**self._at(self._last), "content_index": words.index}
        out.append(self._event("response.content_part.added", **where, part=words.wire()))
        return words, out

    def _close_part(self) -> list[bytes]:
        words, self._words = self._words, None
        if words is None:
            return []
        part = words.wire()
        self._output[-1]["content"].append(part)
        where = {**self._at(self._last), "content_index": words.index}
        more = {"logprobs": words.logprobs} if words.kind == "output_text" else {}
        whole = {words.member: part[words.member], **more}
        return [
            self._event(f"response.{words.kind}.done", **where, **whole),
            self._event("response.content_part.done", **where, part=part),
        ]

    def _close_message(self) -> list[bytes]:
        if not self._message:
            return []
        out = self._close_part()
        self._message = False
        return [*out, self._close_item(self._last)]

    def _note(self, extras: Extras) -> list[bytes]:
        """Say annotations with the words they belong to; keep the rest for the object at the end."""
        out: list[bytes] = []
        for name, value in extras.items():
            if name == "annotations" and self._words is not None:
                where = {**self._at(self._last), "content_index": self._words.index}
                for each in flat_annotations(value):
                    more = {"annotation_index": len(self._words.annotations), "annotation": each}
                    self._words.annotations.append(each)
                    out.append(self._event("response.output_text.annotation.added", **where, **more))
            elif name != "choice.logprobs":
                self._extras[name.removeprefix("chunk.").removeprefix("choice.")] = value
        return out

    # --------------------------------------------------------------------------------------------------- calls

    def _call(self, delta: ToolCallDelta) -> list[bytes]:
        out: list[bytes] = []
        call = self._calls.get(delta.index)
        if call is None:
            out += [*self._close_thought(), *self._close_message()]
            call, opened = self._open_call(delta)
            out.append(opened)
        elif delta.name:
            call.item["name"] += delta.name
        if delta.arguments:
            call.arguments.append(delta.arguments)
            kind = "custom_tool_call_input" if call.custom else "function_call_arguments"
            out.append(
                self._event(f"response.{kind}.delta", **self._at(call.position), delta=delta.arguments)
            )
        return out

    def _open_call(self, delta: ToolCallDelta) -> tuple[_Call, bytes]:
        extras = dict(delta.extras)
        custom = extras.pop("type", None) == _CUSTOM
        kind, member = ("custom_tool_call", "input") if custom else ("function_call", "arguments")
        what = {"type": kind, "call_id": delta.id, "name": delta.name, member: "", **extras}
        opened = self._open_item("ctc" if custom else "fc", **what)
        call = self._calls[delta.index] = _Call(self._output[-1], self._last)
        return call, opened

    def _close_calls(self) -> list[bytes]:
        out: list[bytes] = []
        for call in self._calls.values():
            whole = "".join(call.arguments)
            kind, member = (
                ("custom_tool_call_input", "input")
                if call.custom
                else ("function_call_arguments", "arguments")
            )
            call.item[member] = whole
            said = {member: whole} if call.custom else {member: whole, "name": call.item["name"]}
            out += [
                self._event(f"response.{kind}.done", **self._at(call.position), **said),
                self._close_item(call.position),
            ]
        self._calls = {}
        return out
