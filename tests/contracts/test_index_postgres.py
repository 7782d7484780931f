"""The index in PostgreSQL keeps every promise of its port, and those beyond it: graphs of its own for large rooms, and
servers that hang, die, are too old or too new.
"""

from __future__ import annotations

import hashlib
import math
import random
from operator import mul

import asyncpg
import pytest

from penstock.adapters.index import postgres, postgres_graphs, postgres_questions, postgres_rows, postgres_sql
from penstock.adapters.index.postgres import PostgresIndex
from penstock.adapters.index.postgres_words import ASKED_MOST, asked, configuration, written
from penstock.contracts.index import CASES
from penstock.contracts.index_search import DIMENSIONS, SPACE, document, ids, packed
from penstock.kernel.errors import Invalid, Unavailable
from penstock.ports.index import Chunk, Document, Place, Question, Where
from tests.contracts.engines import kept
from tests.contracts.index_postgres import closed_after, held, postgres_index
from tests.contracts.not_tried import tried
from tests.support import run

HERE = Place("acme/core/web", "papers")
SEARCH = Question(vector=packed([1.0] * DIMENSIONS), words="water", limit=100)


@pytest.fixture(scope="module")
def side(postgres_server):
    """Give a function that makes a fresh harness on one database for all of them: every case has its own places."""
    dsn = postgres_server.fresh()
    return lambda: postgres_index(dsn)


EACH_CASE = pytest.mark.parametrize(
    "case", [case for _, _, case in CASES.cases], ids=[name for name, _, _ in CASES.cases]
)


@EACH_CASE
def test_postgres(case, side):
    run(tried("index/postgres", case, kept(case, side())))


def test_what_is_known_is_asked_for_in_pages_that_its_vectors_fit_into(fresh_postgres, monkeypatch):
    dsn = fresh_postgres()

    async def scenario():
        index = await PostgresIndex.open(dsn, 10.0)
        async with closed_after(index):
            await put_rows(index, HERE, rows_of(25, 1))
            digests = [row.chunk.digest for row in await index.scan(HERE, SPACE)]
            strangers = [f"{number:064x}" for number in range(9)]
            whole = await index.known(HERE, SPACE, digests)
            pages = []

            fetch = asyncpg.Connection.fetch

            async def noted(connection, query, *values):
                found = await fetch(connection, query, *values)
                if query == index.sql.known:
                    pages.append((len(values[1]), sum(len(vector) for _, vector in found)))
                return found

            monkeypatch.setattr(asyncpg.Connection, "fetch", noted)
            monkeypatch.setattr(postgres, "KNOWN_BYTES", 10 * 4 * DIMENSIONS + 3)
            assert await index.known(HERE, SPACE, [*strangers, *digests]) == whole
            assert [asked for asked, _ in pages] == [10, 10, 10, 4]
            assert max(size for _, size in pages) <= postgres.KNOWN_BYTES
            monkeypatch.setattr(postgres, "KNOWN_BYTES", 1)
            assert await index.known(HERE, SPACE, digests[:2]) == {each: whole[each] for each in digests[:2]}

    run(scenario())


# ------------------------------------------------------------------------------------------------- graphs


@pytest.fixture
def small_graphs(monkeypatch):
    """Have rooms of 400 chunks get a graph, and filters that let 100 through use it."""
    monkeypatch.setattr(postgres_graphs, "GRAPH_LEAST", 400)
    monkeypatch.setattr(postgres_questions, "EXACT_MOST", 100)


def rows_of(count, seed):
    """Unit vectors in clusters."""
    rng = random.Random(seed)
    centres = [[rng.gauss(0, 1) for _ in range(DIMENSIONS)] for _ in range(40)]
    rows = []
    for _ in range(count):
        numbers = [each + rng.gauss(0, 0.35) for each in rng.choice(centres)]
        rows.append([each / math.hypot(*numbers) for each in numbers])
    return rows


async def put_rows(index, place, rows):
    """Put a document for each, the tenth part of them rare; texts and so digests are all different."""
    documents = [
        Document(
            id=str(i),
            version="1",
            chunks=(
                Chunk(
                    position=0,
                    digest=hashlib.sha256(f"{place.tenant} {i}".encode()).hexdigest(),
                    text=f"water {i}",
                    vector=packed(row),
                ),
            ),
            labels=("rare",) if i % 10 == 0 else (),
            metadata={"half": i % 2},
        )
        for i, row in enumerate(rows)
    ]
    await index.put(place, SPACE, documents)


async def met(index, place, rows, passing, **question):
    """Return how many of the ten best are found, and how many there are."""
    found = wanted = 0
    for asked_for in rows_of(15, 99):
        hits = await index.search(place, SPACE, Question(vector=packed(asked_for), limit=10, **question))
        best = sorted(filter(passing, range(len(rows))), key=lambda i: -sum(map(mul, rows[i], asked_for)))[
            :10
        ]
        found, wanted = found + len({int(id_) for id_ in ids(hits.dense)} & set(best)), wanted + len(best)
    return found, wanted


