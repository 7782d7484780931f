"""Readings for the rules about money and tokens, made from totals. Pure: rows in, readings out.

A day is a UTC day; today's figure is of today so far. A mean is of the seven days before today, counted from the first
one on which there was anything; with fewer than `DAYS_LEAST` of those there is no mean, and no reading.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Final

from penstock.mechanisms.alerts.rules import Reading, Rule
from penstock.ports.traces import DAY_S, Total

DAYS_BEFORE: Final = 7
DAYS_LEAST: Final = 3

Series = dict[int, int]
"""A day's start in seconds → what it cost in nano-dollars."""


def above_mean(rule: Rule, totals: Iterable[Total], today_s: int) -> Iterator[Reading]:
    """Yield today as a multiple of its mean, for each organisation or, by three dimensions, each of its features.

    `totals` are by ("org", "day") or ("org", "feature", "day").
    """
    for names, rows in groupby(sorted(totals, key=_names), key=_names):
        ratio = _ratio({int(row.group[-1]): row.cost_nanos for row in rows}, today_s, rule.floor)
        if ratio is not None:
            yield Reading(rule=rule.id, org=names[0], subject=names[-1], value=ratio)


def _names(total: Total) -> tuple[str, ...]:
    return total.group[:-1]


def _ratio(series: Series, today_s: int, floor: int) -> float | None:
    """Return today in times its mean, or None when that tells nothing."""
    before = {
        day_s: cost for day_s, cost in series.items() if today_s - DAYS_BEFORE * DAY_S <= day_s < today_s
    }
    days = (today_s - min((day_s for day_s, cost in before.items() if cost), default=today_s)) // DAY_S
    today = series.get(today_s, 0)
    if days < DAYS_LEAST or today < floor:
        return None
    return today * days / sum(before.values())


def spent(rule: Rule, totals: Iterable[Total]) -> Iterator[Reading]:
    """Yield what each user spent; `totals` are by ("org", "user")."""
    for total in totals:
        org, user = total.group
        if user:
            yield Reading(rule=rule.id, org=org, subject=user, value=total.cost_nanos)


def tokens_per_request(rule: Rule, totals: Iterable[Total]) -> Iterator[Reading]:
    """Yield the tokens of a request that was answered, in the mean; `totals` are by ("org", "feature")."""
    for total in totals:
        org, feature = total.group
        answered = total.requests - total.refused - total.failed
        if answered >= max(1, rule.floor):
            value = (total.input_tokens + total.output_tokens) / answered
            yield Reading(rule=rule.id, org=org, subject=feature, value=value)
