"""The suite finds bugs: eight are seeded into each records store, one at a time, and every one is caught."""

from __future__ import annotations

import msgspec
import pytest

from penstock.adapters.records import plan, sqlite_file
from penstock.adapters.records.plan import Catalogue
from penstock.adapters.records.postgres import PostgresRecords
from penstock.adapters.records.sqlite_file import Sql as SqliteSql
from penstock.adapters.records.sqlite_file import SqliteFile
from penstock.contracts.records import CASES
from tests.contracts.engines import edited, first_broken, with_sql
from tests.contracts.record_engines import postgres_records, sqlite_records

# ------------------------------------------------------------------------------------------- seeded into both


def checks_no_version(patch):
    """`expected` is not looked at."""
    patch.setattr(plan, "_check_version", lambda write, current: None)


def leaves_stale_entries(patch):
    """Index entries of former values stay."""
    honest = Catalogue.plan
    patch.setattr(
        Catalogue,
        "plan",
        lambda *given: msgspec.structs.replace(honest(*given), dropped=[]),
    )


def enforces_no_uniqueness(patch):
    """A unique index is an index."""
    honest = Catalogue._entries
    patch.setattr(
        Catalogue,
        "_entries",
        lambda *given: [msgspec.structs.replace(entry, sole=False) for entry in honest(*given)],
    )


BOTH = [checks_no_version, leaves_stale_entries, enforces_no_uniqueness]


@pytest.fixture
def sqlite_side(fresh_folder):
    """Give a function that makes a fresh harness on a folder of its own."""
    return lambda: sqlite_records(fresh_folder())


@pytest.mark.parametrize("seed", BOTH, ids=lambda seed: seed.__name__)
def test_the_suite_catches_in_sqlite(seed, monkeypatch, sqlite_side):
    seed(monkeypatch)
    assert first_broken(CASES, sqlite_side), seed.__doc__


@pytest.mark.parametrize("seed", BOTH, ids=lambda seed: seed.__name__)
def test_the_suite_catches_in_postgres(seed, monkeypatch, fresh_postgres):
    seed(monkeypatch)
    dsn = fresh_postgres()
    assert first_broken(CASES, lambda: postgres_records(dsn)), seed.__doc__


# ----------------------------------------------------------------------------------------------- SQLite's own

SQLITE = {
    "forgets to roll back": ("undo", "ROLLBACK TO job", "SELECT 1"),
    "ends pages one early": ("scan", "LIMIT ?", "LIMIT max(1, ? - 1)"),
    "begins pages with the last row": ("find", "e.id > ?", "e.id >= ?"),
    "ends backward pages with the last row": ("latest", "e.id < ?", "e.id <= ?"),
    "reads other tenants": ("get", "tenant = ?", "tenant >= ?"),
    "forgets the version of a deleted row": ("stored", "id = ?", "id = ? AND value IS NOT NULL"),
}


@pytest.mark.parametrize(("name", "passage", "other"), SQLITE.values(), ids=SQLITE.keys())
def test_the_suite_catches_in_the_sql_of_sqlite(name, passage, other, monkeypatch, sqlite_side):
    monkeypatch.setattr(SqliteSql, name, edited(getattr(SqliteSql, name), (passage, other)))
    assert first_broken(CASES, sqlite_side)


def acknowledges_before_the_commit(file, group):
    """The commit happens when the next group comes."""
    if not file._connection.in_transaction:
        file._run(SqliteSql.begin)
    return [file._attempt(writes) for writes in group]


def test_the_suite_catches_a_late_commit(monkeypatch, sqlite_side):
    monkeypatch.setattr(SqliteFile, "commit", acknowledges_before_the_commit)
    assert first_broken(CASES, sqlite_side)


def test_the_suite_catches_a_careless_collation(monkeypatch, sqlite_side):
    schema = SqliteSql.schema.replace("id TEXT NOT NULL", "id TEXT NOT NULL COLLATE NOCASE")
    monkeypatch.setattr(sqlite_file.Sql, "schema", schema)
    assert first_broken(CASES, sqlite_side)


# ------------------------------------------------------------------------------------------- PostgreSQL's own

POSTGRES = {
    "does not lock what it read": ("stored", "FOR UPDATE OF r", ""),
    "ends pages one early": ("find", "LIMIT $6", "LIMIT greatest(1, $6 - 1)"),
    "begins pages with the last row": ("scan", "id > $3", "id >= $3"),
    "gives the last rows forwards": ("latest", "DESC", "ASC"),
    "counts other tenants": ("count", "tenant = $2", "tenant >= $2"),
    "forgets the version of a deleted row": ("update", "version = $4", "version = 1 + 0 * $4"),
}


@pytest.mark.parametrize(("name", "passage", "other"), POSTGRES.values(), ids=POSTGRES.keys())
def test_the_suite_catches_in_the_sql_of_postgres(name, passage, other, fresh_postgres):
    mutant = with_sql(PostgresRecords, name, passage, other)
    dsn = fresh_postgres()
    assert first_broken(CASES, lambda: postgres_records(dsn, mutant))


async def applies_outside_a_transaction(records, writes):
    """Each statement commits by itself."""
    records._catalogue.check_writes(writes)
    async with records._lender.connection() as connection:
        return await records._apply(connection, writes)


def test_the_suite_catches_a_forgotten_transaction(fresh_postgres):
    mutant = type("Mutant", (PostgresRecords,), {"transact": applies_outside_a_transaction})
    dsn = fresh_postgres()
    assert first_broken(CASES, lambda: postgres_records(dsn, mutant))
