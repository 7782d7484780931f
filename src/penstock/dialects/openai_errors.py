"""Errors on the OpenAI wire: ours rendered for its SDKs, and vendors' read into the words of `kernel.faults`.

Promises
- `render_error` gives the status and the body ``{"error": {"message", "type", "param", "code", …}}`` that the official
  SDKs turn into their exception classes; figures (`value`, `limit`, `remedy`) stand beside them when known.
- `retry_headers` tells those SDKs not to repeat what cannot succeed (``x-should-retry: false``).
- `read_vendor_error` never raises: whatever a vendor sent (JSON of any shape, HTML, nothing) becomes one kind of
  `kernel.faults.FAILURE_KINDS`, by the tables below, first match wins. Exhausted credit and spend limits are told from
  rate limits although both come as 429: the first two are never worth a retry.
"""

from __future__ import annotations

import math
import re
from typing import Any, Final, cast

import msgspec

from penstock.dialects.codec import VendorError
from penstock.dialects.nonsense import UNREADABLE
from penstock.dialects.strict_json import shorten
from penstock.kernel.errors import (
    Cancelled,
    Conflict,
    Forbidden,
    NotFound,
    OverBudget,
    OverLimit,
    PenstockError,
    PolicyRefused,
    Rejected,
    Unauthenticated,
    Unavailable,
    Upstream,
)

_TYPES: Final[tuple[tuple[type[PenstockError], str], ...]] = (
    (Unauthenticated, "authentication_error"),
    (PolicyRefused, "policy_error"),
    (Forbidden, "permission_error"),
    (NotFound, "not_found_error"),
    (OverBudget, "insufficient_quota"),
    (OverLimit, "rate_limit_error"),
    (Conflict, "conflict_error"),
    (Rejected, "invalid_request_error"),
    (Cancelled, "request_cancelled"),
    (Unavailable, "server_error"),
)

_KEY: Final = re.compile(rb"pen-[A-Za-z0-9_-]{12,}")
_UPSTREAM_STATUS: Final = {
    # What a caller is told when the vendor failed. A vendor's 401 is our operator's fault, not the caller's.
    "rate_limited": 429,
    "overloaded": 503,
    "pool_exhausted": 503,
    "connect_timeout": 504,
    "first_byte_timeout": 504,
    "total_timeout": 504,
    "stalled": 504,
    "not_found": 404,
    "invalid": 400,
    "context_overflow": 400,
    "content_filter": 400,
}
_UPSTREAM_CODE: Final = {
    "context_overflow": "context_length_exceeded",
    "rate_limited": "rate_limit_exceeded",
    "not_found": "model_not_found",
    "invalid": "invalid_request",
}


def status_of(error: PenstockError) -> int:
    """Return the HTTP status this dialect gives `error`."""
    if isinstance(error, Upstream):
        return _UPSTREAM_STATUS.get(error.reason, error.status)
    return error.status


def render_error(error: PenstockError) -> tuple[int, bytes]:
    """Return status and JSON body for `error`."""
    kind = next((name for family, name in _TYPES if isinstance(error, family)), "server_error")
    if isinstance(error, Upstream) and 400 <= status_of(error) < 500:
        kind = "rate_limit_error" if error.reason == "rate_limited" else "invalid_request_error"
    code = _UPSTREAM_CODE.get(error.reason, error.reason) if isinstance(error, Upstream) else error.reason
    body: dict[str, object] = {
        "message": str(error),
        "type": kind,
        "param": error.field or None,
        "code": code,
    }
    for name, value in (("value", error.value), ("limit", error.limit), ("remedy", error.remedy)):
        if value is not None and value != "":
            body[name] = value if isinstance(value, int | float | str) else shorten(value)
    told = msgspec.json.encode({"error": body})
    # A key in the wrong place (a path, a model's name) is not told back: replies are logged on their way.
    return status_of(error), _KEY.sub(b"pen-***", told) if b"pen-" in told else told


def render_error_event(error: PenstockError) -> bytes:
    """Return the SSE event that ends a stream which has already begun; no ``[DONE]`` may follow it."""
    return b"data: %b\n\n" % render_error(error)[1]


