"""Whatever a client or a provider sends, there is a reason, an end and a clean ledger.

Promise: a sample of evidence S7, by the same code and seed: HTTP, JSON, streams cut anywhere, hostile providers.
"""

from __future__ import annotations

from pathlib import Path

from tests.evidence.s7_fuzz import served, split_streams
from tests.hostile_run import hostile_providers
from tests.recorded import streams
from tests.support import run


def test_wrong_requests_get_a_reason_and_leave_nothing(tmp_path: Path) -> None:
    http, json_, _, left = run(served(tmp_path, mutated=300, wrong=2_001))
    assert http.faults == json_.faults == []
    assert left == ""


def test_a_stream_reads_the_same_wherever_it_is_cut() -> None:
    assert len(streams()) >= 50
    assert split_streams(pairs=5, every=9).faults == []


def test_hostile_providers_are_met_with_bounded_memory_and_right_books(tmp_path: Path) -> None:
    judged = run(hostile_providers(tmp_path, flood_mib=4, comments=20_000))
    assert [(each.name, each.fault) for each in judged if each.fault] == []
