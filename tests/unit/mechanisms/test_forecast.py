"""Forecasts are arithmetic: golden figures, the calendar's borders, and nothing promised that the rate does not say."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from penstock.mechanisms.forecast import (
    BudgetForecast,
    Rate,
    budget_forecast,
    burn_rate,
    forecast,
    month_of,
)

HOUR, DAY = 3_600, 86_400
DAY_S = 1_795_219_200
"""2026-11-21T00:00:00Z."""
MONTH_S = DAY_S - 20 * DAY
NEXT_MONTH_S = MONTH_S + 30 * DAY


def steady(nanos: int, hours: int, now_s: int) -> dict[int, int]:
    """So many nano-dollars in each of so many whole hours before now."""
    return {now_s - (n + 1) * HOUR: nanos for n in range(hours)}


def test_a_steady_spend_goes_on() -> None:
    now_s = DAY_S + 12 * HOUR
    told = forecast(steady(1_000, 500, now_s), now_s)
    assert told.today_nanos == 12_000
    assert told.today_end_nanos == 24_000
    assert told.month_nanos == 1_000 * (20 * 24 + 12)
    assert told.month_end_nanos == 1_000 * 30 * 24
    assert told.rate == Rate(24_000, 24 * HOUR)


def test_a_month_ends_when_it_ends() -> None:
    december_s = NEXT_MONTH_S + DAY
    assert forecast(steady(1_000, 24, december_s), december_s).month_end_nanos == 1_000 * 31 * 24


def test_the_hour_under_way_counts_for_as_long_as_it_is() -> None:
    now_s = DAY_S + 12 * HOUR + 1_800
    by_hour = {**steady(1_000, 48, DAY_S + 12 * HOUR), DAY_S + 12 * HOUR: 500}
    assert burn_rate(by_hour, now_s) == Rate(24_500, 24 * HOUR + 1_800)
    assert forecast(by_hour, now_s).today_end_nanos == 24_000


def test_what_was_before_the_window_is_not_in_the_rate() -> None:
    now_s = DAY_S + 2 * HOUR
    by_hour = {now_s - 25 * HOUR: 10**9, now_s - 24 * HOUR: 24}
    assert burn_rate(by_hour, now_s) == Rate(24, 24 * HOUR)


def test_a_short_past_counts_from_its_first_hour() -> None:
    now_s = DAY_S + 2 * HOUR
    assert burn_rate({DAY_S: 100, DAY_S + HOUR: 100}, now_s) == Rate(200, 2 * HOUR)
    assert forecast({DAY_S: 100, DAY_S + HOUR: 100}, now_s).today_end_nanos == 2_400


def test_nothing_spent_is_a_forecast_too() -> None:
    told = forecast({}, DAY_S)
    assert (told.today_nanos, told.today_end_nanos, told.month_nanos, told.month_end_nanos) == (0, 0, 0, 0)
    assert told.rate.over(DAY) == 0
    assert told.rate.lasts_s(1) is None


def test_sums_are_rounded_up_and_times_down() -> None:
    rate = Rate(10, 3)
    assert [rate.over(seconds) for seconds in (0, 1, 2, 3, -5)] == [0, 4, 7, 10, 0]
    assert [rate.lasts_s(nanos) for nanos in (-1, 0, 9, 10, 13, 14)] == [0, 0, 2, 3, 3, 4]


def test_a_budget_that_is_spent_before_its_end_says_when() -> None:
    rate = Rate(24_000, DAY)
    told = budget_forecast(rate, limit_nanos=10_000, spent_nanos=4_000, now_s=DAY_S, ends_s=DAY_S + DAY)
    assert told == BudgetForecast(
        end_nanos=28_000, room_nanos=6_000, spent_at_s=DAY_S + 6 * HOUR, percent_at_end=280
    )
    at_its_end = budget_forecast(rate, limit_nanos=28_000, spent_nanos=4_000, now_s=DAY_S, ends_s=DAY_S + DAY)
    assert (at_its_end.spent_at_s, at_its_end.percent_at_end) == (0, 100)
    over = budget_forecast(rate, limit_nanos=10, spent_nanos=11, now_s=DAY_S, ends_s=DAY_S + DAY)
    assert (over.room_nanos, over.spent_at_s) == (0, DAY_S)
    none = budget_forecast(rate, limit_nanos=0, spent_nanos=0, now_s=DAY_S, ends_s=DAY_S + DAY)
    assert (none.percent_at_end, none.spent_at_s) == (100, DAY_S)


def test_months_are_the_calendars() -> None:
    assert month_of(DAY_S) == (MONTH_S, NEXT_MONTH_S)
    assert month_of(MONTH_S) == (MONTH_S, NEXT_MONTH_S)
    assert month_of(MONTH_S - 1)[1] == MONTH_S
    assert month_of(NEXT_MONTH_S) == (NEXT_MONTH_S, NEXT_MONTH_S + 31 * DAY)
    start_s, end_s = month_of(1_833_062_400)  # 2028-02-02, in a leap year
    assert (end_s - start_s) // DAY == 29


@given(st.integers(0, 10**15), st.integers(1, 10**7), st.integers(0, 10**15))
def test_what_lasts_is_not_overspent_and_a_second_more_would_be(nanos: int, seconds: int, room: int) -> None:
    rate = Rate(nanos, seconds)
    lasts_s = rate.lasts_s(room)
    if lasts_s is not None and room:
        assert rate.nanos * lasts_s <= room * seconds
        assert rate.nanos * (lasts_s + 1) > room * seconds
