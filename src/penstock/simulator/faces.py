"""The wires a simulated provider is spoken to in: how each one's requests are read, its key is shown and it refuses.

Promise: a face never answers; it understands, and hands out the pen to answer with.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Final
from urllib.parse import unquote

import msgspec
from msgspec import Raw

from penstock.dialects import anthropic, gemini
from penstock.dialects.openai_envelope import open_chat
from penstock.dialects.openai_errors import render_error, retry_headers
from penstock.kernel.chat import ChatRequest
from penstock.kernel.errors import Invalid, PenstockError
from penstock.net.server import Request
from penstock.simulator.asked import Asked, asked_in, asked_in_openai
from penstock.simulator.codec_pen import check_signatures
from penstock.simulator.pen import Pen
from penstock.simulator.wire import JSON, OpenAIPen, list_models
from penstock.simulator.wire_anthropic import AnthropicPen
from penstock.simulator.wire_gemini import GeminiPen

_GEMINI: Final = re.compile(r"/v1(?:beta|alpha)?/models/")
_ANTHROPIC_COUNTED: Final = ("messages", "system", "tools", "output_config", "output_format")
_GEMINI_COUNTED: Final = (
    "contents", "systemInstruction", "system_instruction", "tools", "generationConfig", "generation_config",
)  # fmt: skip
_MEMBERS: Final = msgspec.json.Decoder(dict[str, Raw])
_WHOLE: Final = "generateContentRequest"


class Face(msgspec.Struct, frozen=True, kw_only=True):
    """One wire."""

    id_starts: str
    key_header: bytes
    key_starts: bytes = b""
    """What stands before the key in its header."""
    open: Callable[[Request], Asked]
    """Raises `Invalid`."""
    pen: Callable[[str, int, Asked, str], Pen]
    """The answer's id, the time in seconds since 1970, the request, and how usage is told (`pen.told_of`)."""
    render_models: Callable[[Iterable[tuple[str, str]]], bytes]
    """The list of models, from (name, owner) pairs."""
    render_error: Callable[[PenstockError], tuple[int, bytes]]
    retry_headers: Callable[[PenstockError], bytes]

    def refuse(self, error: PenstockError) -> tuple[int, bytes, bytes]:
        """Return status, header lines and body of a refusal."""
        status, body = self.render_error(error)
        return status, JSON + self.retry_headers(error), body


def _open_openai(request: Request) -> Asked:
    envelope = open_chat(request.body)
    try:
        return asked_in_openai(envelope)
    except msgspec.ValidationError as error:
        raise Invalid(f"Tools or format are malformed: {error}.", field="tools") from None


def _open_anthropic(request: Request) -> Asked:
    return _understood(
        anthropic.CODEC.parse_request(request.body), request.body, "messages", _ANTHROPIC_COUNTED
    )


def _open_gemini(request: Request) -> Asked:
    model, verb = gemini_target(request.path)
    stream = verb == "streamGenerateContent"
    if stream and "alt=sse" not in request.query.decode("ascii").split("&"):
        raise Invalid("Streams are sent as events alone.", field="alt", remedy="Ask with ?alt=sse.")
    asked = gemini.parse_request(request.body, model, stream=stream)
    return _understood(asked, request.body, "contents", _GEMINI_COUNTED)


def _understood(asked: ChatRequest, body: bytes, turns: str, counted: tuple[str, ...]) -> Asked:
    check_signatures(asked)
    return asked_in(asked, _MEMBERS.decode(body), turns, counted)


def gemini_target(path: str) -> tuple[str, str]:
    """Return the model and the verb that a path of the Gemini wire names."""
    model, _, verb = unquote(path.partition("/models/")[2]).rpartition(":")
    return model, verb


def count_anthropic(request: Request) -> bytes:
    """Answer a question for a prompt's tokens. Raises `Invalid`."""
    asked = anthropic.parse_count_request(request.body)
    return anthropic.render_count(
        _understood(asked, request.body, "messages", _ANTHROPIC_COUNTED).input_tokens
    )


def count_gemini(request: Request) -> bytes:
    """Answer a question for a prompt's tokens. Raises `Invalid`."""
    model, _ = gemini_target(request.path)
    asked = gemini.parse_count_request(request.body, model)
    inside = _MEMBERS.decode(request.body).get(_WHOLE)
    body = request.body if inside is None else bytes(inside)
    return gemini.render_count(_understood(asked, body, "contents", _GEMINI_COUNTED).input_tokens)


OPENAI: Final = Face(
    id_starts="chatcmpl-",
    key_header=b"authorization",
    key_starts=b"Bearer ",
    open=_open_openai,
    pen=OpenAIPen,
    render_models=list_models,
    render_error=render_error,
    retry_headers=retry_headers,
)
ANTHROPIC: Final = Face(
    id_starts="msg_",
    key_header=b"x-api-key",
    open=_open_anthropic,
    pen=AnthropicPen,
    render_models=anthropic.render_models,
    render_error=anthropic.CODEC.render_error,
    retry_headers=anthropic.CODEC.retry_headers,
)
GEMINI: Final = Face(
    id_starts="",
    key_header=b"x-goog-api-key",
    open=_open_gemini,
    pen=GeminiPen,
    render_models=gemini.render_models,
    render_error=gemini.CODEC.render_error,
    retry_headers=gemini.CODEC.retry_headers,
)


def lister(request: Request) -> Face:
    """Return the wire in which a caller of ``/v1/models``, a path of all three, wants the list."""
    if request.header(GEMINI.key_header) or request.path != "/v1/models":
        return GEMINI
    return ANTHROPIC if request.header(b"anthropic-version") else OPENAI


def face_of(path: str) -> Face:
    """Return the wire that a path belongs to."""
    if _GEMINI.match(path):
        return GEMINI
    return ANTHROPIC if path.startswith("/v1/messages") else OPENAI
