"""Half-open: of all who would try a back end that failed, whenever and by whatever way they come, one does."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from penstock.kernel.clock import ManualClock
from penstock.mechanisms.hedging import HedgePlan
from penstock.mechanisms.resilience import Resilience
from penstock.ports.providers import ProviderFailure
from tests.support import run
from tests.unit.mechanisms.test_resilience import FAST, Backend


def half_open(resilience: Resilience, clock: ManualClock, label: str) -> None:
    """Have a back end's breaker open, and its pause be over."""
    for _ in range(5):
        resilience.breaker(label).failed()
    clock.advance(31)


@pytest.mark.parametrize("hedged", [False, True], ids=["by itself", "hedged"])
def test_of_many_who_ask_at_once_one_is_the_probe(hedged: bool) -> None:
    clock = ManualClock()
    resilience = Resilience(FAST, clock)
    half_open(resilience, clock, "a")
    calls: list[str] = []

    async def call(target: Backend) -> str:
        calls.append(target.label)
        await asyncio.sleep(0.01)
        return target.label

    async def ask() -> None:
        plan: HedgePlan[Backend, str] = HedgePlan(
            grant=lambda _: asyncio.sleep(0, None),
            failed=lambda *_: None,
            abandoned=lambda _: None,
            discard=lambda _: None,
            streamed=True,
        )
        await asyncio.gather(
            *[
                resilience.first_answer(
                    [Backend("a", []), Backend("b", [])],
                    call,
                    1e12,
                    lambda *_: asyncio.sleep(0, True),
                    plan if hedged else None,
                )
                for _ in range(10)
            ]
        )

    run(ask())
    assert (calls.count("a"), calls.count("b")) == (1, 9)


@pytest.mark.parametrize("affords", [True, False], ids=["with money", "without"])
def test_of_those_who_fail_over_at_once_one_is_the_probe(affords: bool) -> None:
    clock = ManualClock()
    resilience = Resilience(FAST, clock)
    half_open(resilience, clock, "b")
    calls: list[str] = []

    async def call(target: Backend) -> str:
        calls.append(target.label)
        if target.label == "a":
            raise ProviderFailure("scripted", kind="server_error")
        await asyncio.sleep(0.01)
        return target.label

    async def ask() -> None:
        async def allowed(_target: Backend, _failure: ProviderFailure) -> bool:
            await asyncio.sleep(0.001)  # money is held meanwhile
            return affords

        async def one() -> None:
            with suppress(ProviderFailure):
                await resilience.first_answer([Backend("a", []), Backend("b", [])], call, 1e12, allowed)

        await asyncio.gather(one(), one())

    run(ask())
    assert calls.count("b") == int(affords)
    assert resilience.breaker("b").ready, "a probe that was not made holds nobody back"


def test_who_leaves_before_its_probe_began_holds_nobody_back() -> None:
    clock = ManualClock()
    resilience = Resilience(FAST, clock)
    half_open(resilience, clock, "b")

    async def ask() -> None:
        async def held(_target: Backend, _failure: ProviderFailure) -> bool:
            await asyncio.sleep(60)
            return True

        backends = [Backend("a", ["server_error"]), Backend("b", [])]
        task = asyncio.ensure_future(resilience.first_answer(backends, lambda each: each.call(), 1e12, held))
        await asyncio.sleep(0.001)
        assert not resilience.breaker("b").ready
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(ask())
    assert resilience.breaker("b").ready


def test_a_rival_is_no_probe() -> None:
    clock = ManualClock()
    resilience = Resilience(FAST, clock)
    backends = [Backend(name, []) for name in "abc"]
    half_open(resilience, clock, "b")
    assert resilience._rival(backends, backends[0]) is backends[2]
    half_open(resilience, clock, "c")
    assert resilience._rival(backends, backends[0]) is None
