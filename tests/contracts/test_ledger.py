"""Both ledgers keep every promise of their port: the SQLite file, and a real PostgreSQL."""

from __future__ import annotations

import pytest

from penstock.contracts.ledger import CASES
from penstock.ports import ledger as port
from tests.contracts.engines import kept
from tests.contracts.file_harness import promises_checked, promises_of
from tests.contracts.ledger_engines import postgres_ledger, sqlite_ledger
from tests.contracts.not_tried import tried
from tests.support import run

EACH_CASE = pytest.mark.parametrize(
    "case", [case for _, _, case in CASES.cases], ids=[name for name, _, _ in CASES.cases]
)


def test_every_promise_has_a_case():
    assert promises_checked(CASES) == promises_of(port)


@EACH_CASE
def test_sqlite(case, tmp_path):
    run(tried("ledger/sqlite", case, kept(case, sqlite_ledger(tmp_path))))


@pytest.mark.postgres
@EACH_CASE
def test_postgres(case, fresh_postgres):
    run(tried("ledger/postgres", case, kept(case, postgres_ledger(fresh_postgres()))))
