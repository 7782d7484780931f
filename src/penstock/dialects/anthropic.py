"""Anthropic's Messages wire: the front door to its codec.

    anthropic_requests  parse_request, render_request   bytes ↔ kernel.chat.ChatRequest
    anthropic_foreign   adopt                           requests of other dialects, rewritten for this one
    anthropic_messages  the turns of both sides
    anthropic_blocks    what turns are made of
    anthropic_replies   parse_reply, render_reply       bytes ↔ kernel.chat.ChatReply; counts and models
    anthropic_stream    MessageParser                   SSE events → kernel.chat.ChatEvent
    anthropic_stream_writer  MessageRenderer            kernel.chat.ChatEvent → SSE events
    anthropic_facts     read_reply_facts, MessageFacts  what a passing answer means to accounting
    anthropic_errors    render_error, read_error        errors, ours out and theirs in; headers of limits

Promise: pure functions and small state machines; no I/O, no clock, no global state.
"""

from __future__ import annotations

from typing import Final

from penstock.dialects.anthropic_blocks import NAME
from penstock.dialects.anthropic_errors import (
    limit_headers,
    read_error,
    render_error,
    render_error_event,
    retry_headers,
    status_of,
)
from penstock.dialects.anthropic_facts import MessageFacts, read_reply_facts
from penstock.dialects.anthropic_replies import (
    parse_reply,
    render_count,
    render_model,
    render_models,
    render_reply,
)
from penstock.dialects.anthropic_requests import (
    parse_count_request,
    parse_request,
    redirect,
    render_request,
)
from penstock.dialects.anthropic_stream import MessageParser
from penstock.dialects.anthropic_stream_writer import END, MessageRenderer
from penstock.dialects.codec import Codec

__all__ = [
    "CODEC",
    "limit_headers",
    "parse_count_request",
    "render_count",
    "render_model",
    "render_models",
    "status_of",
]

CODEC: Final = Codec(
    name=NAME,
    end=END,
    parse_request=parse_request,
    render_request=render_request,
    parse_reply=parse_reply,
    render_reply=render_reply,
    read_facts=read_reply_facts,
    facts=MessageFacts,
    parser=MessageParser,
    renderer=MessageRenderer,
    render_error=render_error,
    render_error_event=render_error_event,
    retry_headers=retry_headers,
    read_error=read_error,
    redirect=redirect,
    sign=lambda _text_bytes: b'event: ping\ndata: {"type": "ping"}\n\n',
)
"""The dialect "anthropic"."""
