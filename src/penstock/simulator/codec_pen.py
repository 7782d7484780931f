"""A pen made of a dialect's own renderers: the vendor that speaks it needs to bring only its errors and its headers.

Promise: thoughts carry a signature of their dialect's vendor; one that comes back changed, or that another vendor made,
is refused, as the vendors do.
"""

from __future__ import annotations

import base64
import re
import zlib
from collections.abc import Iterator
from typing import Final

from msgspec import Raw

from penstock.dialects.codec import Codec, StreamHead
from penstock.kernel.chat import (
    ChatEvent,
    ChatReply,
    ChatRequest,
    Extras,
    Message,
    Reasoning,
    Text,
    ToolCall,
    ToolCallDelta,
)
from penstock.kernel.errors import Invalid
from penstock.kernel.money import Usage
from penstock.simulator.answers import Answer, pieces_of
from penstock.simulator.asked import Asked
from penstock.simulator.pen import HUGE_BYTES, half

_USAGE: Final = re.compile(rb',"usage(?:Metadata)?":\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\}')


def signature_of(dialect: str, text: str) -> str:
    """Return the vendor's signature under a thought, or a call by its name: base64, as the vendors' are."""
    return base64.b64encode(b"%b%08x" % (_start(dialect), zlib.crc32(text.encode()))).decode()


def check_signatures(request: ChatRequest) -> None:
    """Raise `Invalid` where a thought comes back with a signature that this vendor did not make, or not for its words.

    A stream tells words and signature apart, so a signature may come back without words.
    """
    for index, message in enumerate(request.messages):
        for part in message.content:
            if isinstance(part, Reasoning) and part.signature and not _is_good(request.dialect, part):
                raise Invalid(
                    "Invalid `signature` in `thinking` block.",
                    field=f"messages[{index}]",
                    value=part.signature,
                )


def _is_good(dialect: str, thought: Reasoning) -> bool:
    if thought.text:
        return thought.signature == signature_of(dialect, thought.text)
    try:
        return base64.urlsafe_b64decode(thought.signature).startswith(_start(dialect))
    except ValueError:
        return False


def _start(dialect: str) -> bytes:
    return b"sim:%b:" % dialect.encode()


class CodecPen:
    """Writes one answer with `codec`. A wire of its own overrides what its vendor says in its own way."""

    codec: Codec
    signs_calls = False
    """Whether a thought before a call is signed on the call."""

    def __init__(self, id: str, created_s: int, asked: Asked, told: str) -> None:
        """Write the answer `id` to `asked`; `told` is how it tells usage (`pen.told_of`)."""
        self.id = id
        self.created_s = created_s
        self._asked = asked
        self._told = told
        self._silent = told in ("missing", "late")
        self._writer = self.codec.renderer(
            StreamHead(id=id, model=asked.model, created_s=created_s, input_tokens=asked.input_tokens)
        )

    def whole(self, answers: tuple[Answer, ...], usage: Usage | None) -> bytes:
        """Return a whole reply."""
        body = self.codec.render_reply(
            ChatReply(
                id=self.id,
                model=self._asked.model,
                created_s=self.created_s,
                choices=tuple([self._message(answer) for answer in answers]),
                finishes=tuple([answer.finish for answer in answers]),
                usage=usage,
            )
        )
        return body if usage is not None else _USAGE.sub(b"", body)

    def events(self, index: int, answer: Answer) -> Iterator[tuple[bytes, int]]:
        """Yield the events of one choice up to its finish, each with the tokens it carries."""
        write = self._writer.event
        yield self._metered(write(ChatEvent(index=index, role="assistant"))), 0
        yield from self._thoughts(index, answer)
        for piece in answer.pieces:
            yield write(ChatEvent(index=index, text=piece)), 1
        for number, tool in enumerate(answer.tools):
            extras = self._call_extras(answer, number)
            begun = ToolCallDelta(number, tool.id, tool.name, extras=extras)
            yield write(ChatEvent(index=index, tool_calls=(begun,))), 1
            for piece in pieces_of(tool.arguments):
                more = ToolCallDelta(number, arguments=piece)
                yield write(ChatEvent(index=index, tool_calls=(more,))), 1

    def finish(self, index: int, answer: Answer) -> bytes:
        """Return the event that finishes one choice."""
        return self._metered(self._writer.event(ChatEvent(index=index, finish=answer.finish)))

    def huge(self) -> bytes:
        """Return one event of much text."""
        return self._writer.event(ChatEvent(text="x" * HUGE_BYTES))

    def end(self, usage: Usage | None) -> tuple[bytes, bytes]:
        """Return what ends a stream, and what comes after its end."""
        if usage is None:
            return self._metered(self._writer.done()), b""
        if self._told == "late":
            return self._metered(self._writer.done()), self._closing(usage)
        first = self._closing(half(usage)) if self._told == "twice" else b""
        return first + self._closing(usage) + self.codec.end, b""

    def _closing(self, usage: Usage) -> bytes:
        """Return what tells usage, without the mark."""
        told = self._writer.event(ChatEvent(usage=usage)) + self._writer.done()
        return told.removesuffix(self.codec.end)

    def _metered(self, events: bytes) -> bytes:
        """Return events that may tell usage as this answer tells it."""
        return _USAGE.sub(b"", events) if self._silent else events

    def _thoughts(self, index: int, answer: Answer) -> Iterator[tuple[bytes, int]]:
        """Yield the thoughts, shown or only counted."""
        if not answer.thoughts:
            return
        if not self._asked.shows_thoughts:
            yield b"", len(answer.thoughts)
            return
        for thought in answer.thoughts:
            yield self._writer.event(ChatEvent(index=index, reasoning=thought)), 1
        signature = signature_of(self.codec.name, "".join(answer.thoughts))
        yield self._writer.event(ChatEvent(index=index, signature=signature)), 0

    def _message(self, answer: Answer) -> Message:
        thoughts = "".join(answer.thoughts) if self._asked.shows_thoughts else ""
        said = "".join(answer.pieces)
        return Message(
            role="assistant",
            content=(
                *((Reasoning(thoughts, signature_of(self.codec.name, thoughts)),) if thoughts else ()),
                *((Text(said),) if said else ()),
            ),
            tool_calls=tuple(
                [
                    ToolCall(tool.id, tool.name, tool.arguments, self._call_extras(answer, number))
                    for number, tool in enumerate(answer.tools)
                ]
            ),
        )

    def _call_extras(self, answer: Answer, number: int) -> Extras:
        if number or not self.signs_calls or not answer.thoughts:
            return {}
        signature = signature_of(self.codec.name, answer.tools[0].name)
        return {"extra_content": Raw(b'{"google":{"thought_signature":"%b"}}' % signature.encode())}
