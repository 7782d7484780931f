"""What `PostgresTraces` says to PostgreSQL: every statement by name, and the table of errors.

Ids and names are kept as their UTF-8 bytes: `bytea` is equal and ordered byte by byte whatever the database's
collation, and holds the NUL that `text` refuses. Every name starts with ``traces_``.
"""

# asyncpg ships no stubs: what crosses this border is typed by hand.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

from typing import Final

import asyncpg

from penstock.adapters import postgres_faults
from penstock.kernel.errors import Invalid, PenstockError

SCHEMA_VERSION = 1
MIGRATION_LOCK = 0x7472616365732121  # "traces!!"
"""Whoever holds this advisory lock may change the schema."""


class Sql:
    """Every statement, by name, but for the queries of questions.py. Columns stand as batches.py orders them."""

    lock = f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})"
    make_versions = "CREATE TABLE IF NOT EXISTS traces_schema (version integer NOT NULL)"
    schema_version = "SELECT max(version) FROM traces_schema"
    schema = """
        CREATE TABLE traces_batches (id bytea PRIMARY KEY, at_s double precision NOT NULL);
        CREATE INDEX traces_batches_old ON traces_batches (at_s);
        CREATE TABLE traces_events (
            id bytea PRIMARY KEY, at_s double precision NOT NULL,
            org bytea NOT NULL, team bytea NOT NULL, project bytea NOT NULL, "user" bytea NOT NULL,
            key_id bytea NOT NULL, feature bytea NOT NULL, model bytea NOT NULL, provider bytea NOT NULL,
            outcome bytea NOT NULL,
            body bytea NOT NULL  -- msgpack of RequestEvent
        );
        CREATE INDEX traces_events_latest ON traces_events (at_s, id);
        CREATE INDEX traces_events_org ON traces_events (org, at_s, id);
        CREATE TABLE traces_totals (
            hour_s bigint NOT NULL, digest bytea NOT NULL,
            org bytea NOT NULL, team bytea NOT NULL, project bytea NOT NULL, "user" bytea NOT NULL,
            key_id bytea NOT NULL, feature bytea NOT NULL, model bytea NOT NULL, provider bytea NOT NULL,
            outcome bytea NOT NULL,
            requests bigint NOT NULL, estimated bigint NOT NULL, input_tokens bigint NOT NULL,
            cached_tokens bigint NOT NULL, output_tokens bigint NOT NULL, cost_nanos bigint NOT NULL,
            latency_ms bigint NOT NULL,
            PRIMARY KEY (hour_s, digest)
        );
        CREATE INDEX traces_totals_org ON traces_totals (org, hour_s);
        INSERT INTO traces_schema (version) VALUES (1);
    """
    batch = "INSERT INTO traces_batches (id, at_s) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING 1"
    # One array a column: a batch is one message, however many rows it has.
    events = """
        INSERT INTO traces_events SELECT * FROM unnest(
            $1::bytea[], $2::float8[], $3::bytea[], $4::bytea[], $5::bytea[], $6::bytea[],
            $7::bytea[], $8::bytea[], $9::bytea[], $10::bytea[], $11::bytea[], $12::bytea[]
        ) ON CONFLICT (id) DO NOTHING
    """
    totals = """
        INSERT INTO traces_totals AS t SELECT * FROM unnest(
            $1::bigint[], $2::bytea[], $3::bytea[], $4::bytea[], $5::bytea[], $6::bytea[],
            $7::bytea[], $8::bytea[], $9::bytea[], $10::bytea[], $11::bytea[],
            $12::bigint[], $13::bigint[], $14::bigint[], $15::bigint[], $16::bigint[], $17::bigint[], $18::bigint[]
        ) ON CONFLICT (hour_s, digest) DO UPDATE SET
            requests = t.requests + excluded.requests, estimated = t.estimated + excluded.estimated,
            input_tokens = t.input_tokens + excluded.input_tokens,
            cached_tokens = t.cached_tokens + excluded.cached_tokens,
            output_tokens = t.output_tokens + excluded.output_tokens,
            cost_nanos = t.cost_nanos + excluded.cost_nanos, latency_ms = t.latency_ms + excluded.latency_ms
    """
    get = "SELECT body FROM traces_events WHERE id = $1"
    # Two that trim at one time take different rows rather than wait for each other.
    trim_events = """
        WITH gone AS (
            DELETE FROM traces_events WHERE id IN (
                SELECT id FROM traces_events WHERE at_s < $1 ORDER BY at_s LIMIT $2 FOR UPDATE SKIP LOCKED
            ) RETURNING 1
        ) SELECT count(*) FROM gone
    """
    trim_batches = """
        DELETE FROM traces_batches WHERE id IN (
            SELECT id FROM traces_batches WHERE at_s < $1 ORDER BY at_s LIMIT $2 FOR UPDATE SKIP LOCKED
        )
    """
    trim_totals = """
        DELETE FROM traces_totals WHERE (hour_s, digest) IN (
            SELECT hour_s, digest FROM traces_totals WHERE hour_s <= $1 ORDER BY hour_s LIMIT $2
            FOR UPDATE SKIP LOCKED
        )
    """


RETRYABLE = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)
"""PostgreSQL rolled the transaction back so that another could go on; ours may simply run again."""

FOREIGN: Final = postgres_faults.FOREIGN
OWN: Final = ((asyncpg.NumericValueOutOfRangeError, Invalid, "A total has no room for this batch.", ""),)
"""What only this port makes of the driver's errors."""


def translated(error: BaseException) -> PenstockError:
    """Return our error for the driver's."""
    return postgres_faults.translated(error, OWN)
