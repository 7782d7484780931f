"""Load shedding: a process that cannot keep up refuses the least urgent, and works at its peak on the rest."""

from __future__ import annotations

import asyncio
from collections import deque

import pytest

from penstock.kernel.clock import ManualClock
from penstock.mechanisms.priorities import Priority
from penstock.mechanisms.shedding import LEAST, OVERLOAD_S, TICK_S, WINDOW_S, LoadShedder
from tests.support import run

CAPACITY_PER_S = 2_000
REFUSAL_COST = 0.03
"""Of a request's own."""


class Counts:
    """What a process is asked."""

    requests = 0
    in_flight = 0


class Model:
    """A process as a queue: work comes in, `CAPACITY_PER_S` requests' worth is done in a second, the rest is lag."""

    def __init__(self, mix: tuple[float, float, float, float] = (0.1, 0.2, 0.3, 0.4)) -> None:
        self.clock = ManualClock()
        self.traffic = Counts()
        self.is_guarded = False
        self.shedder = LoadShedder(self.clock, self.traffic, self._turned)
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
            for priority in reversed(Priority):  # the least urgent are the first to find what room there is
                self._due[priority] += CAPACITY_PER_S * load * TICK_S * self.mix[priority]
                while self._due[priority] >= 1:
                    self._due[priority] -= 1
                    self._come(priority)
            done = min(CAPACITY_PER_S * TICK_S, self.backlog)
            self.backlog -= done
            self.traffic.in_flight = round(self.backlog)
            self.clock.advance(TICK_S)
            self.shedder.observe(self.lag_s)

    def _turned(self) -> None:
        assert self.shedder.is_shedding is not self.is_guarded
        self.is_guarded = self.shedder.is_shedding

    def _come(self, priority: Priority) -> None:
        self.traffic.requests += 1
        self.came[priority] += 1
        if self.is_guarded and not self.shedder.admits(priority):
            self.backlog += REFUSAL_COST
        else:
            self.served[priority] += 1
            self.backlog += 1
            self.traffic.in_flight += 1


class Lasting:
    """A process that can keep `can` answers going, each for `stays_s` seconds and a burden all the while; what is more
    than that, is lag. Three times as many come.
    """

    def __init__(self, stays_s: float) -> None:
        self.can = CAPACITY_PER_S * stays_s / 10
        self.clock = ManualClock()
        self.traffic = Counts()
        self.shedder = LoadShedder(self.clock, self.traffic, lambda: None)
        self.lag_s = 0.0
        self._stays_s = stays_s
        self._left: deque[float] = deque()
        self._due = 0.0

    @property
    def under_way(self) -> int:
        return len(self._left)

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds / TICK_S)):
            self.clock.advance(TICK_S)
            now_s = self.clock.monotonic_s()
            while self._left and self._left[0] <= now_s:
                self._left.popleft()
            self._due += 3 * self.can / self._stays_s * TICK_S
            while self._due >= 1:
                self._due -= 1
                self.traffic.requests += 1
                if not self.shedder.is_shedding or self.shedder.admits(Priority.NORMAL):
                    self._left.append(now_s + self._stays_s)
                self.traffic.in_flight = len(self._left)
            self.traffic.in_flight = len(self._left)
            # What cannot be done in this tick is done later: the lag grows by the share that is too much.
            self.lag_s = max(self.lag_s + TICK_S * (len(self._left) / self.can - 1), 0.0)
            self.shedder.observe(self.lag_s)


def shedder(clock: ManualClock) -> LoadShedder:
    """A shedder of a process that nobody comes to."""
    return LoadShedder(clock, Counts(), lambda: None)


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
    assert not model.is_guarded


def test_in_the_first_moments_the_urgent_are_not_shed_though_nobody_was_asked_yet() -> None:
    model = Model(mix=(0.1, 0.1, 0.4, 0.4))
    model.run(1, 0.5)
    while not model.is_guarded:
        model.run(TICK_S, 3)
    model.run(WINDOW_S, 3)
    assert model.served[Priority.CRITICAL] == model.came[Priority.CRITICAL]
    assert model.served[Priority.LOW] < model.came[Priority.LOW]


def test_what_is_never_asked_takes_its_room_before_those_who_are() -> None:
    model = Model(mix=(0.0, 0.0, 1.0, 0.0))

    def others() -> None:
        """As much again of what may not be refused as the process can do half of the time."""
        model.traffic.requests += round(CAPACITY_PER_S * 0.5 * TICK_S)
        model.backlog += CAPACITY_PER_S * 0.5 * TICK_S

    served = 0
    for tick in range(1_500):
        others()
        model.run(TICK_S, 2)
        served += model.served[Priority.NORMAL] if tick >= 500 else 0
    assert 0.4 * 10 * CAPACITY_PER_S < served < 0.55 * 10 * CAPACITY_PER_S
    assert model.lag_s < 0.2


def test_a_burst_that_is_gone_within_a_window_is_no_overload() -> None:
    clock = ManualClock()
    watched = shedder(clock)
    for lag_s in [0.3, 0.3, 0.3, 0.3, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0] * 3:
        clock.advance(WINDOW_S / 10)
        watched.observe(lag_s)
    assert not watched.is_shedding


@pytest.mark.parametrize(("lag_s", "sheds"), [(OVERLOAD_S, False), (OVERLOAD_S * 1.01, True)])
def test_a_standing_queue_longer_than_the_bound_is_an_overload(lag_s: float, sheds: bool) -> None:
    clock = ManualClock()
    watched = shedder(clock)
    for _ in range(11):
        clock.advance(WINDOW_S / 10)
        watched.observe(lag_s)
    assert watched.is_shedding is sheds


def test_one_long_stop_is_no_overload() -> None:
    clock = ManualClock()
    watched = shedder(clock)
    for lag_s in (0.001, 0.8, 0.001, 0.001):
        clock.advance(max(lag_s, WINDOW_S / 10))
        watched.observe(lag_s)
    assert not watched.is_shedding


@pytest.mark.parametrize("stays_s", [0.5, 2.0, 20.0])
def test_the_limit_holds_what_is_under_way_however_long_an_answer_takes(stays_s: float) -> None:
    model = Lasting(stays_s)
    model.run(3 * stays_s + 20)
    most = model.can * 1.3 + LEAST
    assert model.can * 0.7 <= model.under_way <= most
    assert model.lag_s < 1


def test_every_refusal_is_counted_by_its_class() -> None:
    model = Model()
    model.run(5, 3)
    assert [
        came - served for came, served in zip(model.came, model.served, strict=True)
    ] == model.shedder.refused
    assert model.shedder.refused[Priority.LOW] > 0


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
        watching = shedder(clock)
        watching.watch()
        while not watching.is_shedding:
            await asyncio.sleep(TICK_S)
        watching.close()
        watching.close()
        looks = clock.looks
        await asyncio.sleep(3 * TICK_S)
        assert clock.looks == looks

    run(case())
