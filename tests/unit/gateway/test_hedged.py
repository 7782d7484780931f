"""A late call and its rival, on the real rungs: who is asked, what is held for it, what each of the two costs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
import pytest

from penstock.gateway.resuming import Seam
from penstock.gateway.wording import Wording
from penstock.kernel.errors import Upstream
from penstock.mechanisms.hedging import SAMPLES_LEAST
from penstock.ports.providers import ChatCall
from tests.support import run
from tests.unit.gateway.cached_house import CachedHouse, was_hit
from tests.unit.gateway.doubles import ScriptedLedger
from tests.unit.gateway.rig import (
    DONE,
    FINISH,
    HANG,
    ROLE,
    USAGE,
    House,
    Reply,
    Step,
    Vendor,
    full,
    stream,
    text,
    whole,
)
from tests.unit.gateway.test_admission import principal

H = TypeVar("H", bound=House)
BILL = {"prompt_tokens": 9, "completion_tokens": 3}
GOOD = full(whole(usage=BILL))
LATE_S = 0.001


def hedged(*vendors: Vendor, room_nanos: int = 10**12) -> House:
    """A house whose hedged route knows when its first back end is late."""
    return knowing(House(*vendors, ledger=ScriptedLedger(room_nanos), hedge=True))


def knowing(house: H) -> H:
    """Have a house know how long its first back end takes."""
    for streamed in (False, True):
        for _ in range(SAMPLES_LEAST):
            house.resilience.first_tokens.note("sim/small", LATE_S, streamed=streamed)
    return house


class Gated(Vendor):
    """Answers when its gate opens; `asked` once it was called."""

    def __init__(self, name: str, answer: Callable[[], Reply] = GOOD) -> None:
        super().__init__(name, answer)
        self.asked = asyncio.Event()
        self.gate = asyncio.Event()

    async def chat(self, call: ChatCall) -> Reply:
        self.asked.set()
        await self.gate.wait()
        return await super().chat(call)


@pytest.mark.parametrize("streamed", [False, True])
def test_the_rival_answers_and_both_are_paid_for(streamed: bool) -> None:
    async def case() -> None:
        good = stream(text("Hi"), FINISH, USAGE, DONE) if streamed else GOOD
        house = hedged(Vendor("sim", HANG), Vendor("dear", good))
        await house.serve(model="both", max_tokens=10, stream=streamed)
        [posting], [event] = house.ledger.postings, house.events
        late, used = posting.attempts
        assert [(each.outcome, each.estimated) for each in posting.attempts] == [
            ("abandoned", True),
            ("ok", False),
        ]
        assert used.cost_nanos == 9 * 10_000 + 3 * 20_000
        assert late.cost_nanos == late.input_tokens * 1_000 + 10 * 2_000
        assert posting.estimated
        assert posting.amount_nanos == late.cost_nanos + used.cost_nanos == event.cost_nanos
        first, second = house.ledger.holds
        assert second.amount_nanos == late.cost_nanos
        assert first.amount_nanos + second.amount_nanos >= posting.amount_nanos
        assert [(call.provider, call.outcome) for call in event.calls] == [
            ("sim", "abandoned"),
            ("dear", "ok"),
        ]
        assert (event.provider, event.flags) == ("dear", ("hedged",))
        assert b"x-penstock-route: dear/big; hedged\r\n" in house.caller.headers
        assert house.slots == 0

    run(case())


def test_the_late_one_may_still_be_first_and_is_told_first() -> None:
    async def case() -> None:
        sim, dear = Gated("sim"), Gated("dear")
        house = hedged(sim, dear)
        serving = asyncio.ensure_future(house.serve(model="both", max_tokens=10))
        await sim.asked.wait()
        house.clock.advance(1.0)
        await dear.asked.wait()
        sim.gate.set()
        await serving
        [event] = house.events
        assert [(call.provider, call.outcome) for call in event.calls] == [
            ("sim", "ok"),
            ("dear", "abandoned"),
        ]
        assert b"hedged" not in house.caller.headers
        assert (house.resilience.hedges, house.resilience.hedges_won) == (1, 0)

    run(case())


@pytest.mark.parametrize(
    ("members", "tier", "room_nanos"),
    [
        ({"store": True}, "standard", 10**12),
        ({"previous_response_id": "resp_1"}, "standard", 10**12),
        ({"tools": [{"type": "web_search"}]}, "standard", 10**12),
        ({"top_p": "most"}, "standard", 10**12),
        ({}, "batch", 10**12),
        ({}, "standard", 2_500_000),
    ],
    ids=[
        "kept by the vendor",
        "goes on from what it kept",
        "a tool that it runs",
        "nobody but the vendor understands it",
        "nobody waits",
        "no money",
    ],
)
def test_nobody_else_is_asked(members: dict[str, object], tier: str, room_nanos: int) -> None:
    """What would happen twice, what nobody waits for, and what nobody pays for, is asked of one alone."""

    async def case() -> None:
        sim, dear = Gated("sim"), Vendor("dear", GOOD)
        house = hedged(sim, dear, room_nanos=room_nanos)
        who = msgspec.structs.replace(principal(), tier=tier)
        serving = asyncio.ensure_future(house.serve(who=who, model="both", max_tokens=10, **members))
        await sim.asked.wait()
        await asyncio.sleep(20 * LATE_S)
        sim.gate.set()
        await serving
        assert not dear.calls
        assert [call.outcome for call in house.events[0].calls] == ["ok"]
        assert house.resilience.hedges == 0
        assert house.resilience.budget.spend()

    run(case())


def test_an_answer_that_is_followed_on_its_way_has_no_rival() -> None:
    class Follows:
        async def inspect(self, _context: Any, wording: Wording, *_: Any) -> None:
            wording.filters = (Seam(),)

    async def case() -> None:
        sim, dear = Gated("sim"), Vendor("dear", GOOD)
        house = hedged(sim, dear)
        house.pipeline.inspections = (Follows(),)
        serving = asyncio.ensure_future(house.serve(model="both", max_tokens=10))
        await sim.asked.wait()
        await asyncio.sleep(20 * LATE_S)
        sim.gate.set()
        await serving
        assert not dear.calls

    run(case())


def test_the_callers_own_tools_are_no_reason_not_to() -> None:
    async def case() -> None:
        house = hedged(Vendor("sim", HANG), Vendor("dear", GOOD))
        tool = {"type": "function", "function": {"name": "book", "parameters": {}}}
        await house.serve(model="both", max_tokens=10, tools=[tool])
        assert house.events[0].provider == "dear"

    run(case())


def test_a_caller_that_leaves_pays_for_both() -> None:
    async def case() -> None:
        sim, dear = Gated("sim"), Gated("dear")
        house = hedged(sim, dear)
        serving = asyncio.ensure_future(house.serve(model="both", max_tokens=10))
        await dear.asked.wait()
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        [posting] = house.ledger.postings
        assert [each.outcome for each in posting.attempts] == ["abandoned", "abandoned"]
        held_nanos = sum(hold.amount_nanos for hold in house.ledger.holds)
        assert 0 < posting.amount_nanos <= held_nanos
        assert len(house.events[0].calls) == 2
        assert house.slots == 0

    run(case())


def test_a_route_that_does_not_ask_for_it_waits() -> None:
    async def case() -> None:
        sim, dear = Gated("sim"), Vendor("dear", GOOD)
        house = House(sim, dear)
        for _ in range(SAMPLES_LEAST):
            house.resilience.first_tokens.note("sim/small", LATE_S, streamed=False)
        serving = asyncio.ensure_future(house.serve(model="both", max_tokens=10))
        await sim.asked.wait()
        await asyncio.sleep(20 * LATE_S)
        sim.gate.set()
        await serving
        assert not dear.calls

    run(case())


def test_both_fail_and_each_is_on_the_meter_once() -> None:
    async def case() -> None:
        house = hedged(Gated("sim", full(b"{")), Vendor("dear", full(b"{")))
        serving = asyncio.ensure_future(house.serve(model="both", max_tokens=10))
        await asyncio.sleep(20 * LATE_S)
        sim = house.table.find("both").targets[0].provider
        assert isinstance(sim, Gated)
        sim.gate.set()
        with pytest.raises(Upstream):
            await serving
        [posting], [event] = house.ledger.postings, house.events
        assert len(event.calls) == len(posting.attempts) >= 2
        assert {each.outcome for each in posting.attempts} == {"malformed_reply"}
        assert posting.amount_nanos <= sum(hold.amount_nanos for hold in house.ledger.holds)

    run(case())


class Late(Reply):
    """A stream that says nothing before its gate opens."""

    def __init__(self, gate: asyncio.Event, *steps: Step) -> None:
        super().__init__(*steps)
        self._gate = gate

    async def chunk(self) -> bytes:
        await self._gate.wait()
        return await super().chunk()


@pytest.mark.parametrize("rivals", [(ROLE, HANG), (HANG,)], ids=["has begun", "has said nothing"])
def test_of_two_who_were_asked_at_one_time_the_answer_that_was_sent_is_kept(rivals: tuple[Step, ...]) -> None:
    async def case() -> None:
        gate = asyncio.Event()
        first = [ROLE, text("The first."), FINISH, USAGE, DONE]
        vendor = Vendor(
            "sim", lambda: Late(gate, *first), stream(*rivals), stream(text("The third."), FINISH, DONE)
        )
        it = knowing(CachedHouse(vendor, hedge=True))
        asking = asyncio.ensure_future(it.ask(model="both", stream=True))
        while len(vendor.replies) < 2:
            await asyncio.sleep(0.001)
        gate.set()
        assert b"The first." in (await asking).body
        again = await it.ask(model="both", stream=True)
        assert was_hit(again) and b"The first." in again.body

    run(case())
