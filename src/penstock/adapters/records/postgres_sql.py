"""What `PostgresRecords` says to PostgreSQL: every statement by name, and the table of errors.

Text that callers choose (tenant, id, index value) is kept as its UTF-8 bytes: `bytea` is equal and ordered byte by
byte whatever the database's collation, and holds the NUL that `text` refuses. Every name starts with ``records_``.
"""

# asyncpg ships no stubs: what crosses this border is typed by hand.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

from typing import Final

import asyncpg

from penstock.adapters import postgres_faults
from penstock.kernel.errors import Conflict, PenstockError

SCHEMA_VERSION = 1
MIGRATION_LOCK = 0x70656E73746F636B  # "penstock"
"""Whoever holds this advisory lock may change the schema."""


class Sql:
    """Every statement, by name."""

    lock = f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})"
    make_versions = "CREATE TABLE IF NOT EXISTS records_schema (version integer NOT NULL)"
    schema_version = "SELECT max(version) FROM records_schema"
    schema = """
        CREATE TABLE records_rows (
            collection text NOT NULL, tenant bytea NOT NULL, id bytea NOT NULL,
            version bigint NOT NULL,
            value bytea,              -- NULL: deleted, only the version is remembered
            indexed bytea NOT NULL,   -- msgpack map of index to value
            changed_at timestamptz NOT NULL DEFAULT now(),  -- for people; nothing reads it
            PRIMARY KEY (collection, tenant, id)
        );
        CREATE INDEX records_alive ON records_rows (collection, tenant, id) WHERE value IS NOT NULL;
        CREATE TABLE records_entries (
            collection text NOT NULL, tenant bytea NOT NULL, name text NOT NULL,
            value bytea NOT NULL, id bytea NOT NULL, sole boolean NOT NULL,
            PRIMARY KEY (collection, tenant, name, value, id)
        );
        CREATE UNIQUE INDEX records_sole ON records_entries (collection, tenant, name, value) WHERE sole;
        CREATE TABLE records_declared (
            collection text NOT NULL, name text NOT NULL, sole boolean NOT NULL, PRIMARY KEY (collection, name)
        );
        INSERT INTO records_schema (version) VALUES (1);
    """
    remembered = "SELECT sole FROM records_declared WHERE collection = $1 AND name = $2"
    remember = "INSERT INTO records_declared (collection, name, sole) VALUES ($1, $2, $3)"
    # Locked in one order by every transaction, so that two of them wait for each other rather than deadlock.
    stored = """
        SELECT r.collection, r.tenant, r.id, r.version, r.value IS NOT NULL, r.indexed
        FROM records_rows AS r
        JOIN unnest($1::text[], $2::bytea[], $3::bytea[]) AS w (collection, tenant, id)
            ON r.collection = w.collection AND r.tenant = w.tenant AND r.id = w.id
        ORDER BY r.collection, r.tenant, r.id FOR UPDATE OF r
    """
    insert = """
        INSERT INTO records_rows (collection, tenant, id, version, value, indexed) VALUES ($1, $2, $3, $4, $5, $6)
    """
    update = """
        UPDATE records_rows SET version = $4, value = $5, indexed = $6, changed_at = now()
        WHERE collection = $1 AND tenant = $2 AND id = $3
    """
    drop = """
        DELETE FROM records_entries
        WHERE collection = $1 AND tenant = $2 AND name = $3 AND value = $4 AND id = $5
    """
    add = """
        INSERT INTO records_entries (collection, tenant, name, value, id, sole) VALUES ($1, $2, $3, $4, $5, $6)
    """
    get = """
        SELECT id, value, version, indexed FROM records_rows
        WHERE collection = $1 AND tenant = $2 AND id = $3 AND value IS NOT NULL
    """
    find = """
        SELECT r.id, r.value, r.version, r.indexed
        FROM records_entries AS e
        JOIN records_rows AS r ON r.collection = e.collection AND r.tenant = e.tenant AND r.id = e.id
        WHERE e.collection = $1 AND e.tenant = $2 AND e.name = $3 AND e.value = $4 AND e.id > $5
        ORDER BY e.id LIMIT $6
    """
    latest = find.replace("e.id > $5", "e.id < $5").replace("ORDER BY e.id", "ORDER BY e.id DESC")
    scan = """
        SELECT id, value, version, indexed FROM records_rows
        WHERE collection = $1 AND tenant = $2 AND id > $3 AND value IS NOT NULL ORDER BY id LIMIT $4
    """
    count = "SELECT count(*) FROM records_rows WHERE collection = $1 AND tenant = $2 AND value IS NOT NULL"


RETRYABLE = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)
"""PostgreSQL rolled the transaction back so that another could go on; ours may simply run again."""

FOREIGN: Final = postgres_faults.FOREIGN
OWN: Final = (
    (asyncpg.UniqueViolationError, Conflict, "Another row has this value of a unique index already.", ""),
)
"""What only this port makes of the driver's errors."""


def translated(error: BaseException) -> PenstockError:
    """Return our error for the driver's."""
    return postgres_faults.translated(error, OWN)
