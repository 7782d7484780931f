"""What is read from the shared ledger: balances and the audit; and how a process makes or joins it.

Promise: reads take no lock that a hold would wait for, and see one instant; the schema is made or migrated by exactly
one process however many start together.
"""

# asyncpg ships no stubs: what crosses this border is typed by hand.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import asyncpg

from penstock.adapters.ledger.books import Account
from penstock.adapters.ledger.journal import genesis
from penstock.adapters.ledger.postgres_link import DROPPED, Link, unreachable
from penstock.adapters.ledger.replay import Replay
from penstock.kernel.errors import Invalid
from penstock.ports.ledger import Balance, Verdict

MIGRATIONS = ("postgres_001.sql",)  # numbered from 1; a file that was released is never changed
LAST_CHARACTER = "\U0010ffff"
OPEN_FACTOR = 5  # opening may wait for another process that migrates
VERIFY_FACTOR = 30  # of the timeout, per page of the journal
PAGE = 500

_LOCK = "SELECT pg_advisory_xact_lock(7815696)"
_VERSIONS = "CREATE TABLE IF NOT EXISTS ledger_versions(version integer PRIMARY KEY)"
_VERSION = "SELECT coalesce(max(version), 0) FROM ledger_versions"
_JOIN = """
INSERT INTO ledger_writers(writer, incarnation, head) VALUES ($1, 1, $2)
ON CONFLICT (writer) DO UPDATE SET incarnation = ledger_writers.incarnation + 1
RETURNING incarnation, batch
"""
_BEGIN = "INSERT INTO ledger_beats(writer) VALUES ($1) ON CONFLICT (writer) DO UPDATE SET beat = ledger_beats.beat + 1"
_NAMED = "SELECT name, posted_nanos, held_nanos, postings FROM ledger_accounts WHERE name = ANY($1)"
_PAGE = """
SELECT name, posted_nanos, held_nanos, postings FROM ledger_accounts
WHERE name > $1 AND name >= $2 AND name < $3 ORDER BY name LIMIT $4
"""
_JOURNAL = "SELECT writer, seq, body, digest FROM ledger_journal ORDER BY id"
_HEADS = "SELECT writer, seq, head FROM ledger_writers"
_USED = """
SELECT name, posted_nanos, held_nanos, postings FROM ledger_accounts
WHERE postings > 0 OR posted_nanos <> 0 OR held_nanos <> 0
"""
_CHARGED = "SELECT operation, accounts FROM ledger_operations WHERE operation = ANY($1)"
_STATES = """
SELECT count(*) FILTER (WHERE state <> 'pending'), count(*) FILTER (WHERE state = 'pending'),
    coalesce(sum(held_nanos) FILTER (WHERE state = 'pending'), 0)::bigint FROM ledger_operations
"""


async def register(dsn: str, writer: str, timeout_s: float) -> tuple[int, int]:
    """Migrate if need be and join as `writer`; returns its incarnation and the last batch of the one before."""
    link = Link(dsn, "open", timeout_s * OPEN_FACTOR)
    try:
        async with link.transaction() as connection:
            await connection.execute(_LOCK)
            await connection.execute(_VERSIONS)
            version = await connection.fetchval(_VERSION)
            if version > len(MIGRATIONS):
                raise Invalid(
                    "The ledger was written by a newer Penstock.",
                    value=version,
                    limit=len(MIGRATIONS),
                    remedy="Start the version that wrote it, or a newer one.",
                )
            for number, name in enumerate(MIGRATIONS[version:], version + 1):
                await connection.execute(migration(name))
                await connection.execute("INSERT INTO ledger_versions VALUES ($1)", number)
            row = await connection.fetchrow(_JOIN, writer, genesis(writer))
            await connection.execute(_BEGIN, writer)
            return row[0], row[1]
    finally:
        link.drop()


def migration(name: str) -> str:
    """Return the SQL of a numbered migration."""
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


