"""The simulated provider on the Anthropic wire: its refusals, its headers, its broken events."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from penstock.dialects.anthropic import CODEC
from penstock.simulator.codec_pen import CodecPen
from penstock.simulator.wire import JSON, SSE, encode

_REFUSALS: Final[dict[str, tuple[int, dict[str, object]]]] = {
    # misbehaviour → status, error
    "rate_limit": (
        429,
        {
            "type": "rate_limit_error",
            "message": "This request would exceed your organization's rate limit of 50 requests per minute.",
        },
    ),
    "rate_limit_no_hint": (
        429,
        {"type": "rate_limit_error", "message": "This request would exceed your account's rate limit."},
    ),
    "quota": (
        400,
        {
            "type": "invalid_request_error",
            "message": "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to "
            "upgrade or purchase credits.",
        },
    ),
    "spend_limit": (
        429,
        {
            "type": "rate_limit_error",
            "message": "You have reached your specified API usage limits.",
            "details": {"error_code": "enforced_spend_limit_reached"},
        },
    ),
    "server_error": (500, {"type": "api_error", "message": "Internal server error"}),
    "overloaded": (529, {"type": "overloaded_error", "message": "Overloaded"}),
}
_FAILED: Final = encode({"type": "error", "error": _REFUSALS["server_error"][1]})
_WINDOW_S: Final = 60


class AnthropicPen(CodecPen):
    """The pen of this wire."""

    codec = CODEC

    def refusal(self, kind: str, seconds: float) -> tuple[int, bytes, bytes]:
        """Return status, header lines and body."""
        status, error = _REFUSALS[kind]
        headers = JSON + b"request-id: %b\r\n" % self.id.encode()
        if kind == "rate_limit":
            headers += b"retry-after: %d\r\n" % max(1, round(seconds))
        return status, headers, encode({"type": "error", "error": error, "request_id": self.id})

    def headers(self, *, streamed: bool) -> bytes:
        """Return the header lines of an answer, rate limits among them."""
        full = datetime.fromtimestamp(self.created_s + _WINDOW_S, UTC).strftime("%Y-%m-%dT%H:%M:%SZ").encode()
        lines = [SSE if streamed else JSON, b"request-id: %b\r\n" % self.id.encode()]
        for quota, limit in (
            (b"requests", 10_000),
            (b"input-tokens", 5_000_000),
            (b"output-tokens", 1_000_000),
        ):
            name = b"anthropic-ratelimit-" + quota
            lines.append(
                b"%b-limit: %d\r\n%b-remaining: %d\r\n%b-reset: %b\r\n"
                % (name, limit, name, limit - 1, name, full)
            )
        return b"".join(lines)

    def whole_error(self) -> bytes:
        """Return an error's body."""
        return _FAILED

    def broken(self) -> bytes:
        """Return an event whose JSON stops in the middle."""
        return (
            b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta",'
            b'"text":"bro\n\n'
        )

    def error(self) -> bytes:
        """Return the event of an error."""
        return b"event: error\ndata: %b\n\n" % _FAILED