def retry_headers(error: PenstockError) -> bytes:
    """Return header lines (each ended by CRLF) that tell an SDK whether and when to try again."""
    retryable = isinstance(error, Unavailable | OverLimit) and not isinstance(error, Cancelled)
    if isinstance(error, Upstream):
        retryable = status_of(error) in (429, 502, 503, 504) and error.reason not in _NEVER_AGAIN
    lines = b"x-should-retry: true\r\n" if retryable else b"x-should-retry: false\r\n"
    if error.retry_after_s is not None and error.retry_after_s >= 0:
        lines += b"retry-after: %d\r\n" % max(1, math.ceil(error.retry_after_s))
        lines += b"retry-after-ms: %d\r\n" % max(1, math.ceil(error.retry_after_s * 1000))
    return lines


_NEVER_AGAIN: Final = frozenset(
    {"quota_exhausted", "spend_limit", "unauthenticated", "forbidden", "reply_too_large"}
)


# ------------------------------------------------------------------------------------------- what vendors send


_BY_WORD: Final = {
    # `code`, `type`, `status` or `error_code` of the body, lower case → kind
    "insufficient_quota": "quota_exhausted",
    "credit_balance_exhausted": "quota_exhausted",
    "insufficient_credits": "quota_exhausted",
    "insufficient_balance": "quota_exhausted",
    "billing_not_active": "quota_exhausted",
    "billing_error": "quota_exhausted",
    "account_deactivated": "forbidden",
    "billing_hard_limit_reached": "spend_limit",
    "enforced_spend_limit_reached": "spend_limit",
    "spend_limit_reached": "spend_limit",
    "context_length_exceeded": "context_overflow",
    "exceed_context_size_error": "context_overflow",
    "content_filter": "content_filter",
    "content_policy_violation": "content_filter",
    "responsibleaipolicyviolation": "content_filter",
    "model_not_found": "not_found",
    "deploymentnotfound": "not_found",
    "not_found_error": "not_found",
    "invalid_api_key": "unauthenticated",
    "authentication_error": "unauthenticated",
    "unauthenticated": "unauthenticated",
    "permission_error": "forbidden",
    "permission_denied": "forbidden",
    "unsupported_country_region_territory": "forbidden",
    "overloaded_error": "overloaded",
    "server_overloaded": "overloaded",
    "engine_overloaded_error": "overloaded",
    "capacity_exceeded": "overloaded",
    "slow_down": "overloaded",
    "unavailable": "overloaded",
    "rate_limit_exceeded": "rate_limited",
    "rate_limit_error": "rate_limited",
    "ratelimitreached": "rate_limited",
    "too_many_requests": "rate_limited",
}

_REFUSED: Final = frozenset({400, 402, 403, 413, 422, 429})
_BUSY: Final = frozenset({200, 408, 409, 429, 500, 502, 503, 504, 529})
_LIMITED: Final = frozenset({429})


def _says(*phrases: str) -> re.Pattern[str]:
    return re.compile("|".join(phrases), re.IGNORECASE)


_BY_TEXT: Final[tuple[tuple[frozenset[int], re.Pattern[str], str], ...]] = (
    # statuses, what the text says → kind; read when no word above decided
    (_LIMITED, _says(r"per ?day", r"limit: 0\b"), "quota_exhausted"),
    (_LIMITED, _says(r"per ?minute", r"retrydelay", r"please (?:retry|try again) in"), "rate_limited"),
    (
        _REFUSED,
        _says(
            r"spend(?:ing)? limit",
            r"monthly (?:usage )?limit",
            r"hard limit",
            r"budget (?:has been )?exceeded",
        ),
        "spend_limit",
    ),
    (
        _REFUSED,
        _says(
            r"exceeded your current quota",
            r"balance (?:is )?too low",
            r"payment required",
            r"(?:insufficient|out of|not enough) (?:credits?|balance|quota|funds)",
        ),
        "quota_exhausted",
    ),
    (
        _REFUSED,
        _says(
            r"context (?:window|size|length)",
            r"context_length",
            r"(?:prompt|input) (?:is )?too long",
            r"max(?:imum)? (?:model|input|sequence) len",
            r"too many (?:input |prompt )?tokens",
        ),
        "context_overflow",
    ),
    (
        _REFUSED,
        _says(
            r"content management policy", r"content filter", r"safety (?:system|policy)", r"content policy"
        ),
        "content_filter",
    ),
    (
        frozenset({400, 404}),
        _says(r"model\b.{0,120}?(?:not found|not exist)", r"no such model", r"pull(?:ing)? it first"),
        "not_found",
    ),
    (
        frozenset({400}),
        _says(r"api key not valid", r"(?:incorrect|invalid) api key"),
        "unauthenticated",
    ),
    (
        _BUSY,
        _says(
            r"overloaded", r"at capacity", r"is busy", r"no available", r"currently loading", r"queue is full"
        ),
        "overloaded",
    ),
)