def test_a_large_room_gets_a_graph_that_finds_as_well(fresh_postgres, small_graphs, monkeypatch):
    """Recall@10 through the graph, unfiltered and filtered; the small neighbour keeps to reading all of it."""
    dsn = fresh_postgres()
    walks = []
    honest = postgres_questions._walked

    async def walked(connection, room, question, reach):
        walks.append(room.id)
        return await honest(connection, room, question, reach)

    monkeypatch.setattr(postgres_questions, "_walked", walked)

    async def scenario():
        index = await PostgresIndex.open(dsn, 10.0)
        large, small = Place("large", "c"), Place("small", "c")
        rows = rows_of(800, 1)
        await put_rows(index, large, rows)
        await put_rows(index, small, rows[:200])
        before = (await index.count(large)).bytes
        await index.compact()
        assert (await index.count(large)).bytes > before
        for passing, question, walking in (
            (lambda i: True, {"labels": ("rare",)}, True),
            (lambda i: i % 10, {}, True),
            (lambda i: i % 2, {"labels": ("rare",), "where": (Where(field="half", any_of=(1,)),)}, True),
            (
                lambda i: i % 10 == 0 and i % 2 == 0,
                {
                    "labels": ("rare",),
                    "where": (Where(field="id", any_of=tuple(map(str, range(0, 800, 10)))),),
                },
                False,
            ),
        ):
            walks.clear()
            found, wanted = await met(index, large, rows, passing, **question)
            assert found >= 0.99 * wanted, (question, found, wanted)
            assert bool(walks) == walking, question
        walks.clear()
        assert await met(index, small, rows[:200], lambda i: True, labels=("rare",)) == (150, 150)
        assert not walks
        await index.close()

    run(scenario())


def test_a_graph_is_walked_and_no_other_plan_is_taken(fresh_postgres, small_graphs):
    dsn = fresh_postgres()

    async def scenario():
        index = await PostgresIndex.open(dsn, 10.0)
        await put_rows(index, HERE, rows_of(500, 1))
        await index.compact()
        question = Question(vector=packed([1.0] * DIMENSIONS), where=(Where(field="half", any_of=(1,)),))
        async with index._pool.acquire() as connection, connection.transaction():
            row = await connection.fetchrow(
                index.sql.room, HERE.tenant.encode(), HERE.collection.encode(), SPACE.encode()
            )
            room = postgres_questions.Room(*row)
            bindings = postgres_questions.Bindings([room.id, postgres_rows.to_wire(question.vector), 20])
            look = postgres_questions.Sql.near_graph.format(
                filters=postgres_questions.filtered(room.id, question, bindings), dimensions=DIMENSIONS
            )
            await connection.execute(postgres_questions.Sql.reach, "100", "10000")
            plan = "\n".join([step for (step,) in await connection.fetch(f"EXPLAIN {look}", *bindings)])
        assert f"Index Scan using index_graph_{room.id}" in plan, plan
        await index.close()

    run(scenario())


def test_what_changes_after_the_graph_was_made_is_found_at_once(fresh_postgres, small_graphs):
    dsn = fresh_postgres()

    async def scenario():
        index = await PostgresIndex.open(dsn, 10.0)
        rows = rows_of(500, 1)
        await put_rows(index, HERE, rows)
        await index.compact()
        target = Question(vector=packed(rows[7]), limit=1)
        assert ids((await index.search(HERE, SPACE, target)).dense) == ["7"]
        await index.put(HERE, SPACE, [document("7", "moved", vector=packed([-each for each in rows[7]]))])
        await index.put(HERE, SPACE, [document("new", "water", vector=packed(rows[7]))])
        assert ids((await index.search(HERE, SPACE, target)).dense) == ["new"]
        await index.delete(HERE, ["new", *map(str, range(400))])
        many = Question(vector=packed(rows[7]), limit=90, labels=("rare",))
        assert len((await index.search(HERE, SPACE, many)).dense) == 90
        await index.compact()  # few enough again: the graph goes
        assert len((await index.search(HERE, SPACE, many)).dense) == 90
        async with index._pool.acquire() as connection:
            assert not await connection.fetch("SELECT FROM pg_class WHERE relname LIKE 'index_graph_%'")
        await index.close()

    run(scenario())


