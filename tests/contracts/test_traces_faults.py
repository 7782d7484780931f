"""What the traces do when things go wrong: full disks, locked or foreign files, servers that hang, die or are new."""

from __future__ import annotations

import asyncio
from functools import partial

import apsw
import asyncpg
import pytest

from penstock.adapters.traces import postgres_sql, questions, sqlite, sqlite_file
from penstock.adapters.traces.postgres import PostgresTraces
from penstock.adapters.traces.sqlite import SqliteTraces
from penstock.contracts.traces_totals import BASE_S, delta
from penstock.kernel.errors import Invalid, Overloaded, TimedOut, Unavailable
from penstock.kernel.events import RequestEvent
from penstock.ports.traces import Batch, TraceFilter
from tests.contracts.file_harness import full_disk, locked
from tests.contracts.shared_faults import (
    finds_nothing_at,
    is_unavailable_once_closed,
    nowhere,
    once_back,
    raised_by_asyncpg,
    refuses_a_newer_file,
    refuses_a_newer_schema,
    refuses_an_engine_that_can_corrupt,
    refuses_what_is_not_its_own,
)
from tests.support import run

ALL = TraceFilter()


async def open_sqlite(folder):
    return await SqliteTraces.open(folder / "traces.db")


def batch(id_, events=1, **figures):
    """A batch of so many events, and as many requests in one total."""
    told = [RequestEvent(request_id=f"{id_}-{i}", at_s=BASE_S, error="x" * 100) for i in range(events)]
    return Batch(id=id_, at_s=BASE_S, events=told, deltas=[delta("acme", requests=events, **figures)])


async def counted(traces):
    """How many events and how many requests there are."""
    (total,) = await traces.totals(ALL, ())
    return len((await traces.find(ALL, limit=1_000)).events), total.requests


# --------------------------------------------------------------------------------------------------- SQLite


def test_a_full_disk_is_unavailable_and_leaves_no_part_of_a_batch(tmp_path):
    async def scenario():
        traces = await open_sqlite(tmp_path)
        await traces.add(batch("before"))
        with full_disk(tmp_path, 20_000):
            with pytest.raises(Unavailable):
                await traces.add(batch("much", 900))
            assert await counted(traces) == (1, 1)
        await traces.add(batch("much", 900))
        assert await counted(traces) == (901, 901)
        await traces.close()

    run(scenario())


def test_a_locked_file_is_unavailable_and_then_works(tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite_file, "BUSY_MS", 50)

    async def scenario():
        traces = await open_sqlite(tmp_path)
        with locked(tmp_path / "traces.db"):
            with pytest.raises(Unavailable, match="Another process"):
                await traces.add(batch("b"))
            assert await counted(traces) == (0, 0)  # readers do not wait for writers
        await traces.add(batch("b"))
        assert await counted(traces) == (1, 1)
        await traces.close()

    run(scenario())


def test_a_defect_met_by_one_batch_leaves_nothing_and_harms_no_other(tmp_path, monkeypatch):
    async def scenario():
        traces = await open_sqlite(tmp_path)
        with monkeypatch.context() as patch:
            patch.setattr(sqlite_file.Sql, "totals", "SELECT {rows}, nonsense")
            with pytest.raises(Unavailable, match="nonsense"):
                await traces.add(batch("b"))
        assert await counted(traces) == (0, 0)
        await traces.add(batch("b"))
        assert await counted(traces) == (1, 1)
        await traces.close()

    run(scenario())


def test_a_long_search_ends_in_time(tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite_file, "STEPS", 1)

    async def scenario():
        traces = await open_sqlite(tmp_path)
        await traces.add(batch("b", 500))
        with monkeypatch.context() as patch:
            patch.setattr(sqlite_file, "READ_S", -1.0)
            for search in (traces.find(ALL), traces.totals(ALL, ("user",)), traces.get("b-1")):
                with pytest.raises(TimedOut, match="shorter period"):
                    await search
        assert await counted(traces) == (500, 500)
        await traces.close()

    run(scenario())


def test_what_waits_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite, "WAITING_MOST", 4)

    async def scenario():
        traces = await open_sqlite(tmp_path)
        adds = await asyncio.gather(*(traces.add(batch(f"b{i}")) for i in range(5)), return_exceptions=True)
        assert [isinstance(answer, Overloaded) for answer in adds] == [False] * 4 + [True]
        reads = await asyncio.gather(*(traces.find(ALL) for _ in range(5)), return_exceptions=True)
        assert [isinstance(answer, Overloaded) for answer in reads] == [False] * 4 + [True]
        assert await counted(traces) == (4, 4)
        await traces.close()

    run(scenario())


def test_what_waited_when_closing_is_added(tmp_path):
    async def scenario():
        traces = await open_sqlite(tmp_path)
        calls = [asyncio.create_task(traces.add(batch(f"b{i}"))) for i in range(50)]
        await asyncio.sleep(0)
        await traces.close()
        await asyncio.gather(*calls)
        traces = await open_sqlite(tmp_path)
        assert await counted(traces) == (50, 50)
        await traces.close()

    run(scenario())


def test_an_engine_that_can_corrupt_is_refused(tmp_path, monkeypatch):
    refuses_an_engine_that_can_corrupt(open_sqlite, tmp_path, monkeypatch)


def test_files_that_are_not_ours_to_open_are_refused(tmp_path):
    refuses_what_is_not_its_own(open_sqlite, tmp_path / "traces.db")


