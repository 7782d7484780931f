"""What `penstock doctor` prints and exits with: counts of cases apart, for people and programs."""

from __future__ import annotations

import json

import pytest

from penstock.cli import doctor as command
from penstock.cli.deployment import Deployment
from penstock.wiring.doctor import Cases, Finding

CLOCK = Finding(what="clock", well=True, told="2026-01-01 00:00Z")
UNTRIED = Cases(kept=0, broken=0, not_tried=2, could_not={"fill the disk": ["one", "two"]})
BROKEN = Cases(kept=7, broken=1, not_tried=1, could_not={"flip a byte": ["three"]})


def store(cases: Cases) -> Finding:
    return Finding(what="state on paper", well=not cases.broken, told="as counted", cases=cases)


@pytest.fixture
def finds(monkeypatch, capsys, tmp_path):
    """Run the command on given findings; returns its exit code and what it printed."""
    monkeypatch.chdir(tmp_path)

    def run_on(*findings: Finding, as_json: bool = False) -> tuple[int, str]:
        async def examine(_settings, _env):
            for finding in findings:
                yield finding

        monkeypatch.setattr(command, "examine", examine)
        code = command.doctor(deployment=Deployment(json=as_json))
        return code, capsys.readouterr().out

    return run_on


def test_what_was_not_tried_is_told_apart_and_leaves_the_exit_code_alone(finds):
    code, out = finds(CLOCK, store(UNTRIED))
    assert code == 0
    assert out.splitlines()[-1] == "Cases of contracts: 0 kept, 0 broken, 2 not tried."


def test_what_is_broken_sets_the_exit_code_and_the_total_is_of_every_store(finds):
    code, out = finds(store(UNTRIED), CLOCK, store(BROKEN))
    assert code == 1
    assert out.splitlines()[-1] == "Cases of contracts: 7 kept, 1 broken, 3 not tried."


def test_programs_read_the_counts_and_what_could_not_be_done(finds):
    code, out = finds(CLOCK, store(BROKEN), as_json=True)
    clock, paper = json.loads(out)
    assert (code, clock["cases"]) == (1, None)
    assert paper["cases"] == {"kept": 7, "broken": 1, "not_tried": 1, "could_not": {"flip a byte": ["three"]}}
