"""The OpenAI Responses wire: the front door to its codec.

    responses_requests   parse_request, render_request    bytes ↔ kernel.chat.ChatRequest
    responses_foreign    adopt                            requests of other dialects, rewritten for this one
    responses_items      Turns, render_turn               items ↔ messages, in requests and replies
    responses_parts      what stands inside an item
    responses_replies    parse_reply, render_reply        bytes ↔ kernel.chat.ChatReply
    responses_stream     StreamRenderer                   kernel.chat.ChatEvent → SSE events
    responses_events     StreamParser, StreamFacts        SSE events → kernel.chat.ChatEvent, and accounting

Errors are those of the chat wire: the same SDK reads them. Promise: pure functions and small state machines; no I/O,
no clock, no global state; nothing is kept from one request to the next.
"""

from __future__ import annotations

from typing import Final

import msgspec

from penstock.dialects.codec import Codec, EventRenderer
from penstock.dialects.members import raw
from penstock.dialects.openai_errors import read_vendor_error, render_error, retry_headers
from penstock.dialects.responses_events import StreamFacts, StreamParser, read_facts
from penstock.dialects.responses_replies import echoed, parse_reply, render_reply
from penstock.dialects.responses_requests import parse_request, render_request
from penstock.dialects.responses_stream import StreamRenderer
from penstock.dialects.strict_json import decode_object
from penstock.kernel.errors import PenstockError

__all__ = [
    "CODEC",
    "StreamFacts",
    "StreamParser",
    "StreamRenderer",
    "parse_reply",
    "parse_request",
    "read_facts",
    "redirect",
    "render_error_event",
    "render_reply",
    "render_request",
]


def redirect(body: bytes, model: str, output_tokens: int) -> bytes:
    """Return the request for `model` with this output limit, and nothing kept; every other member keeps its bytes."""
    members = decode_object(body)
    return msgspec.json.encode(
        {**members, "model": raw(model), "max_output_tokens": raw(output_tokens), "store": raw(value=False)}
    )


def render_error_event(error: PenstockError, number: int = 0) -> bytes:
    """Return the SSE event that ends a stream which has already begun; `number` is its place in the sequence.

    It says everything twice, as the reference has it and in the member `error`, which is what makes the SDKs raise.
    """
    told = msgspec.json.decode(render_error(error)[1])["error"]
    data = {
        "type": "error",
        "code": told["code"],
        "message": told["message"],
        "param": told["param"],
        "sequence_number": number,
        "error": told,
    }
    return b"event: error\ndata: %b\n\n" % msgspec.json.encode(data)


def _break_off(error: PenstockError, renderer: EventRenderer) -> bytes:
    return render_error_event(error, renderer.number if isinstance(renderer, StreamRenderer) else 0)


CODEC: Final = Codec(
    name="responses",
    end=b"",
    parse_request=parse_request,
    render_request=render_request,
    parse_reply=parse_reply,
    render_reply=render_reply,
    read_facts=read_facts,
    facts=StreamFacts,
    parser=StreamParser,
    renderer=StreamRenderer,
    render_error=render_error,
    render_error_event=render_error_event,
    retry_headers=retry_headers,
    read_error=read_vendor_error,
    redirect=redirect,
    echo=echoed,
    break_off=_break_off,
)
