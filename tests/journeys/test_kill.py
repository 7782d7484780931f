"""Whoever is billed by the provider when the gateway dies is billed by the gateway when it is back, once."""

from __future__ import annotations

from pathlib import Path

from tests.evidence.s1_kill import faults
from tests.fleet.config import Engines
from tests.fleet.kills import drill
from tests.support import run


def test_three_kills_under_load_leave_whole_books(tmp_path: Path) -> None:
    tally = run(drill(tmp_path, Engines(), 3, seed=11), 60.0)
    assert faults(tally) == []
    assert tally.billed > 0
