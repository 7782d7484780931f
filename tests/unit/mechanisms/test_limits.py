"""Plans: which accounts and limits a caller's request must fit into."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import msgspec
import pytest

from penstock.kernel.clock import ManualClock
from penstock.kernel.context import Cap, Principal, Rate, Scope
from penstock.mechanisms import limits
from penstock.mechanisms.limits import Plan, Plans
from penstock.ports.ledger import NO_LIMIT

NEW_YEARS_EVE = datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp()


def caller(**of_key: object) -> Principal:
    """Return a caller whose key scope has the given limits."""
    scopes = (Scope(level="org", path="org:a"), Scope(level="key", path="org:a/key:k", **of_key))  # pyright: ignore[reportArgumentType]  # shorthand that only a test may use
    return Principal(key_id="k", org="a", team="t", project="p", user="u", scopes=scopes)


def test_every_level_is_attributed_by_day_even_without_a_budget() -> None:
    plan = Plan(caller(), int(NEW_YEARS_EVE) // 86_400)
    assert [(line.account, line.limit_nanos) for line in plan.lines] == [
        ("org:a@2026-12-31", NO_LIMIT),
        ("org:a/key:k@2026-12-31", NO_LIMIT),
    ]


def test_each_window_of_a_budget_is_a_line_of_its_own() -> None:
    caps = (
        Cap(window="day", limit_nanos=5),
        Cap(window="month", limit_nanos=6),
        Cap(window="total", limit_nanos=7),
    )
    plan = Plan(caller(caps=caps), int(NEW_YEARS_EVE) // 86_400)
    assert [(line.account, line.limit_nanos) for line in plan.lines[1:]] == [
        ("org:a/key:k@2026-12-31", 5),
        ("org:a/key:k@2026-12", 6),
        ("org:a/key:k@total", 7),
    ]


def test_a_soft_budget_never_refuses() -> None:
    plan = Plan(caller(caps=(Cap(window="day", limit_nanos=5, hard=False),)), 0)
    assert plan.lines[1].limit_nanos == NO_LIMIT


def test_the_window_turns_at_midnight_utc_and_not_before() -> None:
    clock = ManualClock(wall_s=NEW_YEARS_EVE)
    plans, principal = Plans(clock), caller()
    before = plans.of(principal)
    assert plans.of(principal) is before
    clock.advance(1)
    after = plans.of(principal)
    assert after.lines[0].account == "org:a@2027-01-01"


@pytest.mark.parametrize("zone", ["UTC+11", "UTC-13"])
def test_the_window_is_utcs_wherever_the_server_stands(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        plan = Plans(ManualClock(wall_s=NEW_YEARS_EVE)).of(caller(caps=(Cap(window="month", limit_nanos=6),)))
    finally:
        monkeypatch.undo()
        time.tzset()
    assert [line.account for line in plan.lines] == [
        "org:a@2026-12-31",
        "org:a/key:k@2026-12-31",
        "org:a/key:k@2026-12",
    ]


def test_a_clock_set_back_returns_to_the_earlier_window() -> None:
    clock = ManualClock(wall_s=NEW_YEARS_EVE + 1)
    plans, principal = Plans(clock), caller()
    plans.of(principal)
    clock.jump_wall(-1)
    assert plans.of(principal).lines[0].account == "org:a@2026-12-31"


def test_one_request_asks_every_limit_at_once_and_names_each() -> None:
    plan = Plan(caller(rate=Rate(requests_per_minute=3, tokens_per_minute=1000, concurrency=2)), 0)
    asks = plan.asks_for(400)
    assert [(ask.kind, ask.limit, ask.amount) for ask in asks] == [
        ("bucket", 3, 1),
        ("slots", 2, 1),
        ("bucket", 1000, 400),
    ]
    assert len(plan.names) == len(asks)
    assert all(ask.key.startswith("a|") for ask in asks)


def test_a_prompt_larger_than_a_minutes_tokens_takes_the_whole_minute_rather_than_never_fit() -> None:
    plan = Plan(caller(rate=Rate(tokens_per_minute=1000)), 0)
    assert [plan.asks_for(tokens)[0].amount for tokens in (999, 1000, 1001)] == [999, 1000, 1000]


@pytest.mark.parametrize(
    ("asked", "used"), [(999, 10), (1000, 10), (5_000, 10), (5_000, 999), (5_000, 1_000)]
)
def test_what_is_given_back_and_what_was_used_are_what_was_taken(asked: int, used: int) -> None:
    plan = Plan(caller(rate=Rate(tokens_per_minute=1000)), 0)
    taken = plan.asks_for(asked)[0].amount
    assert sum(ask.amount for ask in plan.refund(asked - used, asked)) == taken - used


def test_limits_over_any_minute_ask_windows_which_keep_what_was_asked_for() -> None:
    plan = Plan(
        caller(rate=Rate(requests_per_minute=3, tokens_per_minute=1000, concurrency=2, window=True)), 0
    )
    assert [(ask.key, ask.kind, ask.limit, ask.amount) for ask in plan.asks_for(5_000)] == [
        ("a|org:a/key:k|rpm|window", "window", 3, 1),
        ("a|org:a/key:k|slots", "slots", 2, 1),
        ("a|org:a/key:k|tpm|window", "window", 1000, 1000),
    ]
    assert (plan.request_limits, plan.token_limits) == ({0: 3}, {2: 1000})
    assert plan.names[2] == "key tokens per minute"
    assert [ask.kind for ask in plan.refund(250, 500)] == ["slots"]


def test_each_level_counts_in_its_own_way() -> None:
    rate, house = (
        Rate(tokens_per_minute=1000),
        Scope(level="model", path="m", rate=Rate(tokens_per_minute=9, window=True)),
    )
    plan = Plan(caller(rate=rate), 0).of_model(house)
    assert [(ask.kind, ask.amount) for ask in plan.asks_for(50)] == [("bucket", 50), ("window", 9)]
    assert [(ask.kind, ask.amount) for ask in plan.refund(41, 50)] == [("bucket", 41)]


def test_how_to_count_limits_nothing_by_itself() -> None:
    assert not Rate(window=True).is_set
    assert Plan(caller(rate=Rate(window=True)), 0).asks == ()


def test_a_soft_budget_of_any_window_is_counted_so_that_it_can_warn() -> None:
    caps = tuple(Cap(window=window, limit_nanos=5, hard=False) for window in ("day", "month", "total"))
    lines = Plan(caller(caps=caps), int(NEW_YEARS_EVE) // 86_400).lines[1:]
    assert [line.account.partition("@")[2] for line in lines] == ["2026-12-31", "2026-12", "total"]
    assert {line.limit_nanos for line in lines} == {NO_LIMIT}


def test_a_caller_read_again_has_one_plan_and_callers_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REMEMBERED_PLANS", 3)
    plans = Plans(ManualClock())
    for _ in range(5):
        newest = caller()
        assert plans.of(newest).principal is newest
    assert [plan.principal for plan in plans.seen()] == [newest]
    users = [msgspec.structs.replace(newest, user=f"u{number}") for number in range(5)]
    for user in (*users, *users):
        assert plans.of(user).principal is user
    assert [plan.principal for plan in plans.seen()] == users[2:]


def test_what_is_given_back_is_slots_and_unused_tokens_never_requests() -> None:
    plan = Plan(caller(rate=Rate(requests_per_minute=3, tokens_per_minute=1000, concurrency=2)), 0)
    assert [(ask.kind, ask.amount) for ask in plan.refund(250)] == [("slots", 1), ("bucket", 250)]
    assert [ask.kind for ask in plan.refund(0)] == ["slots"]
    assert [ask.kind for ask in plan.refund(-5)] == ["slots"]


@pytest.mark.parametrize(
    ("window", "at"),
    [
        ("2026-12-31", "2027-01-01"),
        ("2024-02-28", "2024-02-29"),
        ("2026-12", "2027-01-01"),
        ("2026-02", "2026-03-01"),
        ("2026-01", "2026-02-01"),
    ],
)
def test_the_window_of_an_account_ends_where_the_next_begins(window: str, at: str) -> None:
    ends = limits.window_end(f"org:a/user:kim@{window}")
    assert ends is not None
    assert ends == datetime.fromisoformat(f"{at}T00:00+00:00")
    following = limits.account_name("org:a/user:kim", "day" if len(window) > 7 else "month", ends)
    assert following != f"org:a/user:kim@{window}"


@pytest.mark.parametrize("account", ["org:a@total", "org:a", "another account", "", "org:a@2026-13"])
def test_what_has_no_window_never_ends(account: str) -> None:
    assert limits.window_end(account) is None
    assert Plans(ManualClock()).room_in_s(account) is None


def test_the_limits_of_a_model_stand_beside_those_of_the_caller_and_add_no_account() -> None:
    plan = Plan(caller(rate=Rate(requests_per_minute=3, tokens_per_minute=1000)), 0)
    house = Scope(
        level="model",
        path="model:house",
        rate=Rate(requests_per_minute=7, tokens_per_minute=9, concurrency=2),
    )
    both = plan.of_model(house)
    assert [(ask.key, ask.limit, ask.amount) for ask in both.asks_for(50)] == [
        ("a|org:a/key:k|rpm", 3, 1),
        ("a|model:house|rpm", 7, 1),
        ("a|model:house|slots", 2, 1),
        ("a|org:a/key:k|tpm", 1000, 50),
        ("a|model:house|tpm", 9, 9),
    ]
    assert both.names[1:3] == ("model requests per minute", "model requests at one time")
    assert both.names[-1] == "model tokens per minute"
    assert (both.lines, len(both.names)) == (plan.lines, 5)
    assert len(plan.asks_for(50)) == 2


def test_the_plan_of_a_model_is_remembered_until_its_limits_change_and_few_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "REMEMBERED_MODELS", 2)
    plan = Plan(caller(), 0)

    def house(number: int, rate: int = 7) -> Scope:
        return Scope(level="model", path=f"model:{number}", rate=Rate(requests_per_minute=rate))

    first = plan.of_model(house(1))
    assert plan.of_model(house(1)) is first
    assert plan.of_model(house(1, 8)).asks[0].limit == 8
    for number in range(9):
        plan.of_model(house(number))
    assert len(plan._of_models) <= 2
