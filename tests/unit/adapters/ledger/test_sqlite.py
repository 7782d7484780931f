"""The embedded ledger beyond its port: who may open it, what it forgets and never forgets, how it fails and heals."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import apsw
import pytest

from penstock.adapters.ledger import accounts, commits, rules
from penstock.adapters.ledger.sqlite import SqliteLedger
from penstock.adapters.ledger.store import WAL_PAGES, Reading, require_safe_engine
from penstock.adapters.ledger.verify import verify_file
from penstock.kernel.clock import ManualClock
from penstock.kernel.errors import Conflict, Invalid, NotFound, Overloaded, Unavailable
from penstock.ports.ledger import Attempt, Hold, Line, Posting
from tests.contracts.ledger_engines import damage_file
from tests.faulty_disk import FaultyDisk
from tests.support import run

ORG = (Line("org"),)


@contextlib.asynccontextmanager
async def opened(path: Path, **options: object) -> AsyncIterator[SqliteLedger]:
    ledger = await SqliteLedger.open(path / "ledger.sqlite", ManualClock(), **options)
    try:
        yield ledger
    finally:
        await ledger.close()


async def spend(ledger: SqliteLedger, name: str, lines: tuple[Line, ...] = ORG) -> None:
    await ledger.hold(Hold(name, 10, lines))
    ledger.post_soon(Posting(name, 4))


async def figures(ledger: SqliteLedger, account: str = "org") -> tuple[int, int]:
    (found,) = await ledger.balance(accounts=[account])
    return found.posted_nanos, found.held_nanos


def test_a_second_process_is_refused_with_the_reason(tmp_path):
    async def both() -> None:
        async with opened(tmp_path):
            with pytest.raises(Conflict, match="is open in process") as refusal:
                await SqliteLedger.open(tmp_path / "ledger.sqlite", ManualClock())
            assert refusal.value.reason == "ledger_in_use"
        async with opened(tmp_path) as ledger:  # and welcome once the first is gone
            await spend(ledger, "op")

    run(both())


@pytest.mark.parametrize("version", ["3.40.1", "3.51.2"])
def test_an_engine_with_the_log_reset_bug_is_refused(version):
    with pytest.raises(Unavailable, match="can corrupt") as refusal:
        require_safe_engine(version)
    assert (refusal.value.value, refusal.value.limit) == (version, "3.51.3")


@pytest.mark.parametrize("version", ["3.51.3", "3.52.0", "4.0.0"])
def test_a_safe_engine_is_taken(version):
    require_safe_engine(version)


def test_an_unknown_durability_is_refused(tmp_path):
    with pytest.raises(Invalid, match="durability"):
        run(SqliteLedger.open(tmp_path / "ledger.sqlite", ManualClock(), durability="hope"))


def test_power_durability_waits_for_the_disk(tmp_path):
    async def synced() -> int:
        disk = FaultyDisk()
        async with opened(tmp_path, durability="power", vfs=disk.name) as ledger:
            syncs = []
            disk.on_sync = lambda: syncs.append(1)
            await ledger.hold(Hold("op", 10, ORG))
            return len(syncs)

    assert run(synced()) >= 1


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE journal SET body = x'00'",
        "DELETE FROM journal",
        "REPLACE INTO journal SELECT seq, writer, x'00', digest FROM journal",
    ],
)
def test_the_journal_is_append_only(statement, tmp_path):
    async def write() -> None:
        async with opened(tmp_path) as ledger:
            await spend(ledger, "op")

    run(write())
    connection = apsw.Connection(str(tmp_path / "ledger.sqlite"))
    connection.execute("PRAGMA recursive_triggers = ON")
    with pytest.raises(apsw.ConstraintError, match="append-only"):
        connection.execute(statement).fetchall()
    connection.close()


def test_a_full_disk_refuses_holds_keeps_settlements_and_heals(tmp_path, monkeypatch):
    monkeypatch.setattr(commits, "FIRST_PAUSE_S", 0.005)

    async def drill() -> None:
        disk = FaultyDisk()
        async with opened(tmp_path, vfs=disk.name, timeout_s=0.05) as ledger:
            for name in ("a", "b", "c"):
                await ledger.hold(Hold(name, 10, ORG))
            disk.fail(apsw.FullError)
            refused = await asyncio.gather(
                *(ledger.hold(Hold(f"x{i}", 10, ORG)) for i in range(5)), return_exceptions=True
            )
            assert [error.reason for error in refused] == ["ledger_full"] * 5
            assert not ledger.healthy()
            with pytest.raises(Unavailable):
                await ledger.hold(Hold("y", 10, ORG))
            ledger.post_soon(Posting("a", 4))
            with pytest.raises(Unavailable) as queued:
                await ledger.post(Posting("b", 5))
            assert queued.value.reason == "settlement_queued"
            with pytest.raises(Conflict):
                await ledger.post(Posting("b", 5))
            with pytest.raises(Unavailable):
                await ledger.expire()
            assert await figures(ledger) == (9, 10)
            disk.heal()
            while not ledger.healthy():
                await asyncio.sleep(0.002)
            await spend(ledger, "z")
            assert await figures(ledger) == (13, 10)
            assert not (await ledger.verify()).problems
        async with opened(tmp_path) as ledger:
            assert await figures(ledger) == (13, 10)

    run(drill())


def test_a_disk_that_hangs_refuses_in_time_and_leaves_nothing_held(tmp_path):
    async def drill() -> None:
        disk = FaultyDisk()
        async with opened(tmp_path, vfs=disk.name, timeout_s=0.05) as ledger:
            await ledger.hold(Hold("before", 10, ORG))
            disk.hang()
            answers = await asyncio.gather(
                ledger.hold(Hold("a", 10, ORG)), ledger.hold(Hold("b", 10, ORG)), return_exceptions=True
            )
            assert [error.reason for error in answers] == ["ledger_stuck"] * 2
            with pytest.raises(Unavailable):
                await ledger.hold(Hold("c", 10, ORG))
            disk.heal()
            while not ledger.healthy():
                await asyncio.sleep(0.002)
            await spend(ledger, "after")
            assert await figures(ledger) == (4, 10)
            assert not (await ledger.verify()).problems
        async with opened(tmp_path) as ledger:
            assert await figures(ledger) == (4, 10)

    run(drill())


def test_memory_is_bounded_and_endings_are_remembered_for_ever(tmp_path):
    async def drill() -> None:
        async with opened(tmp_path) as ledger:
            for batch in range(50):
                await asyncio.gather(*(spend(ledger, f"req_{batch:03}{i:03}") for i in range(100)))
            assert len(ledger._ended) < 3_000  # of 5,000
            for name in ("req_000000", "req_049099"):
                with pytest.raises(Conflict):
                    await ledger.post(Posting(name, 1))
                with pytest.raises(Conflict):
                    await ledger.hold(Hold(name, 1, ORG))
            # An identifier out of order, as after a clock was set back, is as good as any.
            await spend(ledger, "req_000000x")
            with pytest.raises(NotFound):
                await ledger.void("req_000000y")
            assert not (await ledger.verify()).problems
        async with opened(tmp_path) as ledger:
            with pytest.raises(Conflict):
                await ledger.hold(Hold("req_000000", 1, ORG))
            assert await figures(ledger) == (5_001 * 4, 0)

    run(drill())


def test_accounts_out_of_use_leave_memory_and_come_back(tmp_path, monkeypatch):
    monkeypatch.setattr(accounts, "MAX_RESIDENT", 20)

    async def drill() -> None:
        async with opened(tmp_path) as ledger:
            await ledger.hold(Hold("open", 7, (Line("user-000"),)))
            for i in range(100):
                await spend(ledger, f"op-{i}", (Line(f"user-{i:03}"),))
            await ledger.verify()
            await spend(ledger, "more", (Line("user-050"),))
            assert not (await ledger.verify()).problems
            assert ledger.stats()["accounts"] <= 20
            assert await figures(ledger, "user-000") == (4, 7)
            assert await figures(ledger, "user-050") == (8, 0)
            page = await ledger.balance(prefix="user-", after="user-010", limit=5)
            assert [one.account for one in page] == [f"user-{i:03}" for i in range(11, 16)]
            await ledger.post(Posting("open", 7))
            assert await figures(ledger, "user-000") == (11, 0)
            assert not (await ledger.verify()).problems

    run(drill())


def test_pending_operations_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(rules, "MAX_PENDING", 2)

    async def drill() -> None:
        async with opened(tmp_path) as ledger:
            await ledger.hold(Hold("a", 1, ORG))
            await ledger.hold(Hold("b", 1, ORG))
            with pytest.raises(Overloaded):
                await ledger.hold(Hold("c", 1, ORG))
            await ledger.void("a")
            await ledger.hold(Hold("c", 1, ORG))

    run(drill())


def test_what_waits_for_the_disk_is_bounded_and_settlements_still_pass(tmp_path, monkeypatch):
    monkeypatch.setattr(commits, "MAX_GROUP", 4)
    monkeypatch.setattr(commits, "MAX_SEALED", 2)

    async def drill() -> None:
        disk = FaultyDisk()
        async with opened(tmp_path, vfs=disk.name, timeout_s=5.0) as ledger:
            await asyncio.gather(*(ledger.hold(Hold(f"op-{i}", 1, ORG)) for i in range(4)))
            disk.hang()
            waiting = []
            for size in (4, 8):  # the first four are in flight, the others fill both groups
                waiting += [
                    asyncio.ensure_future(ledger.hold(Hold(f"w-{size}-{i}", 1, ORG))) for i in range(size)
                ]
                for _ in range(3):
                    await asyncio.sleep(0)
            with pytest.raises(Overloaded):
                await ledger.hold(Hold("more", 1, ORG))
            entries = ledger.stats()["queue"]
            ledger.checkpoint("op-0", 1)
            assert ledger.stats()["queue"] == entries
            ledger.post_soon(Posting("op-0", 1))
            assert ledger.stats()["queue"] == entries + 1
            disk.heal()
            await asyncio.gather(*waiting)
            assert await figures(ledger) == (1, 15)
            assert not (await ledger.verify()).problems

    run(drill())


def test_a_mistaken_background_settlement_is_counted_not_raised(tmp_path):
    async def drill() -> None:
        async with opened(tmp_path) as ledger:
            await spend(ledger, "op")
            ledger.post_soon(Posting("op", 4))
            ledger.post_soon(Posting("never", 4))
            await ledger.hold(Hold("two", 4, ORG))
            ledger.post_soon(Posting("two", 4, (Attempt(1, "vendor", "model", 3),)))
            ledger.post_soon(Posting("two", 4, (Attempt(1, "half \ud800 a character", "model", 4),)))
            assert ledger.stats()["failures"] == 4
            await ledger.post(Posting("two", 40))
            assert ledger.stats()["overruns"] == 1
            assert ledger.healthy()

    run(drill())


@pytest.mark.parametrize("field", ["operation", "facts", "account"])
def test_half_a_character_is_refused_before_it_can_poison_a_group(field, tmp_path):
    async def drill() -> None:
        bad = "half \ud800"
        hold = Hold(
            bad if field == "operation" else "op",
            1,
            (Line(bad if field == "account" else "org"),),
            facts=bad if field == "facts" else "",
        )
        async with opened(tmp_path) as ledger:
            with pytest.raises(Invalid):
                await ledger.hold(hold)
            await spend(ledger, "ünïcode ✓", (Line("örg"),))
            assert await figures(ledger, "örg") == (4, 0)

    run(drill())


def test_a_file_is_verified_beside_the_running_server(tmp_path):
    async def drill() -> None:
        async with opened(tmp_path) as ledger:
            for i in range(20):
                await ledger.hold(Hold(f"op-{i}", 10, ORG))
                await ledger.post(Posting(f"op-{i}", 4))
            outside = verify_file(tmp_path / "ledger.sqlite")
            inside = await ledger.verify()
            assert outside == inside
            assert (outside.operations, outside.posted_nanos, outside.problems) == (20, 80, ())

    run(drill())


@pytest.mark.parametrize("table", ["accounts", "settled", "snapshot", "journal"])
def test_a_table_that_does_not_say_what_the_journal_says_is_a_problem(table, tmp_path):
    async def drill() -> None:
        async with opened(tmp_path) as ledger:
            await spend(ledger, "op")
            await ledger.hold(Hold("pending", 10, ORG))

    run(drill())
    path = tmp_path / "ledger.sqlite"
    connection = apsw.Connection(str(path))
    change = {
        "accounts": "UPDATE accounts SET posted_nanos = posted_nanos - 1",
        "settled": "DELETE FROM settled",
        "snapshot": "UPDATE snapshot SET body = CAST(replace(body, 'pending', 'missing') AS BLOB)",
        "journal": "DELETE FROM journal WHERE seq = (SELECT max(seq) FROM journal)",
    }[table]
    for verb in ("updated", "deleted"):
        connection.execute(f"DROP TRIGGER journal_is_not_{verb}")
    connection.execute(change).fetchall()
    connection.close()
    assert verify_file(path).problems


def test_a_damaged_tail_is_not_opened(tmp_path):
    async def drill() -> None:
        async with opened(tmp_path) as ledger:
            for i in range(5):
                await ledger.hold(Hold(f"op-{i}", 10, ORG))
            crashed = tmp_path / "crashed"
            crashed.mkdir()
            for file in tmp_path.glob("ledger.sqlite*"):
                shutil.copy(file, crashed)
        damage_file(crashed / "ledger.sqlite", "flip", Random(1))
        with pytest.raises(Unavailable, match="does not add up") as refusal:
            await SqliteLedger.open(crashed / "ledger.sqlite", ManualClock())
        assert refusal.value.reason == "ledger_damaged"
        with pytest.raises(Unavailable):  # and the lock is free again: the same answer, not "in use"
            await SqliteLedger.open(crashed / "ledger.sqlite", ManualClock())

    run(drill())


def test_a_file_that_is_no_database_is_unavailable(tmp_path):
    (tmp_path / "ledger.sqlite").write_bytes(b"not a database at all" * 100)
    with pytest.raises(Unavailable):
        run(SqliteLedger.open(tmp_path / "ledger.sqlite", ManualClock()))


def test_the_write_ahead_log_starts_over(tmp_path, monkeypatch):
    monkeypatch.setattr("penstock.adapters.ledger.store.WAL_PAGES", 100_000)

    async def drill() -> None:
        async with opened(tmp_path) as ledger:
            for i in range(50):
                await ledger.hold(Hold(f"op-{i}", 1, ORG))
            store = ledger._store
            long = store._log_pages
            assert long > 50
            reader = Reading(tmp_path / "ledger.sqlite")
            assert reader.snapshot() is None
            await asyncio.to_thread(
                store.shorten_log
            )  # a reader is in the way: the log grows on, and nobody waits
            await ledger.hold(Hold("more", 1, ORG))
            assert store._log_pages > long
            assert store._shorten_at == long + 100_000
            reader.close()
            await asyncio.to_thread(store.shorten_log)
            await ledger.hold(Hold("last", 1, ORG))
            assert store._log_pages < 10

    run(drill())


@pytest.mark.parametrize(
    ("pages", "is_long"), [(WAL_PAGES - 1, False), (WAL_PAGES, True), (WAL_PAGES + 1, True)]
)
def test_a_log_is_long_from_its_bound_on(pages, is_long, tmp_path):
    async def drill() -> None:
        async with opened(tmp_path) as ledger:
            ledger._store._note_log(None, "main", pages)
            assert ledger._store.log_is_long() == is_long
            ledger._store._note_log(None, "main", 1)

    run(drill())
