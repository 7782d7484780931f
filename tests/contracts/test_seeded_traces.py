"""The suite finds bugs: twenty or more are seeded into each trace store, one at a time, and every one is caught."""

from __future__ import annotations

import asyncio
import time

import msgspec
import pytest

from penstock.adapters.traces import batches, postgres, questions, sqlite_file
from penstock.adapters.traces.postgres import PostgresTraces
from penstock.adapters.traces.questions import Sql as Questions
from penstock.adapters.traces.sqlite_file import Sql as SqliteSql
from penstock.adapters.traces.sqlite_file import SqliteFile
from penstock.contracts.traces import CASES
from tests.contracts.engines import edited, first_broken, with_sql
from tests.contracts.trace_engines import postgres_traces, sqlite_traces

# ------------------------------------------------------------------------------------------- seeded into both


def asked(name, passage, other):
    """Return what edits one of the queries that both stores ask."""

    def seed(patch):
        patch.setattr(Questions, name, edited(getattr(Questions, name), (passage, other)))

    return seed


def keeps_no_order_among_equals(patch):
    """Events of one time come in no order, so pages of them repeat and miss some."""
    asked("find", "at_s DESC, id DESC", "at_s DESC, id ASC")(patch)


def begins_pages_by_time_alone(patch):
    """A page begins after the time of the last event, whatever else has that time."""
    asked("before", "(at_s, id) < ({at_s}, {id})", "at_s < {at_s} AND id <> {id}")(patch)


def repeats_the_last_of_a_page(patch):
    """A page begins with the last event of the one before."""
    asked("before", "<", "<=")(patch)


def shows_the_earliest_first(patch):
    """The order of pages is turned round."""
    asked("find", "at_s DESC", "at_s ASC")(patch)


def includes_the_end(patch):
    """A period holds its end."""
    asked("until", "<", "<=")(patch)


def leaves_out_the_beginning(patch):
    """A period does not hold its beginning."""
    asked("since", ">=", ">")(patch)


def takes_names_for_patterns(patch):
    """``%`` and ``_`` in a name stand for whatever there is."""
    asked("named", "=", "LIKE")(patch)


def tells_the_cheapest_first(patch):
    """What is left out over the bound is what matters most."""
    asked("dearest", "DESC", "ASC")(patch)


def sums_as_floats(patch):
    """Figures are rounded to 53 bits."""
    rounded = [f"CAST({added} AS DOUBLE PRECISION)" for added in questions.SUMS]
    patch.setattr(questions, "SUMS", tuple(rounded))


def finds_by_the_model_asked_for(patch):
    """A model that served instead of the one asked for is not found by its name."""
    honest = batches._event_row

    def row(event):
        model, served = honest(msgspec.structs.replace(event, model_used="")), honest(event)
        return (*served[:8], model[8], *served[9:])

    patch.setattr(batches, "_event_row", row)


def forgets_the_hour_that_lasts(patch):
    """Totals are trimmed by the beginning of their hour."""
    patch.setattr(sqlite_file, "HOUR_S", 0)
    patch.setattr(postgres, "HOUR_S", 0)


def counts_one_of_equal_totals(patch):
    """Of two totals of a batch with the same hour and names the last one stands."""
    honest = batches._total_rows
    patch.setattr(
        batches, "_total_rows", lambda deltas: honest(list({each.user: each for each in deltas}.values()))
    )


def adds_what_is_out_of_bounds(patch):
    """No name is too long."""
    patch.setattr(batches, "_check_names", lambda names: None)


BOTH = [
    keeps_no_order_among_equals,
    begins_pages_by_time_alone,
    repeats_the_last_of_a_page,
    shows_the_earliest_first,
    includes_the_end,
    leaves_out_the_beginning,
    takes_names_for_patterns,
    tells_the_cheapest_first,
    sums_as_floats,
    finds_by_the_model_asked_for,
    forgets_the_hour_that_lasts,
    counts_one_of_equal_totals,
    adds_what_is_out_of_bounds,
]


@pytest.fixture
def sqlite_side(fresh_folder):
    """Give a function that makes a fresh harness on a folder of its own."""
    return lambda: sqlite_traces(fresh_folder())


@pytest.mark.parametrize("seed", BOTH, ids=lambda seed: seed.__name__)
def test_the_suite_catches_in_sqlite(seed, monkeypatch, sqlite_side):
    seed(monkeypatch)
    assert first_broken(CASES, sqlite_side), seed.__doc__


@pytest.mark.parametrize("seed", BOTH, ids=lambda seed: seed.__name__)
def test_the_suite_catches_in_postgres(seed, monkeypatch, fresh_postgres):
    seed(monkeypatch)
    dsn = fresh_postgres()
    assert first_broken(CASES, lambda: postgres_traces(dsn)), seed.__doc__