_BY_STATUS: Final = {
    401: "unauthenticated",
    402: "quota_exhausted",
    403: "forbidden",
    404: "not_found",
    408: "server_error",
    409: "server_error",
    410: "not_found",
    425: "server_error",
    429: "rate_limited",
    451: "forbidden",
    498: "overloaded",
    499: "server_error",
    503: "overloaded",
    529: "overloaded",
}
_HINT: Final = re.compile(r"(?:retryDelay[\"' :]+|(?:retry|try again) in )([0-9.]+) ?(ms|s)\b", re.IGNORECASE)
_LONG_WAIT_S: Final = 3600.0
"""A 429 that asks for more than this is a spent daily quota, whatever it calls itself."""


def read_vendor_error(status: int, body: bytes) -> VendorError:
    """Understand a refusal of any vendor that speaks (roughly) this dialect. Never raises."""
    text = body[:16_384].decode("utf-8", "replace")
    message, words, param = _members(body)
    hint = _hint_s(text)
    kind = _kind(status, text, words, hint)
    return VendorError(
        kind=kind,
        message=shorten(message or text.strip() or f"HTTP status {status}", 500),
        code=next((word for word in words if word), ""),
        param=param,
        retry_after_s=hint,
    )


def _kind(status: int, text: str, words: list[str], hint_s: float | None) -> str:
    if status == 429 and hint_s is not None and hint_s > _LONG_WAIT_S:
        return "quota_exhausted"
    for word in words:
        known = _BY_WORD.get(word.lower())
        if known:
            return known
    for statuses, pattern, kind in _BY_TEXT:
        if status in statuses and pattern.search(text):
            return kind
    if status >= 500 or status < 300:
        return _BY_STATUS.get(status, "server_error")
    return _BY_STATUS.get(status, "invalid")


def _members(body: bytes) -> tuple[str, list[str], str]:
    """Return message, classifying words (most exact first) and parameter from whichever shape the body has."""
    try:
        value = msgspec.json.decode(body)
    except UNREADABLE:
        return "", [], ""
    if isinstance(value, list) and value:
        value = cast("list[Any]", value)[0]
    if not isinstance(value, dict):
        return "", [], ""
    outer = cast("dict[str, Any]", value)
    error = outer.get("error", outer)
    if isinstance(error, str):
        return error, [], ""
    if not isinstance(error, dict):
        return "", [], ""
    inner = cast("dict[str, Any]", error)
    words = [
        str(word)
        for word in (
            _inside(inner, "details", "error_code"),
            _inside(inner, "innererror", "code"),
            inner.get("code"),
            inner.get("type"),
        )
        if word is not None
    ]
    message = inner.get("message", outer.get("detail", ""))
    return (
        message if isinstance(message, str) else shorten(message, 500),
        words,
        str(inner.get("param") or ""),
    )


def _inside(outer: dict[str, Any], name: str, key: str) -> object:
    inner = outer.get(name)
    return cast("dict[str, Any]", inner).get(key) if isinstance(inner, dict) else None


def _hint_s(text: str) -> float | None:
    found = _HINT.search(text)
    if found is None:
        return None
    try:
        amount = float(found.group(1))
    except ValueError:
        return None
    return amount / 1000 if found.group(2).lower() == "ms" else amount
