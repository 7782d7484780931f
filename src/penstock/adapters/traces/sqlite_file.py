"""The file behind `SqliteTraces`, as one thread sees it: every statement, and the table of errors.

Promises: a batch is one transaction; a read sees one moment of the file and ends within `READ_S`; a failing engine
raises what the table of errors says, with what to do.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import apsw

from penstock.adapters.traces.batches import Row, prepared
from penstock.adapters.traces.questions import Question
from penstock.kernel.errors import Invalid, PenstockError, TimedOut, Unavailable
from penstock.ports.traces import HOUR_S, TRIM_MOST, Batch

BUSY_MS = 2_000
READ_S = 10.0
STEPS = 100_000
"""A query looks at the clock each time it has made so many steps of the engine: every few milliseconds."""
ROWS = 25
"""Rows that one statement puts: the engine lets go of the interpreter's lock once for all of them."""
SCHEMA_VERSION = 1


class Sql:
    """Every statement, by name, but for the queries of questions.py. Columns stand as batches.py orders them."""

    # WAL lets readers go on while the writer commits. NORMAL: what was added survives the end of the process; of a loss
    # of power the last seconds may not, and the file is whole.
    pragmas = "PRAGMA synchronous=NORMAL; PRAGMA temp_store=MEMORY"
    journal = "PRAGMA journal_mode=WAL"
    schema_version = "PRAGMA user_version"
    # The index of an organisation's events holds all that is filtered by: what does not match is never fetched.
    schema = f"""
        CREATE TABLE traces_batches (id TEXT NOT NULL PRIMARY KEY, at_s REAL NOT NULL) STRICT, WITHOUT ROWID;
        CREATE INDEX traces_batches_old ON traces_batches (at_s);
        CREATE TABLE traces_events (
            id TEXT NOT NULL PRIMARY KEY, at_s REAL NOT NULL,
            org TEXT NOT NULL, team TEXT NOT NULL, project TEXT NOT NULL, "user" TEXT NOT NULL, key_id TEXT NOT NULL,
            feature TEXT NOT NULL, model TEXT NOT NULL, provider TEXT NOT NULL, outcome TEXT NOT NULL,
            body BLOB NOT NULL  -- msgpack of RequestEvent
        ) STRICT;
        CREATE INDEX traces_events_latest ON traces_events (at_s, id);
        CREATE INDEX traces_events_org ON traces_events
            (org, at_s, id, team, project, "user", key_id, feature, model, provider, outcome);
        CREATE TABLE traces_totals (
            hour_s INTEGER NOT NULL, digest BLOB NOT NULL,
            org TEXT NOT NULL, team TEXT NOT NULL, project TEXT NOT NULL, "user" TEXT NOT NULL, key_id TEXT NOT NULL,
            feature TEXT NOT NULL, model TEXT NOT NULL, provider TEXT NOT NULL, outcome TEXT NOT NULL,
            requests INTEGER NOT NULL, estimated INTEGER NOT NULL, input_tokens INTEGER NOT NULL,
            cached_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL, cost_nanos INTEGER NOT NULL,
            latency_ms INTEGER NOT NULL,
            PRIMARY KEY (hour_s, digest)
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX traces_totals_org ON traces_totals (org, hour_s);
        PRAGMA user_version = {SCHEMA_VERSION};
    """
    begin = "BEGIN IMMEDIATE"
    commit = "COMMIT"
    rollback = "ROLLBACK"
    ping = "SELECT count(*) FROM (SELECT 1 FROM traces_batches LIMIT 1)"
    batch = "INSERT INTO traces_batches (id, at_s) VALUES (?, ?) ON CONFLICT DO NOTHING RETURNING 1"
    events = "INSERT INTO traces_events VALUES {rows} ON CONFLICT (id) DO NOTHING"
    totals = """
        INSERT INTO traces_totals VALUES {rows} ON CONFLICT (hour_s, digest) DO UPDATE SET
            requests = requests + excluded.requests, estimated = estimated + excluded.estimated,
            input_tokens = input_tokens + excluded.input_tokens,
            cached_tokens = cached_tokens + excluded.cached_tokens,
            output_tokens = output_tokens + excluded.output_tokens,
            cost_nanos = cost_nanos + excluded.cost_nanos, latency_ms = latency_ms + excluded.latency_ms
    """
    get = "SELECT body FROM traces_events WHERE id = ?"
    trim_events = """
        DELETE FROM traces_events
        WHERE id IN (SELECT id FROM traces_events WHERE at_s < ? ORDER BY at_s LIMIT ?)
    """
    trim_batches = """
        DELETE FROM traces_batches
        WHERE id IN (SELECT id FROM traces_batches WHERE at_s < ? ORDER BY at_s LIMIT ?)
    """
    trim_totals = """
        DELETE FROM traces_totals
        WHERE (hour_s, digest) IN (
            SELECT hour_s, digest FROM traces_totals WHERE hour_s <= ? ORDER BY hour_s LIMIT ?
        )
    """


