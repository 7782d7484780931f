"""Resilience: what is tried again, how often, and when a back end is left alone."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from penstock.kernel.clock import ManualClock
from penstock.kernel.faults import FAILURE_KINDS, RETRY_NEVER
from penstock.kernel.settings import ResilienceSettings
from penstock.mechanisms.breaker import Breaker
from penstock.mechanisms.resilience import Resilience
from penstock.mechanisms.retry_budget import RETRY_RESERVE, RetryBudget
from penstock.ports.providers import ProviderFailure
from tests.support import run

FAST = ResilienceSettings(backoff_base_s=0.0001, backoff_cap_s=0.001, max_attempts=3)


@dataclass(frozen=True)
class Backend:
    """A target that answers from a list: an error kind, or "ok"."""

    label: str
    script: list[str]

    async def call(self) -> str:
        """Play the next line."""
        kind = self.script.pop(0) if self.script else "ok"
        if kind != "ok":
            raise ProviderFailure("scripted", kind=kind)
        return self.label


def asked(resilience: Resilience, *backends: Backend, deadline_s: float = 1e12, allow: bool = True) -> str:
    """Ask the back ends in order; return who answered."""

    async def allowed(_target: Backend, _failure: ProviderFailure) -> bool:
        return allow

    async def ask() -> str:
        done = await resilience.first_answer(backends, lambda each: each.call(), deadline_s, allowed)
        return done.answer

    return run(ask())


def test_a_transient_failure_is_tried_again_and_answered() -> None:
    resilience = Resilience(FAST, ManualClock())
    assert asked(resilience, Backend("a", ["server_error", "overloaded"])) == "a"
    assert resilience.retries == 2


def test_attempts_stop_exactly_at_the_maximum() -> None:
    backend = Backend("a", ["server_error"] * 5)
    with pytest.raises(ProviderFailure) as caught:
        asked(Resilience(FAST, ManualClock()), backend)
    assert len(backend.script) == 2
    assert len(caught.value.attempts) == 3


@pytest.mark.parametrize("kind", [kind for kind, rule in FAILURE_KINDS.items() if rule == RETRY_NEVER])
def test_what_cannot_be_cured_is_never_tried_again_at_the_same_back_end(kind: str) -> None:
    backend = Backend("a", [kind, kind])
    with pytest.raises(ProviderFailure):
        asked(Resilience(FAST, ManualClock()), backend)
    assert len(backend.script) == 1


@pytest.mark.parametrize(
    "kind", ["quota_exhausted", "spend_limit", "unauthenticated", "not_found", "server_error"]
)
def test_another_back_end_may_serve_what_this_account_cannot(kind: str) -> None:
    assert asked(Resilience(FAST, ManualClock()), Backend("a", [kind] * 3), Backend("b", [])) == "b"


def test_a_callers_mistake_is_not_carried_to_another_back_end() -> None:
    other = Backend("b", ["ok"])
    with pytest.raises(ProviderFailure):
        asked(Resilience(FAST, ManualClock()), Backend("a", ["invalid"]), other)
    assert other.script == ["ok"]


@pytest.mark.parametrize("kind", ["connection_reset", "first_byte_timeout", "connect_timeout"])
def test_a_reset_or_a_timeout_is_tried_again_once_only(kind: str) -> None:
    backend = Backend("a", [kind] * 3)
    with pytest.raises(ProviderFailure):
        asked(Resilience(FAST, ManualClock()), backend)
    assert len(backend.script) == 1


def test_the_vendors_own_no_overrules_the_table() -> None:
    calls: list[int] = []

    class Firm(Backend):
        async def call(self) -> str:
            calls.append(1)
            raise ProviderFailure("no", kind="server_error", may_retry=False)

    with pytest.raises(ProviderFailure):
        asked(Resilience(FAST, ManualClock()), Firm("a", []))
    assert len(calls) == 1


def test_a_hint_longer_than_the_cap_goes_back_to_the_caller() -> None:
    calls: list[int] = []

    class Limited(Backend):
        async def call(self) -> str:
            calls.append(1)
            raise ProviderFailure("wait", kind="rate_limited", retry_after_s=60)

    with pytest.raises(ProviderFailure) as caught:
        asked(Resilience(FAST, ManualClock()), Limited("a", []))
    assert len(calls) == 1
    assert caught.value.retry_after_s == 60


def test_no_money_no_retry() -> None:
    backend = Backend("a", ["server_error", "ok"])
    with pytest.raises(ProviderFailure):
        asked(Resilience(FAST, ManualClock()), backend, allow=False)
    assert backend.script == ["ok"]


def test_no_retry_past_the_deadline() -> None:
    clock = ManualClock()
    backend = Backend("a", ["server_error", "ok"])
    with pytest.raises(ProviderFailure):
        asked(Resilience(FAST, clock), backend, deadline_s=clock.monotonic_s())
    assert backend.script == ["ok"]


def test_retries_never_exceed_their_share_of_requests() -> None:
    budget = RetryBudget(20)
    spent = 0
    for _ in range(1000):
        budget.earn()
        spent += budget.spend()
    assert spent <= 1000 * 0.2 + 10
    assert spent >= 1000 * 0.2
    assert budget.refused == 1000 - spent


@pytest.mark.parametrize("earns", [True, False])
def test_only_a_requests_own_call_adds_to_the_budget(earns: bool) -> None:
    resilience = Resilience(FAST, ManualClock())

    async def ask() -> None:
        backend = Backend("a", [])
        await resilience.first_answer(
            [backend], lambda each: each.call(), 1e12, lambda *_: asyncio.sleep(0, True), earns=earns
        )

    run(ask())
    earned = FAST.retry_share_percent / 100 if earns else 0
    assert resilience.budget._balance == pytest.approx(RETRY_RESERVE + earned)


def test_a_breaker_opens_at_the_limit_and_lets_one_probe_through() -> None:
    clock = ManualClock()
    breaker = Breaker(clock, failures=3, open_s=30)
    for _ in range(2):
        breaker.failed()
    assert breaker.admits()
    breaker.failed()
    assert (breaker.state, breaker.admits()) == ("open", False)
    clock.advance(29.9)
    assert not breaker.admits()
    clock.advance(0.1)
    assert breaker.state == "half-open"
    assert [breaker.admits(), breaker.admits()] == [True, False]
    breaker.failed()
    assert not breaker.admits()
    clock.advance(30)
    assert breaker.admits()
    breaker.succeeded()
    assert (breaker.state, breaker.admits()) == ("closed", True)


def test_an_open_breaker_turns_traffic_to_the_other_back_end() -> None:
    resilience = Resilience(FAST, ManualClock())
    for _ in range(5):
        resilience.breaker("a").failed()
    first = Backend("a", [])
    assert asked(resilience, first, Backend("b", [])) == "b"


def test_the_last_back_end_is_never_taken_away() -> None:
    resilience = Resilience(FAST, ManualClock())
    for _ in range(5):
        resilience.breaker("a").failed()
    assert asked(resilience, Backend("a", [])) == "a"


def test_each_back_end_is_tried_before_any_is_tried_again() -> None:
    backends = [Backend(name, ["server_error", "ok"]) for name in "abc"]
    with pytest.raises(ProviderFailure):
        asked(Resilience(FAST, ManualClock()), *backends)
    assert [backend.script for backend in backends] == [["ok"]] * 3


@pytest.mark.parametrize("kind", ["quota_exhausted", "unauthenticated"])
def test_what_an_account_cannot_serve_is_not_asked_of_it_again_after_the_others_failed_too(kind: str) -> None:
    first, second = Backend("a", [kind, "ok"]), Backend("b", [kind, "ok"])
    with pytest.raises(ProviderFailure):
        asked(Resilience(FAST, ManualClock()), first, second)
    assert (first.script, second.script) == (["ok"], ["ok"])


def test_a_back_end_that_said_never_again_is_left_even_when_the_other_is_ejected() -> None:
    resilience = Resilience(FAST, ManualClock())
    for _ in range(5):
        resilience.breaker("b").failed()
    first = Backend("a", ["quota_exhausted", "ok"])
    assert asked(resilience, first, Backend("b", [])) == "b"
    assert first.script == ["ok"]


def test_a_hint_is_honoured_when_every_back_end_has_been_tried() -> None:
    calls: list[str] = []

    class Limited(Backend):
        async def call(self) -> str:
            calls.append(self.label)
            raise ProviderFailure("wait", kind="rate_limited", retry_after_s=60)

    with pytest.raises(ProviderFailure):
        asked(Resilience(FAST, ManualClock()), Limited("a", []), Limited("b", []))
    assert calls == ["a", "b"]


def test_a_vendors_own_no_does_not_speak_for_the_others() -> None:
    class Firm(Backend):
        async def call(self) -> str:
            raise ProviderFailure("no", kind="overloaded", may_retry=False)

    assert asked(Resilience(FAST, ManualClock()), Firm("a", []), Backend("b", [])) == "b"


def test_an_answer_that_began_clears_nothing_until_it_has_ended() -> None:
    resilience = Resilience(FAST, ManualClock())
    for _ in range(4):
        resilience.breaker("a").failed()
    asked(resilience, Backend("a", []))
    resilience.failed_later("a", ProviderFailure("cut", kind="cut"))
    assert resilience.states() == {"a": "open"}


def test_a_probe_that_began_lets_traffic_back_and_its_end_clears_the_rest() -> None:
    clock = ManualClock()
    resilience = Resilience(FAST, clock)
    for _ in range(5):
        resilience.breaker("a").failed()
    clock.advance(31)
    assert asked(resilience, Backend("a", []), Backend("b", [])) == "a"
    assert resilience.breaker("a").state == "closed"
    resilience.answered("a")
    for _ in range(4):
        resilience.breaker("a").failed()
    assert resilience.breaker("a").state == "closed"


def test_the_time_left_never_goes_below_none() -> None:
    clock = ManualClock(monotonic_s=10)
    resilience = Resilience(FAST, clock)
    assert [resilience.left_s(at) for at in (12.5, 10, 9)] == [2.5, 0, 0]


def test_a_cancelled_probe_does_not_hold_the_breaker_half_open() -> None:
    clock = ManualClock()
    resilience = Resilience(FAST, clock)
    for _ in range(5):
        resilience.breaker("a").failed()
    clock.advance(31)

    class Hanging(Backend):
        async def call(self) -> str:
            await asyncio.sleep(60)
            return "never"

    async def cancelled() -> None:
        async def allowed(_target: Backend, _failure: ProviderFailure) -> bool:
            return True

        asking = resilience.first_answer([Hanging("a", [])], lambda each: each.call(), 1e12, allowed)
        task = asyncio.ensure_future(asking)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(cancelled())
    assert resilience.breaker("a").admits()


@pytest.mark.parametrize(("hint_s", "calls"), [(0.4, 3), (0.5, 3), (0.6, 2), (1.1, 1)])
def test_all_pauses_of_a_request_together_stay_within_the_cap(hint_s: float, calls: int) -> None:
    """Given a cap of one unit, two hints of more than half of it do not both fit."""
    unit_s = 0.004
    made: list[float] = []

    class Limited(Backend):
        async def call(self) -> str:
            made.append(hint_s)
            raise ProviderFailure("wait", kind="rate_limited", retry_after_s=hint_s * unit_s)

    settings = ResilienceSettings(backoff_base_s=0.0001, backoff_cap_s=unit_s, max_attempts=3)
    with pytest.raises(ProviderFailure):
        asked(Resilience(settings, ManualClock()), Limited("a", []))
    assert len(made) == calls


@given(
    st.lists(st.sampled_from(["ok", "ok", *FAILURE_KINDS]), min_size=1, max_size=400),
    st.integers(min_value=1, max_value=5),
)
@hypothesis_settings(max_examples=40, deadline=None)
def test_whatever_fails_calls_stay_within_one_point_two_times_the_requests(
    script: list[str], backends: int
) -> None:
    """Over a process's life: 20 in 100, and the ten to start with."""
    resilience = Resilience(
        ResilienceSettings(backoff_base_s=1e-9, backoff_cap_s=1e-6, max_attempts=10), ManualClock()
    )
    targets = [Backend(str(index), []) for index in range(backends)]
    calls = 0

    async def call(target: Backend) -> str:
        nonlocal calls
        kind = script[calls % len(script)]
        calls += 1
        if kind != "ok":
            raise ProviderFailure("scripted", kind=kind)
        return target.label

    async def allowed(_target: Backend, _failure: ProviderFailure) -> bool:
        return True

    async def crowd() -> None:
        for _ in range(200):
            with suppress(ProviderFailure):
                done = await resilience.first_answer(targets, call, 1e12, allowed)
                resilience.answered(done.answer)

    run(crowd())
    assert calls <= 200 * 1.2 + 10


