"""Reply headers: of several limits the tightest is told, in the form OpenAI's own clients read."""

from __future__ import annotations

import pytest

from penstock.gateway.admission import Seat
from penstock.gateway.headers import limit_headers, money_headers
from penstock.kernel.context import Principal, Rate, Scope
from penstock.mechanisms.limits import Plan
from penstock.ports.state import Taken


def seat(*rates: Rate) -> Seat:
    """Return a seat under one scope for each rate."""
    scopes = tuple(Scope(level="key", path=f"org:a/key:{n}", rate=rate) for n, rate in enumerate(rates))
    caller = Principal(key_id="k", org="a", team="t", project="p", user="u", scopes=scopes)
    return Seat("req_1", Plan(caller, 0), 10, 20, 30)


def told(of: Seat) -> dict[str, str]:
    """Return the headers by name."""
    lines = [line for line in limit_headers(of).decode().split("\r\n") if line]
    return dict(line.split(": ") for line in lines)


def test_of_several_limits_the_tightest_is_told() -> None:
    of = seat(
        Rate(requests_per_minute=100, concurrency=1, tokens_per_minute=500),
        Rate(requests_per_minute=7, tokens_per_minute=9_000),
    )
    # in the order of asks: requests, slots, requests; then tokens, tokens
    of.taken = Taken(-1, (40, 0, 6, 470, 3), (1.0, 0.0, 2.0, 3.0, 61.0))
    assert told(of) == {
        "x-ratelimit-limit-requests": "7",
        "x-ratelimit-remaining-requests": "6",
        "x-ratelimit-reset-requests": "2s",
        "x-ratelimit-limit-tokens": "9000",
        "x-ratelimit-remaining-tokens": "3",
        "x-ratelimit-reset-tokens": "1m1s",
    }


def test_where_nothing_is_limited_or_nothing_was_taken_nothing_is_told() -> None:
    assert limit_headers(seat(Rate())) == b""
    assert limit_headers(seat(Rate(requests_per_minute=5))) == b""


def test_slots_alone_are_no_rate() -> None:
    of = seat(Rate(concurrency=5))
    of.taken = Taken(-1, (4,), (0.0,))
    assert limit_headers(of) == b""


@pytest.mark.parametrize(
    ("reset_s", "form"),
    [
        (0.0, "0ms"),
        (0.0001, "1ms"),
        (0.25, "250ms"),
        (1.0, "1s"),
        (59.0, "59s"),
        (59.01, "1m0s"),
        (360, "6m0s"),
    ],
)
def test_a_duration_is_written_as_openai_writes_it_and_never_too_short(reset_s: float, form: str) -> None:
    of = seat(Rate(requests_per_minute=5))
    of.taken = Taken(-1, (4,), (reset_s,))
    assert told(of)["x-ratelimit-reset-requests"] == form


def test_the_cost_is_told_to_the_nano() -> None:
    assert money_headers(1_234_567) == b"x-penstock-cost-nanos: 1234567\r\n"
