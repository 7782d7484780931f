"""What the records do when things go wrong: full disks, locked or foreign files, servers that hang, die or are new."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from penstock.adapters.records import sqlite, sqlite_file
from penstock.adapters.records.postgres import PostgresRecords
from penstock.adapters.records.sqlite import SqliteRecords
from penstock.adapters.records.sqlite_file import SqliteFile
from penstock.contracts.records_transactions import COLLECTIONS, PEOPLE, put
from penstock.kernel.clock import ManualClock
from penstock.kernel.errors import Broken, Invalid, Overloaded, TimedOut, Unavailable
from penstock.ports.records import Collection
from tests.contracts.file_harness import full_disk, locked
from tests.contracts.shared_faults import (
    finds_nothing_at,
    is_unavailable_once_closed,
    nowhere,
    once_back,
    refuses_a_newer_file,
    refuses_a_newer_schema,
    refuses_an_engine_that_can_corrupt,
    refuses_what_is_not_its_own,
)
from tests.support import run

PLAIN = [Collection(name="c", indexes=("i",))]
UNIQUE = [Collection(name="c", unique=("i",))]


async def open_sqlite(folder, collections=COLLECTIONS):
    return await SqliteRecords.open(folder / "records.db", collections, ManualClock())


async def open_postgres(dsn, collections=COLLECTIONS, **given):
    return await PostgresRecords.open(dsn, collections, **given)


# --------------------------------------------------------------------------------------------------- SQLite


def test_a_full_disk_is_unavailable_and_loses_nothing(tmp_path):
    async def scenario():
        records = await open_sqlite(tmp_path)
        await records.transact([put("acme", "before", b"kept", team="red")])
        with full_disk(tmp_path, 100_000):
            with pytest.raises(Unavailable):
                await records.transact([put("acme", f"p{i}", b"x" * 500_000, team="red") for i in range(3)])
            assert [row.id for row in await records.find(PEOPLE, "acme", "team", "red")] == ["before"]
        await records.transact([put("acme", "after", b"x" * 500_000, team="red")])
        assert [row.id for row in await records.find(PEOPLE, "acme", "team", "red")] == ["after", "before"]
        await records.close()

    run(scenario())


def test_a_locked_file_is_unavailable_and_then_works(tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite_file, "BUSY_MS", 50)

    async def scenario():
        records = await open_sqlite(tmp_path)
        with locked(tmp_path / "records.db"):
            with pytest.raises(Unavailable, match="Another process"):
                await records.transact([put("acme", "p")])
            assert await records.get(PEOPLE, "acme", "p") is None  # readers do not wait for writers
        assert await records.transact([put("acme", "p")]) == [1]
        await records.close()

    run(scenario())


def test_a_defect_met_by_one_write_does_not_silence_the_writer(tmp_path, monkeypatch):
    async def scenario():
        records = await open_sqlite(tmp_path)
        with monkeypatch.context() as patch:
            patch.setattr(SqliteFile, "_apply", lambda file, writes: 1 / 0)
            with pytest.raises(Broken, match="ZeroDivisionError"):
                await records.transact([put("acme", "p")])
        assert await records.transact([put("acme", "p")]) == [1]
        await records.close()

    run(scenario())


def test_a_refused_write_harms_no_neighbour_of_its_group(tmp_path):
    async def scenario():
        records = await open_sqlite(tmp_path)
        writes = [put("acme", f"p{i}", expected=i % 2) for i in range(40)]
        answers = await asyncio.gather(
            *(records.transact([write]) for write in writes), return_exceptions=True
        )
        assert [answer == [1] for answer in answers] == [True, False] * 20
        assert await records.count(PEOPLE, "acme") == 20
        await records.close()

    run(scenario())


def test_the_queue_of_writes_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite, "QUEUE_MOST", 4)

    async def scenario():
        records = await open_sqlite(tmp_path)
        with locked(tmp_path / "records.db"):
            calls = [asyncio.create_task(records.transact([put("acme", f"p{i}")])) for i in range(20)]
            await asyncio.sleep(0.05)
        answers = await asyncio.gather(*calls, return_exceptions=True)
        refused = sum(isinstance(answer, Overloaded) for answer in answers)
        assert refused >= 20 - 2 * 4 - 1
        assert await records.count(PEOPLE, "acme") == 20 - refused
        await records.close()

    run(scenario())


def test_what_was_queued_when_closing_is_committed(tmp_path):
    async def scenario():
        records = await open_sqlite(tmp_path)
        calls = [asyncio.create_task(records.transact([put("acme", f"p{i}")])) for i in range(50)]
        await asyncio.sleep(0)
        await records.close()
        assert await asyncio.gather(*calls) == [[1]] * 50
        records = await open_sqlite(tmp_path)
        assert await records.count(PEOPLE, "acme") == 50
        await records.close()

    run(scenario())


def test_an_engine_that_can_corrupt_is_refused(tmp_path, monkeypatch):
    refuses_an_engine_that_can_corrupt(open_sqlite, tmp_path, monkeypatch)


def test_files_that_are_not_ours_to_open_are_refused(tmp_path):
    refuses_what_is_not_its_own(open_sqlite, tmp_path / "records.db")


def test_a_file_of_a_newer_penstock_is_refused(tmp_path):
    refuses_a_newer_file(open_sqlite, tmp_path / "records.db")


@pytest.mark.parametrize(("first", "then"), [(PLAIN, UNIQUE), (UNIQUE, PLAIN)])
def test_an_index_never_changes_its_kind(first, then, tmp_path, fresh_postgres):
    dsn = fresh_postgres()

    async def scenario():
        await (await open_sqlite(tmp_path, first)).close()
        await (await open_postgres(dsn, first)).close()
        with pytest.raises(Invalid, match="new name"):
            await open_sqlite(tmp_path, then)
        with pytest.raises(Invalid, match="new name"):
            await open_postgres(dsn, then)

    run(scenario())


# ----------------------------------------------------------------------------------------------- PostgreSQL


def test_a_hung_postgres_times_out_and_is_found_again(own_postgres):
    dsn = own_postgres.fresh()

    async def scenario():
        records = await open_postgres(dsn, timeout_s=0.3)
        await records.transact([put("acme", "before")])
        own_postgres.pause()
        calls = [records.transact([put("acme", f"p{i}")]) for i in range(15)]
        calls += [records.get(PEOPLE, "acme", "before") for _ in range(15)]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(answer, TimedOut) for answer in answers), answers
        assert not await records.healthy()
        own_postgres.resume()
        assert await once_back(lambda: records.count(PEOPLE, "acme")) >= 1
        assert await records.healthy()
        await records.close()

    run(scenario())


def test_a_killed_postgres_keeps_what_was_acknowledged(own_postgres):
    dsn = own_postgres.fresh()

    async def scenario():
        records = await open_postgres(dsn, timeout_s=2.0)
        for i in range(20):
            await records.transact([put("acme", f"p{i}", team="red")])
        own_postgres.kill()
        with pytest.raises(Unavailable):
            await records.transact([put("acme", "late")])
        own_postgres.start()
        assert await once_back(lambda: records.count(PEOPLE, "acme")) == 20
        assert len(await records.find(PEOPLE, "acme", "team", "red")) == 20
        await records.close()

    run(scenario())


def test_many_processes_may_make_the_schema_at_once(fresh_postgres):
    dsn = fresh_postgres()

    async def scenario():
        opened = await asyncio.gather(*(open_postgres(dsn, timeout_s=10.0) for _ in range(8)))
        await asyncio.gather(*(records.transact([put("acme", f"p{i}")]) for i, records in enumerate(opened)))
        assert {await records.count(PEOPLE, "acme") for records in opened} == {8}
        await asyncio.gather(*(records.close() for records in opened))

    run(scenario())


def test_a_cancelled_transaction_is_whole_or_absent(fresh_postgres):
    dsn = fresh_postgres()

    async def scenario():
        records = await open_postgres(dsn, timeout_s=10.0)
        for attempt in range(20):
            names = [f"{attempt}-{i}" for i in range(50)]
            call = asyncio.create_task(records.transact([put("acme", name, team=name) for name in names]))
            await asyncio.sleep(attempt * 0.0005)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
            present = [await records.get(PEOPLE, "acme", name) is not None for name in names]
            assert len(set(present)) == 1
        assert await records.healthy()
        await records.close()

    run(scenario())


def test_a_database_of_a_newer_penstock_is_refused(fresh_postgres):
    refuses_a_newer_schema(open_postgres, fresh_postgres(), "records_schema")


@nowhere
def test_opening_what_is_not_there_is_unavailable(path, message, postgres_server):
    finds_nothing_at(open_postgres, path, message, postgres_server)


def test_closed_records_are_unavailable(tmp_path, fresh_postgres):
    dsn = fresh_postgres()

    async def scenario():
        for records in (await open_sqlite(tmp_path), await open_postgres(dsn)):
            await is_unavailable_once_closed(records, partial(records.transact, [put("acme", "p")]))

    run(scenario())