def test_an_outlier_gives_way_to_its_peer_and_is_used_when_it_stands_alone() -> None:
    resilience = Resilience(FAST, ManualClock())
    for _ in range(10):
        resilience.answered("b")
        resilience.answered("b")
        resilience.answered("a")
        resilience.failed_later("a", ProviderFailure("cut", kind="cut"))
    assert resilience.states() == {"a": "closed", "b": "closed"}
    assert asked(resilience, Backend("a", []), Backend("b", [])) == "b"
    assert asked(resilience, Backend("a", [])) == "a"


def test_an_outlier_is_better_than_an_open_breaker() -> None:
    resilience = Resilience(FAST, ManualClock())
    for _ in range(20):
        resilience.answered("b")
        resilience.outliers.noted("a", good=False)
    for _ in range(5):
        resilience.breaker("b").failed()
    assert asked(resilience, Backend("a", []), Backend("b", [])) == "a"


def test_a_back_end_that_asks_for_too_long_a_wait_keeps_nobody_from_the_other() -> None:
    class Limited(Backend):
        async def call(self) -> str:
            raise ProviderFailure("wait", kind="rate_limited", retry_after_s=60)

    assert asked(Resilience(FAST, ManualClock()), Limited("a", []), Backend("b", ["server_error"])) == "b"


def test_a_timeout_of_any_kind_is_tried_again_once() -> None:
    backend = Backend("a", ["connect_timeout", "first_byte_timeout", "ok"])
    with pytest.raises(ProviderFailure):
        asked(Resilience(FAST, ManualClock()), backend)
    assert backend.script == ["ok"]


def test_our_own_pool_being_full_is_tried_elsewhere_and_says_nothing_of_the_back_end() -> None:
    resilience = Resilience(FAST, ManualClock())
    for _ in range(2 * FAST.breaker_failures):
        assert asked(resilience, Backend("a", ["pool_exhausted"]), Backend("b", [])) == "b"
    assert resilience.states()["a"] == "closed"
    assert not resilience.outliers.any
