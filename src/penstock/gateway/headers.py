"""Reply headers of the gateway: who served the request, what is left of the limits, what it cost.

The `x-ratelimit-*` names and the duration format are OpenAI's (platform documentation, "Rate limits in headers"), so
that its SDKs and their users read them as they are; of several limits of one kind the tightest is told.
"""

from __future__ import annotations

from penstock.gateway.admission import Seat
from penstock.gateway.routing import Target
from penstock.kernel.context import RequestContext


def request_headers(context: RequestContext, seat: Seat, target: Target) -> bytes:
    """Render everything known before the cost is."""
    return b"x-request-id: %b\r\n%b%b" % (context.request_id.encode(), target.headers, limit_headers(seat))


def money_headers(cost_nanos: int) -> bytes:
    """Render the cost of the operation in nano-dollars."""
    return b"x-penstock-cost-nanos: %d\r\n" % cost_nanos


def limit_headers(seat: Seat) -> bytes:
    """Render what is left of the request and token limits; nothing where none is set."""
    plan, taken = seat.plan, seat.taken
    if not taken.remaining:
        return b""
    lines = b""
    fixed = len(plan.asks)
    requests = plan.request_buckets
    if requests:
        tightest = min(requests, key=taken.remaining.__getitem__)
        lines = _limit(
            b"requests", plan.asks[tightest].limit, taken.remaining[tightest], taken.reset_s[tightest]
        )
    if plan.token_buckets:
        tightest = min(range(fixed, len(taken.remaining)), key=taken.remaining.__getitem__)
        limit = plan.token_buckets[tightest - fixed][1]
        lines += _limit(b"tokens", limit, taken.remaining[tightest], taken.reset_s[tightest])
    return lines


def _limit(what: bytes, limit: int, remaining: int, reset_s: float) -> bytes:
    return b"x-ratelimit-limit-%b: %d\r\nx-ratelimit-remaining-%b: %d\r\nx-ratelimit-reset-%b: %b\r\n" % (
        what,
        limit,
        what,
        max(remaining, 0),
        what,
        _duration(reset_s),
    )


def _duration(seconds: float) -> bytes:
    """Render as OpenAI does: ``850ms``, ``12s``, ``6m0s``."""
    if seconds < 1:
        return b"%dms" % int(seconds * 1000 + 0.999)
    whole = int(seconds + 0.999)
    return b"%ds" % whole if whole < 60 else b"%dm%ds" % divmod(whole, 60)
