"""Metering: one settlement, exact where the vendor said, a flagged and bounded estimate where it did not."""

from __future__ import annotations

import pytest
from msgspec import structs

from penstock.gateway.metering import MAYBE_BILLED, Meter, is_a_bill
from penstock.kernel.faults import FAILURE_KINDS
from penstock.kernel.money import Usage, cost_nanos
from penstock.ports.providers import ProviderFailure
from tests.support import run
from tests.unit.gateway.doubles import ScriptedLedger, ScriptedState
from tests.unit.gateway.test_admission import TARGETS, admit, ask

TARGET = TARGETS[0]


def metered(max_tokens: int = 100) -> tuple[Meter, ScriptedLedger, ScriptedState]:
    """Return a meter over an admitted request."""
    ledger, state = ScriptedLedger(), ScriptedState()
    wanted = ask(max_tokens=max_tokens)
    seat, gate = admit(wanted, ledger, state)
    return Meter(ledger, gate, seat, wanted), ledger, state


def test_the_vendors_usage_is_the_bill() -> None:
    meter, ledger, _ = metered()
    usage = Usage(input_tokens=9, cached_input_tokens=4, output_tokens=12)
    meter.answered(TARGET, usage)
    meter.settle()
    [posting] = ledger.postings
    assert (posting.amount_nanos, posting.estimated) == (cost_nanos(TARGET.price, usage), False)
    assert posting.operation == "req_1"
    assert posting.attempts[0].outcome == "ok"


def test_settling_twice_posts_once() -> None:
    meter, ledger, _ = metered()
    meter.answered(TARGET, Usage(input_tokens=1))
    meter.settle()
    meter.settle()
    assert len(ledger.postings) == 1


def test_a_usage_that_contradicts_itself_is_mended_and_flagged() -> None:
    meter, ledger, _ = metered()
    meter.answered(TARGET, Usage(input_tokens=5, cached_input_tokens=50, output_tokens=-1))
    meter.settle()
    assert ledger.postings[0].estimated
    assert ledger.postings[0].attempts[0].outcome == "usage_mended"


def test_an_estimate_never_exceeds_what_was_held() -> None:
    meter, ledger, _ = metered()
    cost = meter.estimated(TARGET, 10**9, 10**9, "cut")
    meter.settle()
    assert cost == meter.seat.held_nanos
    assert ledger.postings[0].estimated


def test_a_second_estimate_only_has_what_the_first_left() -> None:
    meter, _, _ = metered()
    first = meter.estimated(TARGET, 10**9, 10**9, "cut")
    assert meter.estimated(TARGET, 10**9, 10**9, "cut") == meter.seat.held_nanos - first == 0


def test_searches_of_a_call_that_may_have_been_billed_are_billed_as_many_as_they_can_be() -> None:
    searched = structs.replace(TARGET.price, per_request_nanos=7)
    meter, _, _ = metered()
    meter.ask.requests = 3
    cost = meter.estimated(structs.replace(TARGET, price=searched), 0, 0, "cut")
    assert cost == 21


NEVER_WORKED_ON = {
    *("rate_limited", "overloaded", "server_error", "connect_failed", "connect_timeout", "pool_exhausted"),
    *("quota_exhausted", "spend_limit", "unauthenticated", "forbidden", "not_found"),
    *("invalid", "context_overflow", "content_filter"),
}
"""What a vendor refuses before its model has read a word; after any other failure it may send a bill."""


def test_whatever_the_vendor_may_have_worked_on_counts_as_maybe_billed() -> None:
    assert set(FAILURE_KINDS) - NEVER_WORKED_ON == MAYBE_BILLED


@pytest.mark.parametrize("kind", FAILURE_KINDS)
def test_a_failure_is_billed_only_if_the_vendor_may_have_billed_it(kind: str) -> None:
    meter, _, _ = metered()
    meter.failed(TARGET, ProviderFailure("failed", kind=kind))
    assert (meter.spent_nanos > 0) == (kind in MAYBE_BILLED)
    assert meter.attempts[0].estimated == (kind in MAYBE_BILLED)


def test_what_was_never_sent_is_never_billed() -> None:
    meter, _, _ = metered()
    meter.failed(TARGET, ProviderFailure("failed", kind="connection_reset", dispatched=False))
    assert meter.spent_nanos == 0


def test_every_attempt_of_an_operation_is_in_its_one_posting() -> None:
    meter, ledger, _ = metered()
    meter.failed(TARGET, ProviderFailure("failed", kind="server_error"))
    meter.failed(TARGET, ProviderFailure("failed", kind="first_byte_timeout"))
    meter.answered(TARGET, Usage(input_tokens=9, output_tokens=12))
    meter.settle()
    [posting] = ledger.postings
    assert [attempt.number for attempt in posting.attempts] == [1, 2, 3]
    assert posting.amount_nanos == sum(attempt.cost_nanos for attempt in posting.attempts)


def test_unused_tokens_and_the_slot_go_back() -> None:
    meter, _, state = metered()
    meter.answered(TARGET, Usage(input_tokens=9, output_tokens=12))
    run(meter.release())
    assert [each.amount for each in state.given_back[0]] == [1, meter.seat.asks_tokens - 21]


def test_an_operation_that_cost_nothing_is_still_settled() -> None:
    meter, ledger, _ = metered()
    meter.settle()
    assert [posting.amount_nanos for posting in ledger.postings] == [0]


def test_a_usage_that_cannot_be_is_bounded_by_the_hold() -> None:
    """Given figures no answer can have, then the flagged bill stays within what was held."""
    meter, ledger, _ = metered()
    meter.answered(TARGET, Usage(input_tokens=2**62, output_tokens=2**62))
    meter.settle()
    assert ledger.postings[0].estimated
    assert ledger.postings[0].amount_nanos == meter.seat.held_nanos


def test_a_doubted_usage_is_billed_as_told_and_flagged() -> None:
    meter, ledger, _ = metered()
    usage = Usage(input_tokens=9, output_tokens=3)
    meter.answered(TARGET, usage, "usage_decreased")
    meter.settle()
    [posting] = ledger.postings
    assert (posting.amount_nanos, posting.estimated) == (cost_nanos(TARGET.price, usage), True)
    assert posting.attempts[0].outcome == "usage_decreased"


@pytest.mark.parametrize(
    ("usage", "generated", "credible"),
    [
        (Usage(input_tokens=9, output_tokens=3), True, True),
        (Usage(input_tokens=9), False, True),
        (Usage(input_tokens=9), True, False),
        (Usage(), False, False),
        (Usage(output_tokens=3), True, True),
    ],
)
def test_zeroes_are_no_bill(usage: Usage, generated: bool, credible: bool) -> None:
    assert is_a_bill(usage, generated=generated) == credible


@pytest.mark.parametrize(("seen", "billed"), [(0, 5), (5, 5), (6, 6), (100, 100), (101, 100)])
def test_a_running_count_is_raised_to_what_was_seen_within_what_was_granted(seen: int, billed: int) -> None:
    meter, ledger, _ = metered(max_tokens=100)
    meter.broke_off(TARGET, Usage(input_tokens=9, output_tokens=5), seen, "cut")
    meter.settle()
    [attempt] = ledger.postings[0].attempts
    assert (attempt.output_tokens, attempt.outcome, attempt.estimated) == (billed, "cut", True)
