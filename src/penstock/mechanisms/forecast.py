"""Forecasts of spend: what a day and a month come to, and when a budget is spent. Pure arithmetic in whole numbers.

    rate = what was spent in a window ÷ how long that is          (the last 24 hours, when there are so many)
    end  = spent so far + rate × the time that is left

Promises: days and months are those of UTC, as the ledger's are; sums are rounded up, the time a budget lasts is rounded
down, so that a forecast never promises more room than its rate says; nothing spent is a forecast too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from penstock.ports.traces import DAY_S, HOUR_S, Total

WINDOW_HOURS: Final = 24


class Rate(msgspec.Struct, frozen=True):
    """So many nano-dollars in so many seconds (at least 1)."""

    nanos: int
    seconds: int

    def over(self, seconds: int) -> int:
        """Return what is spent in so many seconds, rounded up to a nano-dollar."""
        return -(-self.nanos * max(seconds, 0) // self.seconds)

    def lasts_s(self, nanos: int) -> int | None:
        """Return for how many whole seconds an amount lasts, None when for ever."""
        if nanos <= 0:
            return 0
        return nanos * self.seconds // self.nanos if self.nanos > 0 else None


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
    """What the day and the month under way come to; amounts in nano-dollars."""

    today_nanos: int
    today_end_nanos: int
    month_nanos: int
    month_end_nanos: int
    rate: Rate


class BudgetForecast(msgspec.Struct, frozen=True, kw_only=True):
    """What a budget's window comes to. `spent_at_s` is the wall time when it is spent, 0 when not in this window."""

    end_nanos: int
    room_nanos: int
    spent_at_s: int
    percent_at_end: int


def burn_rate(by_hour: Mapping[int, int], now_s: int) -> Rate:
    """Return the rate of the last `WINDOW_HOURS` hours and the one under way, from costs by the hour's start.

    A past shorter than that counts from its first hour.
    """
    this_hour_s = now_s - now_s % HOUR_S
    earliest_s = this_hour_s - WINDOW_HOURS * HOUR_S
    recent = {hour_s: cost for hour_s, cost in by_hour.items() if earliest_s <= hour_s <= this_hour_s}
    first_s = min((hour_s for hour_s, cost in recent.items() if cost), default=this_hour_s)
    began_s = earliest_s if any(hour_s < earliest_s for hour_s in by_hour) else first_s
    return Rate(sum(recent.values()), max(now_s - began_s, 1))


def forecast(by_hour: Mapping[int, int], now_s: int) -> Forecast:
    """Return the forecast from costs by the hour's start (seconds since 1970), of the month under way at least."""
    rate = burn_rate(by_hour, now_s)
    day_s = now_s - now_s % DAY_S
    month_s, next_month_s = month_of(now_s)
    today = sum(cost for hour_s, cost in by_hour.items() if day_s <= hour_s <= now_s)
    month = sum(cost for hour_s, cost in by_hour.items() if month_s <= hour_s <= now_s)
    return Forecast(
        today_nanos=today,
        today_end_nanos=today + rate.over(day_s + DAY_S - now_s),
        month_nanos=month,
        month_end_nanos=month + rate.over(next_month_s - now_s),
        rate=rate,
    )


def budget_forecast(
    rate: Rate, *, limit_nanos: int, spent_nanos: int, now_s: int, ends_s: int
) -> BudgetForecast:
    """Return what becomes of a budget that ends (begins anew) at the wall time `ends_s`."""
    room = limit_nanos - spent_nanos
    end = spent_nanos + rate.over(ends_s - now_s)
    lasts_s = rate.lasts_s(room)
    spent_at_s = now_s + lasts_s if lasts_s is not None and now_s + lasts_s < ends_s else 0
    return BudgetForecast(
        end_nanos=end,
        room_nanos=max(room, 0),
        spent_at_s=spent_at_s,
        percent_at_end=end * 100 // limit_nanos if limit_nanos else 100,
    )


def hours(totals: Iterable[Total]) -> dict[int, int]:
    """Return costs by the hour's start, from totals by ("hour",)."""
    return {int(total.group[0]): total.cost_nanos for total in totals}


def month_of(at_s: int) -> tuple[int, int]:
    """Return when the month (UTC) that holds a time begins, and the next one."""
    first = datetime.fromtimestamp(at_s, UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    after = (first + timedelta(days=32)).replace(day=1)
    return int(first.timestamp()), int(after.timestamp())
