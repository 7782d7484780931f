"""Whatever goes wrong, on whichever wire: the caller, the ledger, the audit and the breaker see what the table says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.case import Case
from tests.faults.drain import DRAIN_S
from tests.faults.mix import MIXES, Mix, mixed, shortfalls
from tests.faults.play import Played, differences, play
from tests.faults.stranger import stranger
from tests.faults.tables import CASES, DRAINED
from tests.support import run

CEILING_S = 90.0


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    """Every case, played once."""
    folder = tmp_path_factory.mktemp("faults")
    return run(play(folder, CASES, stranger(folder)), CEILING_S)


@pytest.fixture(scope="module")
def drained(tmp_path_factory: pytest.TempPathFactory) -> Played:
    """Every case of a platform that drains, played once."""
    return run(play(tmp_path_factory.mktemp("drains"), DRAINED, drain_s=DRAIN_S), CEILING_S)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_fault_comes_to_what_the_table_says(played: Played, case: Case) -> None:
    assert differences(case, played.seen[case.name]) == []


@pytest.mark.parametrize("case", DRAINED, ids=lambda case: case.name)
def test_a_drain_comes_to_what_the_table_says(drained: Played, case: Case) -> None:
    assert differences(case, drained.seen[case.name]) == []


def test_afterwards_the_books_are_whole_and_nothing_is_held(played: Played, drained: Played) -> None:
    for seen, cases in ((played, CASES), (drained, DRAINED)):
        assert seen.verdict.problems == ()
        assert (seen.verdict.pending, seen.verdict.held_nanos) == (0, 0)
        assert seen.verdict.operations == sum(case.fault.asks for case in cases)


def test_there_are_enough_cases_each_with_a_name_of_its_own() -> None:
    assert len({case.name for case in (*CASES, *DRAINED)}) == len(CASES) + len(DRAINED) >= 60


@pytest.mark.parametrize("mix", MIXES[:5], ids=lambda mix: mix.name)
def test_one_healthy_back_end_of_three_is_enough(tmp_path: Path, mix: Mix) -> None:
    assert shortfalls(mix, run(mixed(tmp_path, mix, requests=6_000))) == []
