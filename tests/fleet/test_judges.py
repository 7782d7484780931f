"""The judges of the drills say no: each kind of harm to the books, to a budget or to a caller is a fault by itself."""

from __future__ import annotations

import random
from typing import Any

import pytest

from penstock.ports.ledger import Verdict
from tests.evidence import s1_kill, s2_budgets, s6_outages, s10_rolling
from tests.fleet import budgets, kills, knowledge, rolling
from tests.fleet.books import Ended, Journal
from tests.fleet.config import Engines, write_config
from tests.fleet.outages import Cell
from tests.fleet.truth import Billed
from tests.support import run

pytestmark = pytest.mark.fleet

WHOLE = Verdict(entries=2, operations=1, pending=0, posted_nanos=7, held_nanos=0, heads={}, problems=())


def kill_tally(**changes: Any) -> kills.Tally:
    good = {
        "kills": 1,
        "billed": 1,
        "posted_nanos": 7,
        "in_doubt": [32],
        "resolve_s": [5.0],
        "verdict": WHOLE,
    }
    return kills.Tally(**good | changes)


@pytest.mark.parametrize(
    "harm",
    [
        {"missing": 1},
        {"settled_twice": 1},
        {"unequal": 1},
        {"charged_unbilled": 1},
        {"in_doubt": [33]},
        {"resolve_s": [5.01]},
        {"problems": ["settled and never held"]},
        {"verdict": None},
        {"posted_nanos": 8},
    ],
    ids=lambda harm: next(iter(harm)),
)
def test_s1_notices(harm: dict[str, Any]) -> None:
    assert s1_kill.faults(kill_tally()) == []
    assert len(s1_kill.faults(kill_tally(**harm))) == 1


def budget_tally(**changes: Any) -> budgets.Tally:
    good = {"rounds": 1, "refused": 64, "samples": 9, "least_used_nanos": 999_000_000}
    return budgets.Tally(**good | changes)


@pytest.mark.parametrize(
    "harm",
    [
        {"over_accounts": ["org:a@total"]},
        {"over_samples": 1},
        {"refused_with_room": 1},
        {"journal_room_differs": 1},
        {"failed": 1},
        {"unreconciled": 1},
        {"problems": ("overspent",)},
        {"least_used_nanos": 899_999_999},
        {"samples": 0},
    ],
    ids=lambda harm: next(iter(harm)),
)
def test_s2_notices(harm: dict[str, Any]) -> None:
    assert s2_budgets.faults(budget_tally()) == []
    assert len(s2_budgets.faults(budget_tally(**harm))) == 1


def cell(engine: str, **changes: Any) -> Cell:
    good = {
        "during": 5,
        "alarm_s": 5.0,
        "not_ready_s": 5.0,
        "back_good_s": 1,
        "back_metric_s": 1,
        "back_ready_s": 10,
    }
    passed = {"during_good": 5} if engine == "redis" else {"during_refused": 5}
    return Cell(engine, "killed", **good | passed | changes)


@pytest.mark.parametrize(
    ("engine", "harm"),
    [
        ("redis", {"during_good": 4}),
        ("redis", {"during_max_s": 1.01}),
        ("redis", {"alarm_s": 5.01}),
        ("redis", {"alarm_s": -1.0}),
        ("redis", {"after_unlimited": 3}),
        ("postgres", {"during_max_s": 10.01}),
        ("postgres", {"during_refused": 4}),
        ("postgres", {"during_refused": 0, "during_good": 5}),
        ("postgres", {"not_ready_s": -1.0}),
        ("postgres", {"crossing_cut": 1}),
        ("postgres", {"missing": 1}),
        ("postgres", {"twice": 1}),
        ("postgres", {"unequal": 1}),
        ("postgres", {"still_held": 1}),
        ("postgres", {"after_failed": 1}),
        ("postgres", {"back_ready_s": 10.01}),
        ("postgres", {"back_metric_s": -1}),
        ("postgres", {"problems": ("broken chain",)}),
    ],
)
def test_s6_notices(engine: str, harm: dict[str, Any]) -> None:
    assert s6_outages.faults(cell(engine)) == []
    assert len(s6_outages.faults(cell(engine, **harm))) == 1


