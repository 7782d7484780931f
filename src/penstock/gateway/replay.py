"""A whole answer as the stream its caller asked for: of what was checked before it could leave, and of what was kept.

Promise: the events join to the answer, usage is told to whoever asked for it, and the stream ends with the dialect's
own success mark.
"""

from __future__ import annotations

from collections.abc import Iterator

from penstock.gateway.wording import Wording
from penstock.kernel.chat import ChatEvent, ChatReply, Message, Reasoning, Text, ToolCallDelta


def as_stream(wording: Wording, body: bytes) -> bytes:
    """Return the answer `body`, in the caller's dialect, as the whole of a stream."""
    renderer = wording.renderer()
    events = events_of(wording.face.codec.parse_reply(body))
    return b"".join([renderer.event(event) for event in events]) + renderer.done()


def events_of(reply: ChatReply) -> Iterator[ChatEvent]:
    """Return the events that say a whole answer."""
    for index, (message, finish) in enumerate(zip(reply.choices, reply.finishes, strict=True)):
        yield ChatEvent(index=index, role="assistant", extras=message.extras)
        yield from _parts(index, message)
        yield ChatEvent(index=index, finish=finish)
    if reply.usage is not None:
        yield ChatEvent(usage=reply.usage)


def _parts(index: int, message: Message) -> Iterator[ChatEvent]:
    for part in message.content:
        if isinstance(part, Reasoning):
            yield ChatEvent(
                index=index, reasoning=part.text, signature=part.signature, redacted=part.redacted
            )
        elif isinstance(part, Text):
            yield ChatEvent(index=index, text=part.text)
    if message.refusal:
        yield ChatEvent(index=index, refusal=message.refusal)
    for place, call in enumerate(message.tool_calls):
        delta = ToolCallDelta(place, call.id, call.name, call.arguments, call.extras)
        yield ChatEvent(index=index, tool_calls=(delta,))
