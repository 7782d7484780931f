"""Which requests an address means: the filter of a page, read from its query and written back into links.

Promises: what an address says is what the platform is asked for, field by field; an unknown field is ignored, a period
that is none is refused by name; a link made here leads to exactly the requests behind a figure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, cast
from urllib.parse import urlencode

from penstock.console.security import PREFIX
from penstock.kernel.errors import Invalid
from penstock.sdk.requests import Filter

FIELDS: Final = {
    "team": "Team",
    "project": "Project",
    "user": "User",
    "key_id": "Key",
    "feature": "Feature",
    "model": "Model",
    "provider": "Provider",
    "outcome": "Outcome",
    "org": "Organisation",
}
"""What requests are filtered by, as people call it."""
PERIODS: Final = {
    "15m": ("15 minutes", 900),
    "1h": ("Hour", 3_600),
    "24h": ("24 hours", 86_400),
    "7d": ("7 days", 7 * 86_400),
    "30d": ("30 days", 30 * 86_400),
    "90d": ("90 days", 90 * 86_400),
}
"""Periods up to now: name in the address → what people call it, seconds."""
VALUE_CHARS_MAX: Final = 200


@dataclass(frozen=True, slots=True)
class Sought:
    """A filter. `last` is a name of `PERIODS` or "" ; `since_s` and `until_s` are seconds since 1970, 0 for open."""

    named: Mapping[str, str] = field(default_factory=dict[str, str])
    last: str = ""
    since_s: float = 0.0
    until_s: float = 0.0

    def where(self, now_s: float) -> Filter:
        """Return it as the SDK takes it; a period up to now begins that long before `now_s`."""
        which: dict[str, str | float] = dict(self.named)
        since_s = now_s - PERIODS[self.last][1] if self.last else self.since_s
        if since_s:
            which["since_s"] = since_s
        if self.until_s and not self.last:
            which["until_s"] = self.until_s
        return cast("Filter", which)

    def query(self, **change: str) -> str:
        """Return it as the query of an address, with some fields changed ("" drops one)."""
        values: dict[str, str] = dict(self.named)
        if self.last:
            values["last"] = self.last
        elif self.since_s or self.until_s:
            values |= {"since_s": seconds(self.since_s), "until_s": seconds(self.until_s)}
        values |= change
        return urlencode({name: value for name, value in values.items() if value})

    def requests(self, **change: str) -> str:
        """Return the address of the requests it means, with some fields changed."""
        query = self.query(**change)
        return f"{PREFIX}/requests" + (f"?{query}" if query else "")

    @property
    def is_open(self) -> bool:
        """Whether it admits every request there is."""
        return not (self.named or self.last or self.since_s or self.until_s)


def sought(query: Mapping[str, str], *, last: str = "") -> Sought:
    """Read a filter from an address; `last` is the period of one that names none. Raises Invalid."""
    named = {name: query[name].strip()[:VALUE_CHARS_MAX] for name in FIELDS if query.get(name, "").strip()}
    period = query.get("last", "")
    if period and period not in PERIODS:
        raise Invalid("There is no such period.", field="last", value=period[:20], limit=", ".join(PERIODS))
    since_s, until_s = _seconds(query, "since_s"), _seconds(query, "until_s")
    if since_s or until_s:
        return Sought(named, "", since_s, until_s)
    return Sought(named, period or last)


def group_fields(by: str, name: str) -> dict[str, str]:
    """Return what narrows a filter to one group of the costs: an hour or day is a period, all else a field."""
    length_s = {"hour": 3_600, "day": 86_400}.get(by)
    if length_s is None:
        return {by: name}
    began_s = float(name)
    return {"last": "", "since_s": seconds(began_s), "until_s": seconds(began_s + length_s)}


def seconds(at_s: float) -> str:
    """Return a time as it stands in an address, to the millisecond; "" for 0, which is open."""
    return f"{at_s:.3f}".rstrip("0").rstrip(".") if at_s else ""


def _seconds(query: Mapping[str, str], name: str) -> float:
    text = query.get(name, "").strip()
    if not text:
        return 0.0
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.0 <= value < 1e11:
        raise Invalid("A time is in seconds since 1970.", field=name, value=text[:20])
    return value
