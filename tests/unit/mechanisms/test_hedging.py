"""Hedging: who gets a rival, who wins, and that each attempt is told exactly once."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from penstock.kernel.clock import ManualClock, SystemClock
from penstock.kernel.settings import ResilienceSettings
from penstock.mechanisms.hedging import RENEW_EVERY, SAMPLES_LEAST, WINDOW, FirstTokens, HedgePlan
from penstock.mechanisms.resilience import Answered, Resilience
from penstock.ports.providers import ProviderFailure
from tests.support import run

SETTINGS = ResilienceSettings(backoff_base_s=0.0001, backoff_cap_s=0.001, max_attempts=3)
LATE_S = 0.005


@dataclass
class Backend:
    """Answers its label, or fails with `kind`, when `gate` opens."""

    label: str
    kind: str = ""
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    calls: int = 0
    deaf: bool = False

    def open(self) -> Backend:
        """Let it answer."""
        self.gate.set()
        return self

    async def call(self) -> str:
        """Wait for the gate."""
        self.calls += 1
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            if not self.deaf:
                raise
        if self.kind:
            raise ProviderFailure("scripted", kind=self.kind)
        return self.label


class Books:
    """What was told of each attempt."""

    def __init__(self, *, granted: bool = True) -> None:
        self.granted = granted
        self.told: list[tuple[str, str]] = []
        self.discarded: list[str] = []

    def plan(self) -> HedgePlan[Backend, str]:
        """The plan that writes here."""
        return HedgePlan(
            grant=self._grant,
            failed=lambda target, failure: self.told.append((target.label, failure.kind)),
            abandoned=lambda target: self.told.append((target.label, "abandoned")),
            discard=self.discarded.append,
            streamed=True,
        )

    async def _grant(self, target: Backend) -> Backend | None:
        self.told.append((target.label, "granted"))
        return target if self.granted else None


def seasoned() -> Resilience:
    """A resilience that knows when "a" and "b" are late."""
    resilience = Resilience(SETTINGS, SystemClock())
    for _ in range(SAMPLES_LEAST):
        resilience.first_tokens.note("a", LATE_S, streamed=True)
    return resilience


async def ask(
    resilience: Resilience, books: Books | None, *backends: Backend, deadline_s: float = 1e12
) -> Answered[Backend, str]:
    """Ask, hedged."""

    async def allowed(target: Backend, failure: ProviderFailure) -> bool:
        return True

    plan = None if books is None else books.plan()
    return await resilience.first_answer(backends, lambda each: each.call(), deadline_s, allowed, plan)


async def until(*, called: Backend) -> None:
    """Wait until a back end is called."""
    while not called.calls:
        await asyncio.sleep(0.001)


def test_a_late_attempt_gets_a_rival_and_the_loser_is_abandoned_once() -> None:
    async def case() -> None:
        books, slow, quick = Books(), Backend("a"), Backend("b").open()
        resilience = seasoned()
        done = await ask(resilience, books, slow, quick)
        assert (done.answer, done.target, done.failures) == ("b", quick, [])
        assert books.told == [("b", "granted"), ("a", "abandoned")]
        assert (resilience.hedges, resilience.retries) == (1, 0)

    run(case())


def test_the_first_may_still_win_and_then_the_rival_is_abandoned() -> None:
    async def case() -> None:
        books, first, rival = Books(), Backend("a"), Backend("b")
        asking = asyncio.ensure_future(ask(seasoned(), books, first, rival))
        await until(called=rival)
        first.open()
        assert (await asking).answer == "a"
        assert books.told == [("b", "granted"), ("b", "abandoned")]

    run(case())


def test_who_answers_in_time_is_never_hedged() -> None:
    async def case() -> None:
        books, rival = Books(), Backend("b").open()
        assert (await ask(seasoned(), books, Backend("a").open(), rival)).answer == "a"
        assert (books.told, rival.calls) == ([], 0)

    run(case())


@pytest.mark.parametrize("known", [0, SAMPLES_LEAST - 1])
def test_nobody_is_hedged_before_enough_is_known(known: int) -> None:
    async def case() -> None:
        resilience, books, slow, rival = (
            Resilience(SETTINGS, SystemClock()),
            Books(),
            Backend("a"),
            Backend("b"),
        )
        for _ in range(known):
            resilience.first_tokens.note("a", 0.0, streamed=True)
        asking = asyncio.ensure_future(ask(resilience, books, slow, rival))
        await asyncio.sleep(4 * LATE_S)
        slow.open()
        assert (await asking).answer == "a"
        assert (rival.calls, books.told) == (0, [])

    run(case())


@pytest.mark.parametrize("why", ["no plan", "no money", "no retry budget", "no time", "rival ejected"])
def test_without_leave_there_is_no_rival(why: str) -> None:
    async def case() -> None:
        resilience, books, slow, rival = (
            seasoned(),
            Books(granted=why != "no money"),
            Backend("a"),
            Backend("b"),
        )
        while why == "no retry budget" and resilience.budget.spend():
            pass
        for _ in range(5 if why == "rival ejected" else 0):
            resilience.breaker("b").failed()
        deadline_s = SystemClock().monotonic_s() + LATE_S / 2 if why == "no time" else 1e12
        plan = None if why == "no plan" else books
        asking = asyncio.ensure_future(ask(resilience, plan, slow, rival, deadline_s=deadline_s))
        await asyncio.sleep(4 * LATE_S)
        slow.open()
        assert (await asking).answer == "a"
        assert (rival.calls, resilience.hedges) == (0, 0)
        assert ("a", "abandoned") not in books.told

    run(case())


def test_an_answer_that_comes_while_money_is_asked_for_needs_no_rival() -> None:
    async def case() -> None:
        slow, rival = Backend("a"), Backend("b").open()

        class Asking(Books):
            async def _grant(self, target: Backend) -> bool:
                slow.open()
                await asyncio.sleep(0.001)
                return True

        books = Asking()
        assert (await ask(seasoned(), books, slow, rival)).answer == "a"
        assert (rival.calls, books.told) == (0, [])

    run(case())


def test_a_back_end_that_stands_alone_is_its_own_rival() -> None:
    async def case() -> None:
        books, alone = Books(), Backend("a")
        asking = asyncio.ensure_future(ask(seasoned(), books, alone))
        while alone.calls < 2:
            await asyncio.sleep(0.001)
        alone.open()
        assert (await asking).answer == "a"
        assert (alone.calls, books.told[-1]) == (2, ("a", "abandoned"))

    run(case())


def test_a_failure_beside_a_running_attempt_is_told_and_the_other_goes_on() -> None:
    async def case() -> None:
        books, slow, bad = Books(), Backend("a"), Backend("b", kind="server_error").open()
        asking = asyncio.ensure_future(ask(seasoned(), books, slow, bad))
        while ("b", "server_error") not in books.told:
            await asyncio.sleep(0.001)
        slow.open()
        done = await asking
        assert done.answer == "a"
        assert [(target.label, failure.kind) for target, failure in done.failures] == [("b", "server_error")]
        assert books.told == [("b", "granted"), ("b", "server_error")]

    run(case())


def test_when_both_fail_both_are_in_the_list_and_the_third_attempt_is_the_last() -> None:
    async def case() -> None:
        books, first = Books(), Backend("a", kind="server_error")
        rival = Backend("b", kind="overloaded")
        resilience = seasoned()
        asking = asyncio.ensure_future(ask(resilience, books, first, rival))
        await until(called=rival)
        rival.open()
        while ("b", "overloaded") not in books.told:
            await asyncio.sleep(0.001)
        first.open()
        with pytest.raises(ProviderFailure) as caught:
            await asking
        assert [failure.kind for _, failure in caught.value.attempts][:2] == ["overloaded", "server_error"]
        assert first.calls + rival.calls == 3
        assert books.told == [("b", "granted"), ("b", "overloaded")]

    run(case())


def test_a_cancelled_race_abandons_both_and_holds_no_probe() -> None:
    async def case() -> None:
        books, first, rival = Books(), Backend("a"), Backend("b")
        resilience = seasoned()
        asking = asyncio.ensure_future(ask(resilience, books, first, rival))
        await until(called=rival)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert sorted(books.told[1:]) == [("a", "abandoned"), ("b", "abandoned")]

    run(case())


def test_an_answer_that_comes_although_it_was_given_up_is_let_go() -> None:
    async def case() -> None:
        books, deaf = Books(), Backend("a", deaf=True)
        await ask(seasoned(), books, deaf, Backend("b").open())
        await asyncio.sleep(0.001)
        assert books.discarded == ["a"]
        assert books.told == [("b", "granted"), ("a", "abandoned")]

    run(case())


def test_hedges_share_the_budget_of_retries() -> None:
    async def case() -> None:
        resilience, calls, requests = seasoned(), 0, 200
        for _ in range(requests):
            slow, quick = Backend("a"), Backend("b").open()
            resilience.first_tokens = FirstTokens()
            for _ in range(SAMPLES_LEAST):
                resilience.first_tokens.note("a", 0.0, streamed=True)
            asking = asyncio.ensure_future(ask(resilience, Books(), slow, quick))
            await asyncio.sleep(0.0002)
            slow.open()
            await asking
            calls += slow.calls + quick.calls
        assert calls <= requests * 1.2 + 10
        assert resilience.hedges >= requests * 0.2

    run(case())


def test_the_percentile_is_that_of_the_last_times_and_is_kept_by_kind() -> None:
    times = FirstTokens()
    for each in range(WINDOW):
        times.note("a", float(each), streamed=True)
    assert times.p95_s("a", streamed=True) == pytest.approx(WINDOW * 0.95, abs=16)
    assert times.p95_s("a", streamed=False) is None
    for _ in range(WINDOW + RENEW_EVERY):
        times.note("a", 1.0, streamed=True)
    assert times.p95_s("a", streamed=True) == 1.0


def test_abandoned_times_stay_in_the_measure() -> None:
    """Without them only quick answers would be known, and every ordinary one would be late."""
    clock = ManualClock()
    resilience = Resilience(SETTINGS, clock)
    for _ in range(SAMPLES_LEAST):
        resilience.first_tokens.note("a", 0.0, streamed=True)

    async def case() -> None:
        for _ in range(16):
            slow, rival = Backend("a"), Backend("b")
            asking = asyncio.ensure_future(ask(resilience, Books(), slow, rival))
            await until(called=rival)
            clock.advance(7)
            rival.open()
            assert (await asking).answer == "b"

    resilience.budget = type(resilience.budget)(100)
    run(case())
    assert resilience.first_tokens.p95_s("a", streamed=True) == 7
