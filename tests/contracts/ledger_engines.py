"""Harnesses for both ledgers: who moves time, what a crash is, how a store is cut off, how its journal is changed.

Each `…_ledger` is an async context manager that gives a harness and closes every handle it opened. Adapters come in as
classes, so that a seeded bug is one more class.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random
from urllib.parse import urlsplit

import apsw
import asyncpg

from penstock.adapters.ledger import journal
from penstock.adapters.ledger.postgres import PostgresLedger
from penstock.adapters.ledger.sqlite import SqliteLedger
from penstock.contracts.ledger_holds import LedgerHarness
from penstock.kernel.clock import ManualClock
from tests.contracts.engines import Relay
from tests.contracts.file_harness import Life, bind
from tests.faulty_disk import FaultyDisk

FILE = "ledger.sqlite"


Row = tuple[int, int, str, bytes, bytes]  # key, number in the chain, writer, body, digest


def flipped(value: bytes, random: Random) -> bytes:
    """Return `value` with one bit changed; text stays text."""
    place = random.randrange(len(value))
    return bytes([*value[:place], value[place] ^ 1 << random.randrange(4), *value[place + 1 :]])


def damaged(rows: Sequence[Row], damage: str, random: Random) -> dict[int, tuple[bytes, bytes] | None]:
    """Return what each row to be damaged becomes: another body and digest, or None for none at all."""
    place = random.randrange(1, len(rows) - 1)
    (key, seq, writer, body, digest), (other, _, _, other_body, other_digest) = rows[place], rows[place + 1]
    if damage == "flip":
        return {key: (flipped(body, random), digest)}
    if damage == "flip digest":
        return {key: (body, flipped(digest, random))}
    if damage == "drop":
        return {key: None}
    if damage == "swap":
        return {key: (other_body, other_digest), other: (body, digest)}
    place = next(i for i, row in enumerate(rows) if i and b"vendor" in row[3])
    key, seq, writer, body, _ = rows[place]
    forged = body.replace(b"vendor", b"friend")
    return {key: (forged, journal.link(rows[place - 1][4], writer, seq, forged))}


def damage_file(path: Path, damage: str, random: Random) -> None:
    """Damage the journal of a closed file, behind the triggers."""
    connection = apsw.Connection(str(path))
    try:
        for verb in ("updated", "deleted"):
            connection.execute(f"DROP TRIGGER IF EXISTS journal_is_not_{verb}")
        rows = list(connection.execute("SELECT seq, seq, writer, body, digest FROM journal ORDER BY seq"))
        for key, change in damaged(rows, damage, random).items():
            if change is None:
                connection.execute("DELETE FROM journal WHERE seq = ?", (key,))
            else:
                connection.execute("UPDATE journal SET body = ?, digest = ? WHERE seq = ?", (*change, key))
    finally:
        connection.close()


async def damage_database(dsn: str, damage: str, random: Random) -> list[Row]:
    """Damage the journal past the triggers; returns the rows as they were."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute("ALTER TABLE ledger_journal DISABLE TRIGGER USER")
        found = await connection.fetch("SELECT id, seq, writer, body, digest FROM ledger_journal ORDER BY id")
        rows = [(key, seq, writer, body.encode(), digest) for key, seq, writer, body, digest in found]
        for key, change in damaged(rows, damage, random).items():
            if change is None:
                await connection.execute("DELETE FROM ledger_journal WHERE id = $1", key)
            else:
                body, digest = change[0].decode(), change[1]
                sql = "UPDATE ledger_journal SET body = $2, digest = $3 WHERE id = $1"
                await connection.execute(sql, key, body, digest)
        await connection.execute("ALTER TABLE ledger_journal ENABLE TRIGGER USER")
        return rows
    finally:
        await connection.close()


@asynccontextmanager
async def sqlite_ledger(
    folder: Path, adapter: type[SqliteLedger] = SqliteLedger
) -> AsyncIterator[LedgerHarness]:
    """Give the embedded ledger on a manual clock and a disk that can fail."""
    disk = FaultyDisk()

    async def open_port(place: Path, clock: ManualClock) -> SqliteLedger:
        return await adapter.open(place / FILE, clock, vfs=disk.name)

    life = Life(folder, open_port)
    port = await life.start()

    async def jump_wall(seconds: float) -> None:
        life.clock.jump_wall(seconds)

    async def cut_off() -> SqliteLedger:
        disk.fail(apsw.FullError)
        return life.port

    async def tamper(damage: str) -> SqliteLedger:
        await life.stop()
        damage_file(life.folder / FILE, damage, Random(1))
        return await life.start()

    harness = LedgerHarness(
        port, life.advance, life.crash, life.peer, True, jump_wall=jump_wall, cut_off=cut_off, tamper=tamper
    )
    bind(harness, life)
    try:
        yield harness
    finally:
        disk.heal()
        await life.stop()
        disk.unregister()


class Fleet:
    """The processes on one database and one manual clock: the living beat once per second, the crashed are silent."""

    def __init__(self, dsn: str, adapter: type[PostgresLedger] = PostgresLedger) -> None:
        self.dsn = dsn
        self.adapter = adapter
        self.clock = ManualClock()
        self.living: list[PostgresLedger] = []
        self.relays = AsyncExitStack()

    async def start(self, writer: str = "one", address: str = "", timeout_s: float = 5.0) -> PostgresLedger:
        ledger = await self.adapter.open(address or self.dsn, self.clock, writer=writer, timeout_s=timeout_s)
        self.living.append(ledger)
        return ledger

    async def advance(self, seconds: float) -> None:
        for _ in range(int(seconds)):
            self.clock.advance(1.0)
            for ledger in self.living:
                await ledger.beat()
        self.clock.advance(seconds - int(seconds))

    async def crash(self, dying: PostgresLedger, writer: str = "one") -> PostgresLedger:
        """Go on under the same name before the dead one can do anything more."""
        self.living.remove(dying)
        successor = await self.start(writer)
        await dying.abandon()
        return successor

    async def cut_off(self) -> PostgresLedger:
        server = urlsplit(self.dsn)
        relay = await self.relays.enter_async_context(Relay(server.port))
        address = self.dsn.replace(f":{server.port}", f":{relay.port}")
        lost = await self.start("three", address, timeout_s=0.3)
        relay.cut()
        return lost

    async def stop(self) -> None:
        for ledger in self.living:
            await ledger.close()
        await self.relays.aclose()


@asynccontextmanager
async def postgres_ledger(
    dsn: str, adapter: type[PostgresLedger] = PostgresLedger
) -> AsyncIterator[LedgerHarness]:
    """Give the shared ledger on a real PostgreSQL and a manual clock."""
    fleet = Fleet(dsn, adapter)

    async def crash() -> PostgresLedger:
        harness.port = await fleet.crash(harness.port)
        return harness.port

    async def peer() -> PostgresLedger:
        return await fleet.start("two")

    async def jump_wall(seconds: float) -> None:
        fleet.clock.jump_wall(seconds)

    async def tamper(damage: str) -> PostgresLedger:
        await damage_database(dsn, damage, Random(1))
        return harness.port

    port = await fleet.start()
    harness = LedgerHarness(
        port, fleet.advance, crash, peer, jump_wall=jump_wall, cut_off=fleet.cut_off, tamper=tamper
    )
    try:
        yield harness
    finally:
        await fleet.stop()
