"""Streamed replies of the Anthropic wire, written: `kernel.chat.ChatEvent` to SSE events (`anthropic_stream` reads).

Promise: every block is begun, filled and closed before the next, each with its own index; finish and usage are written
by `done` alone, so a broken answer never claims an end.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Raw

from penstock.dialects.anthropic_blocks import REMEDIES
from penstock.dialects.anthropic_replies import made_id, render_finish, render_usage
from penstock.dialects.codec import StreamHead
from penstock.dialects.members import Members
from penstock.kernel.chat import ChatEvent, Extras, ToolCallDelta
from penstock.kernel.money import Usage

END: Final = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
"""The success mark."""

_encode: Final = msgspec.json.Encoder().encode


class MessageRenderer:
    """Writes one stream: every block is begun, filled and closed before the next, each with its own index."""

    __slots__ = ("_calls", "_ending", "_finish", "_head", "_index", "_open", "_started", "_usage")

    def __init__(self, head: StreamHead) -> None:
        """Fix what the first event says."""
        self._head = head
        self._started = False
        self._index = -1  # of the block begun last
        self._open = ""  # its kind; a call's is "call" and its number
        self._calls: dict[int, int] = {}  # a call's number → the index of its block
        self._finish = ""
        self._usage: Usage | None = None
        self._ending: Extras = {}

    def event(self, event: ChatEvent) -> bytes:
        """Return the SSE events that say `event`; b"" for a finish or usage, which `done` writes."""
        extras = _own(event.extras) if event.extras else event.extras
        out: list[bytes] = []
        if not self._started:
            out.append(self._start(extras if event.role else {}))
            extras = {} if event.role else extras
        if event.finish or event.usage is not None:
            self._note(event, extras)
            extras = {}
        if event.reasoning or event.signature or event.redacted:
            out.append(self._thought(event, extras))
        if event.text:
            out.append(self._say("text", "text_delta", "text", event.text, extras))
        if event.refusal:
            self._ending = {"stop_reason": Raw(b'"refusal"'), **self._ending}
            out.append(self._say("text", "text_delta", "text", event.refusal, extras))
        if event.tool_calls:
            out += [self._call(call, extras) for call in event.tool_calls]
        if extras:
            out.append(self._unknown(extras))
        return b"".join(out)

    def _note(self, event: ChatEvent, extras: Extras) -> None:
        """Keep what belongs to the end."""
        self._usage = event.usage or self._usage
        self._finish = event.finish or self._finish
        self._ending = {**self._ending, **extras}

    def _thought(self, event: ChatEvent, extras: Extras) -> bytes:
        out = b""
        if event.reasoning:
            out = self._say("thinking", "thinking_delta", "thinking", event.reasoning, extras)
        if event.signature:
            out += self._say("thinking", "signature_delta", "signature", event.signature, extras)
            self._open = "thinking, signed"
        if event.redacted:
            out += self._begin("redacted", {"type": "redacted_thinking", "data": event.redacted})
        return out

    def done(self) -> bytes:
        """Return what ends a good answer: the end of its last block, how it ended, what it used, and the mark."""
        start = b"" if self._started else self._start({})
        ending = dict(self._ending)
        usage = render_usage(self._usage or Usage(), ending)
        delta = {**render_finish(self._finish, ending), **ending}
        closing = _sse("message_delta", {"type": "message_delta", "delta": delta, "usage": usage})
        return b"".join((start, self._close(), closing, END))

    def _start(self, extras: Extras) -> bytes:
        self._started = True
        head = self._head
        message: dict[str, Any] = {
            "id": head.id,
            "type": "message",
            "role": "assistant",
            "model": head.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": head.input_tokens, "output_tokens": 0},
            **extras,
        }
        return _sse("message_start", {"type": "message_start", "message": message})

    def _close(self) -> bytes:
        if not self._open:
            return b""
        self._open = ""
        return b'event: content_block_stop\ndata: {"type":"content_block_stop","index":%d}\n\n' % self._index

    def _begin(self, kind: str, block: dict[str, Any] | Raw) -> bytes:
        closed = self._close()
        self._open = kind
        self._index += 1
        start = {"type": "content_block_start", "index": self._index, "content_block": block}
        return closed + _sse("content_block_start", start)

    def _say(self, kind: str, delta: str, member: str, words: str, extras: Extras) -> bytes:
        begun = b"" if self._open == kind else self._begin(kind, _EMPTY[kind])
        return begun + self._delta(self._index, {"type": delta, member: words}, extras)

    def _delta(self, index: int, delta: dict[str, Any], extras: Extras) -> bytes:
        wire: dict[str, Any] = {"type": "content_block_delta", "index": index, "delta": delta}
        if extras:
            delta |= {name: value for name, value in extras.items() if not name.startswith("event.")}
            wire |= {name[6:]: value for name, value in extras.items() if name.startswith("event.")}
            extras.clear()  # said once, with the first words of its event
        return b"event: content_block_delta\ndata: %b\n\n" % _encode(wire)

    def _call(self, call: ToolCallDelta, extras: Extras) -> bytes:
        """Return a fragment of a call. A late one of a call that is closed still names that call's block."""
        begun = b""
        index = self._calls.get(call.index)
        if index is None:
            call_id = call.id or made_id(self._head.id, call.index)
            block: dict[str, Any] = {
                "type": "tool_use",
                "id": call_id,
                "name": call.name,
                "input": {},
                **_own(call.extras),
            }
            begun = self._begin(f"call {call.index}", block)
            index = self._calls[call.index] = self._index
        if not call.arguments:
            return begun
        return begun + self._delta(
            index, {"type": "input_json_delta", "partial_json": call.arguments}, extras
        )

    def _unknown(self, extras: Extras) -> bytes:
        """Return what only the extras of an event say."""
        if "event" in extras:
            kind = Members.of(extras["event"], "event", REMEDIES).take_text("type")
            return b"event: %b\ndata: %b\n\n" % (kind.encode(), extras["event"])
        if "content_block" in extras:
            block = extras["content_block"]
            kind = Members.of(block, "content_block", REMEDIES).take_text("type")
            return self._begin(kind, block)
        if "content_block_delta" in extras:
            wire = {
                "type": "content_block_delta",
                "index": self._index,
                "delta": extras["content_block_delta"],
            }
            return _sse("content_block_delta", wire)
        begun = b"" if self._open else self._begin("text", _EMPTY["text"])
        return begun + self._delta(self._index, {"type": "text_delta", "text": ""}, extras)


_EMPTY: Final[dict[str, Any]] = {
    "text": {"type": "text", "text": ""},
    "thinking": {"type": "thinking", "thinking": "", "signature": ""},
}


def _own(extras: Extras) -> Extras:
    """Return a copy without what another vendor says around its answers."""
    return {name: value for name, value in extras.items() if not name.startswith(("chunk.", "choice."))}


def _sse(kind: str, wire: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), _encode(wire))