class Reads:
    """A small pool for reading, opened at the first use."""

    def __init__(self, dsn: str, size: int, timeout_s: float) -> None:
        self._dsn = dsn
        self._turns = asyncio.Semaphore(size)
        self._timeout_s = timeout_s
        self._idle: list[Link] = []

    async def named(self, names: Sequence[str]) -> list[Balance]:
        """Return these accounts in the order asked, zero if never used."""
        async with self._lent() as link:
            rows = await link.fetch(_NAMED, list(names))
        found = {row[0]: Balance(*row) for row in rows}
        return [found.get(name) or Balance(name, 0, 0) for name in names]

    async def charged(self, operations: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """Return the accounts of these operations."""
        async with self._lent() as link:
            rows = await link.fetch(_CHARGED, list(operations))
        return {row[0]: tuple(row[1]) for row in rows}

    async def page(self, prefix: str, after: str, limit: int) -> list[Balance]:
        """Return up to `limit` used accounts that start with `prefix`, after the name `after`, in order."""
        async with self._lent() as link:
            rows = await link.fetch(_PAGE, after, prefix, prefix + LAST_CHARACTER, limit)
        return [Balance(*row) for row in rows]

    async def verify(self) -> Verdict:
        """Walk the whole journal as of one instant, page by page."""
        replay = Replay(lambda name: Account(0, str(name)))
        try:
            async with self._turns, asyncio.timeout(self._timeout_s):
                connection = await cast("Any", asyncpg).connect(
                    self._dsn, timeout=self._timeout_s, command_timeout=self._timeout_s * VERIFY_FACTOR
                )
            try:
                async with connection.transaction(isolation="repeatable_read", readonly=True):
                    await _walk(connection, replay)
            finally:
                connection.terminate()
        except DROPPED as error:
            raise unreachable(error) from error
        return replay.verdict()

    def stop(self) -> None:
        """Close the connections."""
        while self._idle:
            self._idle.pop().drop()

    @asynccontextmanager
    async def _lent(self) -> AsyncGenerator[Link]:
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._turns.acquire()
        except TimeoutError as error:
            raise unreachable(error) from error
        link = self._idle.pop() if self._idle else Link(self._dsn, "read", self._timeout_s)
        try:
            yield link
        finally:
            self._idle.append(link)
            self._turns.release()


async def _walk(connection: Any, replay: Replay) -> None:  # noqa: ANN401 - the driver ships no types
    cursor = await connection.cursor(_JOURNAL)
    while rows := await cursor.fetch(PAGE):
        for writer, seq, body, digest in rows:
            replay.chain(writer, seq, body.encode(), digest)
            try:
                replay.group(writer, seq, json.loads(body)[2])
            except (ValueError, IndexError, TypeError) as error:
                replay.problem(f"{writer}:{seq} cannot be read: {error}")
            replay.settled_now.clear()
        await asyncio.sleep(0)
    heads = await connection.fetch(_HEADS)
    used = await connection.fetch(_USED)
    states = await connection.fetchrow(_STATES)
    for writer, seq, head in heads:
        if (replay.seqs.get(writer, 0), replay.heads.get(writer) or genesis(writer)) != (seq, head):
            replay.problem(
                f"the journal of {writer} ends at {replay.seqs.get(writer, 0)}, {seq} were written"
            )
    _compare(replay, used, tuple(states))


def _compare(replay: Replay, used: Sequence[Sequence[Any]], states: tuple[int, ...]) -> None:
    """Check the tables that are kept beside the journal against what it says."""
    told = {row[0]: tuple(row) for row in used}
    for name, account in replay.accounts.items():
        figures = (account.name, account.posted_nanos, account.held_nanos, account.postings)
        if told.pop(name, (name, 0, 0, 0)) != figures:
            replay.problem(f"the balance of {name} is not what the journal says")
    for name in told:
        replay.problem(f"account {name} is in no journal entry")
    pending = replay.books.pending.values()
    said = (replay.settled, len(pending), sum(one.held_nanos for one in pending))
    if said != states:
        replay.problem(f"(ended, pending, held) are {states}, the journal says {said}")
