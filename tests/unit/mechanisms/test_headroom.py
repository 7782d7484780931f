"""Headroom: every budget mark is told once, and the reading is one bounded call."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import pytest

from penstock.kernel.clock import ManualClock
from penstock.kernel.context import Cap, Principal, Scope
from penstock.mechanisms.headroom import Headroom
from penstock.mechanisms.limits import Plans
from penstock.ports.ledger import Balance
from tests.support import run


class Books:
    """Balances by account; counts the readings."""

    def __init__(self) -> None:
        self.posted: dict[str, int] = {}
        self.readings = 0

    async def balance(self, *, accounts: Sequence[str] = ()) -> Sequence[Balance]:
        self.readings += 1
        return [Balance(name, self.posted.get(name, 0), 0) for name in accounts]


def watched(*caps: Cap) -> tuple[Headroom, Books, ManualClock]:
    """Return a watcher of one caller's budgets."""
    clock, books = ManualClock(wall_s=1_800_000_000), Books()
    plans = Plans(clock)
    scopes = (Scope(level="org", path="org:a", caps=caps),)
    plans.of(Principal(key_id="k", org="a", team="t", project="p", user="u", scopes=scopes))
    return Headroom(plans, books, clock), books, clock  # pyright: ignore[reportArgumentType]  # only balance is used


@pytest.mark.parametrize(
    ("spent", "warnings"), [(49, 0), (50, 1), (79, 1), (80, 2), (99, 2), (100, 3), (101, 3)]
)
def test_each_mark_is_told_at_its_percentage_and_once(spent: int, warnings: int) -> None:
    headroom, books, _ = watched(Cap(window="total", limit_nanos=100))
    books.posted["org:a@total"] = spent
    run(headroom.tick())
    run(headroom.tick())
    assert headroom.warnings == warnings
    assert books.readings == 2


def test_a_new_window_is_told_anew(caplog: pytest.LogCaptureFixture) -> None:
    headroom, books, clock = watched(Cap(window="day", limit_nanos=100))
    with caplog.at_level(logging.WARNING):
        for day in ("2027-01-15", "2027-01-16"):
            books.posted[f"org:a@{day}"] = 60
            run(headroom.tick())
            clock.advance(86_400)
    assert headroom.warnings == 2
    assert "at 60 %" in caplog.text


def test_a_soft_budget_warns_too() -> None:
    headroom, books, _ = watched(Cap(window="total", limit_nanos=100, hard=False))
    books.posted["org:a@total"] = 100
    run(headroom.tick())
    assert headroom.warnings == 3
    assert headroom.fills[0].percent == 100


def test_nobody_seen_costs_no_reading() -> None:
    headroom, books, _ = watched()
    run(headroom.tick())
    assert books.readings == 0