def rolling_tally(**changes: Any) -> rolling.Tally:
    return rolling.Tally(**{"requests": 9, "streams": 9, "books": kill_tally()} | changes)


@pytest.mark.parametrize(
    "harm",
    [
        {"failed": {"ConnectionResetError": 1}},
        {"cut": {"200 draining": 1}},
        {"requests": 0},
        {"books": kill_tally(missing=1)},
        {"books": kill_tally(verdict=None)},
    ],
)
def test_s10_notices(harm: dict[str, Any]) -> None:
    assert s10_rolling.faults(rolling_tally()) == []
    assert len(s10_rolling.faults(rolling_tally(**harm))) == 1


@pytest.mark.parametrize(
    ("ended", "found"),
    [
        ({}, "missing"),
        ({"a": Ended("voided", 0, estimated=False)}, "missing"),
        ({"a": Ended("posted", 6, estimated=False)}, "unequal"),
        ({"a": Ended("posted", 7, estimated=False, times=2)}, "settled_twice"),
        ({"a": Ended("expired", 9, estimated=True)}, "estimated"),
        (
            {"a": Ended("posted", 7, estimated=False), "b": Ended("posted", 1, estimated=False)},
            "charged_unbilled",
        ),
        (
            {"a": Ended("posted", 7, estimated=False), "b": Ended("expired", 1, estimated=True)},
            "charged_in_doubt",
        ),
    ],
)
def test_laying_books_beside_the_truth_tells(ended: dict[str, Ended], found: str, tmp_path: Any) -> None:
    journal = Journal(write_config(tmp_path, "http://127.0.0.1:1/v1", Engines()))
    journal.ended = ended
    tally = kills.Tally()
    kills.compare(tally, {"a": Billed(1, 7)}, journal)
    watched = ("missing", "unequal", "settled_twice", "estimated", "charged_unbilled", "charged_in_doubt")
    assert {name for name in watched if getattr(tally, name)} == {found}


ENDS = ("done", "in_part", "unchanged", "superseded", "failed", "cancelled")


def job(status: str = "complete", **counts: int) -> dict[str, Any]:
    return {
        "id": f"job_{status}",
        "status": status,
        "counts": {"documents": 3, **dict.fromkeys(ENDS, 0), "done": 3, **counts},
    }


@pytest.mark.parametrize(
    ("told", "is_true"),
    [
        (job(), True),
        (job(done=1, unchanged=1, superseded=1), True),
        (job(done=2), False),
        (job(unchanged=1), False),
        (job(in_part=1), False),
        (job(done=2, in_part=1), False),
        (job(done=2, failed=1), False),
        (job("partial", done=2, failed=1), False),
        (job("running"), False),
    ],
)
def test_a_job_is_believed_when_each_of_its_documents_ended_well_and_once(
    told: dict[str, Any], is_true: bool
) -> None:
    assert knowledge.is_true(told) is is_true


class Scripted(knowledge.Customer):
    """A customer of a gateway whose jobs these are: waiting for one of them, or for a change of model, makes more."""

    def __init__(self, tally: knowledge.Tally) -> None:
        super().__init__("acme", "", tally, random.Random(0))
        self.names = [f"job_{number:03}" for number in range(150)]
        self.waited: list[str] = []
        self.makes = {"job_007": "job_150", "job_150": "job_151"}

    async def ok(self, method: str, path: str, body: object = None) -> Any:
        after = path.rpartition("after=")[2]
        older = sorted((name for name in self.names if not after or name < after), reverse=True)
        data = [{"id": name} for name in older[:100]]
        return {"data": data, "has_more": len(older) > 100, "last_id": data[-1]["id"]}

    async def ended(self, job_id: str, within_s: float = 60.0) -> Any:
        self.waited.append(job_id)
        if job_id in self.makes:
            self.names.append(self.makes[job_id])
        return job()

    async def changed(self) -> None:
        self.names.append("job_152")


def test_every_job_is_waited_for_once_and_so_is_what_is_made_meanwhile() -> None:
    tally = knowledge.Tally()
    customer = Scripted(tally)
    run(customer.settle())
    assert sorted(customer.waited) == [f"job_{number:03}" for number in range(153)]
    assert (tally.jobs, tally.broken) == ({"complete": 153}, [])
