"""The OpenAI chat wire: the front door to its codecs.

    openai_envelope   open_chat, ChatEnvelope          raw pass-through: only what accounting needs is read
    openai_facts      read_reply_facts, StreamFacts    what a passing answer means to accounting
    openai_requests   parse_request, render_request    bytes ↔ kernel.chat.ChatRequest
    openai_messages   the messages of both sides
    openai_replies    parse_reply, render_reply        bytes ↔ kernel.chat.ChatReply
    openai_models     render_models                    the list of models
    openai_stream     StreamParser, StreamRenderer     SSE events ↔ kernel.chat.ChatEvent
    openai_errors     render_error, read_vendor_error  errors, ours out and theirs in

Promise: pure functions and small state machines; no I/O, no clock, no global state.
"""

from __future__ import annotations

from penstock.dialects.openai_envelope import ChatEnvelope, open_chat
from penstock.dialects.openai_errors import (
    VendorError,
    read_vendor_error,
    render_error,
    render_error_event,
    retry_headers,
    status_of,
)
from penstock.dialects.openai_facts import ReplyFacts, StreamFacts, read_reply_facts
from penstock.dialects.openai_models import render_models
from penstock.dialects.openai_replies import parse_reply, render_reply
from penstock.dialects.openai_requests import parse_request, render_request
from penstock.dialects.openai_stream import StreamParser, StreamRenderer

__all__ = [
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
    "render_models",
    "render_reply",
    "render_request",
    "retry_headers",
    "status_of",
]
