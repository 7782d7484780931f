"""Whatever ends a request, and wherever: one settlement, every slot back once, every vendor let go, one audit event."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec
import pytest

from penstock.kernel.context import Principal, Scope
from penstock.kernel.errors import Forbidden, PenstockError
from penstock.kernel.money import Usage, cost_nanos, worst_case_nanos
from penstock.kernel.settings import ResilienceSettings
from penstock.ports.ledger import Hold
from penstock.ports.providers import ChatCall, ProviderFailure
from penstock.ports.state import Ask, Taken
from tests.support import run
from tests.unit.gateway.doubles import ScriptedLedger, ScriptedState
from tests.unit.gateway.rig import (
    DONE,
    FINISH,
    HANG,
    ROLE,
    USAGE,
    Caller,
    Hang,
    House,
    Reply,
    Step,
    Vendor,
    full,
    text,
    whole,
)
from tests.unit.gateway.test_admission import principal

TOLD = {"usage": {"prompt_tokens": 9, "completion_tokens": 3}}
USED = Usage(input_tokens=9, output_tokens=3)
PAUSES = 6
"""Suspensions of one streamed request: take, hold, chat, two pieces, give back."""


class Gate:
    """Counts the suspensions of a request and cancels its task at the n-th."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.seen = 0
        self.task: asyncio.Task[None] | None = None

    async def pause(self) -> None:
        """Suspend; at the chosen suspension the task is cancelled while it waits."""
        self.seen += 1
        if self.seen == self.at and self.task is not None:
            self.task.cancel()
        await asyncio.sleep(0)


class SlowLedger(ScriptedLedger):
    """Suspends in `hold`, and like the real one leaves nothing held for a caller that stopped waiting."""

    def __init__(self, gate: Gate) -> None:
        super().__init__()
        self._gate = gate

    async def hold(self, hold: Hold) -> None:
        await self._gate.pause()
        await super().hold(hold)


class SlowState(ScriptedState):
    """Takes at once and answers late, as a store at the other end of a wire does."""

    def __init__(self, gate: Gate) -> None:
        super().__init__()
        self._gate = gate

    async def take(self, asks: Sequence[Ask], holder: str) -> Taken:
        taken = await super().take(asks, holder)
        await self._gate.pause()
        return taken

    async def give_back(self, asks: Sequence[Ask], holder: str) -> None:
        await super().give_back(asks, holder)
        await self._gate.pause()


class SlowVendor(Vendor):
    """Suspends before its answer and before each piece."""

    def __init__(self, gate: Gate) -> None:
        super().__init__("sim", lambda: SlowReply(gate, ROLE + text("Hi"), FINISH + USAGE + DONE))
        self._gate = gate

    async def chat(self, call: ChatCall) -> Reply:
        await self._gate.pause()
        return await super().chat(call)


class SlowReply(Reply):
    """Suspends before each piece."""

    def __init__(self, gate: Gate, *steps: Step) -> None:
        super().__init__(*steps)
        self._gate = gate

    async def chunk(self) -> bytes:
        await self._gate.pause()
        return await super().chunk()


@pytest.mark.parametrize("at", range(PAUSES + 2))
def test_a_cancel_at_any_suspension_settles_once_and_leaves_nothing_behind(at: int) -> None:
    gate = Gate(at)
    vendor = SlowVendor(gate)
    house = House(vendor, ledger=SlowLedger(gate), state=SlowState(gate))

    async def cancelled() -> None:
        gate.task = asyncio.create_task(house.serve(stream=True))
        await asyncio.gather(gate.task, return_exceptions=True)

    run(cancelled())
    assert gate.seen >= min(at, PAUSES)
    assert len(house.ledger.postings) == len(house.ledger.holds) <= 1
    assert house.slots == 0
    assert all(reply.closed for reply in vendor.replies)
    assert len(house.events) == 1
    if vendor.calls:  # a call that was on its way may be billed, so it is never free
        assert house.ledger.postings[0].amount_nanos > 0


@pytest.mark.parametrize(
    "end",
    [
        ProviderFailure("no", kind="invalid"),
        ProviderFailure("no", kind="first_byte_timeout"),
        PenstockError("ours"),
        ValueError("a bug"),
        KeyboardInterrupt(),
        HANG,
    ],
)
def test_a_call_that_ends_without_an_answer_settles_once(end: BaseException | Hang) -> None:
    house = House(Vendor("sim", end))

    async def ended() -> None:
        task = asyncio.ensure_future(house.serve())
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()

    if isinstance(end, KeyboardInterrupt):
        with pytest.raises(KeyboardInterrupt):
            run(house.serve())
    else:
        run(ended())
    [posting] = house.ledger.postings
    free = isinstance(end, ProviderFailure) and end.kind == "invalid"
    assert posting.amount_nanos == (0 if free else sum(hold.amount_nanos for hold in house.ledger.holds))
    assert house.slots == 0
    assert len(house.events) == 1


