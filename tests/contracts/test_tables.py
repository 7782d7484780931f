"""DuckDB keeps every promise of the tables port, and a file of an older time too; seeded bugs are caught."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from penstock.adapters.tables import duckdb as adapter
from penstock.adapters.tables.columns import COLUMNS
from penstock.adapters.tables.duckdb import DuckDbTables
from penstock.contracts.tables import CASES, TablesHarness, each, files_of, record
from penstock.kernel.errors import Unavailable
from penstock.ports import tables as port
from penstock.ports.tables import Bounds
from tests.contracts.file_harness import Life, bind, first_broken, promises_checked, promises_of
from tests.contracts.not_tried import tried
from tests.support import run

ESCAPES = (
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM '/etc/passwd'",
    "SELECT content FROM read_text('/proc/self/environ')",
    "SELECT * FROM read_blob('worker.py')",
    "SELECT * FROM glob('/*')",
    "SELECT * FROM glob('*')",
    "SELECT * FROM read_parquet('*.parquet')",
    "SELECT * FROM read_parquet('../*/*.parquet')",
    "SELECT * FROM read_json('https://example.org/a.json')",
    "SELECT * FROM sniff_csv('/etc/passwd')",
    "SELECT getenv('HOME')",
    "COPY audit TO 'out.csv'",
    "COPY (SELECT 1) TO 'in0.parquet'",
    "EXPORT DATABASE 'out'",
    "LOAD httpfs",
    "SET enable_external_access = true",
    "SELECT * FROM job",  # a variable of the helper's own program
    "SELECT * FROM query('COPY audit TO ''out.csv''')",
    "EXPLAIN ANALYZE COPY audit TO 'out.csv'",
)


async def opened(folder: Path, clock) -> DuckDbTables:
    return DuckDbTables(folder / "work")


async def on_duckdb(case: Callable, folder: Path) -> None:
    life = Life(folder, opened)
    harness = TablesHarness(
        port=await life.start(),
        advance=life.advance,
        reopen=life.crash,
        peer=life.peer,
        single_process=True,
        escapes=ESCAPES,
    )
    bind(harness, life)
    try:
        await case(harness)
        assert not list(life.folder.glob("work/*")), "a job's folder goes with it"
    finally:
        await life.stop()


@pytest.mark.parametrize(
    "case", [case for _, _, case in CASES.cases], ids=[name for name, _, _ in CASES.cases]
)
def test_duckdb(case, tmp_path):
    run(tried("tables/duckdb", case, on_duckdb(case, tmp_path)))


def test_every_promise_has_a_case():
    assert promises_checked(CASES) == promises_of(port)


def test_a_file_packed_before_a_field_was_known_shows_its_default(tmp_path: Path) -> None:
    """Alone, beside a newer one, and merged with it."""

    async def case() -> None:
        tables = DuckDbTables(tmp_path / "work")
        (new,) = files_of(await tables.pack([record("new", finish="stop", flags=("x",))]))
        (tmp_path / "new.parquet").write_bytes(new)
        before = duckdb.read_parquet(str(tmp_path / "new.parquet")).project(
            "* EXCLUDE (finish, flags) REPLACE ('old' AS request_id)"
        )
        before.write_parquet(str(tmp_path / "old.parquet"))
        old = (tmp_path / "old.parquet").read_bytes()
        merged = [piece.value async for piece in tables.merge(each([old, new]))]
        asked = "SELECT request_id, finish, flags FROM audit ORDER BY 1 DESC"
        shown = (("old", "", []), ("new", "stop", ["x"]))
        for files, wanted in (([old], shown[:1]), ([old, new], shown), (merged, shown)):
            found = await tables.ask(each(files), asked, Bounds())
            assert found.rows == wanted

    run(case())


def test_the_helper_sees_no_environment_and_a_dead_one_is_an_error(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("PENSTOCK_SECRET_X", "told to nobody")
    spy = tmp_path / "spy.py"
    spy.write_text("import os, sys\nsys.stderr.write(repr(dict(os.environ)))\nsys.exit(3)\n")
    monkeypatch.setattr(adapter, "WORKER", spy)

    async def case() -> None:
        tables = DuckDbTables(tmp_path / "work")
        with pytest.raises(Unavailable) as told:
            await tables.pack([record("a")])
        assert "LC_CTYPE" in str(told.value) or "{}" in str(told.value)
        assert "told to nobody" not in str(told.value)
        assert os.environ["PENSTOCK_SECRET_X"]
        assert not await tables.healthy()

    run(case())


# ------------------------------------------------------------------------------------------------------- seeded bugs


def worker_with(patch, tmp_path: Path, good: str, bad: str) -> None:
    text = adapter.WORKER.read_text()
    assert good in text, "the seed has lost its place"
    seeded = tmp_path / "worker.py"
    seeded.write_text(text.replace(good, bad))
    patch.setattr(adapter, "WORKER", seeded)


PACKS, _, MERGES, ASKS, BOUNDED, *_ = CASES.cases
SEEDS = {
    "external access": (ASKS, '"SET enable_external_access = false"', '"SET threads = 1"'),
    "any statement": (ASKS, "len(statements) != 1", "False and len(statements) != 1"),
    "rows unbounded": (BOUNDED, 'len(rows) == job["rows"]', "False"),
    "rows off by one": (BOUNDED, 'len(rows) == job["rows"]', 'len(rows) > job["rows"]'),
    "bytes unbounded": (BOUNDED, 'size > job["answer_bytes"]', "False"),
    "repeats merged": (MERGES, "if rows != distinct:", "if False:"),
    "flags ignored": (MERGES, 'if job["flags"]:', "if False:"),
    "no order": (MERGES, "FROM {source} ORDER BY at_s, request_id", "FROM {source} ORDER BY at_s DESC"),
    "repeats packed": (PACKS, "ORDER BY place) = 1", "ORDER BY place) > 0"),
    "known forgotten": (PACKS, "ANTI JOIN seen", "LEFT JOIN seen"),
    "an hour is a day": (PACKS, "floor(at_s / 3600)", "floor(at_s / 86400) * 24"),
    "of one id the last": (PACKS, "ORDER BY place) = 1", "ORDER BY place DESC) = 1"),
}


@pytest.mark.parametrize("name", SEEDS)
def test_the_suite_catches(name, monkeypatch, tmp_path):
    case, good, bad = SEEDS[name]
    worker_with(monkeypatch, tmp_path, good, bad)
    assert "BrokenPromise" in first_broken([case], tmp_path, on_duckdb), name


def test_columns_are_the_fields_of_an_event() -> None:
    kinds = {column.name: column.type for column in COLUMNS}
    assert kinds["cost_nanos"] == "BIGINT"
    assert kinds["temperature"] == "DOUBLE"
    assert kinds["flags"] == "VARCHAR[]"


def test_a_helper_whose_parent_is_gone_ends_by_itself(tmp_path: Path) -> None:
    """It is given a second, and a question without an end; nobody waits for it."""
    job = {
        "verb": "ask",
        "threads": 1,
        "time_s": 0,
        "memory_bytes": 512 << 20,
        "columns": [("request_id", "VARCHAR", "VARCHAR", "''")],
        "files": [],
        "derived": "1 AS one",
        "sql": "SELECT sum(sqrt(range)) FROM range(10000000000000)",
        "rows": 1,
        "answer_bytes": 1,
    }
    ended = subprocess.run(
        (sys.executable, "-I", str(adapter.WORKER)),
        input=json.dumps(job).encode(),
        cwd=tmp_path,
        capture_output=True,
        timeout=20,
        check=False,
    )
    assert ended.returncode in {-signal.SIGXCPU, -signal.SIGKILL}, ended.stdout
