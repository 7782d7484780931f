"""What a vendor's response headers say about waiting and about its limits.

Promises: nothing here raises on what a vendor sent; a figure that makes no sense (Azure's -1, a blank, a word) is
None, which means unknown. `retry-after-ms` is the finer of two hints and wins over `retry-after` (RFC 9110, 10.2.3).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from types import MappingProxyType
from typing import Final

from penstock.ports.providers import Quota, RateHint

Header = Callable[[bytes], bytes | None]

MAX_HINT_S: Final = 31 * 86_400.0
"""A longer wait than this, in seconds, is cut to it."""

_DURATION: Final = re.compile(r"([0-9.]+)(ms|us|µs|s|m|h|d)")
_UNIT_S: Final = {"us": 1e-6, "µs": 1e-6, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}

RateNames = Mapping[str, tuple[bytes, bytes, bytes]]
"""Under which headers a vendor tells each quota of a `RateHint`: its limit, what remains, when it is full again."""

OPENAI_RATES: Final[RateNames] = MappingProxyType(
    {
        quota: (b"x-ratelimit-limit-" + name, b"x-ratelimit-remaining-" + name, b"x-ratelimit-reset-" + name)
        for quota, name in (("requests", b"requests"), ("tokens", b"tokens"))
    }
)
"""OpenAI, Azure, Groq and most of their followers."""
ANTHROPIC_RATES: Final[RateNames] = {
    quota: (start + b"-limit", start + b"-remaining", start + b"-reset")
    for quota, start in (
        ("requests", b"anthropic-ratelimit-requests"),
        ("tokens", b"anthropic-ratelimit-tokens"),
        ("input_tokens", b"anthropic-ratelimit-input-tokens"),
        ("output_tokens", b"anthropic-ratelimit-output-tokens"),
    )
}


def retry_after_s(header: Header, wall_s: float) -> float | None:
    """Return the wait a vendor asks for, in seconds from now; `wall_s` is the present, for hints that are dates."""
    fine = _number(header(b"retry-after-ms"))
    if fine is not None:
        return _bounded(fine / 1000)
    value = header(b"retry-after")
    coarse = _number(value)
    if coarse is not None:
        return _bounded(coarse)
    if not value:
        return None
    try:
        return _bounded(parsedate_to_datetime(value.decode("latin-1")).timestamp() - wall_s)
    except (ValueError, TypeError, OverflowError):
        return None


def may_retry(header: Header) -> bool | None:
    """Return the vendor's ``x-should-retry``; None when it says nothing."""
    return {b"true": True, b"false": False}.get((header(b"x-should-retry") or b"").strip().lower())


def rate_hint(header: Header, names: RateNames, wall_s: float) -> RateHint:
    """Read a vendor's limits; `wall_s` is the present, for resets that are dates (Anthropic's)."""
    return RateHint(**{quota: _quota(header, told, wall_s) for quota, told in names.items()})


def _quota(header: Header, told: tuple[bytes, bytes, bytes], wall_s: float) -> Quota:
    limit_header, remaining_header, reset_header = told
    limit, remaining = header(limit_header), _count(header(remaining_header))
    most = _count(limit) or None
    if limit and most is None and remaining == 0:
        remaining = None  # nothing of nothing: Azure's way to say that it does not know
    return Quota(most, remaining, _reset_s(header(reset_header), wall_s))


def _reset_s(value: bytes | None, wall_s: float) -> float | None:
    """Return when a quota is full again, in seconds from now: told as a duration or as a date (RFC 3339)."""
    wait_s = duration_s(value)
    if wait_s is not None or not value:
        return wait_s
    try:
        when = datetime.fromisoformat(value.decode("ascii").strip())
        return _bounded(when.timestamp() - wall_s) if when.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None


def duration_s(value: bytes | None) -> float | None:
    """Read "6m0s", "20ms", "1h2m3.5s" or plain seconds; None for anything else."""
    plain = _number(value)
    if plain is not None:
        return _bounded(plain)
    text = (value or b"").decode("latin-1").strip()
    parts = _DURATION.findall(text)
    if not parts or "".join(amount + unit for amount, unit in parts) != text:
        return None
    try:
        return _bounded(sum(float(amount) * _UNIT_S[unit] for amount, unit in parts))
    except ValueError:
        return None


def _count(value: bytes | None) -> int | None:
    figure = _number(value)
    return int(figure) if figure is not None and figure >= 0 else None


def _number(value: bytes | None) -> float | None:
    try:
        figure = float(value) if value else None
    except ValueError:
        return None
    return figure if figure is not None and figure == figure and abs(figure) < 1e15 else None  # noqa: PLR0124 - NaN differs from itself


def _bounded(seconds: float) -> float:
    return min(max(seconds, 0.0), MAX_HINT_S)
