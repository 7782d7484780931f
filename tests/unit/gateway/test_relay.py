"""The answer on its way: whole or broken off, it is told as what it is and billed for what it was."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from penstock.kernel.errors import PenstockError, TimedOut
from penstock.kernel.money import Usage, cost_nanos
from penstock.ports.ledger import Posting
from penstock.ports.providers import ProviderFailure
from tests.support import run
from tests.unit.gateway.rig import (
    DONE,
    ERROR,
    FINISH,
    HANG,
    ROLE,
    USAGE,
    Caller,
    House,
    Reply,
    Step,
    Vendor,
    event,
    full,
    stream,
    text,
    whole,
)

ZEROES = {"prompt_tokens": 0, "completion_tokens": 0}


def counted(house: House, **usage: int) -> int:
    """Return what a usage costs at the price of sim/small."""
    return cost_nanos(house.table.find("small").targets[0].price, Usage(**usage))


def relayed(*steps: Step) -> tuple[House, PenstockError | None]:
    """Serve one stream; return the house after it and what it raised."""
    house = House(Vendor("sim", stream(*steps)))
    error: PenstockError | None = None
    try:
        run(house.serve(stream=True))
    except PenstockError as raised:
        error = raised
    return house, error


def billed(*answers: Callable[[], Reply], streamed: bool) -> Posting:
    """Serve one chat; return its only settlement."""
    house = House(Vendor("sim", *answers))
    run(house.serve(stream=streamed))
    [posting] = house.ledger.postings
    return posting


def test_a_whole_stream_ends_with_its_mark_and_is_billed_as_the_vendor_counted() -> None:
    house, error = relayed(ROLE, text("One"), text(" two"), FINISH, USAGE, DONE)
    assert error is None
    assert house.caller.body == ROLE + text("One") + text(" two") + FINISH + DONE
    [posting] = house.ledger.postings
    assert (posting.amount_nanos, posting.estimated) == (
        counted(house, input_tokens=9, output_tokens=3),
        False,
    )


@pytest.mark.parametrize("usage", [{}, ZEROES, {"total_tokens": 5}])
@pytest.mark.parametrize("streamed", [False, True])
def test_a_usage_of_zeroes_is_no_bill_but_a_missing_one(usage: dict[str, int], streamed: bool) -> None:
    answer = stream(text("Hi"), FINISH, event(choices=[], usage=usage), DONE)
    posting = billed(answer if streamed else full(whole(usage=usage)), streamed=streamed)
    assert posting.estimated
    assert posting.amount_nanos > 0
    assert posting.attempts[0].outcome == "usage_missing"


def test_figures_that_deny_what_was_generated_are_no_bill() -> None:
    usage = event(choices=[], usage={"prompt_tokens": 9, "completion_tokens": 0})
    assert billed(stream(text("Hi"), FINISH, usage, DONE), streamed=True).estimated


def test_an_empty_answer_costs_its_prompt_exactly() -> None:
    usage = event(choices=[], usage={"prompt_tokens": 9, "completion_tokens": 0})
    posting = billed(stream(ROLE, FINISH, usage, DONE), streamed=True)
    assert (posting.estimated, posting.attempts[0].input_tokens) == (False, 9)


def test_a_running_count_that_broke_off_is_the_least_of_the_bill() -> None:
    counts = {"prompt_tokens": 9, "completion_tokens": 1}
    steps = [text(f"word{index}") for index in range(20)]
    house, error = relayed(text("first", usage=counts), *steps, ProviderFailure("cut", kind="cut"))
    assert isinstance(error, ProviderFailure)
    [posting] = house.ledger.postings
    assert posting.amount_nanos == counted(house, input_tokens=9, output_tokens=21)
    assert (posting.estimated, posting.attempts[0].outcome) == (True, "cut")


def test_what_breaks_after_the_end_was_told_is_billed_exactly() -> None:
    house, _ = relayed(text("Hi"), FINISH, USAGE, ProviderFailure("cut", kind="cut"))
    [posting] = house.ledger.postings
    assert posting.attempts[0].outcome == "ok"
    assert posting.amount_nanos == counted(house, input_tokens=9, output_tokens=3)


@pytest.mark.parametrize(
    "trouble", [ERROR, b"data: {nonsense\n\n", ProviderFailure("cut", kind="cut"), ValueError("a bug")]
)
def test_trouble_after_the_first_byte_is_told_once_in_band_and_without_the_mark(trouble: Step) -> None:
    house = House(Vendor("sim", stream(text("Hi"), trouble)))
    with pytest.raises((ProviderFailure, ValueError)):
        run(house.serve(stream=True))
    body = house.caller.body
    assert body.startswith(text("Hi"))
    assert body.count(b'"error"') == 1
    assert b"[DONE]" not in body
    assert b"draining" not in body
    assert house.caller.complete
    assert len(house.ledger.postings) == 1
    assert house.ledger.postings[0].amount_nanos > 0


@pytest.mark.parametrize(("streams", "state"), [(4, "closed"), (5, "open")])
def test_answers_that_keep_breaking_off_open_the_breaker(streams: int, state: str) -> None:
    house = House(Vendor("sim", stream(text("Hi"), ProviderFailure("cut", kind="cut"))))

    async def serve_all() -> None:
        for _ in range(streams):
            house.caller = Caller()
            with pytest.raises(ProviderFailure):
                await house.serve(stream=True)

    run(serve_all())
    assert house.resilience.states() == {"sim/small": state}


@pytest.mark.parametrize("streamed", [False, True])
def test_one_whole_answer_clears_the_failures_before_it(streamed: bool) -> None:
    answer = stream(text("Hi"), FINISH, DONE) if streamed else full(whole())
    house = House(Vendor("sim", answer))
    for _ in range(4):
        house.resilience.breaker("sim/small").failed()
    run(house.serve(stream=streamed))
    house.resilience.breaker("sim/small").failed()
    assert house.resilience.states() == {"sim/small": "closed"}


def test_a_client_too_slow_for_the_deadline_is_told_and_the_hold_does_not_lapse_under_it() -> None:
    house = House(Vendor("sim", stream(text("Hi"), text(" there"), HANG)), deadline_s=0.01)
    house.caller = Caller(paused=True)
    with pytest.raises(TimedOut) as caught:
        run(house.serve(stream=True))
    assert caught.value.reason == "slow_client"
    assert b"slow_client" in house.caller.body
    assert house.ledger.postings[0].attempts[0].outcome == "slow_client"
    assert house.resilience.states() == {"sim/small": "closed"}


def test_a_vanished_client_that_nobody_cancels_is_read_to_the_exact_bill() -> None:
    house = House(Vendor("sim", stream(text("Hi"), text(" there"), FINISH, USAGE, DONE)))
    house.caller = Caller(paused=True)
    house.caller.vanish()
    run(house.serve(stream=True))
    [posting] = house.ledger.postings
    assert (posting.estimated, posting.attempts[0].output_tokens) == (False, 3)


def test_a_drain_in_the_middle_is_told_in_band_and_what_was_generated_is_billed() -> None:
    house = House(Vendor("sim", stream(text("Hi"), HANG)))

    async def drained() -> None:
        task = asyncio.create_task(house.serve(stream=True))
        while not house.caller.body:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(drained())
    assert b"draining" in house.caller.body
    assert b"[DONE]" not in house.caller.body
    assert house.ledger.postings[0].estimated
    assert 0 < house.ledger.postings[0].amount_nanos < house.ledger.holds[0].amount_nanos
    assert house.slots == 0
