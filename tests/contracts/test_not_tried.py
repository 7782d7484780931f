"""A case that looks at nothing is neither a pass nor a catch: only what is listed may be not tried, and just that."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest

from penstock.contracts import signals
from penstock.contracts.case import Contract, Harness, NotTried, needs
from tests.contracts import engines, file_harness
from tests.contracts.engines import embedded_state, kept
from tests.contracts.not_tried import ADAPTERS, NOT_TRIED, tried
from tests.contracts.signal_engines import embedded_signals
from tests.support import run

CASES = {
    (adapter, name): case
    for adapter, contracts in ADAPTERS.items()
    for contract in contracts
    for name, _, case in contract.cases
}
LISTED = CASES["signals/embedded", "a_lost_message_is_only_late"]
CUT_OFF = CASES["signals/embedded", "an_unreachable_store_says_so"]


async def nothing() -> None:
    """Be tried, and find nothing wrong."""


async def not_tried(harm: str) -> None:
    raise NotTried(harm)


def test_what_is_there_is_returned_and_what_is_not_is_named():
    assert needs(0, "fill the disk") == 0
    with pytest.raises(NotTried, match=r"^fill the disk$"):
        needs(None, "fill the disk")


def test_only_cases_that_exist_are_listed():
    assert set(NOT_TRIED) <= set(CASES)


def test_a_listed_case_may_be_not_tried_for_its_reason_alone():
    run(tried("signals/embedded", LISTED, not_tried(signals.LOSE)))
    with pytest.raises(NotTried, match="fill the disk"):
        run(tried("signals/embedded", LISTED, not_tried("fill the disk")))


def test_a_listed_case_that_is_tried_after_all_fails():
    with pytest.raises(AssertionError, match="take it off the list"):
        run(tried("signals/embedded", LISTED, nothing()))


def test_a_harness_that_loses_a_harm_fails_its_suite():
    @asynccontextmanager
    async def harmless():
        async with embedded_signals() as harness:
            harness.cut_off = None
            yield harness

    with pytest.raises(NotTried, match="cut the store off"):
        run(tried("signals/embedded", CUT_OFF, kept(CUT_OFF, harmless())))


@pytest.mark.parametrize(("adapter", "name"), sorted(CASES))
def test_no_case_passes_on_a_harness_that_does_nothing(adapter, name):
    """A case asks its port or says what it needs: on a port that is nothing, none returns as if it had looked."""

    async def fails(*_: object) -> object:
        raise NotTried("do anything")

    bare = Harness(None, fails, fails, fails)
    with pytest.raises((NotTried, AttributeError)):
        run(CASES[adapter, name](bare))


def test_what_was_not_tried_is_no_catch_of_a_seeded_bug(tmp_path):
    contract: Contract[object] = Contract("state")

    @contract.case(1)
    async def needs_more(_h) -> None:
        raise NotTried("fill the disk")

    async def on(case, _folder) -> None:
        await case(None)

    assert engines.first_broken(contract, embedded_state) == ""
    assert file_harness.first_broken(contract.cases, tmp_path, on) == ""
