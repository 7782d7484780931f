"""Errors on the Anthropic wire: ours rendered for its SDKs, and the vendor's read into the words of `kernel.faults`.

Promises
- `render_error` gives the status and the body ``{"type": "error", "error": {"type", "message", "details", …}}`` that
  the official SDKs turn into their exceptions. ``details.error_code`` is our code, which they show as `error_code`;
  `field`, `value`, `limit` and `remedy` stand beside when known. Money that ran out is 402, a bound of ours is 529.
- `retry_headers` are those of the OpenAI wire: both vendors' SDKs obey the same ones.
- `read_error` never raises. Spend limits and exhausted credit are told from rate limits and mistakes, although they
  share 429 and 400 with them.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from penstock.dialects import openai_errors
from penstock.dialects.codec import VendorError
from penstock.dialects.nonsense import UNREADABLE
from penstock.kernel.errors import OverBudget, Overloaded, PenstockError, Upstream

retry_headers = openai_errors.retry_headers

_TYPES: Final = {
    # the vendor's page on errors: what each status is called
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}

_OVERLOADED: Final = frozenset({"overloaded", "pool_exhausted"})


def status_of(error: PenstockError) -> int:
    """Return the HTTP status this dialect gives `error`."""
    if isinstance(error, OverBudget):
        return 402
    if isinstance(error, Overloaded) or (isinstance(error, Upstream) and error.reason in _OVERLOADED):
        return 529
    return openai_errors.status_of(error)


def render_error(error: PenstockError) -> tuple[int, bytes]:
    """Return status and JSON body for `error`."""
    status = status_of(error)
    said: dict[str, Any] = msgspec.json.decode(openai_errors.render_error(error)[1])["error"]
    told = {
        "type": _TYPES.get(status, "api_error" if status >= 499 else "invalid_request_error"),
        "message": said.pop("message"),
        "details": {"error_code": said.pop("code")},
        "field": said.pop("param"),
        **{name: value for name, value in said.items() if name != "type"},
    }
    return status, msgspec.json.encode({"type": "error", "error": told})


def render_error_event(error: PenstockError) -> bytes:
    """Return the SSE event that ends a stream which has already begun; no ``message_stop`` may follow it."""
    return b"event: error\ndata: %b\n\n" % render_error(error)[1]


def limit_headers(
    requests: tuple[int, int, float] | None = None, tokens: tuple[int, int, float] | None = None
) -> bytes:
    """Return header lines (each ended by CRLF) for the limits given: limit, remaining, and when it is whole again
    (seconds since 1970).
    """
    return b"".join(
        [
            b"anthropic-ratelimit-%b-limit: %d\r\n" % (name, limit)
            + b"anthropic-ratelimit-%b-remaining: %d\r\n" % (name, max(remaining, 0))
            + b"anthropic-ratelimit-%b-reset: %b\r\n" % (name, _rfc3339(reset_s))
            for name, (limit, remaining, reset_s) in _given((b"requests", requests), (b"tokens", tokens))
        ]
    )


def _given(
    *limits: tuple[bytes, tuple[int, int, float] | None],
) -> list[tuple[bytes, tuple[int, int, float]]]:
    return [(name, figures) for name, figures in limits if figures is not None]


def _rfc3339(moment_s: float) -> bytes:
    return datetime.fromtimestamp(math.ceil(moment_s), UTC).strftime("%Y-%m-%dT%H:%M:%SZ").encode()


# -------------------------------------------------------------------------------------- what the vendor sends


class _Details(msgspec.Struct, gc=False):
    error_code: str | None = None


class _Error(msgspec.Struct, gc=False):
    type: str | None = None
    message: str | None = None
    details: _Details | None = None


class _Body(msgspec.Struct, gc=False):
    error: _Error


_BODY: Final = msgspec.json.Decoder(_Body)
_BY_WORD: Final = {
    # `details.error_code` → kind, where the words that all vendors share do not have it (types of the SDK 2.12)
    "contract_spend_limit_reached": "spend_limit",
    "linked_organization_spend_limit_reached": "spend_limit",
    "linked_organization_billing_unavailable": "quota_exhausted",
    "user_profile_not_billable": "quota_exhausted",
    "organization_on_hold": "forbidden",
    "ramp_limit_exceeded": "rate_limited",
}
_SPENT: Final = "specified api usage limits"
"""From the 400 for the monthly limit an organisation set itself."""


def read_error(status: int, body: bytes) -> VendorError:
    """Understand a refusal of this vendor, or of a server that speaks like it. Never raises."""
    said = openai_errors.read_vendor_error(status, body)
    try:
        error = _BODY.decode(body).error
    except UNREADABLE:
        return said
    code = (error.details.error_code if error.details is not None else None) or error.type or said.code
    kind = _BY_WORD.get(code, said.kind)
    if _SPENT in (error.message or "").lower():
        kind = "spend_limit"
    return msgspec.structs.replace(said, kind=kind, code=code)
