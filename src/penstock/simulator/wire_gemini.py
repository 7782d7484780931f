"""The simulated provider on the Gemini wire: its refusals and its broken events. It tells no rate limits in headers."""

from __future__ import annotations

from typing import Any, Final

from penstock.dialects.gemini import CODEC
from penstock.simulator.codec_pen import CodecPen
from penstock.simulator.wire import JSON, SSE, encode

_QUOTA: Final = "type.googleapis.com/google.rpc.QuotaFailure"
_RETRY: Final = "type.googleapis.com/google.rpc.RetryInfo"
_MINUTE: Final = "GenerateRequestsPerMinutePerProjectPerModel"
_DAY: Final = "GenerateRequestsPerDayPerProjectPerModel"
_SPENT: Final = "You exceeded your current quota, please check your plan and billing details."

_REFUSALS: Final = {
    # misbehaviour → code, status, message, the quota that was exceeded
    "rate_limit": (429, "RESOURCE_EXHAUSTED", _SPENT, _MINUTE),
    "rate_limit_no_hint": (429, "RESOURCE_EXHAUSTED", _SPENT, _MINUTE),
    "quota": (429, "RESOURCE_EXHAUSTED", _SPENT, _DAY),
    "spend_limit": (
        429, "RESOURCE_EXHAUSTED", "Your project has exceeded its monthly spending cap (spend limit).", "",
    ),
    "server_error": (500, "INTERNAL", "An internal error has occurred. Please retry or report it.", ""),
    "overloaded": (503, "UNAVAILABLE", "The model is overloaded. Please try again later.", ""),
}  # fmt: skip


def _error(kind: str, seconds: float = 0.0) -> tuple[int, bytes]:
    code, status, message, quota = _REFUSALS[kind]
    details: list[dict[str, Any]] = []
    if quota:
        metric = "generativelanguage.googleapis.com/generate_content_requests"
        details.append({"@type": _QUOTA, "violations": [{"quotaMetric": metric, "quotaId": quota}]})
    if kind == "rate_limit":
        details.append({"@type": _RETRY, "retryDelay": f"{seconds:g}s"})
    error = {"code": code, "message": message, "status": status}
    return code, encode({"error": {**error, "details": details} if details else error})


_FAILED: Final = _error("server_error")[1]


class GeminiPen(CodecPen):
    """The pen of this wire."""

    codec = CODEC
    signs_calls = True

    def refusal(self, kind: str, seconds: float) -> tuple[int, bytes, bytes]:
        """Return status, header lines and body; the hint is in the body."""
        status, body = _error(kind, seconds)
        return status, JSON, body

    def headers(self, *, streamed: bool) -> bytes:
        """Return the header lines of an answer."""
        return SSE if streamed else JSON

    def whole_error(self) -> bytes:
        """Return an error's body."""
        return _FAILED

    def broken(self) -> bytes:
        """Return an event whose JSON stops in the middle."""
        return b'data: {"candidates":[{"content":{"role":"model","parts":[{"text":"bro\n\n'

    def error(self) -> bytes:
        """Return the event of an error."""
        return b"data: %b\n\n" % _FAILED
