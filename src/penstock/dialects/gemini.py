"""The Gemini wire (``generateContent``, ``streamGenerateContent``): the front door to its codec.

    gemini_requests   parse_request, render_request, redirect   bytes ↔ kernel.chat.ChatRequest
    gemini_messages   contents and systemInstruction            and gemini_parts: what they are made of
    gemini_tools      tools, toolConfig, schemas
    gemini_config     generationConfig
    gemini_foreign    what of other dialects is refused, what left out
    gemini_replies    parse_reply, render_reply                 bytes ↔ kernel.chat.ChatReply
    gemini_logprobs   logprobsResult ↔ OpenAI's logprobs
    gemini_stream     StreamParser, StreamRenderer, JsonArray   SSE events ↔ kernel.chat.ChatEvent
    gemini_facts      read_reply_facts, StreamFacts             what a passing answer means to accounting
    gemini_errors     errors, ours out and theirs in
    gemini_models     lists of models, counts of tokens

Promise: pure functions and small state machines; no I/O, no clock, no global state. Model and streaming stand in the
path of a request: ``gemini_requests.parse_request`` takes them.
"""

from __future__ import annotations

from typing import Final

from penstock.dialects.codec import Codec
from penstock.dialects.gemini_errors import (
    read_vendor_error,
    render_error,
    render_error_event,
    retry_headers,
)
from penstock.dialects.gemini_facts import StreamFacts, read_reply_facts
from penstock.dialects.gemini_models import (
    parse_count_request,
    render_count,
    render_model,
    render_models,
)
from penstock.dialects.gemini_replies import parse_reply, render_reply
from penstock.dialects.gemini_requests import parse_request, redirect, render_request
from penstock.dialects.gemini_stream import JsonArray, StreamParser, StreamRenderer
from penstock.dialects.gemini_words import NAME

CODEC: Final = Codec(
    name=NAME,
    end=b"",
    parse_request=parse_request,
    render_request=render_request,
    parse_reply=parse_reply,
    render_reply=render_reply,
    read_facts=read_reply_facts,
    facts=StreamFacts,
    parser=StreamParser,
    renderer=StreamRenderer,
    render_error=render_error,
    render_error_event=render_error_event,
    retry_headers=retry_headers,
    read_error=read_vendor_error,
    redirect=redirect,
    sign=lambda _text_bytes: b"\n\n",  # Google's SDK takes a comment for the beginning of an error
)

__all__ = [
    "CODEC",
    "JsonArray",
    "StreamFacts",
    "StreamParser",
    "StreamRenderer",
    "parse_count_request",
    "parse_reply",
    "parse_request",
    "read_reply_facts",
    "read_vendor_error",
    "redirect",
    "render_count",
    "render_error",
    "render_error_event",
    "render_model",
    "render_models",
    "render_reply",
    "render_request",
    "retry_headers",
]
