"""Load shedding: a process that cannot keep up refuses the least urgent, and works at its peak on the rest."""

from __future__ import annotations

import asyncio

import pytest

from penstock.kernel.clock import ManualClock
from penstock.kernel.errors import Overloaded
from penstock.mechanisms.concurrency import RETRY_AFTER_S, TARGET_S, TICK_S, WINDOW_S, LoadShedder
from penstock.mechanisms.priorities import Priority
from tests.support import run

CAPACITY_PER_S = 2_000
REFUSAL_COST = 0.03
"""Of a request's own."""


class Model:
    """A process as a queue: work comes in, `CAPACITY_PER_S` requests' worth is done in a second, the rest is lag."""

    def __init__(self, mix: tuple[float, float, float, float] = (0.1, 0.2, 0.3, 0.4)) -> None:
        self.clock = ManualClock()
        self.shedder = LoadShedder(self.clock)
        self.backlog = 0.0
        self.mix = mix
        self._due = [0.0] * len(Priority)
        self.came = [0] * len(Priority)
        self.served = [0] * len(Priority)

    @property
    def lag_s(self) -> float:
        """How long a newcomer waits."""
        return self.backlog / CAPACITY_PER_S

    def run(self, seconds: float, load: float) -> None:
        """Let requests come at `load` times the capacity."""
        self.came, self.served = [0] * len(Priority), [0] * len(Priority)
        for _ in range(round(seconds / TICK_S)):
            for priority in Priority:
                self._due[priority] += CAPACITY_PER_S * load * TICK_S * self.mix[priority]
                while self._due[priority] >= 1:
                    self._due[priority] -= 1
                    self._come(priority)
            self.backlog = max(self.backlog - CAPACITY_PER_S * TICK_S, 0.0)
            self.clock.advance(TICK_S)
            self.shedder.observe(self.lag_s)

    def _come(self, priority: Priority) -> None:
        self.came[priority] += 1
        try:
            self.shedder.admit(priority)
        except Overloaded:
            self.backlog += REFUSAL_COST
        else:
            self.served[priority] += 1
            self.backlog += 1


@pytest.mark.parametrize("load", [0.5, 0.9])
def test_a_process_that_keeps_up_refuses_nobody(load: float) -> None:
    model = Model()
    model.run(20, load)
    assert (model.served, sum(model.shedder.refused)) == (model.came, 0)


@pytest.mark.parametrize("load", [1.5, 2, 3])
def test_past_its_capacity_it_still_works_near_its_peak_and_nobody_waits_long(load: float) -> None:
    model = Model()
    model.run(10, load)
    model.run(20, load)
    assert sum(model.served) >= 0.9 * 20 * CAPACITY_PER_S
    assert model.lag_s < 0.2


def test_the_least_urgent_are_refused_first() -> None:
    model = Model()
    model.run(10, 3)
    model.run(20, 3)
    critical, high, normal, low = (model.served[each] / model.came[each] for each in Priority)
    assert critical > 0.99
    assert high > 0.8
    assert normal < 0.2
    assert low < 0.02


def test_when_all_are_critical_they_share_what_there_is() -> None:
    model = Model(mix=(1.0, 0.0, 0.0, 0.0))
    model.run(10, 3)
    model.run(10, 3)
    assert 0.9 * 10 * CAPACITY_PER_S <= model.served[0] <= 1.1 * 10 * CAPACITY_PER_S


def test_after_an_overload_everybody_is_admitted_again_within_seconds() -> None:
    model = Model()
    model.run(20, 3)
    model.run(5, 0.8)
    model.run(5, 0.8)
    assert model.served == model.came
    assert not model.shedder.is_shedding


def test_a_burst_that_is_gone_within_a_window_is_no_overload() -> None:
    clock = ManualClock()
    shedder = LoadShedder(clock)
    for lag_s in (0.0, *[0.3] * 9, 0.3, 0.0, *[0.3] * 8):
        clock.advance(WINDOW_S / 10)
        shedder.observe(lag_s)
    assert not shedder.is_shedding


@pytest.mark.parametrize(("lag_s", "sheds"), [(TARGET_S, False), (TARGET_S * 1.01, True)])
def test_a_standing_queue_longer_than_the_target_is_an_overload(lag_s: float, sheds: bool) -> None:
    clock = ManualClock()
    shedder = LoadShedder(clock)
    for _ in range(11):
        clock.advance(WINDOW_S / 10)
        shedder.observe(lag_s)
    assert shedder.is_shedding is sheds


def test_a_refusal_says_when_to_come_back_and_is_counted() -> None:
    model = Model()
    model.run(5, 3)
    refused = model.shedder.refused[Priority.LOW]
    with pytest.raises(Overloaded) as caught:
        model.shedder.admit(Priority.LOW)
    assert caught.value.retry_after_s == RETRY_AFTER_S
    assert model.shedder.refused[Priority.LOW] == refused + 1


def test_it_watches_the_running_loop_and_stops_when_told() -> None:
    class Slow(ManualClock):
        """A clock in which every look is later by more than the target."""

        looks = 0

        def monotonic_s(self) -> float:
            """Return the time, running away."""
            self.looks += 1
            return self.looks * 0.1

    async def case() -> None:
        clock = Slow()
        shedder = LoadShedder(clock)
        shedder.watch()
        while not shedder.is_shedding:
            await asyncio.sleep(TICK_S)
        shedder.close()
        shedder.close()
        looks = clock.looks
        await asyncio.sleep(3 * TICK_S)
        assert clock.looks == looks

    run(case())
