"""Two gateways share one dollar on PostgreSQL, whatever happens to Redis. The full runs are `make evidence ID=S2`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.evidence.s2_budgets import edge_faults, faults, shared
from tests.fleet.edges import run_edge
from tests.support import run

pytestmark = pytest.mark.fleet


@pytest.mark.redis
@pytest.mark.postgres
def test_two_gateways_never_overspend_while_redis_is_frozen_and_killed(tmp_path: Path) -> None:
    assert faults(run(shared(tmp_path, 3), 180.0)) == []


def test_a_new_month_brings_a_new_budget(tmp_path: Path) -> None:
    assert edge_faults(run(run_edge(tmp_path, "month"), 60.0)) == []
