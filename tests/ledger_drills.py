"""Drills on the ledgers: the disk fails at the Nth write, a byte flips, the clocks jump. Used by tests and by evidence.

Each drill returns figures and raises AssertionError at the first broken promise.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import apsw
import asyncpg

from penstock.adapters.ledger import commits
from penstock.adapters.ledger.postgres import PostgresLedger
from penstock.adapters.ledger.sqlite import SqliteLedger
from penstock.adapters.ledger.verify import verify_file
from penstock.kernel.clock import ManualClock
from penstock.kernel.errors import Unavailable
from penstock.kernel.ids import new_id
from penstock.ports.ledger import NO_LIMIT, Attempt, Hold, Ledger, Line, Posting
from tests.contracts.ledger_engines import damage_database, damage_file
from tests.faulty_disk import FaultyDisk

LINES = (Line("org", 10_000), Line("team", 5_000), Line("key", NO_LIMIT))
HOUR_S, DAY_S = 3_600, 86_400


@dataclass(slots=True)
class Day:
    """What a ledger was told, and what must be true of it afterwards: granted and settled as answered."""

    ledger: SqliteLedger
    pending: dict[str, int] = field(default_factory=dict)
    posted: int = 0
    refused: int = 0

    async def hold(self, name: str, amount: int) -> None:
        try:
            await self.ledger.hold(Hold(name, amount, LINES))
        except Unavailable:
            self.refused += 1
        else:
            self.pending[name] = amount

    def post_soon(self, name: str, amount: int) -> None:
        if name in self.pending:
            del self.pending[name]
            self.ledger.post_soon(Posting(name, amount, (Attempt(1, "vendor", "model", amount),)))
            self.posted += amount

    async def void(self, name: str) -> None:
        if name in self.pending:
            del self.pending[name]
            with contextlib.suppress(Unavailable):  # it took effect and is queued
                await self.ledger.void(name)

    async def work(self) -> None:
        """Holds alone and together, settlements of every kind, a snapshot and a checkpoint of the log."""
        for number in range(4):
            await self.hold(f"a{number}", 100)
        await asyncio.gather(*(self.hold(f"b{number}", 10) for number in range(8)))
        self.post_soon("a0", 90)
        self.ledger.checkpoint("a1", 40)
        await self.void("b0")
        self.post_soon("b1", 15)
        try:
            assert not (await self.ledger.verify()).problems
        except Unavailable:
            self.refused += 1
        await self.hold("c", 7)
        self.post_soon("c", 7)
        try:
            await asyncio.to_thread(self.ledger._store.shorten_log)
        except apsw.Error:
            self.refused += 1
        await self.hold("d", 1)

    async def check(self, ledger: Ledger) -> None:
        """Nothing that was answered is lost, nothing that was refused is held."""
        found = await ledger.balance(accounts=[line.account for line in LINES])
        told = [(one.posted_nanos, one.held_nanos) for one in found]
        assert told == [(self.posted, sum(self.pending.values()))] * len(LINES), (
            told,
            self.posted,
            self.pending,
        )


async def fail_the_nth_write(folder: Path, nth: int, error: type[apsw.Error], *, once: bool) -> bool:
    """Play a day with a disk whose Nth write and all after it fail (or only that one); heal it; check everything.

    Returns whether the disk failed at all: False means that the day has fewer writes.
    """
    disk, clock, path = FaultyDisk(), ManualClock(), folder / f"{nth}" / "ledger.sqlite"
    disk.fail(error, after=nth, once=once)
    try:
        try:
            ledger = await SqliteLedger.open(path, clock, vfs=disk.name, timeout_s=0.05)
        except Unavailable:  # refused to open; nothing was promised, and it opens once there is room
            disk.heal()
            ledger = await SqliteLedger.open(path, clock, vfs=disk.name)
            await ledger.close()
            return True
        day = Day(ledger)
        await day.work()
        await day.check(ledger)
        failed = disk.failed > 0
        disk.heal()
        async with asyncio.timeout(5):
            while not ledger.healthy():
                await asyncio.sleep(0.002)
        await day.hold("after", 3)
        assert "after" in day.pending, "the ledger heals by itself"
        await ledger._commits.drain()
        crashed = folder / f"{nth}-crashed"
        shutil.copytree(path.parent, crashed)
        await ledger.close()
        for place in (path, crashed / path.name):
            verdict = verify_file(place)
            assert not verdict.problems, verdict.problems
            reopened = await SqliteLedger.open(place, clock)
            await day.check(reopened)
            await reopened.close()
        return failed
    finally:
        disk.heal()
        disk.unregister()


async def fail_every_write(folder: Path, error: type[apsw.Error], *, once: bool, step: int = 1) -> int:
    """Fail write 0, `step`, 2 · `step`, … until the day has no such write; returns how many were failed."""
    pauses = commits.FIRST_PAUSE_S, commits.LONGEST_PAUSE_S
    commits.FIRST_PAUSE_S = commits.LONGEST_PAUSE_S = 0.005
    try:
        nth = 0
        while await fail_the_nth_write(folder, nth, error, once=once):
            shutil.rmtree(folder / f"{nth}")
            shutil.rmtree(folder / f"{nth}-crashed", ignore_errors=True)
            nth += step
        return nth // step
    finally:
        commits.FIRST_PAUSE_S, commits.LONGEST_PAUSE_S = pauses


async def fill(ledger: Ledger, operations: int) -> None:
    """Give the journal something to damage."""
    for number in range(operations):
        name = new_id("op")
        await ledger.hold(Hold(name, 100, LINES, facts="price 7"))
        if number % 3 == 0:
            ledger.checkpoint(name, 50)
        await ledger.post(Posting(name, 60, (Attempt(1, "vendor", "model", 60),)))


async def flip_bytes_of_a_file(folder: Path, random: Random, times: int) -> int:
    """Flip one byte of a fresh copy of a closed ledger, `times` times; returns how many were found."""
    whole = folder / "whole.sqlite"
    ledger = await SqliteLedger.open(whole, ManualClock())
    await fill(ledger, 40)
    await ledger.close()
    assert not verify_file(whole).problems
    found = 0
    for number in range(times):
        copy = folder / "copy.sqlite"
        shutil.copy(whole, copy)
        damage_file(copy, ("flip", "flip digest")[number % 2], random)
        found += bool(verify_file(copy).problems)
    return found


async def flip_bytes_of_a_database(dsn: str, random: Random, times: int) -> int:
    """Flip one byte of the journal, past its triggers, and put it back, `times` times; returns how many were found."""
    ledger = await PostgresLedger.open(dsn, ManualClock(), writer="flip")
    connection = await asyncpg.connect(dsn)
    try:
        await fill(ledger, 40)
        assert not (await ledger.verify()).problems
        found = 0
        for number in range(times):
            rows = await damage_database(dsn, ("flip", "flip digest")[number % 2], random)
            found += bool((await ledger.verify()).problems)
            await connection.execute("ALTER TABLE ledger_journal DISABLE TRIGGER USER")
            await connection.executemany(
                "UPDATE ledger_journal SET body = $2, digest = $3 WHERE id = $1",
                [(key, body.decode(), digest) for key, _, _, body, digest in rows],
            )
            await connection.execute("ALTER TABLE ledger_journal ENABLE TRIGGER USER")
        assert not (await ledger.verify()).problems
        return found
    finally:
        await connection.close()
        await ledger.close()


async def jump_the_clocks(
    ledger: Ledger,
    clock: ManualClock,
    advance: Callable[[float], Awaitable[None]],
    random: Random,
    seeds: int,
) -> int:
    """Jump the wall clock at random moments of a hold's life, and let it stand still; returns the jumps made."""
    jumps = 0

    async def expired() -> set[str]:
        return {one.operation for one in await ledger.expire()}

    for _ in range(seeds):
        name, timeout_s = new_id("jump"), random.randrange(10, 60)
        await ledger.hold(Hold(name, 1, LINES[2:], timeout_s))
        left_s = timeout_s - 1
        while left_s > 0:
            clock.jump_wall(random.choice((-1, 1)) * random.choice((5, HOUR_S, DAY_S, 365 * DAY_S)))
            jumps += 1
            assert name not in await expired(), (
                "a jump expires nothing early; a frozen interval nothing at all"
            )
            step_s = random.randrange(1, 20)
            await advance(min(step_s, left_s))
            left_s -= step_s
        assert name not in await expired(), "not a second early"
        clock.jump_wall(random.choice((-DAY_S, DAY_S)))
        await advance(2)
        assert name in await expired(), "and not later"
    return jumps
