"""Reply headers of the gateway: who served the request, what is left of the limits, what it cost.

The `x-ratelimit-*` names and the duration format are OpenAI's (platform documentation, "Rate limits in headers"), so
that its SDKs and their users read them as they are; of several limits of one kind the tightest is told.
"""

from __future__ import annotations

from collections.abc import Sequence

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
    remaining = taken.remaining
    if not remaining:
        return b""
    lines = b""
    requests = plan.request_buckets
    if requests:
        at = _tightest(requests, remaining)
        lines = _REQUESTS % (plan.asks[at].limit, remaining[at], _duration(taken.reset_s[at]))
    if plan.token_buckets:
        fixed = len(plan.asks)
        at = _tightest(range(fixed, len(remaining)), remaining)
        lines += _TOKENS % (plan.token_buckets[at - fixed][1], remaining[at], _duration(taken.reset_s[at]))
    return lines


def _lines(what: bytes) -> bytes:
    return b"x-ratelimit-limit-%b: %%d\r\nx-ratelimit-remaining-%b: %%d\r\nx-ratelimit-reset-%b: %%b\r\n" % (
        what,
        what,
        what,
    )


_REQUESTS = _lines(b"requests")
_TOKENS = _lines(b"tokens")


def _tightest(places: Sequence[int], remaining: Sequence[int]) -> int:
    """Return the place with the least left (the first of equals)."""
    best = places[0]
    for place in places:
        if remaining[place] < remaining[best]:
            best = place
    return best


def _duration(seconds: float) -> bytes:
    """Render as OpenAI does: ``850ms``, ``12s``, ``6m0s``."""
    if seconds < 1:
        return b"%dms" % int(seconds * 1000 + 0.999)
    whole = int(seconds + 0.999)
    return b"%ds" % whole if whole < 60 else b"%dm%ds" % divmod(whole, 60)
