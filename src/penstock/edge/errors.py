"""Errors that happen before a face is known, rendered in the dialect of the path.

Promise: one table decides: Anthropic's and Google's paths get their own errors, all else OpenAI's JSON, which people
and programs can read; every reply carries a fresh `x-request-id`, a 405 what is allowed.
"""

from __future__ import annotations

from penstock.dialects import anthropic, gemini, openai
from penstock.dialects.codec import Codec
from penstock.edge.routes import MethodNotAllowed
from penstock.kernel.errors import PenstockError
from penstock.kernel.ids import new_id

JSON_TYPE = b"content-type: application/json\r\n"


def render(error: PenstockError, path: str) -> tuple[int, bytes, bytes]:
    """Return (status, header lines, body) for an error."""
    status, headers, body = prepared(error, spoken_at(path))
    headers += request_id()
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
    is_google = path.startswith("/v1beta/") or (path.startswith("/v1/models/") and ":" in path)
    return gemini.CODEC if is_google else openai.CODEC


def request_id() -> bytes:
    """Return the header line of a fresh request id, for replies that have none of their own."""
    return b"x-request-id: %b\r\n" % new_id("req_").encode()