# ----------------------------------------------------------------------------------------------- SQLite's own

SQLITE = {
    "adds a batch again": (
        "batch",
        "ON CONFLICT DO NOTHING",
        "ON CONFLICT DO UPDATE SET at_s = excluded.at_s",
    ),
    "replaces totals": ("totals", "requests = requests + excluded.requests", "requests = excluded.requests"),
    "confuses letters": (
        "schema",
        "id TEXT NOT NULL PRIMARY KEY,",
        "id TEXT NOT NULL COLLATE NOCASE PRIMARY KEY,",
    ),
    "trims the time itself": ("trim_events", "at_s < ?", "at_s <= ?"),
    "trims the latest first": ("trim_events", "ORDER BY at_s", "ORDER BY at_s DESC"),
    "keeps batch ids for ever": ("trim_batches", "at_s < ?", "at_s < ? - 1e12"),
}


@pytest.mark.parametrize(("name", "passage", "other"), SQLITE.values(), ids=SQLITE.keys())
def test_the_suite_catches_in_the_sql_of_sqlite(name, passage, other, monkeypatch, sqlite_side):
    monkeypatch.setattr(SqliteSql, name, edited(getattr(SqliteSql, name), (passage, other)))
    assert first_broken(CASES, sqlite_side)


def adds_outside_a_transaction(file, batch):
    """Each statement commits by itself, the totals a little later."""
    rows = batches.prepared(batch)
    if file._run(SqliteSql.batch, (batch.id, batch.at_s)).get:
        file._put(SqliteSql.events, rows.events)
        time.sleep(0.002)
        file._put(SqliteSql.totals, rows.totals)


def adds_when_the_next_one_comes(file, batch):
    """The commit happens when the next batch comes."""
    if file._connection.in_transaction:
        file._run(SqliteSql.commit)
    rows = batches.prepared(batch)
    file._run(SqliteSql.begin)
    if file._run(SqliteSql.batch, (batch.id, batch.at_s)).get:
        file._put(SqliteSql.events, rows.events)
        file._put(SqliteSql.totals, rows.totals)


@pytest.mark.parametrize("add", [adds_outside_a_transaction, adds_when_the_next_one_comes])
def test_the_suite_catches_a_careless_transaction_in_sqlite(add, monkeypatch, sqlite_side):
    monkeypatch.setattr(SqliteFile, "add", add)
    assert first_broken(CASES, sqlite_side), add.__doc__


# ------------------------------------------------------------------------------------------- PostgreSQL's own

POSTGRES = {
    "adds a batch again": (
        "batch",
        "ON CONFLICT DO NOTHING",
        "ON CONFLICT (id) DO UPDATE SET at_s = excluded.at_s",
    ),
    "replaces totals": (
        "totals",
        "requests = t.requests + excluded.requests",
        "requests = excluded.requests",
    ),
    "refuses an event that it has": ("events", "ON CONFLICT (id) DO NOTHING", ""),
    "trims the time itself": ("trim_events", "at_s < $1", "at_s <= $1"),
    "trims the latest first": ("trim_events", "ORDER BY at_s", "ORDER BY at_s DESC"),
    "keeps batch ids for ever": ("trim_batches", "at_s < $1", "at_s < $1 - 1e12"),
}


@pytest.mark.parametrize(("name", "passage", "other"), POSTGRES.values(), ids=POSTGRES.keys())
def test_the_suite_catches_in_the_sql_of_postgres(name, passage, other, fresh_postgres):
    mutant = with_sql(PostgresTraces, name, passage, other)
    dsn = fresh_postgres()
    assert first_broken(CASES, lambda: postgres_traces(dsn, mutant))


async def adds_without_a_transaction(traces, connection, batch, columns):
    """Each statement commits by itself, the totals a little later."""
    await connection.execute("COMMIT")
    if await connection.fetchval(traces.sql.batch, batch.id.encode(), batch.at_s):
        for sql, arrays in zip((traces.sql.events, traces.sql.totals), columns, strict=True):
            if arrays:
                await connection.execute(sql, *arrays)
                await asyncio.sleep(0.002)
    await connection.execute("BEGIN")


def test_the_suite_catches_a_forgotten_transaction(fresh_postgres):
    mutant = type("Mutant", (PostgresTraces,), {"_put": adds_without_a_transaction})
    dsn = fresh_postgres()
    assert first_broken(CASES, lambda: postgres_traces(dsn, mutant)).startswith("readers_see_the_whole")
