"""An allowance: all of a kind of work together takes its share of the time and no more, each in turn."""

from __future__ import annotations

import pytest

from penstock.kernel.allowance import PIECE_S, Allowance
from penstock.kernel.clock import ManualClock


def test_whoever_works_alone_rests_so_long_that_the_work_is_its_share() -> None:
    assert Allowance(ManualClock(), 0.01).rest_s(0.003) == pytest.approx(0.3)


def test_all_together_take_the_share_and_each_comes_in_turn() -> None:
    clock, cost_s = ManualClock(), 0.002
    allowance = Allowance(clock, 0.02)
    due = dict.fromkeys(range(10), 0.0)
    done: list[int] = []
    while len(done) < 200:
        who = min(due, key=lambda each: due[each])
        clock.advance(max(0.0, due[who] - clock.monotonic_s()) + cost_s)
        done.append(who)
        due[who] = clock.monotonic_s() + allowance.rest_s(cost_s)
    took_s = clock.monotonic_s() - ManualClock().monotonic_s()
    assert len(done) * cost_s / took_s == pytest.approx(0.02, rel=0.1)
    assert {done.count(who) for who in due} == {20}


def test_time_in_which_nothing_was_done_is_not_saved_up() -> None:
    clock = ManualClock()
    allowance = Allowance(clock, 0.1)
    clock.advance(3_600.0)
    assert [round(allowance.rest_s(0.01), 6) for _ in range(3)] == [0.1, 0.2, 0.3]


@pytest.mark.parametrize(
    ("cost_s", "rest_s"),
    [(0.99 * PIECE_S * 0.1, 0.99 * PIECE_S), (PIECE_S * 0.1, PIECE_S), (40.0, PIECE_S)],
)
def test_one_piece_that_took_unlike_the_others_is_paid_for_in_seconds_not_minutes(
    cost_s: float, rest_s: float
) -> None:
    assert Allowance(ManualClock(), 0.1).rest_s(cost_s) == pytest.approx(rest_s)
