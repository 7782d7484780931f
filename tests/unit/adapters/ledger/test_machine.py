"""A short game of the state machine on both engines; `make evidence ID=S5` plays the long one."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.ledger_machine import LedgerMachine, PostgresMachine, PostgresStage

QUICK = settings(
    max_examples=60,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


def test_sqlite_against_a_dictionary():
    run_state_machine_as_test(LedgerMachine, settings=QUICK)


@pytest.mark.postgres
def test_postgres_against_a_dictionary(fresh_postgres, monkeypatch):
    monkeypatch.setattr(PostgresStage, "dsn", fresh_postgres())
    run_state_machine_as_test(
        PostgresMachine, settings=settings(QUICK, max_examples=8, stateful_step_count=20)
    )
