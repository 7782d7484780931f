"""Bugs seeded into the index in PostgreSQL: the port's suite finds every one of them."""

from __future__ import annotations

import pytest

from penstock.adapters.index import postgres, postgres_questions, postgres_rows, postgres_sql
from penstock.adapters.index.postgres import PostgresIndex
from penstock.adapters.index.postgres_words import written
from penstock.contracts.index import CASES
from tests.contracts.engines import edited, first_broken
from tests.contracts.index_postgres import postgres_index

SEEDS = {
    "adds to what stood there": (
        postgres_sql.Sql,
        "drop_chunks",
        "document = ANY($2::bytea[])",
        "document <> ALL($2::bytea[]) AND false",
    ),
    "knows what other rooms know": (
        postgres_sql.Sql,
        "known",
        "WHERE room = $1 AND",
        "WHERE room <> $1 - 1000 AND",
    ),
    "confuses collections": (postgres_sql.Sql, "room", "collection = $2", "$2 = $2"),
    "ranks by frequency alone": (postgres_questions.Sql, "ranked", "q.weight * t.times", "t.times"),
    "fetches the nearest before it filters": (
        postgres_questions.Sql,
        "near_exact",
        "FROM index_chunks AS c WHERE c.room = $1 AND {filters}",
        "FROM (SELECT * FROM index_chunks WHERE room = $1 ORDER BY position LIMIT 9) AS c WHERE {filters}",
    ),
    "shows the farthest first": (postgres_questions.Sql, "near", "ORDER BY 3 DESC", "ORDER BY 3"),
    "counts a zero vector as nearest": (
        postgres_questions.Sql,
        "near",
        "'NaN'), 1) AS score",
        "'NaN'), 0) AS score",
    ),
    "stems in one language": (
        postgres_sql.Sql,
        "add_chunks",
        "to_tsvector(c.reading::regconfig",
        "to_tsvector('english'::regconfig",
    ),
    "gives tokens to who wants none": (
        postgres_questions.Sql,
        "no_tokens",
        "''::bytea AS tokens",
        "c.tokens",
    ),
}
"""Seeded bugs of the SQL: where, and which passage becomes which."""


@pytest.fixture(scope="module")
def side(postgres_server):
    """Give a function that makes a fresh harness on one database for all of them: every case has its own places."""
    dsn = postgres_server.fresh()
    return lambda: postgres_index(dsn)


@pytest.mark.parametrize(("where", "name", "passage", "other"), SEEDS.values(), ids=SEEDS.keys())
def test_the_suite_catches_in_the_sql(where, name, passage, other, monkeypatch, side):
    monkeypatch.setattr(where, name, edited(getattr(where, name), (passage, other)))
    assert first_broken(CASES, side)


def lets_everybody_see(patch):
    """Labels are ignored."""
    patch.setattr(postgres_rows, "label_fact", lambda room, label: postgres_rows.open_fact(room))


def takes_truth_for_a_number(patch):
    """True is 1."""
    patch.setattr(
        postgres_rows, "_canonical", lambda value: repr(value + 0 if value != str(value) else value).encode()
    )


def cuts_no_pairs(patch):
    """What has no spaces is one word."""
    patch.setattr(postgres_rows, "written", lambda text: type(written(""))(text.lower(), text.lower()))


def forgets_the_bounds(patch):
    """No figure is too large and nothing too small."""
    patch.setattr(postgres.checks, "count", lambda *_, **__: None)


def writes_without_a_transaction(patch):
    """Each statement commits by itself."""
    honest = PostgresIndex._write

    async def write(self, connection, *arguments):
        await connection.execute("COMMIT")
        await honest(self, connection, *arguments)
        await connection.execute("BEGIN")

    patch.setattr(PostgresIndex, "_write", write)


@pytest.mark.parametrize(
    "seed",
    [
        lets_everybody_see,
        takes_truth_for_a_number,
        cuts_no_pairs,
        forgets_the_bounds,
        writes_without_a_transaction,
    ],
    ids=lambda seed: seed.__name__,
)
def test_the_suite_catches(seed, monkeypatch, side):
    seed(monkeypatch)
    assert first_broken(CASES, side), seed.__doc__
