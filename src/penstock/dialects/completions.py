"""The legacy completions wire of OpenAI: the front door to its codec.

    completions_requests   parse_request, render_request                 bytes ↔ kernel.chat.ChatRequest
    completions_replies    parse_reply, render_reply, read_facts         bytes ↔ kernel.chat.ChatReply
    completions_stream     StreamParser, StreamRenderer                  SSE events ↔ kernel.chat.ChatEvent

A prompt is one message of a user, so any model that can chat serves this face. Errors are those of the chat wire: the
same SDK reads them. Promise: pure functions and small state machines; no I/O, no clock, no global state.
"""

from __future__ import annotations

from typing import Final

from penstock.dialects.codec import Codec
from penstock.dialects.completions_replies import parse_reply, read_facts, render_reply
from penstock.dialects.completions_requests import parse_request, render_request
from penstock.dialects.completions_stream import StreamParser, StreamRenderer
from penstock.dialects.openai_errors import read_vendor_error, render_error, render_error_event, retry_headers
from penstock.dialects.openai_facts import StreamFacts
from penstock.dialects.openai_stream import DONE_EVENT

__all__ = [
    "CODEC",
    "StreamFacts",
    "StreamParser",
    "StreamRenderer",
    "parse_reply",
    "parse_request",
    "read_facts",
    "render_reply",
    "render_request",
]

CODEC: Final = Codec(
    name="completions",
    end=DONE_EVENT,
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
)
