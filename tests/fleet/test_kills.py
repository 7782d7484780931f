"""A gateway that is killed under load loses nothing and bills nothing twice; a gateway that logs spend after the call
does, and the same drill says so. The full runs are `make evidence ID=S1`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.evidence.s1_kill import control_is_good, faults
from tests.fleet.config import Engines
from tests.fleet.kills import drill
from tests.support import run

pytestmark = pytest.mark.fleet
CEILING_S = 120.0


def test_the_embedded_ledger_survives_ten_kills(tmp_path: Path) -> None:
    tally = run(drill(tmp_path, Engines(), 10), CEILING_S)
    assert faults(tally) == []
    assert tally.billed > 0
    assert sum(tally.in_doubt) > 0


@pytest.mark.postgres
def test_the_shared_ledger_survives_ten_kills(tmp_path: Path, fresh_postgres: Callable[[], str]) -> None:
    dsn = fresh_postgres()
    tally = run(drill(tmp_path, Engines(ledger=dsn, records=dsn), 10), CEILING_S)
    assert faults(tally) == []
    assert tally.billed > 0
    assert sum(tally.in_doubt) > 0


def test_the_control_fails_the_same_drill(tmp_path: Path) -> None:
    tally = run(drill(tmp_path, Engines(), 5, books="posthoc"), CEILING_S)
    assert tally.missing > 0
    assert not control_is_good(tally)
