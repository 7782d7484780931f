"""Many clients share one dollar: it is spent to the end, and never a nano-dollar over."""

from __future__ import annotations

from pathlib import Path

from tests.evidence.s2_budgets import edge_faults, faults
from tests.fleet.budgets import run_rounds
from tests.fleet.config import Engines
from tests.fleet.edges import run_edge
from tests.support import run


def test_64_clients_spend_a_dollar_at_every_level_and_no_more(tmp_path: Path) -> None:
    tally = run(run_rounds(tmp_path, Engines(), rounds=5, first_seen_rounds=1), 60.0)
    assert faults(tally) == []


def test_a_new_day_brings_a_new_dollar_and_the_old_day_keeps_its_own(tmp_path: Path) -> None:
    edge = run(run_edge(tmp_path, "day"), 60.0)
    assert edge_faults(edge) == []
    assert edge.refused > 0
