"""Errors on the Gemini wire: ours as ``google.rpc.Status`` for its SDKs, and Google's read into `kernel.faults`.

Promises
- `render_error` gives the status and the body ``{"error": {"code", "message", "status", "details"}}``: an ``ErrorInfo``
  with our code, a ``BadRequest`` for a field, a ``QuotaFailure`` for money and limits, a ``RetryInfo`` for a wait. The
  figures (`field`, `value`, `limit`, `remedy`) stand beside them when known.
- `retry_headers`: Google's SDKs obey no header, its tools the ``RetryInfo``; ``retry-after`` is for everybody else.
- `read_vendor_error` never raises. Of a 429, the details decide: a quota per day, or one of 0, is never worth a retry;
  one per minute is, after its ``retryDelay``. What Google's words do not settle, `openai_errors` reads by its tables.
"""

from __future__ import annotations

import math
import re
from typing import Any, Final

import msgspec

from penstock.dialects.codec import VendorError
from penstock.dialects.nonsense import UNREADABLE
from penstock.dialects.openai_errors import read_vendor_error as read_any_error
from penstock.dialects.openai_errors import status_of
from penstock.dialects.strict_json import shorten
from penstock.kernel.errors import OverBudget, OverLimit, PenstockError

_STATUSES: Final = {
    # HTTP → google.rpc.Code (google/rpc/code.proto)
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    413: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_TYPE: Final = "type.googleapis.com/google.rpc."
_KEY: Final = re.compile(r"pen-[A-Za-z0-9_-]{12,}")


def render_error(error: PenstockError) -> tuple[int, bytes]:
    """Return status and JSON body for `error`."""
    status = status_of(error)
    body: dict[str, object] = {
        # A key in the wrong place (a path, a model's name) is not told back: replies are logged on their way.
        "code": status,
        "message": _KEY.sub("pen-***", str(error)),
        "status": _STATUSES.get(status, "INVALID_ARGUMENT" if status < 500 else "INTERNAL"),
        "details": _details(error),
    }
    figures = (
        ("field", error.field),
        ("value", error.value),
        ("limit", error.limit),
        ("remedy", error.remedy),
    )
    for name, value in figures:
        if value is not None and value != "":
            told = value if isinstance(value, int | float | str) else shorten(value)
            body[name] = _KEY.sub("pen-***", told) if isinstance(told, str) else told
    return status, msgspec.json.encode({"error": body})


def _details(error: PenstockError) -> list[dict[str, Any]]:
    reason = re.sub(r"[^A-Z0-9]+", "_", error.reason.upper())
    told: list[dict[str, Any]] = [{"@type": f"{_TYPE}ErrorInfo", "reason": reason, "domain": "penstock"}]
    message = _KEY.sub("pen-***", error.message)
    if isinstance(error, OverBudget | OverLimit):
        told.append({"@type": f"{_TYPE}QuotaFailure", "violations": [{"description": message}]})
    elif error.field and status_of(error) == 400:
        violation = {"field": error.field, "description": message}
        told.append({"@type": f"{_TYPE}BadRequest", "fieldViolations": [violation]})
    if error.retry_after_s is not None and error.retry_after_s >= 0 and not isinstance(error, OverBudget):
        told.append({"@type": f"{_TYPE}RetryInfo", "retryDelay": f"{math.ceil(error.retry_after_s)}s"})
    return told


def render_error_event(error: PenstockError) -> bytes:
    """Return the SSE event that ends a stream which has already begun."""
    return b"data: %b\n\n" % render_error(error)[1]


def retry_headers(error: PenstockError) -> bytes:
    """Return header lines (each ended by CRLF) that tell a caller when to try again."""
    if error.retry_after_s is None or error.retry_after_s < 0:
        return b""
    return b"retry-after: %d\r\n" % max(1, math.ceil(error.retry_after_s))


# ------------------------------------------------------------------------------------------- what Google sends


class _Violation(msgspec.Struct, gc=False, rename="camel"):
    quota_id: str = ""
    quota_value: str | int = ""


class _Detail(msgspec.Struct, gc=False, rename="camel"):
    """Whichever detail it is: the members of those we read."""

    reason: str = ""
    retry_delay: str = ""
    violations: list[_Violation] = []


class _Status(msgspec.Struct, gc=False):
    message: str = ""
    status: str = ""
    details: list[_Detail] = []


class _Body(msgspec.Struct, gc=False):
    error: _Status


_BODY: Final[msgspec.json.Decoder[_Body | list[_Body]]] = msgspec.json.Decoder(_Body | list[_Body])
_DELAY: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)s")
_ASKED: Final = re.compile(r"retry in ([0-9]{1,9}(?:\.[0-9]{1,9})?)s", re.IGNORECASE)
_LONG_WAIT_S: Final = 3600.0
"""A 429 that asks for more than this is a spent daily quota, whatever it calls itself."""

