"""The ledger's file: one SQLite database in WAL mode, and all the SQL of the embedded ledger.

Tables: `journal` (append-only, chained groups: the truth), and three that only make opening and looking up fast:
`accounts` and `snapshot` (the books as of one group) and `settled` (every operation that ended before that group).

Promises: one process at a time owns the file (a lock file says who); a database engine with the WAL-reset corruption
bug is refused; `append` and `keep` are all or nothing; a process killed at any point leaves a file that opens at the
last committed group. Rows of `journal` cannot be updated or deleted.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, cast

import apsw
import msgspec

from penstock.adapters.ledger.books import Account
from penstock.adapters.ledger.journal import genesis
from penstock.kernel.errors import Conflict, Unavailable

WRITER = "embedded"
ENGINE_AT_LEAST = (3, 51, 3)
WAL_PAGES = 4_000  # checkpoint each time the log has grown by this: 16 MB of 4 KiB pages
LAST_CHARACTER = "\U0010ffff"
BUSY_MS = 2_000
CHECKPOINT_BUSY_MS = 20  # how long a checkpoint may keep the writer waiting for a reader to finish

_SCHEMA = """
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS journal(
    seq INTEGER PRIMARY KEY, writer TEXT NOT NULL, body BLOB NOT NULL, digest BLOB NOT NULL) STRICT;
CREATE TRIGGER IF NOT EXISTS journal_is_not_updated BEFORE UPDATE ON journal
    BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;
CREATE TRIGGER IF NOT EXISTS journal_is_not_deleted BEFORE DELETE ON journal
    BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;
