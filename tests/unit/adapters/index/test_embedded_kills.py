"""Kill -9 in the middle of puts, deletions, upkeep: 50 times, and each time what was promised holds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[4]
KILLS = 25


@pytest.mark.parametrize("seed", range(2))
def test_kill_9_loses_and_halves_nothing(seed, tmp_path):
    """Documents are whole, of the edition acknowledged last or the one under way, in vectors, words and rows alike."""
    ran = subprocess.run(
        [sys.executable, "-m", "tests.unit.adapters.index.kill_rounds", str(tmp_path), str(seed), str(KILLS)],
        cwd=ROOT,
        env={"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-3_000:]
    assert ran.stdout.startswith(f"{KILLS} kills, 6 documents")