def test_who_leaves_during_a_pause_between_attempts_pays_for_no_call_that_was_never_made() -> None:
    slow = ResilienceSettings(backoff_base_s=0.1, backoff_cap_s=30)
    wait = ProviderFailure("wait", kind="rate_limited", retry_after_s=20)
    house = House(Vendor("sim", wait), settings=slow)

    async def left() -> None:
        task = asyncio.create_task(house.serve())
        while not house.resilience.budget._balance < 10:
            await asyncio.sleep(0)
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(left())
    [posting] = house.ledger.postings
    assert (posting.amount_nanos, len(posting.attempts)) == (0, 1)


def test_the_hold_is_the_dearest_targets_and_the_bill_is_of_the_one_that_answered() -> None:
    busy = ProviderFailure("busy", kind="overloaded")
    house = House(Vendor("sim", busy), Vendor("dear", full(whole(**TOLD))))
    run(house.serve(model="both", max_tokens=100))
    dear = house.table.find("big").targets[0].price
    [hold], [posting] = house.ledger.holds, house.ledger.postings
    assert posting.amount_nanos == cost_nanos(dear, USED)
    assert [attempt.provider for attempt in posting.attempts] == ["sim", "dear"]
    assert hold.amount_nanos >= worst_case_nanos(dear, 200, 100)
    assert b"x-penstock-route: dear/big" in house.caller.headers


def test_a_prompt_is_held_in_full_for_the_target_with_the_widest_window() -> None:
    busy = ProviderFailure("busy", kind="overloaded")
    house = House(Vendor("sim", busy), Vendor("dear", full(whole(**TOLD))))
    messages = [{"role": "user", "content": "x" * 20_000}]
    run(house.serve(model="both", messages=messages, max_tokens=100))
    dear = house.table.find("big").targets[0].price
    assert house.ledger.holds[0].amount_nanos >= worst_case_nanos(dear, 20_000, 100)


def test_a_retry_that_needs_more_money_gets_its_own_hold_or_does_not_happen() -> None:
    lost = ProviderFailure("lost", kind="connection_reset")
    vendor = Vendor("sim", lost, full(whole(**TOLD)))
    house = House(vendor)
    run(house.serve(max_tokens=100))
    first, second = house.ledger.holds
    assert (first.sequence, second.sequence) == (0, 1)
    assert house.ledger.postings[0].amount_nanos <= first.amount_nanos + second.amount_nanos
    poor = House(Vendor("sim", lost, full(whole(**TOLD))), ledger=ScriptedLedger(first.amount_nanos))
    with pytest.raises(ProviderFailure):
        run(poor.serve(max_tokens=100))
    assert poor.ledger.postings[0].amount_nanos == first.amount_nanos
    assert len(poor.ledger.postings[0].attempts) == 1


def test_several_choices_are_held_and_billed_together() -> None:
    house = House(Vendor("sim", full(whole(usage={"prompt_tokens": 9, "completion_tokens": 300}))))
    run(house.serve(n=3, max_tokens=100))
    price = house.table.find("small").targets[0].price
    assert house.ledger.holds[0].amount_nanos >= worst_case_nanos(price, 0, 100, 3)
    assert house.ledger.postings[0].amount_nanos == cost_nanos(
        price, Usage(input_tokens=9, output_tokens=300)
    )


def test_each_call_ends_within_what_is_left_of_the_requests_time() -> None:
    class Late(Vendor):
        async def chat(self, call: ChatCall) -> Reply:
            house.clock.advance(50.5)
            return await super().chat(call)

    vendor = Late("sim", ProviderFailure("busy", kind="overloaded"), full(whole(**TOLD)))
    house = House(vendor)
    run(house.serve())
    assert [each.timers.total_s for each in vendor.calls] == [60, 10]


def test_a_key_uses_exactly_the_names_on_its_list() -> None:
    vendor = Vendor("sim", full(whole(**TOLD)))
    house = House(vendor)
    run(house.serve(who=principal(models=("small",))))
    for name in ("both", "sim/small"):
        with pytest.raises(Forbidden):
            run(house.serve(Caller(), principal(models=("small",)), model=name))
    with pytest.raises(Forbidden):
        run(house.serve(Caller(), principal(models=("both",)), model="small"))
    house.caller = Caller()
    run(house.serve(who=principal(models=("both",)), model="both"))
    assert (len(vendor.calls), len(house.ledger.holds)) == (2, 2)


def test_a_named_end_user_is_the_one_that_is_limited_charged_and_audited() -> None:
    class Directory:
        async def acting_for(self, who: Principal, user: str) -> Principal:
            scopes = (Scope(level="user", path=f"org:a/user:{user}"),)
            return msgspec.structs.replace(who, user=user, scopes=scopes)

    house = House(Vendor("sim", full(whole(**TOLD))), tenancy=Directory())
    run(house.serve(user="kim"))
    assert [line.account.partition("@")[0] for line in house.ledger.holds[0].lines] == ["org:a/user:kim"]
    assert house.events[0].user == "kim"


def test_a_refusal_is_audited_with_its_reason_and_costs_nothing() -> None:
    house = House(Vendor("sim", HANG))
    with pytest.raises(PenstockError):
        run(house.serve(model="gpt-9"))
    assert [(each.status, each.error, each.cost_nanos) for each in house.events] == [
        (404, "model_not_found", 0)
    ]
    assert house.ledger.holds == []