def test_a_compaction_that_was_killed_is_done_by_the_next(fresh_postgres, small_graphs, monkeypatch):
    """It died after it began a graph, and in the middle of sweeping what was deleted."""
    dsn = fresh_postgres()
    gone = Place("gone", "c")

    async def scenario():
        index = await PostgresIndex.open(dsn, 10.0)
        await put_rows(index, HERE, rows_of(500, 1))
        await put_rows(index, gone, rows_of(100, 1))
        assert await index.delete(gone) == 100
        assert await held(dsn, b"water 99")
        with monkeypatch.context() as patch:
            patch.setattr(postgres_graphs, "PIECE", 30)
            patch.setattr(
                postgres_sql.Sql, "sweep_documents", "SELECT $1::int, pg_terminate_backend(pg_backend_pid())"
            )
            with pytest.raises(Unavailable):
                await index.compact()
        async with index._pool.acquire() as connection:
            room = await connection.fetchval(
                "SELECT id FROM index_rooms WHERE tenant = $1", HERE.tenant.encode()
            )
            await connection.execute(
                f"CREATE INDEX index_graph_{room} ON index_rooms (id)"
            )  # as if left half made
        await index.compact()
        assert not await held(dsn, gone.tenant.encode())
        async with index._pool.acquire() as connection:
            found = await connection.fetch(
                "SELECT relam::regclass FROM pg_class WHERE relname LIKE 'index_graph_%'"
            )
            assert len(found) == 1
            method = (
                "SELECT a.amname FROM pg_class AS c JOIN pg_am AS a ON a.oid = c.relam WHERE c.relname = $1"
            )
            assert await connection.fetchval(method, f"index_graph_{room}") == "hnsw"
        await index.close()

    run(scenario())


@pytest.mark.parametrize("broken", ["sweep_documents", "make_graph"])
def test_one_room_that_fails_keeps_no_other_waiting(broken, fresh_postgres, small_graphs, monkeypatch):
    """Of two rooms the first cannot be swept, or gets no graph: the second has its own, and what went wrong is told."""
    dsn = fresh_postgres()
    places = [Place("one", "c"), Place("two", "c")]
    statements = {
        "sweep_documents": "DELETE FROM index_documents WHERE room = $1 AND 1 / ($1 - 1) IS NOT NULL",
        "make_graph": "DO $$ BEGIN IF {room} = 3 THEN RAISE 'no'; END IF; END $$; -- {part} {dimensions}",
    }

    async def scenario():
        index = await PostgresIndex.open(dsn, 10.0)
        async with closed_after(index):
            for place in (*places, Place("large", "c"), Place("larger", "c")):
                await put_rows(index, place, rows_of(60 if place in places else 420, 1))
            for place in places:
                assert await index.delete(place) == 60
            with monkeypatch.context() as patch:
                patch.setattr(postgres_sql.Sql, broken, statements[broken])
                with pytest.raises((Invalid, Unavailable), match=r"division by zero|no"):
                    await index.compact()
            assert not await held(dsn, b"two")
            async with index._pool.acquire() as connection:
                told = await connection.fetch("SELECT id, graph FROM index_rooms WHERE id > 2 ORDER BY id")
            assert [tuple(each) for each in told] == [(3, broken != "make_graph"), (4, True)]
            await index.compact()
            assert not await held(dsn, b"one")

    run(scenario())


def test_one_process_compacts_at_a_time(fresh_postgres):
    dsn = fresh_postgres()

    async def scenario():
        index = await PostgresIndex.open(dsn, 10.0)
        await put_rows(index, HERE, rows_of(3, 1))
        assert await index.delete(HERE) == 3
        async with index._pool.acquire() as other:
            await other.fetchval(index.sql.claim)
            await index.compact()
            assert await held(dsn, HERE.tenant.encode())
            await other.fetchval("SELECT pg_advisory_unlock_all()")
        await index.compact()
        assert not await held(dsn, HERE.tenant.encode())
        await index.close()

    run(scenario())


# ------------------------------------------------------------------------------------------------- words


@pytest.mark.parametrize(
    ("text", "words", "stemmed"),
    [
        ("Running, quickly!", "running quickly", "running quickly"),
        ("a_b c-d 3.5", "a b c d 3 5", "a b c d 3 5"),
        ("\uff26\uff35\uff2c\uff2c Straße", "full straße", "full straße"),
        ("東京都 x", "東 京 都 東京 京都 x", "x"),
        ("猫", "猫", ""),
        ("GPT模型", "gpt 模 型 模型", "gpt"),
        ("हिन्दी भाषा", "हिन्दी भाषा", "हिन्दी भाषा"),
        ("cafe\u0301", "café", "café"),
        ("x" * 300, "x" * 100, "x" * 100),
        ("", "", ""),
    ],
)
def test_a_text_is_cut_into_these_words(text, words, stemmed):
    cut = written(text)
    assert (cut.words, cut.stemmed) == (words, stemmed)


def test_a_question_is_cut_into_pairs_and_different_words():
    assert asked("東京都 猫 Water water").words == ["東京", "京都", "猫", "water"]
    assert asked("東京 water").has_stem == [False, True]
    many = asked(" ".join(map(str, range(ASKED_MOST + 5))))
    assert len(many.words) == ASKED_MOST == len(many.has_stem)


def test_languages_have_configurations():
    assert [configuration(each) for each in ("en-GB", "DE", "pt_BR", "", "ja", "nonsense")] == [
        "english", "german", "portuguese", "english", "simple", "simple",
    ]  # fmt: skip