CREATE TABLE IF NOT EXISTS accounts(
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE,
    posted_nanos INTEGER NOT NULL, held_nanos INTEGER NOT NULL, postings INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS settled(operation TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS snapshot(one INTEGER PRIMARY KEY CHECK(one = 1), body BLOB NOT NULL) STRICT;
PRAGMA user_version = 1;
COMMIT;
"""
_APPEND = "INSERT INTO journal(seq, writer, body, digest) VALUES(?, ?, ?, ?)"
_KEEP_ACCOUNT = """
INSERT INTO accounts(id, name, posted_nanos, held_nanos, postings) VALUES(?, ?, ?, ?, ?)
ON CONFLICT(id) DO UPDATE SET posted_nanos = excluded.posted_nanos, held_nanos = excluded.held_nanos,
    postings = excluded.postings
"""
_KEEP_SETTLED = "INSERT OR IGNORE INTO settled(operation) VALUES(?)"
_KEEP_SNAPSHOT = (
    "INSERT INTO snapshot(one, body) VALUES(1, ?) ON CONFLICT(one) DO UPDATE SET body = excluded.body"
)
_ACCOUNT = "SELECT id, name, posted_nanos, held_nanos, postings FROM accounts"
_JOURNAL = "SELECT seq, writer, body, digest FROM journal WHERE seq > ? ORDER BY seq"

AccountRow = tuple[int, str, int, int, int]
GroupRow = tuple[int, str, bytes, bytes]


class PendingRow(msgspec.Struct, frozen=True, array_like=True):
    """A pending operation inside a snapshot; `accounts` by number."""

    operation: str
    accounts: list[int]
    amounts: dict[int, int]
    checkpoint_nanos: int
    dispatched: bool


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The books as of group `seq`, beside the rows of `accounts`. `highs` maps the first four characters of
    operations to the greatest one in `settled`, so that a newer one need not be looked up.
    """

    seq: int = 0
    head: bytes = b""
    accounts: int = 0
    settled: int = 0
    highs: dict[str, str] = {}
    pending: list[PendingRow] = []


_encode_snapshot = msgspec.msgpack.Encoder().encode
_decode_snapshot = msgspec.msgpack.Decoder(Snapshot).decode


class Lock:
    """The right to write the file, held by an open lock file that the kernel releases when the process dies."""

    __slots__ = ("_file",)

    def __init__(self, path: Path) -> None:
        """Take the lock or raise Conflict naming the process that has it."""
        self._file: IO[str] = path.with_name(path.name + ".lock").open("a+")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.seek(0)
            owner = self._file.read().strip() or "unknown"
            self._file.close()
            raise Conflict(
                f"The ledger {path} is open in process {owner}; the embedded ledger serves one process.",
                code="ledger_in_use",
                field="ledger.path",
                value=str(path),
                remedy="Stop the other process, or use the PostgreSQL ledger for more than one.",
            ) from error
        self._file.truncate(0)
        self._file.write(str(os.getpid()))
        self._file.flush()

    def release(self) -> None:
        """Let another process in."""
        self._file.close()


class Store:
    """One open ledger file. `append` and `keep` belong to the writer thread, look-ups to the event loop."""

    __slots__ = ("_insert", "_log_pages", "_lookup", "_path", "_shorten_at", "_vfs", "_writer", "head", "seq")

    def __init__(self, path: Path, *, durability: str = "process", vfs: str | None = None) -> None:
        """Open or create the file. `durability` "process" survives kill -9, "power" also the machine's death.
        Raises Unavailable for an engine with the WAL-reset bug or a file that cannot be opened.
        """
        require_safe_engine()
        self._path, self._vfs = path, vfs
        # The driver's own types are partly unknown to the checker; what comes out is typed where it is used.
        self._writer: Any
        self._lookup: Any
        try:
            self._writer = self._connect()
            self._run(f"PRAGMA synchronous = {'FULL' if durability == 'power' else 'NORMAL'}")
            self._run("PRAGMA journal_mode = WAL")
            self._run("PRAGMA recursive_triggers = ON")
            self._run(_SCHEMA)
            self._insert = self._writer.cursor()
            self._lookup = self._connect()
            last = next(
                self._writer.execute("SELECT seq, digest FROM journal ORDER BY seq DESC LIMIT 1"), None
            )
        except apsw.Error as error:
            raise store_failed(error) from error
        self.seq, self.head = cast("tuple[int, bytes]", last) if last else (0, genesis(WRITER))
        self._log_pages = 0
        self._shorten_at = WAL_PAGES
        self._writer.set_wal_hook(self._note_log)

    def _connect(self) -> Any:  # noqa: ANN401 - the driver's types are partly unknown
        connection: Any = apsw.Connection(str(self._path), vfs=self._vfs)
        connection.set_busy_timeout(BUSY_MS)
        for pragma in ("mmap_size = 0", "wal_autocheckpoint = 0", "trusted_schema = OFF"):
            connection.execute(f"PRAGMA {pragma}").fetchall()
        return connection

    def _run(self, sql: str) -> None:
        self._writer.execute(sql).fetchall()

    def _note_log(self, _connection: object, _database: str, pages: int) -> int:
        if pages < self._log_pages:  # the log started over
            self._shorten_at = WAL_PAGES
        self._log_pages = pages
        return apsw.SQLITE_OK

    def append(self, seq: int, body: bytes, digest: bytes) -> None:
        """Commit one group; raises apsw.Error with nothing written."""
        self._insert.execute(_APPEND, (seq, WRITER, body, digest))
        self.seq, self.head = seq, digest

    def keep(self, snapshot: Snapshot, accounts: Sequence[AccountRow], settled: Sequence[str]) -> None:
        """Commit a snapshot of the last group: accounts that changed, operations that ended, pending ones."""
        snapshot = msgspec.structs.replace(snapshot, head=self.head)
        with self._writer:
            self._writer.executemany(_KEEP_ACCOUNT, accounts)
            self._writer.executemany(_KEEP_SETTLED, [(operation,) for operation in settled])
            self._writer.execute(_KEEP_SNAPSHOT, (_encode_snapshot(snapshot),))

    def log_is_long(self) -> bool:
        """Whether the write-ahead log wants a checkpoint."""
        return self._log_pages >= self._shorten_at

    def shorten_log(self) -> None:
        """Move the write-ahead log into the file, on a connection of its own: most of it beside the writer, then the
        rest while the writer waits a moment, so that the log starts over (if no reader needs it; else it grows on).
        """
        self._shorten_at = self._log_pages + WAL_PAGES
        connection = self._connect()
        try:
            connection.set_busy_timeout(CHECKPOINT_BUSY_MS)
            connection.execute(
                "PRAGMA schema_version"
            ).fetchall()  # a connection knows no log before its first read
            connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
            with contextlib.suppress(apsw.BusyError):
                connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_RESTART)
        finally:
            connection.close()

    def find_account(self, name: str) -> Account | None:
        """Return the account as of the last snapshot, or None."""
        row = next(self._lookup.execute(f"{_ACCOUNT} WHERE name = ?", (name,)), None)
        return _account(cast("AccountRow", row)) if row else None

    def account_numbered(self, number: int) -> Account | None:
        """Return the account with this number as of the last snapshot, or None."""
        row = next(self._lookup.execute(f"{_ACCOUNT} WHERE id = ?", (number,)), None)
        return _account(cast("AccountRow", row)) if row else None

    def accounts_from(self, prefix: str, after: str, limit: int) -> list[Account]:
        """Return up to `limit` accounts that start with `prefix`, after the name `after`, in order."""
        rows = self._lookup.execute(
            f"{_ACCOUNT} WHERE name > ? AND name >= ? AND name < ? ORDER BY name LIMIT ?",
            (after, prefix, prefix + LAST_CHARACTER, limit),
        )
        return [_account(cast("AccountRow", row)) for row in rows]

    def is_settled(self, operation: str) -> bool:
        """Whether the operation ended before the last snapshot."""
        return (
            next(self._lookup.execute("SELECT 1 FROM settled WHERE operation = ?", (operation,)), None)
            is not None
        )

    def snapshot(self) -> Snapshot:
        """Return the last snapshot, or the empty one."""
        row = next(self._lookup.execute("SELECT body FROM snapshot"), None)
        return _decode_snapshot(cast("tuple[bytes]", row)[0]) if row else Snapshot(head=genesis(WRITER))

    def groups(self, after_seq: int) -> Iterator[GroupRow]:
        """Yield the journal's rows after group `after_seq`."""
        return cast("Iterator[GroupRow]", self._lookup.execute(_JOURNAL, (after_seq,)))

    def close(self) -> None:
        """Close the connections; SQLite then empties the write-ahead log by itself."""
        self._lookup.close()
        self._writer.close()


class Reading:
    """A read-only view of a ledger file at one instant, also while a server writes to it."""

    __slots__ = ("_connection",)

    def __init__(self, path: Path, vfs: str | None = None) -> None:
        """Open the file; raises Unavailable if that cannot be done."""
        require_safe_engine()
        self._connection: Any
        try:
            self._connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY, vfs=vfs)
            self._connection.set_busy_timeout(BUSY_MS)
            self._connection.execute("BEGIN")
        except apsw.Error as error:
            raise store_failed(error) from error

    def groups(self) -> Iterator[GroupRow]:
        """Yield the whole journal in order."""
        return cast("Iterator[GroupRow]", self._connection.execute(_JOURNAL, (0,)))

    def snapshot(self) -> Snapshot | None:
        """Return the snapshot, or None if none was taken yet."""
        row = next(self._connection.execute("SELECT body FROM snapshot"), None)
        return _decode_snapshot(cast("tuple[bytes]", row)[0]) if row else None

    def accounts(self) -> Iterator[AccountRow]:
        """Yield the accounts as of the snapshot."""
        return cast("Iterator[AccountRow]", self._connection.execute(_ACCOUNT))

    def settled(self) -> int:
        """Return how many operations ended before the snapshot."""
        return cast("tuple[int]", next(self._connection.execute("SELECT count(*) FROM settled")))[0]

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()


def require_safe_engine(version: str = "") -> None:
    """Raise Unavailable for SQLite below 3.51.3 (corruption when the write-ahead log is reset, sqlite.org/wal.html)."""
    found = version or apsw.sqlite_lib_version()
    if tuple(int(part) for part in found.split(".")[:3]) < ENGINE_AT_LEAST:
        raise Unavailable(
            f"SQLite {found} can corrupt a file whose write-ahead log is reset.",
            code="unsafe_engine",
            field="sqlite",
            value=found,
            limit=".".join(map(str, ENGINE_AT_LEAST)),
            remedy="Install apsw from its wheel: it carries a safe SQLite.",
        )


def store_failed(error: BaseException) -> Unavailable:
    """Translate the engine's error."""
    full = isinstance(error, apsw.FullError)
    return Unavailable(
        "The ledger's disk is full." if full else f"The ledger's file cannot be used: {error}",
        code="ledger_full" if full else "ledger_unavailable",
        remedy="Free space: the ledger resumes by itself." if full else "",
        retry_after_s=1.0,
    )


def _account(row: AccountRow) -> Account:
    number, name, posted_nanos, held_nanos, postings = row
    return Account(number, name, posted_nanos, held_nanos, postings)
