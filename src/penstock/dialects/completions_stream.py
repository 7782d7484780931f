"""Streamed replies of the legacy completions wire, both ways: SSE events and `kernel.chat.ChatEvent`.

Promises: feeding a `StreamParser` what a `StreamRenderer` wrote gives the same words, finishes and usage; what chat can
say and this wire cannot stands in the choice under chat's names, as in a whole reply.
"""

from __future__ import annotations

from typing import Any

import msgspec

from penstock.dialects import openai_stream
from penstock.dialects.codec import StreamHead
from penstock.dialects.completions_replies import LOGPROBS, legacy_finish, legacy_logprobs, take_logprobs
from penstock.dialects.members import Members
from penstock.dialects.openai_replies import canonical_finish, render_usage
from penstock.dialects.openai_stream import DONE_EVENT, WHOLE
from penstock.kernel.chat import ChatEvent, Extras


class StreamParser(openai_stream.StreamParser):
    """Reads one stream, event by event: chunks of chat completions, but for what stands in a choice."""

    __slots__ = ()

    @staticmethod
    def _event(choice: Members, around: Extras) -> ChatEvent:
        odds = take_logprobs(choice)
        return ChatEvent(
            index=choice.take("index", WHOLE, 0),
            text=choice.take_text("text"),
            reasoning=choice.take_text("reasoning_content"),
            refusal=choice.take_text("refusal"),
            finish=canonical_finish(choice.take_text("finish_reason")),
            extras={**odds, **choice.rest("choice."), **around},
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
            elif name != LOGPROBS:
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
        odds = event.extras.get(LOGPROBS)
        return {
            "text": event.text,
            "index": event.index,
            "logprobs": None if odds is None else legacy_logprobs(odds, start),
            "finish_reason": legacy_finish(event.finish),
            **own,
        }

    def _chunk(self, choices: list[dict[str, Any]], others: dict[str, Any]) -> bytes:
        return b"data: %b\n\n" % msgspec.json.encode({**self._head, "choices": choices, **others})
