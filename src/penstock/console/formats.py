"""Figures as people read them: money, counts, times. Pure, so that a figure looks the same on every page.

Promise: money is never rounded to nothing (a nano-dollar shows), and no float touches it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Final

DASH: Final = "–"
_CENT: Final = Decimal("0.01")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_PROGRAMS: Final = (
    ("Edg/", "Edge"),
    ("OPR/", "Opera"),
    ("Firefox/", "Firefox"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
    ("curl/", "curl"),
)
"""Marks of browsers, those that also carry others' marks first."""
_SYSTEMS: Final = (
    ("Android", "Android"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("Linux", "Linux"),
)
_MINUTE_S, _HOUR_S, _DAY_S = 60, 3_600, 86_400


def money(nanos: int) -> str:
    """Return nano-dollars as dollars: cents from a dollar up, three significant digits below."""
    amount = Decimal(nanos).scaleb(-9)
    sign, size = ("−" if amount < 0 else ""), abs(amount)
    if size >= 1:
        return f"{sign}${size.quantize(_CENT, rounding=ROUND_HALF_EVEN):,}"
    if not size:
        return "$0"
    text = f"{size:.3g}"
    shown = format(Decimal(text), "f")
    whole, _, part = shown.partition(".")
    return f"{sign}${whole}.{part.rstrip('0').ljust(2, '0')}"


def exact_money(nanos: int) -> str:
    """Return nano-dollars as dollars with all nine decimals, for a tooltip."""
    amount = Decimal(nanos).scaleb(-9)
    return f"{'−' if amount < 0 else ''}${abs(amount):,.9f}"


def count(number: float) -> str:
    """Return a number with its thousands apart; at most two decimals, and only when it has some."""
    if number == int(number):
        return f"{int(number):,}"
    return f"{number:,.2f}".rstrip("0").rstrip(".")


def short(number: float) -> str:
    """Return a number of at most four characters and a unit: 950, 12.3k, 4.56M."""
    size = abs(number)
    for bound, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if size >= bound * 0.9995:
            return f"{number / bound:.3g}{unit}"
    return count(number)


def duration(ms: float) -> str:
    """Return milliseconds as people say them; nothing for a time that never came."""
    if ms <= 0:
        return DASH
    if ms < 10:
        return f"{ms:.2g} ms"
    if ms < 999.5:
        return f"{ms:.0f} ms"
    if ms < 60_000:
        return f"{ms / 1000:.3g} s"
    return span(ms / 1000)


def span(seconds: float) -> str:
    """Return a stretch of time by its largest unit, rounded: 40 s, 12 min, 3 h, 9 d."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * _MINUTE_S:
        return f"{seconds / _MINUTE_S:.0f} min"
    if seconds < 2 * _DAY_S:
        return f"{seconds / _HOUR_S:.0f} h"
    return f"{seconds / _DAY_S:.0f} d"


def ago(at_s: float, now_s: float) -> str:
    """Return how long ago a time was; "never" for 0."""
    if not at_s:
        return "never"
    gone_s = max(0.0, now_s - at_s)
    return "just now" if gone_s < 5 else f"{span(gone_s)} ago"


def moment(at_s: float) -> str:
    """Return a time to the second, UTC."""
    return f"{_utc(at_s):%Y-%m-%d %H:%M:%S}" if at_s else DASH


def clock_time(at_s: float) -> str:
    """Return the time of day to the second, UTC."""
    return f"{_utc(at_s):%H:%M:%S}" if at_s else DASH


def day(at_s: float) -> str:
    """Return the UTC day of a time."""
    return f"{_utc(at_s):%Y-%m-%d}" if at_s else DASH


def short_day(at_s: float) -> str:
    """Return the UTC day of a time as an axis has room for it: 21 Nov."""
    at = _utc(at_s)
    return f"{at.day} {_MONTHS[at.month - 1]}"


def iso(at_s: float) -> str:
    """Return a time for a `datetime` attribute (RFC 3339)."""
    return f"{_utc(at_s):%Y-%m-%dT%H:%M:%SZ}" if at_s else ""


def percent(part: float) -> str:
    """Return a percentage: a decimal below ten, none above."""
    if part == int(part):
        return f"{int(part)} %"
    return f"{part:.1f} %" if abs(part) < 10 else f"{part:.0f} %"


def share(part: float, whole: float) -> str:
    """Return what percentage `part` is of `whole`; a dash of nothing."""
    return percent(100 * part / whole) if whole else DASH


def browser(agent: str) -> str:
    """Return what a browser's `User-Agent` means, as people call it: "Firefox on Linux"; the start of one unknown."""
    program = next((name for mark, name in _PROGRAMS if mark in agent), "")
    system = next((name for mark, name in _SYSTEMS if mark in agent), "")
    if not program:
        return agent[:60] or "unknown"
    return f"{program} on {system}" if system else program


def _utc(at_s: float) -> datetime:
    return datetime.fromtimestamp(at_s, UTC)
