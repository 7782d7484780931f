"""Figures: money is never rounded to nothing, and every figure reads as people say it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.console import formats


@pytest.mark.parametrize(
    ("nanos", "shown"),
    [
        (0, "$0"),
        (1, "$0.000000001"),
        (1_234_567, "$0.00123"),
        (12_345_678, "$0.0123"),
        (100_000_000, "$0.10"),
        (999_499_999, "$0.999"),
        (1_000_000_000, "$1.00"),
        (1_234_567_890_123, "$1,234.57"),
        (-5_000_000_000, "−$5.00"),
        (-1_000, "−$0.000001"),
    ],
)
def test_money_shows_cents_from_a_dollar_up_and_three_digits_below(nanos, shown):
    assert formats.money(nanos) == shown


@given(st.integers(min_value=-(10**18), max_value=10**18).filter(bool))
def test_no_money_is_rounded_to_nothing(nanos):
    assert any(digit in formats.money(nanos) for digit in "123456789")


@given(st.integers(min_value=-(10**18), max_value=10**18))
def test_exact_money_loses_no_nano_dollar(nanos):
    text = formats.exact_money(nanos).replace("$", "").replace(",", "").replace("−", "-")
    whole, _, part = text.lstrip("-").partition(".")
    assert int(whole + part) * (-1 if nanos < 0 else 1) == nanos


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (0, "0"),
        (999, "999"),
        (1_000, "1k"),
        (12_345, "12.3k"),
        (999_600, "1M"),
        (4_560_000, "4.56M"),
        (2.5, "2.5"),
    ],
)
def test_short_numbers_have_a_unit(number, shown):
    assert formats.short(number) == shown


@pytest.mark.parametrize(
    ("ms", "shown"),
    [
        (0, "–"),
        (-1, "–"),
        (0.42, "0.42 ms"),
        (9.94, "9.9 ms"),
        (611, "611 ms"),
        (999.6, "1 s"),
        (4_310, "4.31 s"),
        (90_000, "2 min"),
    ],
)
def test_durations_grow_with_their_unit(ms, shown):
    assert formats.duration(ms) == shown


def test_a_time_that_never_came_is_told_as_such():
    assert (formats.ago(0, 100), formats.moment(0), formats.iso(0)) == ("never", "–", "")


@pytest.mark.parametrize(
    ("gone_s", "said"),
    [(-3, "just now"), (4.9, "just now"), (5, "5 s ago"), (3_600, "60 min ago"), (200_000, "2 d ago")],
)
def test_how_long_ago(gone_s, said):
    assert formats.ago(1_000_000, 1_000_000 + gone_s) == said


def test_a_share_of_nothing_is_a_dash():
    assert (formats.share(1, 0), formats.share(1, 3), formats.share(1, 40)) == ("–", "33 %", "2.5 %")


@pytest.mark.parametrize(
    ("agent", "said"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:151.0) Gecko/20100101 Firefox/151.0", "Firefox on Linux"),
        ("Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537 Chrome/156 Safari/537 Edg/156", "Edge on Windows"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 19_1 like Mac OS X) Safari/605", "Safari on iPhone"),
        ("", "unknown"),
        ("x" * 99, "x" * 60),
    ],
)
def test_a_browser_goes_by_the_name_people_know(agent, said):
    assert formats.browser(agent) == said
