"""Errors that happen before a face is known, rendered in the dialect of the path.

Promise: one table decides: Anthropic's, Google's and Cohere's paths get their own errors, all else OpenAI's JSON, which
people and programs can read; every reply carries a fresh `x-request-id`, under Anthropic's name for it too where its
SDKs call, a 405 what is allowed.
"""

from __future__ import annotations

from penstock.dialects import anthropic, gemini, openai, rerank
from penstock.dialects.codec import Codec
from penstock.edge.routes import MethodNotAllowed
from penstock.kernel.errors import PenstockError
from penstock.kernel.ids import new_id

JSON_TYPE = b"content-type: application/json\r\n"
RERANK_PATHS = ("/v1/rerank", "/v2/rerank", "/rerank")
"""Where most servers have it, Cohere's SDK calls it, and TEI has it."""


def render(error: PenstockError, path: str) -> tuple[int, bytes, bytes]:
    """Return (status, header lines, body) for an error."""
    return told(error, spoken_at(path))


def told(error: PenstockError, codec: Codec) -> tuple[int, bytes, bytes]:
    """Return (status, header lines, body) for an error in the words of a dialect."""
    status, headers, body = prepared(error, codec)
    headers += id_lines(codec, new_id("req_"))
    if status == 401:
        headers += b"www-authenticate: Bearer\r\n"
    if isinstance(error, MethodNotAllowed):
        headers += b"allow: %b\r\n" % str(error.limit).encode()  # RFC 9110 section 15.5.6 demands it
    return status, headers, body


def prepared(error: PenstockError, codec: Codec) -> tuple[int, bytes, bytes]:
    """Return an error as `render` does but for the request's id: what can be made once and told to many."""
    status, body = codec.render_error(error)
    return status, JSON_TYPE + codec.retry_headers(error), body


def spoken_at(path: str) -> Codec:
    """Return the dialect whose SDKs call a path."""
    if path.startswith("/v1/messages"):
        return anthropic.CODEC
    if path in RERANK_PATHS:
        return rerank.CODEC
    is_google = path.startswith("/v1beta/") or (path.startswith("/v1/models/") and ":" in path)
    return gemini.CODEC if is_google else openai.CODEC


def id_lines(codec: Codec, of_request: str) -> bytes:
    """Return the header lines that tell a request's id to the SDKs of a dialect: Anthropic's look for `request-id`."""
    name = of_request.encode()
    line = b"x-request-id: %b\r\n" % name
    return line + b"request-id: %b\r\n" % name if codec is anthropic.CODEC else line


def request_id() -> bytes:
    """Return the header line of a fresh request id, for replies that have none of their own."""
    return b"x-request-id: %b\r\n" % new_id("req_").encode()
