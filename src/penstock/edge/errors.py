"""Errors that happen before a face is known, rendered in the dialect of the path.

Promise: one table decides: below ``/v1`` it is the OpenAI dialect; anything else gets the same JSON, which people and
programs can read; every reply carries a fresh `x-request-id`, a 405 what is allowed.
"""

from __future__ import annotations

from penstock.dialects.openai_errors import render_error, retry_headers
from penstock.edge.routes import MethodNotAllowed
from penstock.kernel.errors import PenstockError
from penstock.kernel.ids import new_id


def render(error: PenstockError, _path: str) -> tuple[int, bytes, bytes]:
    """Return (status, header lines, body) for an error."""
    status, body = render_error(error)
    headers = b"content-type: application/json\r\n" + request_id() + retry_headers(error)
    if status == 401:
        headers += b"www-authenticate: Bearer\r\n"
    if isinstance(error, MethodNotAllowed):
        headers += b"allow: %b\r\n" % str(error.limit).encode()  # RFC 9110 section 15.5.6 demands it
    return status, headers, body


def request_id() -> bytes:
    """Return the header line of a fresh request id, for replies that have none of their own."""
    return b"x-request-id: %b\r\n" % new_id("req_").encode()
