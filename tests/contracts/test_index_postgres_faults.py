"""What the index in PostgreSQL does when things go wrong: servers that hang, die, are not fit, too old or too new."""

from __future__ import annotations

import asyncio
from functools import partial

import asyncpg
import pytest

from penstock.adapters.index import postgres, postgres_sql
from penstock.adapters.index.postgres import PostgresIndex
from penstock.contracts.index_search import DIMENSIONS, SPACE, document, packed
from penstock.kernel.errors import Invalid, Overloaded, TimedOut, Unavailable
from penstock.ports.index import Place, Question
from tests.contracts.index_postgres import closed_after
from tests.contracts.shared_faults import (
    finds_nothing_at,
    nowhere,
    once_back,
    raised_by_asyncpg,
    refuses_a_newer_schema,
)
from tests.support import run

HERE = Place("acme/core/web", "papers")
SEARCH = Question(vector=packed([1.0] * DIMENSIONS), words="water", limit=100)


def numbered(count, first=0):
    """Documents of two chunks each."""
    return [document(f"d{i:03}", f"water {i}", f"water again {i}") for i in range(first, first + count)]


async def counted(index):
    """How many chunks are counted, found by meaning and found by words."""
    found = await index.search(HERE, SPACE, SEARCH)
    return (await index.count(HERE)).chunks, len(found.dense), len(found.words)


# ------------------------------------------------------------------------------------------ servers that fail


def test_a_hung_postgres_times_out_and_is_found_again(own_postgres, monkeypatch):
    monkeypatch.setattr(postgres, "WRITE_FACTOR", 1.0)
    dsn = own_postgres.fresh()

    async def scenario():
        index = await PostgresIndex.open(dsn, timeout_s=0.5)
        await index.put(HERE, SPACE, numbered(1))
        own_postgres.pause()
        calls = [index.put(HERE, SPACE, numbered(1, i)) for i in range(1, 8)]
        calls += [index.search(HERE, SPACE, SEARCH) for _ in range(8)]
        answers = await asyncio.gather(*calls, index.compact(), return_exceptions=True)
        assert all(isinstance(answer, TimedOut) for answer in answers), answers
        assert not await index.healthy()
        own_postgres.resume()
        await once_back(lambda: counted(index))
        await index.put(HERE, SPACE, numbered(8))
        assert await counted(index) == (16, 16, 16)
        assert await index.healthy()
        await index.close()

    run(scenario())


def test_a_postgres_killed_in_the_middle_of_puts_has_whole_documents(own_postgres):
    """Whatever was promised is there; of what was under way each document is whole or absent, and the counts agree."""
    dsn = own_postgres.fresh()

    async def scenario():
        index = await PostgresIndex.open(dsn, timeout_s=3.0)
        for round_ in range(3):
            promised = []

            async def put(first, promised=promised):
                await index.put(HERE, SPACE, numbered(5, first))
                promised.extend(f"d{i:03}" for i in range(first, first + 5))

            await put(round_ * 100)
            calls = [asyncio.create_task(put(round_ * 100 + first)) for first in range(5, 60, 5)]
            await asyncio.sleep(0.004 * (round_ + 1))
            own_postgres.kill()
            await asyncio.gather(*calls, return_exceptions=True)
            own_postgres.start()
            await once_back(lambda: counted(index))
            rows = await index.scan(HERE, SPACE)
            names = [row.document.id for row in rows]
            assert set(promised) <= set(names)
            assert all(names.count(name) == 2 for name in names)
            counts = await index.count(HERE)
            assert (counts.documents, counts.chunks) == (len(set(names)), len(names))
        await index.close()

    run(scenario())


def test_a_cancelled_put_is_whole_or_absent(fresh_postgres):
    dsn = fresh_postgres()

    async def scenario():
        index = await PostgresIndex.open(dsn, 10.0)
        before = 0
        for attempt in range(20):
            call = asyncio.create_task(index.put(HERE, SPACE, numbered(3, attempt * 3)))
            await asyncio.sleep(attempt * 0.0007)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
            chunks = (await index.count(HERE)).chunks
            assert chunks - before in {0, 6}
            assert len(await index.scan(HERE, SPACE)) == chunks
            before = chunks
        assert await index.healthy()
        await index.close()

    run(scenario())


def test_puts_and_deletes_of_the_same_documents_meet_in_no_deadlock(fresh_postgres):
    """Two processes, forwards and backwards, and a collection deleted in the middle of it: the counts stay exact."""
    dsn = fresh_postgres()

    async def scenario():
        one, other = await asyncio.gather(PostgresIndex.open(dsn, 10.0), PostgresIndex.open(dsn, 10.0))
        documents = numbered(12)
        for _ in range(5):
            await asyncio.gather(
                one.put(HERE, SPACE, documents),
                other.put(HERE, SPACE, documents[::-1]),
                one.delete(HERE, [each.id for each in documents[::2]]),
                other.delete(HERE),
                other.put(HERE, SPACE, documents[3:]),
            )
            rows = await one.scan(HERE, SPACE)
            counts = await other.count(HERE)
            assert (counts.documents, counts.chunks) == (len({row.document.id for row in rows}), len(rows))
        await asyncio.gather(one.close(), other.close())

    run(scenario())