ERRORS: tuple[tuple[type[apsw.Error], type[PenstockError], str, str], ...] = (
    (apsw.ConstraintError, Invalid, "A total has no room for this batch.", ""),
    (apsw.InterruptError, TimedOut, "The traces took too long to search.", "Ask for a shorter period."),
    (apsw.FullError, Unavailable, "The disk of the traces is full.", "Free space on the disk."),
    (apsw.ReadOnlyError, Unavailable, "The traces cannot be written.", "Check the file's owner and mode."),
    (
        apsw.CantOpenError,
        Unavailable,
        "The traces cannot be opened.",
        "Check that the folder exists and may be written.",
    ),
    (apsw.PermissionsError, Unavailable, "The traces cannot be opened.", "Check the file's owner and mode."),
    (
        apsw.NotADBError,
        Unavailable,
        "The file of the traces is not a SQLite database.",
        "Move it away; a new one is made.",
    ),
    (
        apsw.CorruptError,
        Unavailable,
        "The file of the traces is damaged.",
        "Move it away; a new one is made.",
    ),
    (apsw.BusyError, Unavailable, "Another process holds the traces.", "Stop the other process."),
    (apsw.Error, Unavailable, "The traces failed.", ""),
)
"""The table from the driver's errors to ours: the first kind that fits. Whichever it is, nothing was added."""


def translated(error: apsw.Error) -> PenstockError:
    """Return our error for the driver's."""
    for kind, ours, message, remedy in ERRORS:
        if isinstance(error, kind):
            return ours(f"{message} ({error})", remedy=remedy)
    return Unavailable(str(error))


class SqliteFile:
    """The file, as one thread sees it."""

    def __init__(self, path: Path) -> None:
        # The driver's own types are partly unknown to the checker; what comes out is typed where it is used.
        self._connection: Any = apsw.Connection(str(path))
        self._connection.set_busy_timeout(BUSY_MS)
        self._run: Callable[..., Any] = self._connection.execute
        self._run(Sql.pragmas)
        self._until_s = 0.0

    def prepare(self) -> None:
        """Make or check the schema."""
        mode = self._run(Sql.journal).get
        if mode != "wal":
            raise Unavailable("The traces need a file system with shared memory.", value=mode)
        self._run(Sql.begin)
        try:
            found = self._run(Sql.schema_version).get
            if found > SCHEMA_VERSION:
                raise Invalid(
                    "The traces were written by a newer Penstock.",
                    value=found,
                    limit=SCHEMA_VERSION,
                    remedy="Start the version of Penstock that wrote them, or a newer one.",
                )
            if not found:
                self._run(Sql.schema)
            self._run(Sql.commit)
        except BaseException:  # because the lock must go whatever happened; it is raised again
            self._give_up()
            raise

    def bound(self) -> None:
        """From now on end each query after `READ_S`: for a connection that reads."""
        self._connection.set_progress_handler(lambda: time.monotonic() > self._until_s, STEPS)
        self.ping()

    def ping(self) -> int:
        """Read the file; return 0 or 1."""
        return self._read(Sql.ping)[0][0]

    def add(self, batch: Batch) -> None:
        """Add a batch in one transaction, unless it was added before."""
        rows = prepared(batch)
        self._run(Sql.begin)
        try:
            if self._run(Sql.batch, (batch.id, batch.at_s)).get:
                self._put(Sql.events, rows.events)
                self._put(Sql.totals, rows.totals)
            self._run(Sql.commit)
        except BaseException:  # because nothing of it may stay, whatever happened; it is raised again
            self._give_up()
            raise

    def body(self, request_id: str) -> bytes | None:
        """Return the one event's bytes."""
        found = self._read(Sql.get, (request_id,))
        return found[0][0] if found else None

    def ask(self, question: Question) -> list[tuple[Any, ...]]:
        """Return the rows of a query by questions.py."""
        return self._read(question.text.replace("$", "?"), question.bindings)

    def trim(self, before_s: float, totals_before_s: float) -> int:
        """Forget the oldest of each kind; return how many events went."""
        self._run(Sql.trim_batches, (before_s, TRIM_MOST))
        self._run(Sql.trim_totals, (totals_before_s - HOUR_S, TRIM_MOST))
        self._run(Sql.trim_events, (before_s, TRIM_MOST))
        return self._connection.changes()

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def _read(self, sql: str, bindings: Sequence[str | float] = ()) -> list[tuple[Any, ...]]:
        self._until_s = time.monotonic() + READ_S
        return self._run(sql, bindings).fetchall()

    def _put(self, sql: str, rows: Sequence[Row]) -> None:
        for start in range(0, len(rows), ROWS):
            some = rows[start : start + ROWS]
            one = f"({', '.join('?' * len(some[0]))})"
            self._run(sql.format(rows=", ".join([one] * len(some))), [*chain.from_iterable(some)])

    def _give_up(self) -> None:
        """Leave the transaction, unless the engine has left it by itself (it does when the disk is full)."""
        if self._connection.in_transaction:
            self._run(Sql.rollback)
