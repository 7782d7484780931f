"""The one vocabulary of what goes wrong with a provider, shared by the scripted provider, the simulator and drills.

Two lists: `Misbehaviour` is what a provider can be *told to do*; `FAILURE_KINDS` is what a caller *sees*, with whether
trying again can help. A plan is drawn from a seed, so that a run can be repeated exactly.
"""

from __future__ import annotations

import msgspec

RETRY_NEVER, RETRY_BACKOFF, RETRY_ONCE = "never", "backoff", "once"

FAILURE_KINDS: dict[str, str] = {
    # what the vendor said → may the same request be tried again?
    "rate_limited": RETRY_BACKOFF,
    "overloaded": RETRY_BACKOFF,
    "pool_exhausted": RETRY_BACKOFF,  # ours: no connection to the provider was free, and nothing was sent
    "server_error": RETRY_BACKOFF,
    "connect_failed": RETRY_BACKOFF,
    "connect_timeout": RETRY_ONCE,
    "connection_reset": RETRY_ONCE,
    "first_byte_timeout": RETRY_ONCE,
    "malformed_reply": RETRY_ONCE,
    "quota_exhausted": RETRY_NEVER,
    "spend_limit": RETRY_NEVER,
    "unauthenticated": RETRY_NEVER,
    "forbidden": RETRY_NEVER,
    "not_found": RETRY_NEVER,
    "invalid": RETRY_NEVER,
    "context_overflow": RETRY_NEVER,
    "content_filter": RETRY_NEVER,
    "cut": RETRY_NEVER,
    "stalled": RETRY_NEVER,
    "error_mid_stream": RETRY_NEVER,
    "total_timeout": RETRY_NEVER,
    "reply_too_large": RETRY_NEVER,
}

MISBEHAVIOURS = (
    "none",
    "rate_limit",
    "rate_limit_no_hint",
    "quota",
    "spend_limit",
    "server_error",
    "overloaded",
    "slow_first_byte",
    "reset",
    "stall",
    "cut",
    "malformed_line",
    "error_mid_stream",
    "usage_missing",
    "usage_twice",
    "usage_late",
    "usage_wrong",
    "huge_event",
)


class Misbehaviour(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One thing a provider does wrong.

    `after_chunks` says how many content chunks come first (stall, cut, malformed_line, error_mid_stream);
    `seconds` how long (slow_first_byte, stall, and the hint of rate_limit).
    """

    kind: str = "none"
    after_chunks: int = 3
    seconds: float = 1.0


NONE = Misbehaviour()