_BY_REASON: Final = {
    # an ErrorInfo's reason → kind
    "API_KEY_INVALID": "unauthenticated",
    "API_KEY_EXPIRED": "unauthenticated",
    "ACCESS_TOKEN_EXPIRED": "unauthenticated",
    "CREDENTIALS_MISSING": "unauthenticated",
    "API_KEY_SERVICE_BLOCKED": "forbidden",
    "SERVICE_DISABLED": "forbidden",
    "CONSUMER_SUSPENDED": "forbidden",
    "BILLING_DISABLED": "quota_exhausted",
}
_BY_TEXT: Final[tuple[tuple[str, re.Pattern[str], str], ...]] = (
    # status, what the message says → kind
    ("RESOURCE_EXHAUSTED", re.compile(r"spend(?:ing)? (?:cap|limit)", re.IGNORECASE), "spend_limit"),
    (
        "RESOURCE_EXHAUSTED",
        re.compile(r"(?:prepa\w+ )?credits? (?:are |is )?depleted", re.IGNORECASE),
        "quota_exhausted",
    ),
    ("RESOURCE_EXHAUSTED", re.compile(r"limit: 0\b|per ?day", re.IGNORECASE), "quota_exhausted"),
    ("INVALID_ARGUMENT", re.compile(r"token count.*exceeds", re.IGNORECASE | re.DOTALL), "context_overflow"),
    ("INVALID_ARGUMENT", re.compile(r"api key (?:not valid|expired)", re.IGNORECASE), "unauthenticated"),
    ("FAILED_PRECONDITION", re.compile(r"location is not supported", re.IGNORECASE), "forbidden"),
    ("FAILED_PRECONDITION", re.compile(r"billing", re.IGNORECASE), "quota_exhausted"),
)
_BY_STATUS: Final = {
    "INVALID_ARGUMENT": "invalid",
    "FAILED_PRECONDITION": "invalid",
    "OUT_OF_RANGE": "invalid",
    "UNIMPLEMENTED": "invalid",
    "UNAUTHENTICATED": "unauthenticated",
    "PERMISSION_DENIED": "forbidden",
    "NOT_FOUND": "not_found",
    "UNAVAILABLE": "overloaded",
    "INTERNAL": "server_error",
    "UNKNOWN": "server_error",
    "DEADLINE_EXCEEDED": "server_error",
    "CANCELLED": "server_error",
    "ABORTED": "server_error",
}


def read_vendor_error(status: int, body: bytes) -> VendorError:
    """Understand a refusal of Gemini. Never raises."""
    try:
        told = _BODY.decode(body)
        error = (told[0] if isinstance(told, list) else told).error
    except (*UNREADABLE, IndexError):
        return read_any_error(status, body)
    wait_s = _wait_s(error)
    kind = _kind(status, error, wait_s)
    if not kind:
        return read_any_error(status, body)
    return VendorError(
        kind=kind,
        message=shorten(error.message or f"HTTP status {status}", 500),
        code=error.status,
        retry_after_s=wait_s,
    )


def _kind(status: int, error: _Status, wait_s: float | None) -> str:
    """Return the kind of failure; "" when Google's words do not settle it."""
    for detail in error.details:
        known = _BY_REASON.get(detail.reason)
        if known:
            return known
    for said, pattern, kind in _BY_TEXT:
        if error.status == said and pattern.search(error.message):
            return kind
    if error.status == "RESOURCE_EXHAUSTED" and status in (200, 429):
        return _exhausted(error, wait_s)
    return "quota_exhausted" if status == 402 else _BY_STATUS.get(error.status, "")


def _exhausted(error: _Status, wait_s: float | None) -> str:
    """Tell a spent quota from a busy minute."""
    violations = [violation for detail in error.details for violation in detail.violations]
    if any("PerDay" in each.quota_id or str(each.quota_value) == "0" for each in violations):
        return "quota_exhausted"
    if wait_s is not None:
        return "quota_exhausted" if wait_s > _LONG_WAIT_S else "rate_limited"
    if violations:
        return "rate_limited"
    # With a link to the bill and no details it lasts until midnight (gemini-cli, python-genai issue 1427).
    return "quota_exhausted" if "exceeded your current quota" in error.message else "rate_limited"


def _wait_s(error: _Status) -> float | None:
    for detail in error.details:
        found = _DELAY.fullmatch(detail.retry_delay)
        if found:
            return float(found.group(1))
    found = _ASKED.search(error.message)
    return float(found.group(1)) if found else None
