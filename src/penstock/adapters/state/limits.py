"""What both state adapters hold to be a sensible ask, and how fine a sliding window counts.

Promise: an ask that could never be admitted raises Invalid with its field, figure and bound, on either side the same.
"""

from __future__ import annotations

import math

from penstock.kernel.errors import Invalid
from penstock.ports.state import Ask

MICROS = 1_000_000
"""Both sides count time in whole microseconds, which is what Redis's TIME gives."""

KEY_BYTES = 512
LIMIT_MAX = 10**12
SLOTS_MAX = 100_000
PERIOD_MAX_S = 366 * 86_400
TTL_MAX_S = 366 * 86_400.0

WINDOW_PARTS = 32
"""A window remembers at most this many groups of events per period; a group leaves when its youngest event does."""


def check_key(key: str, field: str) -> None:
    """Raise Invalid unless `key` starts with a tenant and fits `KEY_BYTES` bytes of UTF-8."""
    if not key.partition("|")[0]:
        raise Invalid(
            "A key starts with its tenant.", field=field, value=key, remedy="Write it as tenant|name."
        )
    if len(key.encode(errors="replace")) > KEY_BYTES:
        raise Invalid("A key is too long.", field=field, value=len(key), limit=f"{KEY_BYTES} bytes")


def check_ask(ask: Ask) -> None:
    """Raise Invalid when `ask` is malformed or larger than its limit can ever admit."""
    check_key(ask.key, "key")
    if ask.kind not in ("bucket", "window", "slots"):
        raise Invalid("An ask is a bucket, a window or slots.", field="kind", value=ask.kind)
    most = SLOTS_MAX if ask.kind == "slots" else LIMIT_MAX
    if not 1 <= ask.limit <= most:
        raise Invalid("A limit is out of bounds.", field="limit", value=ask.limit, limit=f"1 to {most}")
    if not 1 <= ask.period_s <= PERIOD_MAX_S:
        bounds = f"1 to {PERIOD_MAX_S} s"
        raise Invalid("A period is out of bounds.", field="period_s", value=ask.period_s, limit=bounds)
    if ask.amount < 0:
        raise Invalid("An amount is never negative.", field="amount", value=ask.amount, limit=0)
    if ask.amount > ask.limit and ask.kind != "slots":
        raise Invalid(
            "This request is larger than its limit can ever admit.",
            field="amount",
            value=ask.amount,
            limit=ask.limit,
            remedy="Make the request smaller or raise the limit.",
        )


def check_ttl(ttl_s: float) -> int:
    """Return `ttl_s` in microseconds, rounded up; Invalid unless it is positive and at most `TTL_MAX_S`."""
    if not 0 < ttl_s <= TTL_MAX_S:
        bounds = f"above 0, at most {TTL_MAX_S:.0f} s"
        raise Invalid("A lease's time to live is out of bounds.", field="ttl_s", value=ttl_s, limit=bounds)
    return math.ceil(ttl_s * MICROS)


def check_prefix(prefix: str) -> None:
    """Raise Invalid when `prefix` would take the place of the tenant's hash tag."""
    if "{" in prefix or "}" in prefix or not prefix:
        remedy = "Choose a word without braces."
        raise Invalid("This prefix cannot be used.", field="prefix", value=prefix, remedy=remedy)
