"""What a gateway does while an engine is ill, and that its books are exact afterwards. All: `make evidence ID=S6`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.evidence.s6_outages import faults
from tests.fleet.outages import drill
from tests.support import run

pytestmark = [pytest.mark.fleet, pytest.mark.redis, pytest.mark.postgres]


@pytest.mark.parametrize("harm", ["frozen", "killed", "slowed_200ms"])
def test_without_redis_traffic_goes_on_and_budgets_stay_exact(harm: str, tmp_path: Path) -> None:
    (cell,) = run(drill(tmp_path, [("redis", harm)], during_s=4.0), 120.0)
    assert faults(cell) == [], cell.log


@pytest.mark.parametrize("harm", ["killed", "blackholed", "cut"])
def test_without_postgresql_paid_requests_are_refused_and_nothing_is_lost(harm: str, tmp_path: Path) -> None:
    (cell,) = run(drill(tmp_path, [("postgres", harm)], during_s=4.0), 120.0)
    assert faults(cell) == [], cell.log
