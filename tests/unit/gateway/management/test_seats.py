"""How many look on, and how often they are told something: the bounds of live views by themselves."""

from __future__ import annotations

import pytest

from penstock.gateway.management.live import Pace, Seats
from penstock.kernel.context import Principal
from penstock.kernel.errors import Overloaded


def test_a_pace_admits_so_many_in_any_second_and_not_one_more() -> None:
    pace = Pace(20)
    admitted = [now for now in (number / 1000 for number in range(5000)) if pace.admits(1, now)]
    for first in admitted:
        assert sum(first <= each < first + 1.0 for each in admitted) <= 20
    assert len(admitted) == 100


def test_a_pace_admits_as_many_of_a_crowd_as_have_room() -> None:
    pace = Pace(20)
    assert [pace.admits(15, 0.0), pace.admits(15, 0.5), pace.admits(1, 0.999)] == [15, 5, 0]
    assert [pace.admits(30, 1.0), pace.admits(30, 1.5), pace.admits(0, 9.0)] == [15, 5, 0]


def who(name: str) -> Principal:
    return Principal(key_id="", org="acme", team="t", project="", user=name)


def test_seats_are_as_many_as_there_are_and_so_many_for_one() -> None:
    seats = Seats(most=3, per_caller=2)
    with seats.take(who("a")), seats.take(who("a")):
        with pytest.raises(Overloaded) as mine, seats.take(who("a")):
            raise AssertionError
        with seats.take(who("b")):
            with pytest.raises(Overloaded) as all_taken, seats.take(who("c")):
                raise AssertionError
            assert seats.taken == 3
    assert (mine.value.limit, all_taken.value.limit, seats.taken) == (2, 3, 0)
    assert mine.value.remedy
    assert all_taken.value.remedy
    with seats.take(who("a")):
        assert seats.taken == 1
