"""Refusals at the door in the audit: few records, exact sums."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from penstock.kernel.clock import ManualClock
from penstock.kernel.context import Principal
from penstock.kernel.events import RequestEvent
from penstock.mechanisms.priorities import Priority
from penstock.mechanisms.turned_away import ROWS_MOST, TurnedAway


class Heard:
    """An audit that keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[RequestEvent] = []

    def offer(self, event: RequestEvent) -> None:
        self.events.append(event)

    def times(self, **of: str) -> int:
        """Return how many refusals the records stand for, those with such fields if any are given."""
        return sum(
            int(flag.removeprefix("times:"))
            for event in self.events
            for flag in event.flags
            if flag.startswith("times:") and all(getattr(event, name) == value for name, value in of.items())
        )


def book() -> tuple[TurnedAway, Heard]:
    """Return a book and what hears of it."""
    heard: Any = Heard()
    return TurnedAway(heard, ManualClock()), heard


def caller(name: str) -> Principal:
    """Return a caller by the name of its key."""
    return Principal(key_id=name, org="a", team="t", project="p", user="u")


@given(st.lists(st.tuples(st.sampled_from(["k1", "k2", "k3", ""]), st.sampled_from(list(Priority)))))
def test_records_are_few_and_their_sums_exact(refusals: list[tuple[str, Priority]]) -> None:
    turned_away, heard = book()
    for number, (name, priority) in enumerate(refusals):
        turned_away.note(caller(name) if name else None, priority, f"req_{number}")
        if number % 7 == 6:
            turned_away.tell()
    turned_away.tell()
    for name in ("k1", "k2", "k3", ""):
        assert heard.times(key_id=name) == sum(who == name for who, _ in refusals)
    assert len(heard.events) <= (len(refusals) // 7 + 1) * 4 * len(Priority)


def test_a_record_says_who_what_and_how_often() -> None:
    turned_away, heard = book()
    for number in range(3):
        turned_away.note(caller("k"), Priority.LOW, f"req_{number}")
    turned_away.tell()
    (event,) = heard.events
    assert (event.key_id, event.org, event.team, event.status, event.error) == (
        "k", "a", "t", 503, "overloaded"
    )  # fmt: skip
    assert event.flags == ("shed", "priority:low", "times:3")
    assert (event.request_id, event.attempts, event.cost_nanos) == ("req_2", 0, 0)


def test_what_was_told_is_not_told_again() -> None:
    turned_away, heard = book()
    turned_away.note(None, Priority.LOW, "req_1")
    turned_away.tell()
    turned_away.tell()
    assert heard.times() == 1


def test_more_callers_than_are_told_apart_are_counted_without_a_name() -> None:
    turned_away, heard = book()
    for number in range(ROWS_MOST + 50):
        turned_away.note(caller(f"k{number}"), Priority.LOW, f"req_{number}")
    turned_away.tell()
    assert len(heard.events) == ROWS_MOST + 1
    assert heard.times() == ROWS_MOST + 50
    assert heard.times(key_id="") == 50