def test_a_put_beside_a_delete_is_lost_in_no_order(fresh_postgres):
    """The delete has the document's row when the put comes, and takes it away: the put is run again, and stands."""
    dsn = fresh_postgres()

    async def scenario():
        index, other = await PostgresIndex.open(dsn, 10.0), await asyncpg.connect(dsn)
        async with closed_after(index, other):
            await index.put(HERE, SPACE, numbered(3))
            room, ids = await other.fetchval("SELECT id FROM index_rooms"), [b"d001"]
            async with other.transaction():
                await other.fetch(index.sql.lock_documents, room, ids)
                put = asyncio.create_task(index.put(HERE, SPACE, numbered(3)))
                while not await other.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
                    await asyncio.sleep(0.005)
                chunks, labelled, words, size = await other.fetchrow(index.sql.drop_chunks, room, ids)
                await other.execute(index.sql.drop_documents, room, ids)
                await other.execute(index.sql.change_room, room, -1, -chunks, -labelled, -words, -size, 0)
            await put
            assert await counted(index) == (6, 6, 6)
            assert await index.delete(HERE, ["d000", "d001", "d002"]) == 3
            assert await index.scan(HERE, SPACE) == []
            assert await counted(index) == (0, 0, 0)

    run(scenario())


def test_many_processes_may_make_the_schema_at_once(fresh_postgres):
    dsn = fresh_postgres()

    async def scenario():
        opened = await asyncio.gather(*(PostgresIndex.open(dsn, 20.0) for _ in range(6)))
        await asyncio.gather(*(index.put(HERE, SPACE, numbered(1, i)) for i, index in enumerate(opened)))
        assert {await counted(index) for index in opened} == {(12, 12, 12)}
        await asyncio.gather(*(index.close() for index in opened))

    run(scenario())


def test_calls_that_wait_are_bounded(fresh_postgres, monkeypatch):
    monkeypatch.setattr(postgres, "WAITING_MOST", 2)
    dsn = fresh_postgres()

    async def scenario():
        index = await PostgresIndex.open(dsn, 10.0)
        calls = [index.count(HERE) for _ in range(postgres.POOL_MOST + 3)]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert [isinstance(each, Overloaded) for each in answers] == [False] * (len(calls) - 1) + [True]
        await index.close()
        with pytest.raises(Unavailable, match="closed"):
            await index.count(HERE)
        with pytest.raises(Unavailable, match="closed"):
            await index.compact()

    run(scenario())


# ------------------------------------------------------------------------------- servers that are not fit, or new


@pytest.mark.parametrize(
    ("statements", "message"),
    [
        ({"offered": "SELECT 0"}, "has no pgvector.*postgresql-NN-pgvector"),
        ({"installed": "SELECT '0.7.4'"}, "pgvector is too old.*0.7.4.*ALTER EXTENSION vector UPDATE"),
    ],
)
def test_a_server_without_what_is_needed_is_refused(statements, message, fresh_postgres, monkeypatch):
    for name, statement in statements.items():
        monkeypatch.setattr(postgres_sql.Sql, name, statement)
    with pytest.raises(Invalid, match=message):
        run(PostgresIndex.open(fresh_postgres()))


def test_an_account_that_may_not_install_pgvector_is_told_what_to_do(fresh_postgres):
    dsn = fresh_postgres()

    async def scenario():
        owner = await asyncpg.connect(dsn)
        await owner.execute("CREATE ROLE plain_index LOGIN; GRANT ALL ON SCHEMA public TO plain_index")
        plain = dsn.replace("penstock@", "plain_index@")
        with pytest.raises(Invalid, match="CREATE EXTENSION vector"):
            await PostgresIndex.open(plain)
        await owner.execute("CREATE EXTENSION vector")
        index = await PostgresIndex.open(plain, 10.0)
        await index.put(HERE, SPACE, numbered(1))
        assert await counted(index) == (2, 2, 2)
        await index.close()
        await owner.execute("DROP OWNED BY plain_index; DROP ROLE plain_index")
        await owner.close()

    run(scenario())


def test_a_database_of_a_newer_penstock_is_refused(fresh_postgres):
    refuses_a_newer_schema(partial(PostgresIndex.open, timeout_s=10.0), fresh_postgres(), "index_schema")


@nowhere
def test_opening_what_is_not_there_is_unavailable(path, message, postgres_server):
    finds_nothing_at(PostgresIndex.open, path, message, postgres_server)


@raised_by_asyncpg(
    (asyncpg.DataError("NaN not allowed in vector"), Invalid),
    (asyncpg.ProgramLimitExceededError("index row size"), Invalid),
)
def test_what_the_driver_raises_is_translated(error, ours):
    assert isinstance(error, postgres_sql.FOREIGN)
    assert type(postgres_sql.translated(error)) is ours
