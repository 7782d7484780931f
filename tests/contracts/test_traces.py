"""Both trace stores keep every promise of their port: the SQLite file, and a real PostgreSQL."""

from __future__ import annotations

import pytest

from penstock.contracts.traces import CASES
from penstock.ports import traces as port
from tests.contracts.engines import kept
from tests.contracts.file_harness import promises_checked, promises_of
from tests.contracts.not_tried import tried
from tests.contracts.trace_engines import postgres_traces, sqlite_traces
from tests.support import run

EACH_CASE = pytest.mark.parametrize(
    "case", [case for _, _, case in CASES.cases], ids=[name for name, _, _ in CASES.cases]
)


@EACH_CASE
def test_sqlite(case, tmp_path):
    run(tried("traces/sqlite", case, kept(case, sqlite_traces(tmp_path))))


@EACH_CASE
def test_postgres(case, postgres_dsn):
    run(tried("traces/postgres", case, kept(case, postgres_traces(postgres_dsn))))


def test_every_promise_has_a_case():
    assert promises_checked(CASES) == promises_of(port)
