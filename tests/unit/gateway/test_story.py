"""What the event tells of a request's times: when it was routed and admitted, and when each call began and ended."""

from __future__ import annotations

import asyncio

import pytest

from penstock.gateway.faces import OPENAI
from penstock.gateway.inquiry import Inquiry
from penstock.gateway.story import Story
from penstock.kernel.context import RequestContext
from penstock.kernel.errors import OverBudget, PenstockError
from penstock.kernel.events import Call, RequestEvent
from penstock.ports.ledger import Hold
from penstock.ports.providers import ChatCall, ProviderFailure
from tests.support import run
from tests.unit.gateway.doubles import ScriptedLedger
from tests.unit.gateway.rig import (
    CHATS,
    DONE,
    FINISH,
    HANG,
    ROLE,
    USAGE,
    House,
    Reply,
    Vendor,
    chat,
    full,
    stream,
    text,
    whole,
)
from tests.unit.gateway.test_admission import principal
from tests.unit.gateway.test_http import Desk, asked

TOLD = {"usage": {"prompt_tokens": 9, "completion_tokens": 3}}
ROUTING_S, CALL_S, READING_S = 0.002, 0.25, 0.5
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class TimedLedger(ScriptedLedger):
    """Takes `ROUTING_S` to hold money."""

    house: House

    async def hold(self, hold: Hold) -> None:
        self.house.clock.advance(ROUTING_S)
        await super().hold(hold)


class TimedVendor(Vendor):
    """Takes `CALL_S` to answer, or to fail."""

    house: House

    async def chat(self, call: ChatCall) -> Reply:
        self.house.clock.advance(CALL_S)
        return await super().chat(call)


def told(*vendors: Vendor, **members: object) -> RequestEvent:
    """Serve one request, whose first byte comes as it is served, and return its event."""
    ledger = TimedLedger()
    house = ledger.house = House(*vendors, ledger=ledger)
    for vendor in vendors:
        vendor.house = house

    async def serve() -> None:
        now_s = house.clock.monotonic_s()
        context = RequestContext(
            "req_1", principal(), deadline_s=now_s + 60, received_ns=int(now_s * 1_000_000_000)
        )
        inquiry = Inquiry(OPENAI, CHATS, chat(**members))
        await house.pipeline.serve(context, inquiry, house.caller, Story(context, house.clock))

    try:
        run(serve())
    except PenstockError:
        pass
    [event] = house.events
    return event


def times(event: RequestEvent) -> list[float]:
    """Return an event's times in the order in which they come to pass."""
    calls = [ms for call in event.calls for ms in (call.began_ms, call.ended_ms)]
    return [event.routed_ms, event.admitted_ms, *calls, event.latency_ms]


def test_a_request_tells_when_it_came_to_each_step() -> None:
    event = told(TimedVendor("sim", full(whole(**TOLD))))
    assert times(event) == pytest.approx([0.0, 2.0, 2.0, 252.0, 252.0], abs=1e-3)
    assert event.first_token_ms == pytest.approx(252.0, abs=1e-3)


def test_each_call_is_told_with_what_the_meter_says_of_it() -> None:
    busy = ProviderFailure("busy", kind="overloaded")
    event = told(TimedVendor("sim", busy), TimedVendor("dear", full(whole(**TOLD))), model="both")
    first, second = event.calls
    assert first == Call("sim", "small", first.began_ms, first.ended_ms, "overloaded")
    assert second == Call("dear", "big", second.began_ms, second.ended_ms, "ok", event.cost_nanos, 9, 3)
    assert event.attempts == 2
    assert times(event) == pytest.approx([0.0, 2.0, 2.0, 252.0, 252.0, 502.0, 502.0], abs=1e-3)


def test_the_cost_of_the_calls_is_the_cost_of_the_request() -> None:
    lost = ProviderFailure("lost", kind="connection_reset")
    event = told(TimedVendor("sim", lost, full(whole(**TOLD))), max_tokens=100)
    assert [call.outcome for call in event.calls] == ["connection_reset", "ok"]
    assert sum(call.cost_nanos for call in event.calls) == event.cost_nanos > event.calls[1].cost_nanos > 0


def test_a_streamed_call_ends_with_its_answer() -> None:
    class Slow(Reply):
        async def chunk(self) -> bytes:
            vendor.house.clock.advance(READING_S)
            return await super().chunk()

    vendor = TimedVendor("sim", lambda: Slow(ROLE + text("Hi"), FINISH + USAGE + DONE))
    event = told(vendor, stream=True)
    [call] = event.calls
    assert event.first_token_ms == pytest.approx(752.0, abs=1e-3)
    assert call.ended_ms == event.latency_ms >= 1_252.0


@pytest.mark.parametrize(
    ("members", "steps"), [({"model": "gpt-9"}, 0), ({"messages": "none"}, 0), ({"max_tokens": 100}, 1)]
)
def test_a_refused_request_tells_the_steps_it_came_to(members: dict[str, object], steps: int) -> None:
    class Poor(ScriptedLedger):
        async def hold(self, hold: Hold) -> None:
            house.clock.advance(ROUTING_S)
            raise OverBudget

    house = House(Vendor("sim", HANG), ledger=Poor())
    with pytest.raises(PenstockError):
        run(house.serve(**members))
    [event] = house.events
    assert [event.routed_ms > 0, event.admitted_ms, event.first_token_ms] == [bool(steps), 0.0, 0.0]
    assert (event.calls, event.attempts) == ((), 0)
    assert event.latency_ms > 0


def test_a_call_given_up_by_its_caller_ends_when_it_is_given_up() -> None:
    house = House(Vendor("sim", HANG))

    async def given_up() -> None:
        task = asyncio.create_task(house.serve())
        while not house.ledger.holds:
            await asyncio.sleep(0)
        await asyncio.sleep(0.01)
        house.clock.advance(7.0)
        task.cancel()
        await asyncio.wait([task])

    run(given_up())
    [event] = house.events
    [call] = event.calls
    assert call.outcome == "abandoned"
    assert call.ended_ms - call.began_ms == pytest.approx(7_000.0)


# ------------------------------------------------------------------------------------------------ the caller's trace


def served(request: object) -> RequestEvent:
    """Serve a request through the face and return its event."""
    desk = Desk(Vendor("sim", stream(ROLE + text("Hi"), FINISH + USAGE + DONE)))
    run(desk.chats.chat(OPENAI, request, _client(desk), principal()))
    [event] = desk.house.events
    return event


def _client(desk: Desk) -> object:
    return desk.house.caller


def test_the_callers_trace_is_in_the_event() -> None:
    event = served(asked("POST", "/", chat(stream=True), {"traceparent": TRACEPARENT}))
    assert event.trace_id == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert event.parent_span == "00f067aa0ba902b7"
    assert event.parent_sampled is True


@pytest.mark.parametrize("value", ["", TRACEPARENT.upper(), TRACEPARENT[:-1], "01" + TRACEPARENT[2:]])
def test_a_trace_that_is_malformed_disturbs_nothing(value: str) -> None:
    event = served(asked("POST", "/", chat(stream=True), {"traceparent": value}))
    assert (event.status, event.trace_id, event.parent_span, event.parent_sampled) == (200, "", "", None)


def test_two_traces_are_none() -> None:
    request = asked("POST", "/", chat(stream=True), {"traceparent": TRACEPARENT})
    request.headers.append((b"traceparent", TRACEPARENT.encode()))
    event = served(request)
    assert (event.status, event.trace_id, event.parent_span, event.parent_sampled) == (200, "", "", None)
