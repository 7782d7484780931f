"""The OpenAI chat wire: the front door to its codecs.

    openai_envelope   open_chat, ChatEnvelope          raw pass-through: only what accounting needs is read
    openai_facts      read_reply_facts, StreamFacts    what a passing answer means to accounting
    openai_requests   parse_request, render_request    bytes ↔ kernel.chat.ChatRequest
    openai_foreign    adopt                            requests of other dialects, rewritten for this one
    openai_messages   the messages of both sides
    openai_replies    parse_reply, render_reply        bytes ↔ kernel.chat.ChatReply
    openai_models     render_models, render_model      the list of models
    openai_stream     StreamParser, StreamRenderer     SSE events ↔ kernel.chat.ChatEvent
    openai_errors     render_error, read_vendor_error  errors, ours out and theirs in

Promise: pure functions and small state machines; no I/O, no clock, no global state.
"""

from __future__ import annotations

from typing import Final

from penstock.dialects.codec import Codec, ReplyFacts, StreamHead, VendorError
from penstock.dialects.openai_envelope import ChatEnvelope, open_chat
from penstock.dialects.openai_errors import (
    read_vendor_error,
    render_error,
    render_error_event,
    retry_headers,
    status_of,
)
from penstock.dialects.openai_facts import StreamFacts, read_reply_facts
from penstock.dialects.openai_models import render_model, render_models
from penstock.dialects.openai_replies import parse_reply, render_reply
from penstock.dialects.openai_requests import parse_request, render_request
from penstock.dialects.openai_stream import DONE_EVENT, StreamParser, StreamRenderer

__all__ = [
    "CODEC",
    "ChatEnvelope",
    "ReplyFacts",
    "StreamFacts",
    "StreamParser",
    "StreamRenderer",
    "VendorError",
    "open_chat",
    "parse_reply",
    "parse_request",
    "read_reply_facts",
    "read_vendor_error",
    "render_error",
    "render_error_event",
    "render_model",
    "render_models",
    "render_reply",
    "render_request",
    "retry_headers",
    "status_of",
]


def _renderer(head: StreamHead) -> StreamRenderer:
    return StreamRenderer(head.id, head.model, head.created_s, include_usage=head.include_usage)


CODEC: Final = Codec(
    name="openai",
    end=DONE_EVENT,
    parse_request=parse_request,
    render_request=render_request,
    parse_reply=parse_reply,
    render_reply=render_reply,
    read_facts=read_reply_facts,
    facts=StreamFacts,
    parser=StreamParser,
    renderer=_renderer,
    render_error=render_error,
    render_error_event=render_error_event,
    retry_headers=retry_headers,
    read_error=read_vendor_error,
)
