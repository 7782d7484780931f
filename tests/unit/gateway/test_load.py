"""What routing knows of back ends and keys: measured, bounded, believed no longer than it holds."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

import pytest

from penstock.gateway.key_pool import KeyPool
from penstock.gateway.load import LABELS_MOST, Loads, Reading
from penstock.kernel.clock import ManualClock
from penstock.kernel.settings import ResilienceSettings
from penstock.mechanisms.quotas import LISTEN_EVERY_S, Quotas
from penstock.mechanisms.resilience import Resilience
from penstock.ports.providers import CallTimers, ChatCall, ChatReplyStream, ProviderFailure, Quota, RateHint
from tests.support import run
from tests.unit.gateway.doubles import NamedProvider


def test_loads_are_smoothed_counted_and_bounded() -> None:
    loads = Loads(lambda label: label != "ill", Quotas(ManualClock(), near_percent=10))
    assert loads.reading("new") == Reading()
    assert not loads.reading("ill").well
    loads.began("a", 1)
    loads.first_token("a", 800)
    loads.first_token("a", 1_600)
    assert loads.reading("a")[1:3] == (1, 900)
    loads.ended("a")
    loads.ended("a")
    assert loads.reading("a").in_flight == 0
    for number in range(LABELS_MOST + 5):
        loads.began(f"b{number}", 1)
    assert loads.left_out == 6


class Pooled(NamedTuple):
    """A back end, by its label."""

    label: str


class Telling:
    """An answer whose vendor tells its limits; `asked` counts how often its headers were read."""

    status, streamed, key = 200, False, "two"

    def __init__(self, requests_left: int) -> None:
        self.asked = 0
        self._left = requests_left

    @property
    def rates(self) -> RateHint:
        self.asked += 1
        return RateHint(requests=Quota(100, self._left, 60.0))

    async def read(self, max_bytes: int) -> bytes:
        return b"x"[:max_bytes]

    async def chunk(self) -> bytes:
        return b""

    def close(self) -> None:
        return


def test_a_back_end_near_its_quota_is_scarce_until_it_is_full_again() -> None:
    """Told with answers and refusals, worn down by calls; headers are read now and then, not with every answer."""
    clock = ManualClock()
    loads = Loads(lambda label: True, Quotas(clock, near_percent=10))
    first, second = Telling(11), Telling(100)
    loads.answered("a", first)
    loads.answered("a", second)
    assert (first.asked, second.asked) == (1, 0)
    assert (loads.reading("a").scarce, loads.any_scarce) == (False, False)
    loads.began("a", 1)
    loads.began("a", 1)
    assert (loads.reading("a").scarce, loads.any_scarce) == (True, True)
    clock.advance(LISTEN_EVERY_S)
    loads.answered("a", second)
    assert (loads.reading("a").scarce, loads.any_scarce) == (False, False)
    refusal = ProviderFailure("slow down", kind="rate_limited", rates=RateHint(requests=Quota(100, 0, 60.0)))
    refusal.key = "two"
    loads.refused("a", refusal)
    assert loads.reading("a").scarce
    assert not loads.reading("b").scarce
    clock.advance(60.0)
    assert not loads.reading("a").scarce


class Reply:
    """An answer that is never read."""

    status, streamed = 200, False

    async def read(self, max_bytes: int) -> bytes:
        return b"x"[:max_bytes]

    async def chunk(self) -> bytes:
        return b""

    def close(self) -> None:
        return


class Keyed(NamedProvider):
    """A provider under one key, which may be refused."""

    def __init__(self, failure: ProviderFailure | None = None) -> None:
        super().__init__("sim")
        self.failure = failure

    async def chat(self, call: ChatCall) -> ChatReplyStream:
        if self.failure is not None:
            raise self.failure
        return Reply()


def test_calls_go_to_the_idlest_key_and_a_refused_key_is_left_alone_until_it_may_be_asked_again() -> None:
    async def case() -> None:
        clock = ManualClock()
        refusal = ProviderFailure("slow down", kind="rate_limited", retry_after_s=7)
        pool = KeyPool({"one": Keyed(), "two": Keyed(), "bad": Keyed(refusal)}, clock)
        call = ChatCall(model="m", body=b"", stream=False, request_id="r", timers=CallTimers())
        replies = [await pool.chat(call), await pool.chat(call)]
        with pytest.raises(ProviderFailure):
            await pool.chat(call)
        replies += [await pool.chat(call), await pool.chat(call)]
        assert [(key.calls, key.in_flight, key.failures) for key in pool.keys] == [
            (2, 2, 0),
            (2, 2, 0),
            (1, 0, 1),
        ]
        for reply in replies:
            reply.close()
            reply.close()
        assert [key.in_flight for key in pool.keys] == [0, 0, 0]
        clock.advance(7.0)
        with pytest.raises(ProviderFailure):
            await pool.chat(call)
        assert not hasattr(pool, "models")

    run(case())


@pytest.mark.parametrize("kind", ["rate_limited", "quota_exhausted", "spend_limit", "unauthenticated"])
def test_what_one_key_is_refused_is_asked_under_another_at_once_while_there_is_one(kind: str) -> None:
    """The caller waits for no key that is not needed; once all were refused, the refusal goes back as it came."""

    async def case() -> None:
        refused = [ProviderFailure("no", kind=kind, retry_after_s=60) for _ in range(2)]
        resilience = Resilience(ResilienceSettings(), ManualClock())
        call = ChatCall(model="m", body=b"", stream=False, request_id="r", timers=CallTimers())

        async def asked(pool: KeyPool) -> ChatReplyStream:
            done = await resilience.first_answer(
                [Pooled("a")], lambda _: pool.chat(call), 1e12, lambda *_: asyncio.sleep(0, True)
            )
            return done.answer

        spare = KeyPool({"one": Keyed(refused[0]), "two": Keyed()}, ManualClock())
        assert getattr(await asked(spare), "key", "") == "two"
        none = KeyPool({"one": Keyed(refused[0]), "two": Keyed(refused[1])}, ManualClock())
        with pytest.raises(ProviderFailure) as caught:
            await asked(none)
        assert (caught.value.kind, caught.value.retry_after_s) == (kind, 60)
        assert [key.calls for key in none.keys] == [1, 1]

    run(case())


def test_a_request_that_is_wrong_is_not_asked_under_another_key() -> None:
    async def case() -> None:
        pool = KeyPool({"one": Keyed(ProviderFailure("no", kind="invalid")), "two": Keyed()}, ManualClock())
        call = ChatCall(model="m", body=b"", stream=False, request_id="r", timers=CallTimers())
        with pytest.raises(ProviderFailure) as caught:
            await pool.chat(call)
        assert not caught.value.has_other_key

    run(case())
