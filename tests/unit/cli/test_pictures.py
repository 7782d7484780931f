"""What people are shown adds up, and what programs are given is exact."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from penstock.cli.budgets import _room_left, _used
from penstock.cli.output import BAR_CHARS, Output, bars, dollars, table, when
from penstock.cli.up import Welcome, for_people
from penstock.cli.usage import grouped
from penstock.sdk.replies import Budget, Usage


def drawn(part) -> str:
    """Render for a page of 100 characters."""
    page = io.StringIO()
    Console(file=page, width=100).print(part)
    return page.getvalue()


def account(name: str, posted: int = 1, held: int = 0, requests: int = 1) -> Usage:
    return Usage(account=name, posted_nanos=posted, held_nanos=held, requests=requests)


ROWS = [
    account("org:acme@2026-11-19", 3),
    account("org:acme@2026-11-20", 4, held=2, requests=5),
    account("org:acme@2026-11", 7),
    account("org:acme@total", 7),
    account("org:acme/team:a@2026-11-20", 1),
    account("org:acme/team:a@2026-11-19", 1),
    account("org:acme/team:b@2026-11-20", 3),
    account("org:acme/team:a/project:p@2026-11-20", 1),
    account("org:acme/user:ada@2026-11-20", 4),
]


def test_usage_by_day_is_the_organisations_in_order_and_counts_no_money_twice():
    found = grouped(ROWS, "day", "")
    assert [(s.name, s.posted_nanos, s.held_nanos, s.requests) for s in found] == [
        ("2026-11-19", 3, 0, 1), ("2026-11-20", 4, 2, 5),
    ]  # fmt: skip


def test_usage_by_team_adds_up_days_and_puts_the_dearest_first():
    assert [(s.name, s.posted_nanos) for s in grouped(ROWS, "team", "")] == [("team:b", 3), ("team:a", 2)]
    assert [s.name for s in grouped(ROWS, "project", "")] == ["team:a/project:p"]
    assert [s.name for s in grouped(ROWS, "key", "")] == []


def test_usage_of_a_day_or_month_is_that_alone():
    assert [s.posted_nanos for s in grouped(ROWS, "org", "2026-11-20")] == [4]
    assert [s.posted_nanos for s in grouped(ROWS, "org", "2026-11")] == [7]
    assert grouped(ROWS, "org", "2026-12") == []


def test_the_longest_bar_is_the_greatest_amount_and_a_little_can_be_seen():
    lines = drawn(
        bars([("big", 1_000_000), ("half", 500_000), ("tiny", 1), ("none", 0)], dollars)
    ).splitlines()
    lengths = [sum(character in "█▏▎▍▌▋▊▉" for character in line) for line in lines]
    assert lengths == [BAR_CHARS, BAR_CHARS // 2, 1, 0]
    assert "$0.001" in lines[0]


def test_bars_of_nothing_draw_nothing():
    assert "█" not in drawn(bars([("none", 0)], dollars))


def test_a_table_without_rows_says_what_to_do():
    assert "make one" in drawn(table(("a",), [], empty="make one"))


def test_text_from_users_is_shown_as_it_is_and_never_as_markup():
    assert "[red]x[/red]" in drawn(table(("a",), [("[red]x[/red]",)], empty=""))


def test_json_is_one_document_with_exact_amounts(capsys):
    Output(json=True).show([account("org:a@total", 9_007_199_254_740_993)], "never shown")
    assert json.loads(capsys.readouterr().out)[0]["posted_nanos"] == 9_007_199_254_740_993


@pytest.mark.parametrize(
    ("limit", "posted", "held", "used"),
    [(100, 49, 1, "50 %"), (100, 100, 0, "100 %"), (3, 1, 0, "33 %"), (0, 0, 0, "full")],
)
def test_a_budget_is_as_full_as_spent_and_held_make_it(limit, posted, held, used):
    room = max(limit - posted - held, 0)
    budget = Budget(
        account="a",
        level="org",
        window="day",
        limit_nanos=limit,
        posted_nanos=posted,
        held_nanos=held,
        room_nanos=room,
        hard=True,
    )
    assert _used(budget) == used
    assert 0 <= _room_left(budget) <= 1_000_000


def test_a_time_is_utc_to_the_minute_and_nothing_is_never():
    assert (when(1_800_000_000), when(0.0, never="never")) == ("2027-01-15 08:00Z", "never")


def told(token: str = "pen-token", unpriced: int = 0, link: str = "") -> str:
    return for_people(
        Welcome(
            url="http://127.0.0.1:8700",
            owner_key_file="var/owner.key",
            caller_token=token,
            owner_link=link,
            providers={"local": 1},
            unpriced=unpriced,
        )
    )


def test_the_welcome_shows_the_key_to_paste_and_says_what_the_local_model_is():
    text = told()
    assert text.count("pen-token") == 3
    assert "not a language model" in text
    assert "var/owner.key" in text
    assert "curl http://127.0.0.1:8700/v1/chat/completions" in text


def test_the_first_owners_link_is_shown_while_there_is_one():
    link = "http://127.0.0.1:8700/console/link?token=penl-owner-x"
    assert link in told(link=link)
    assert "owner, by this link" not in told()


def test_the_second_welcome_shows_no_key_and_says_how_to_make_one():
    text = told("", unpriced=3)
    assert "YOUR-KEY" in text
    assert "penstock keys create" in text
    assert "3 models have no price" in text
