"""Waiting hints and rate limits in vendors' headers: read when they make sense, unknown when not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.adapters.providers.hints import (
    ANTHROPIC_RATES,
    MAX_HINT_S,
    OPENAI_RATES,
    duration_s,
    may_retry,
    rate_hint,
    retry_after_s,
)
from penstock.ports.providers import Quota, RateHint

NOW_S = 1_800_000_000.0


def headers(**fields):
    named = {name.replace("_", "-").encode(): value for name, value in fields.items()}
    return named.get


@pytest.mark.parametrize(
    ("fields", "wait_s"),
    [
        ({}, None),
        ({"retry_after": b"7"}, 7.0),
        ({"retry_after": b"0"}, 0.0),
        ({"retry_after": b"1.5"}, 1.5),
        ({"retry_after": b"7", "retry_after_ms": b"250"}, 0.25),
        ({"retry_after": b"7", "retry_after_ms": b"soon"}, 7.0),
        ({"retry_after": b"Fri, 15 Jan 2027 08:00:30 GMT"}, 30.0),
        ({"retry_after": b"Fri, 15 Jan 2027 07:59:00 GMT"}, 0.0),
        ({"retry_after": b"-5"}, 0.0),
        ({"retry_after": b"99999999"}, MAX_HINT_S),
        ({"retry_after": b"nan"}, None),
        ({"retry_after": b"inf"}, None),
        ({"retry_after": b"soon"}, None),
        ({"retry_after": b""}, None),
    ],
)
def test_the_wait(fields, wait_s):
    assert retry_after_s(headers(**fields), NOW_S) == wait_s


@pytest.mark.parametrize(
    ("value", "word"), [(b"true", True), (b" False ", False), (b"maybe", None), (None, None)]
)
def test_the_vendors_word_on_trying_again(value, word):
    assert may_retry(headers(x_should_retry=value)) is word


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(b"6m0s", 360.0), (b"20ms", 0.02), (b"1h2m3.5s", 3723.5), (b"1d", 86_400.0), (b"12", 12.0), (b"soon", None),
     (b"", None), (None, None), (b"5s later", None), (b"1.2.3s", None)],
)  # fmt: skip
def test_durations(value, seconds):
    assert duration_s(value) == seconds


def test_limits_and_azures_nonsense():
    told = rate_hint(
        headers(
            x_ratelimit_limit_requests=b"100", x_ratelimit_remaining_requests=b"0",
            x_ratelimit_reset_requests=b"600ms",
            x_ratelimit_limit_tokens=b"-1", x_ratelimit_remaining_tokens=b"many",
        ),
        OPENAI_RATES,
        NOW_S,
    )  # fmt: skip
    assert told == RateHint(requests=Quota(100, 0, 0.6))


@pytest.mark.parametrize("limit", [b"0", b"-1"])
def test_nothing_left_of_no_limit_is_unknown(limit):
    told = rate_hint(
        headers(x_ratelimit_limit_tokens=limit, x_ratelimit_remaining_tokens=b"0"), OPENAI_RATES, NOW_S
    )
    assert told.tokens == Quota()


def test_what_remains_counts_without_its_limit():
    told = rate_hint(headers(x_ratelimit_remaining_tokens=b"0"), OPENAI_RATES, NOW_S)
    assert told.tokens == Quota(None, 0, None)


def test_anthropic_tells_four_quotas_and_dates():
    """Given the four quotas with RFC 3339 resets, one of them in the past, then all are read, from now on."""
    fields = {
        f"anthropic_ratelimit_{quota}_{part}": value
        for quota, values in {
            "requests": (b"50", b"49", b"2027-01-15T08:00:20Z"),
            "tokens": (b"90000", b"89000", b"2027-01-15T08:01:00+00:00"),
            "input_tokens": (b"80000", b"79000", b"2027-01-15T07:00:00Z"),
            "output_tokens": (b"10000", b"10000", b"tomorrow"),
        }.items()
        for part, value in zip(("limit", "remaining", "reset"), values, strict=True)
    }
    assert rate_hint(headers(**fields), ANTHROPIC_RATES, NOW_S) == RateHint(
        requests=Quota(50, 49, 20.0),
        tokens=Quota(90_000, 89_000, 60.0),
        input_tokens=Quota(80_000, 79_000, 0.0),
        output_tokens=Quota(10_000, 10_000, None),
    )


@given(st.binary(max_size=24))
def test_no_header_breaks_the_reader(value):
    wait_s = retry_after_s(headers(retry_after=value, retry_after_ms=value), NOW_S)
    assert wait_s is None or 0 <= wait_s <= MAX_HINT_S
    told = rate_hint(lambda name: value, OPENAI_RATES, NOW_S).tokens
    assert told.reset_s is None or 0 <= told.reset_s <= MAX_HINT_S
