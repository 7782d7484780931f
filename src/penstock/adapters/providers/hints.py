"""What a vendor's response headers say about waiting and about its limits.

Promises: nothing here raises on what a vendor sent; a figure that makes no sense (Azure's -1, a blank, a word) is
None, which means unknown. `retry-after-ms` is the finer of two hints and wins over `retry-after` (RFC 9110, 10.2.3).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Final

import msgspec

Header = Callable[[bytes], bytes | None]

MAX_HINT_S: Final = 31 * 86_400.0
"""A longer wait than this, in seconds, is cut to it."""

_DURATION: Final = re.compile(r"([0-9.]+)(ms|us|µs|s|m|h|d)")
_UNIT_S: Final = {"us": 1e-6, "µs": 1e-6, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


class RateHint(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A vendor's rate limits as its headers tell them; None is unknown. `reset_*` in seconds from now."""

    limit_requests: int | None = None
    remaining_requests: int | None = None
    reset_requests_s: float | None = None
    limit_tokens: int | None = None
    remaining_tokens: int | None = None
    reset_tokens_s: float | None = None


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


def rate_hint(header: Header) -> RateHint:
    """Read the ``x-ratelimit-*`` headers as OpenAI, Azure, Groq and their followers send them."""
    return RateHint(
        limit_requests=_count(header(b"x-ratelimit-limit-requests")),
        remaining_requests=_count(header(b"x-ratelimit-remaining-requests")),
        reset_requests_s=duration_s(header(b"x-ratelimit-reset-requests")),
        limit_tokens=_count(header(b"x-ratelimit-limit-tokens")),
        remaining_tokens=_count(header(b"x-ratelimit-remaining-tokens")),
        reset_tokens_s=duration_s(header(b"x-ratelimit-reset-tokens")),
    )


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
