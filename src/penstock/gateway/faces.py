"""The dialects callers may speak: how a request of each is opened, and how errors and limits are told in it.

Promise: a face adds nothing to its dialect's codec but what HTTP says beside the body: the model in a path, the
rate-limit headers that dialect's SDK reads, `x-request-id` under the name it looks for.
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import unquote

import msgspec

from penstock.dialects import anthropic, completions, gemini, openai, responses
from penstock.dialects.codec import Codec
from penstock.dialects.envelope import Envelope, Opened
from penstock.dialects.openai_envelope import ChatEnvelope, open_chat
from penstock.gateway.admission import LimitReached, Seat
from penstock.gateway.headers import Left, id_lines, limit_headers, limits_left
from penstock.kernel.chat import ChatRequest
from penstock.kernel.clock import Clock
from penstock.kernel.errors import NotFound, PenstockError

JSON_TYPE = b"content-type: application/json\r\n"
ANTHROPIC_ID = b"request-id: %b\r\n"
"""Where Anthropic's SDKs look for a request's id."""


class Face(msgspec.Struct, frozen=True, kw_only=True):
    """One dialect as callers meet it."""

    codec: Codec
    open: Callable[[bytes, str], Envelope]
    """The body and the path of a request."""
    limits: Callable[[Seat], bytes] = limit_headers
    """What is left of the caller's limits, as header lines."""
    id_header: bytes = b""
    """Where its SDK looks for the request's id, when that is not in `x-request-id`."""

    @property
    def name(self) -> str:
        """Return the dialect's name."""
        return self.codec.name

    def canonical(self, envelope: Envelope) -> ChatRequest:
        """Return the whole request of an envelope this face opened. Raises `Invalid`."""
        return envelope.request if isinstance(envelope, Opened) else self.codec.parse_request(envelope.body)

    def error_reply(self, error: PenstockError, request_id: str) -> tuple[int, bytes, bytes]:
        """Render `error` as (status, headers, body); a refused limit tells what is left of all."""
        status, body = self.codec.render_error(error)
        headers = JSON_TYPE + id_lines(self.id_header, request_id) + self.codec.retry_headers(error)
        if isinstance(error, LimitReached):
            headers += self.limits(error.seat)
        return status, headers, body


def _open_openai(body: bytes, _path: str) -> ChatEnvelope:
    return open_chat(body)


def _opening(codec: Codec) -> Callable[[bytes, str], Envelope]:
    return lambda body, _path: Opened(codec, codec.parse_request(body), body)


def _open_gemini(body: bytes, path: str) -> Opened:
    """Open a request whose path ends in ``/models/{model}:{method}``."""
    model, _, method = path.rpartition("/models/")[2].partition(":")
    stream = method == "streamGenerateContent"
    if not model or not (stream or method == "generateContent"):
        raise NotFound("There is no such method of a model.", field="path", value=path[:200])
    return Opened(gemini.CODEC, gemini.parse_request(body, unquote(model), stream=stream), body)


OPENAI = Face(codec=openai.CODEC, open=_open_openai)
RESPONSES = Face(codec=responses.CODEC, open=_opening(responses.CODEC))
COMPLETIONS = Face(codec=completions.CODEC, open=_opening(completions.CODEC))
GEMINI = Face(codec=gemini.CODEC, open=_open_gemini)


def anthropic_face(clock: Clock) -> Face:
    """Return Anthropic's face: its limits are told with the moment they are whole again, by `clock`."""

    def limits(seat: Seat) -> bytes:
        requests, tokens = limits_left(seat)
        now_s = clock.wall_s()
        return anthropic.limit_headers(_at(requests, now_s), _at(tokens, now_s))

    return Face(codec=anthropic.CODEC, open=_opening(anthropic.CODEC), limits=limits, id_header=ANTHROPIC_ID)


def _at(left: Left | None, now_s: float) -> tuple[int, int, float] | None:
    return None if left is None else (left.limit, left.remaining, now_s + left.reset_s)
