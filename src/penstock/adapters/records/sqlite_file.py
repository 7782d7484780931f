"""The file behind `SqliteRecords`, as one thread sees it: every statement, and the table of errors.

Promises: a group of transactions costs one durable commit (`synchronous=FULL`); a refused one leaves nothing and harms
no neighbour; a failing engine raises Unavailable with what to do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import apsw
import msgspec

from penstock.adapters.records.plan import Catalogue, Entry, Place, Stored, check_remembered
from penstock.kernel.errors import Broken, Conflict, Invalid, PenstockError, Unavailable
from penstock.ports.records import Row, Write

BUSY_MS = 2_000
SCHEMA_VERSION = 1


class Sql:
    """Every statement, by name. Order and equality of text are those of its UTF-8 bytes (collation BINARY)."""

    # WAL lets readers go on while the writer commits; FULL waits for the disk at each commit.
    pragmas = "PRAGMA synchronous=FULL; PRAGMA foreign_keys=OFF; PRAGMA temp_store=MEMORY"
    journal = "PRAGMA journal_mode=WAL"
    schema_version = "PRAGMA user_version"
    schema = f"""
        CREATE TABLE rows (
            collection TEXT NOT NULL, tenant TEXT NOT NULL, id TEXT NOT NULL,
            version INTEGER NOT NULL,
            value BLOB,              -- NULL: deleted, only the version is remembered
            indexed BLOB NOT NULL,   -- msgpack map of index to value
            changed_s INTEGER NOT NULL,  -- wall clock, for people; nothing reads it
            PRIMARY KEY (collection, tenant, id)
        ) STRICT;
        CREATE INDEX rows_alive ON rows (collection, tenant, id) WHERE value IS NOT NULL;
        CREATE TABLE entries (
            collection TEXT NOT NULL, tenant TEXT NOT NULL, name TEXT NOT NULL,
            value TEXT NOT NULL, id TEXT NOT NULL, sole INTEGER NOT NULL,
            PRIMARY KEY (collection, tenant, name, value, id)
        ) STRICT, WITHOUT ROWID;
        CREATE UNIQUE INDEX entries_sole ON entries (collection, tenant, name, value) WHERE sole = 1;
        CREATE TABLE declared (
            collection TEXT NOT NULL, name TEXT NOT NULL, sole INTEGER NOT NULL,
            PRIMARY KEY (collection, name)
        ) STRICT, WITHOUT ROWID;
        PRAGMA user_version = {SCHEMA_VERSION};
    """
    begin = "BEGIN IMMEDIATE"
    commit = "COMMIT"
    rollback = "ROLLBACK"
    savepoint = "SAVEPOINT job"
    release = "RELEASE job"
    undo = "ROLLBACK TO job"
    ping = "SELECT count(*) FROM declared"
    remembered = "SELECT sole FROM declared WHERE collection = ? AND name = ?"
    remember = "INSERT INTO declared (collection, name, sole) VALUES (?, ?, ?)"
    stored = """
        SELECT version, value IS NOT NULL, indexed FROM rows WHERE collection = ? AND tenant = ? AND id = ?
    """
    put = """
        INSERT INTO rows (collection, tenant, id, version, value, indexed, changed_s) VALUES (?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT (collection, tenant, id) DO UPDATE SET
            version = excluded.version, value = excluded.value, indexed = excluded.indexed,
            changed_s = excluded.changed_s
    """
    drop = "DELETE FROM entries WHERE collection = ? AND tenant = ? AND name = ? AND value = ? AND id = ?"
    add = "INSERT INTO entries (collection, tenant, name, value, id, sole) VALUES (?, ?, ?, ?, ?, ?)"
    get = """
        SELECT id, value, version, indexed FROM rows
        WHERE collection = ? AND tenant = ? AND id = ? AND value IS NOT NULL
    """
    find = """
        SELECT r.id, r.value, r.version, r.indexed
        FROM entries AS e JOIN rows AS r ON r.collection = e.collection AND r.tenant = e.tenant AND r.id = e.id
        WHERE e.collection = ? AND e.tenant = ? AND e.name = ? AND e.value = ? AND e.id > ?
        ORDER BY e.id LIMIT ?
    """
    latest = find.replace("e.id > ?", "e.id < ?").replace("ORDER BY e.id", "ORDER BY e.id DESC")
    scan = """
        SELECT id, value, version, indexed FROM rows
        WHERE collection = ? AND tenant = ? AND id > ? AND value IS NOT NULL ORDER BY id LIMIT ?
    """
    count = "SELECT count(*) FROM rows WHERE collection = ? AND tenant = ? AND value IS NOT NULL"


ERRORS: tuple[tuple[type[apsw.Error], str, str], ...] = (
    (apsw.FullError, "The disk of the records is full.", "Free space on the disk."),
    (apsw.ReadOnlyError, "The records cannot be written.", "Check the file's owner and mode."),
    (apsw.CantOpenError, "The records cannot be opened.", "Check that the folder exists and may be written."),
    (apsw.PermissionsError, "The records cannot be opened.", "Check the file's owner and mode."),
    (apsw.NotADBError, "The file of the records is not a SQLite database.", "Restore it from a backup."),
    (apsw.CorruptError, "The file of the records is damaged.", "Restore it from a backup."),
    (apsw.BusyError, "Another process holds the records.", "Stop the other process."),
    (apsw.Error, "The records failed.", ""),
)
"""The table from the driver's errors to ours: the first kind that fits. All are Unavailable; nothing was applied."""


def translated(error: apsw.Error) -> PenstockError:
    """Return our error for the driver's."""
    for kind, message, remedy in ERRORS:
        if isinstance(error, kind):
            return Unavailable(f"{message} ({error})", remedy=remedy)
    return Unavailable(str(error))


class SqliteFile:
    """The file, as one thread sees it."""

    def __init__(self, path: Path, catalogue: Catalogue, wall_s: Callable[[], float]) -> None:
        self._catalogue = catalogue
        self._wall_s = wall_s
        # The driver's own types are partly unknown to the checker; what comes out is typed where it is used.
        self._connection: Any = apsw.Connection(str(path))
        self._connection.set_busy_timeout(BUSY_MS)
        self._run: Callable[..., Any] = self._connection.execute
        self._run(Sql.pragmas)

    def prepare(self) -> None:
        """Make or check the schema, and the declarations against those of earlier runs."""
        mode = self._run(Sql.journal).get
        if mode != "wal":
            raise Unavailable("The records need a file system with shared memory.", value=mode)
        self._run(Sql.begin)
        try:
            found = self._run(Sql.schema_version).get
            if found > SCHEMA_VERSION:
                remedy = "Start the version of Penstock that wrote it, or a newer one."
                raise Invalid(
                    "The records were written by a newer Penstock.",
                    value=found,
                    limit=SCHEMA_VERSION,
                    remedy=remedy,
                )
            if not found:
                self._run(Sql.schema)
            for collection, index, sole in self._catalogue.declared():
                remembered = self._run(Sql.remembered, (collection, index)).get
                if remembered is None:
                    self._run(Sql.remember, (collection, index, int(sole)))
                else:
                    check_remembered((collection, index), sole=sole, remembered=bool(remembered))
            self._run(Sql.commit)
        except BaseException:  # because the lock must go whatever happened; it is raised again
            self._give_up()
            raise

    def commit(self, group: Sequence[Sequence[Write]]) -> list[list[int] | PenstockError]:
        """Apply each transaction of a group, all in one durable commit; an engine that fails fails them all."""
        try:
            self._run(Sql.begin)
            outcomes = [self._attempt(writes) for writes in group]
            self._run(Sql.commit)
        except apsw.Error as error:
            self._give_up()
            return [translated(error) for _ in group]
        except (
            Exception
        ) as error:  # because a defect met by one write must not end the thread that writes for all
            self._give_up()
            return [Broken(f"A write failed: {error!r}.") for _ in group]
        return outcomes

    def rows(self, sql: str, bindings: tuple[str | int, ...]) -> list[Row]:
        """Return the rows of a query by Sql.get, find or scan."""
        return [
            Row(id_, value, version, msgspec.msgpack.decode(indexed, type=dict[str, str]))
            for id_, value, version, indexed in self._run(sql, bindings)
        ]

    def number(self, sql: str, bindings: tuple[str | int, ...] = ()) -> int:
        """Return the one number of a query."""
        return self._run(sql, bindings).get

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def _give_up(self) -> None:
        """Leave the transaction, unless the engine has left it by itself (it does when the disk is full)."""
        if self._connection.in_transaction:
            self._run(Sql.rollback)

    def _attempt(self, writes: Sequence[Write]) -> list[int] | PenstockError:
        """Apply one job inside a savepoint; a refusal leaves nothing of it."""
        self._run(Sql.savepoint)
        try:
            versions = self._apply(writes)
        except (PenstockError, apsw.ConstraintError) as error:
            self._run(Sql.undo)
            self._run(Sql.release)
            return error if isinstance(error, PenstockError) else _duplicate()
        self._run(Sql.release)
        return versions

    def _apply(self, writes: Sequence[Write]) -> list[int]:
        stored: dict[Place, Stored] = {}
        for place in {(write.collection, write.tenant, write.id) for write in writes}:
            for version, alive, indexed in self._run(Sql.stored, place):
                stored[place] = Stored(
                    version, bool(alive), msgspec.msgpack.decode(indexed, type=dict[str, str])
                )
        plan = self._catalogue.plan(writes, stored)
        now_s = int(self._wall_s())
        for change in plan.changes:
            indexed = msgspec.msgpack.encode(change.indexed)
            self._run(Sql.put, (*change.place, change.version, change.value, indexed, now_s))
        for entry in plan.dropped:
            self._run(Sql.drop, _line(entry))
        for entry in plan.added:
            self._run(Sql.add, (*_line(entry), int(entry.sole)))
        return plan.versions


def _line(entry: Entry) -> tuple[str, str, str, str, str]:
    return entry.collection, entry.tenant, entry.index, entry.value, entry.id


def _duplicate() -> Conflict:
    return Conflict("Another row has this value of a unique index already.", code="duplicate")