def test_a_file_of_a_newer_penstock_is_refused(tmp_path):
    refuses_a_newer_file(open_sqlite, tmp_path / "traces.db")


def test_events_are_found_in_an_index_and_never_sorted(tmp_path):
    async def scenario():
        traces = await open_sqlite(tmp_path)
        await traces.close()

    run(scenario())
    connection = apsw.Connection(str(tmp_path / "traces.db"))
    after = questions._after(2.0, "x")
    for wanted, index in (
        (TraceFilter(org="a", user="u", since_s=1.0), "events_org"),
        (ALL, "events_latest"),
    ):
        question = questions.find(wanted, after, 100)
        plan = connection.execute(f"EXPLAIN QUERY PLAN {question.text.replace('$', '?')}", question.bindings)
        steps = [step for *_, step in plan]
        assert len(steps) == 1, steps
        assert f"USING INDEX traces_{index}" in steps[0]
    connection.close()


# ----------------------------------------------------------------------------------------------- PostgreSQL


def test_a_hung_postgres_times_out_and_is_found_again(own_postgres):
    dsn = own_postgres.fresh()

    async def scenario():
        traces = await PostgresTraces.open(dsn, timeout_s=0.3)
        await traces.add(batch("before"))
        own_postgres.pause()
        calls = [traces.add(batch(f"b{i}")) for i in range(10)]
        calls += [traces.get("before-0") for _ in range(10)]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(answer, TimedOut) for answer in answers), answers
        assert not await traces.healthy()
        own_postgres.resume()
        await once_back(lambda: counted(traces))
        # Whether or not one of them arrived after all: offered again, each is there once.
        for i in range(10):
            await traces.add(batch(f"b{i}"))
        assert await counted(traces) == (11, 11)
        assert await traces.healthy()
        await traces.close()

    run(scenario())


def test_a_killed_postgres_keeps_what_was_added(own_postgres):
    dsn = own_postgres.fresh()

    async def scenario():
        traces = await PostgresTraces.open(dsn, timeout_s=2.0)
        for i in range(20):
            await traces.add(batch(f"b{i}"))
        own_postgres.kill()
        with pytest.raises(Unavailable):
            await traces.add(batch("late"))
        own_postgres.start()
        assert await once_back(lambda: counted(traces)) == (20, 20)
        await traces.close()

    run(scenario())


def test_many_processes_may_make_the_schema_at_once(fresh_postgres):
    dsn = fresh_postgres()

    async def scenario():
        opened = await asyncio.gather(*(PostgresTraces.open(dsn, 10.0) for _ in range(8)))
        await asyncio.gather(*(traces.add(batch(f"b{i}")) for i, traces in enumerate(opened)))
        assert {await counted(traces) for traces in opened} == {(8, 8)}
        await asyncio.gather(*(traces.close() for traces in opened))

    run(scenario())


def test_a_cancelled_batch_is_whole_or_absent(fresh_postgres):
    dsn = fresh_postgres()

    async def scenario():
        traces = await PostgresTraces.open(dsn, 10.0)
        for attempt in range(20):
            before = await counted(traces)
            call = asyncio.create_task(traces.add(batch(f"b{attempt}", 20)))
            await asyncio.sleep(attempt * 0.0005)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
            now = await counted(traces)
            assert [now[0] - before[0], now[1] - before[1]] in ([0, 0], [20, 20])
        assert await traces.healthy()
        await traces.close()

    run(scenario())


def test_a_database_of_a_newer_penstock_is_refused(fresh_postgres):
    refuses_a_newer_schema(PostgresTraces.open, fresh_postgres(), "traces_schema")


@nowhere
def test_opening_what_is_not_there_is_unavailable(path, message, postgres_server):
    finds_nothing_at(PostgresTraces.open, path, message, postgres_server)


@raised_by_asyncpg(
    (asyncpg.NumericValueOutOfRangeError("bigint"), Invalid),
    (asyncpg.InternalClientError("another operation is in progress"), Unavailable),
)
def test_what_the_driver_raises_is_translated(error, ours):
    assert isinstance(error, postgres_sql.FOREIGN)
    assert type(postgres_sql.translated(error)) is ours


# ---------------------------------------------------------------------------------------------------- both


def test_a_total_without_room_refuses_the_batch_and_adds_nothing(tmp_path, fresh_postgres):
    """A figure of a row is a 64-bit number in both stores: nine billion dollars in one hour of one user."""
    dsn = fresh_postgres()
    full = "UPDATE traces_totals SET cost_nanos = 9223372036854775798"  # ten less than 2**63

    async def scenario():
        file, server = await open_sqlite(tmp_path), await PostgresTraces.open(dsn)
        for traces in (file, server):
            await traces.add(batch("first"))
        await file._writing.run(lambda opened: opened._run(full))
        async with server._lender.connection() as connection:
            await connection.execute(full)
        for traces in (file, server):
            with pytest.raises(Invalid, match="no room"):
                await traces.add(batch("over", cost_nanos=10))
            assert await counted(traces) == (1, 1)
            await traces.add(batch("at", cost_nanos=9))
            (total,) = await traces.totals(ALL, ())
            assert total.cost_nanos == 2**63 - 1
            await traces.close()

    run(scenario())


def test_closed_traces_are_unavailable(tmp_path, fresh_postgres):
    dsn = fresh_postgres()

    async def scenario():
        for traces in (await open_sqlite(tmp_path), await PostgresTraces.open(dsn)):
            await is_unavailable_once_closed(traces, partial(traces.add, batch("b")))

    run(scenario())
