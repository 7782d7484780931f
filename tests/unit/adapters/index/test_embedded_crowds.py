"""The embedded index when many tenants are about: who waits for whom, and what all of them take together."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from penstock.adapters.index import embedded
from penstock.adapters.index import embedded_wire as wire
from penstock.adapters.index.embedded import BOUNDS, LOADS_MOST, EmbeddedIndex
from penstock.adapters.index.embedded_engine import THREADS, Engine
from penstock.adapters.index.embedded_graph import Graph
from penstock.adapters.index.embedded_library import Library
from penstock.adapters.index.embedded_wire import Limits
from penstock.adapters.index.embedded_words import WRITER_BYTES, Words
from penstock.adapters.index.embedded_worker import Worker
from penstock.contracts.index_search import SPACE, asked, document, ids, packed, towards
from penstock.kernel.errors import Invalid, Overloaded, Unavailable
from penstock.ports.index import CHUNKS_MOST, DIMENSIONS_MOST, Place, Question
from tests.contracts.index_engines import LARGE
from tests.support import run
from tests.unit.adapters.index.engine_scene import HERE, all_there, filled, settled, until

COLD = [Place(f"cold {number}", "papers") for number in range(2 * THREADS)]


class Threads:
    """The helper, its process left out: as many threads as it has, and what was asked of them."""

    def __init__(self, folder, limits):
        self.worker = Worker()
        _, self._answer = self.worker.begin(wire.ENCODER.encode(wire.Start(str(folder), limits)))
        self._pool = ThreadPoolExecutor(THREADS)
        self.asked = []
        self.starts = 1

    async def exchange(self, message):
        self.asked.append(wire.ASK.decode(message))
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, self._answer, message)
        except ValueError as refused:
            raise Invalid(str(refused)) from None

    async def close(self):
        self._pool.shutdown()
        self.worker.end()


@asynccontextmanager
async def indexed(folder, limits=LARGE):
    """Give the index on threads, and these."""
    index = EmbeddedIndex(folder, limits)
    index._helper = threads = Threads(folder, limits)
    try:
        yield index, threads
    finally:
        await index.close()


async def put(index, place, count=3):
    await index.put(
        place, SPACE, [document(f"d{i:03}", f"water {i}", vector=towards(i)) for i in range(count)]
    )


# ---------------------------------------------------------------------------------------------- who waits for whom


@pytest.fixture
def slow_loads(monkeypatch):
    """Have the loading of spaces wait until it is let go; give what lets it, and how many wait."""
    go, waiting = threading.Event(), []
    honest = Library._load

    def load(library, number):
        if number > 1:  # the first one is warm
            waiting.append(number)
            go.wait(20)
        return honest(library, number)

    monkeypatch.setattr(Library, "_load", load)
    yield go, waiting
    go.set()


def test_loads_hold_no_loaded_space_up(tmp_path, slow_loads):
    """However many tenants' spaces are being loaded, whoever asks for one that is here is answered."""
    go, loading = slow_loads

    async def scenario():
        async with indexed(tmp_path) as (index, _):
            for place in (HERE, *COLD):
                await put(index, place)
            assert len((await index.search(HERE, SPACE, asked(5))).dense) == 3
            searches = [asyncio.create_task(index.search(place, SPACE, asked(5))) for place in 2 * COLD]
            while len(loading) < LOADS_MOST:
                await asyncio.sleep(0.002)
            async with asyncio.timeout(10):
                for _ in range(5):
                    assert len((await index.search(HERE, SPACE, asked(5))).words) == 3
                    assert (await index.count(COLD[0])).chunks == 3
            assert len(loading) == LOADS_MOST
            searches[0].cancel()  # who goes away takes nobody's turn along
            go.set()
            found = await asyncio.gather(*searches[1:])
            assert [len(each.dense) for each in found] == [3] * (2 * len(COLD) - 1)
            assert sorted(set(loading)) == sorted(loading)

    run(scenario())


def test_who_waits_for_loads_is_counted(tmp_path, slow_loads, monkeypatch):
    go, loading = slow_loads
    monkeypatch.setattr(embedded, "LOADING_MOST", 4)

    async def scenario():
        async with indexed(tmp_path) as (index, _):
            for place in COLD[:2]:
                await put(index, place)
            searches = [asyncio.create_task(index.search(COLD[1], SPACE, asked(5))) for _ in range(4)]
            while not loading:
                await asyncio.sleep(0.002)
            with pytest.raises(Overloaded):
                await index.search(COLD[1], SPACE, asked(5))
            go.set()
            assert [len(each.dense) for each in await asyncio.gather(*searches)] == [3] * 4
            assert len((await index.search(COLD[1], SPACE, asked(5))).dense) == 3

    run(scenario())


def test_a_load_that_fails_is_told_to_who_asked_and_tried_by_the_next(tmp_path, monkeypatch):
    async def scenario():
        async with indexed(tmp_path) as (index, _):
            await put(index, HERE)
            with monkeypatch.context() as patch:
                patch.setattr(Library, "_load", lambda *_: (_ for _ in ()).throw(Unavailable("no")))
                with pytest.raises(Unavailable):
                    await index.search(HERE, SPACE, asked(5))
            assert len((await index.search(HERE, SPACE, asked(5))).dense) == 3
            assert await index.delete(HERE) == 3
            assert (await index.search(HERE, SPACE, asked(5))).dense == ()

    run(scenario())


def test_deletes_take_turns_with_puts(tmp_path, monkeypatch):
    go, under_way = threading.Event(), []
    honest = Engine.delete

    def delete(engine, *named):
        under_way.append(named)
        go.wait(20)
        return honest(engine, *named)

    monkeypatch.setattr(Engine, "delete", delete)

    async def scenario():
        async with indexed(tmp_path) as (index, _):
            await put(index, HERE)
            await index.search(HERE, SPACE, asked(5))
            deletes = [asyncio.create_task(index.delete(HERE, ["d001"])) for _ in range(2 * THREADS)]
            while len(under_way) < embedded.PUTS_MOST:
                await asyncio.sleep(0.002)
            async with asyncio.timeout(10):
                assert len((await index.search(HERE, SPACE, asked(5))).words) == 3
            assert len(under_way) == embedded.PUTS_MOST
            go.set()
            assert sum(await asyncio.gather(*deletes)) == 1

    run(scenario())


def test_health_counts_nothing(tmp_path, monkeypatch):
    async def scenario():
        async with indexed(tmp_path) as (index, threads):
            await put(index, HERE)
            threads.asked.clear()
            assert await index.healthy()
            assert threads.asked == [wire.Ping()]
            assert (await index.status()).rows == 3
            monkeypatch.setattr(threads, "exchange", lambda _: (_ for _ in ()).throw(Unavailable("gone")))
            assert not await index.healthy()

    run(scenario())


# ------------------------------------------------------------------------------------------- what is asked at once


def test_what_is_known_is_asked_for_in_pages_that_an_answer_can_hold(tmp_path, monkeypatch):
    async def scenario():
        async with indexed(tmp_path) as (index, threads):
            await put(index, HERE, 7)
            digests = [row.chunk.digest for row in await index.scan(HERE, SPACE)]
            many = [*digests, *(f"{number:064x}" for number in range(CHUNKS_MOST - 7))]
            known = await index.known(HERE, SPACE, many)
            assert sorted(known) == sorted(digests)
            pages = [len(each.digests) for each in threads.asked if isinstance(each, wire.Known)]
            assert sum(pages) == CHUNKS_MOST
            assert max(pages) * (4 * DIMENSIONS_MOST + 100) <= BOUNDS.answer_bytes_most
            with pytest.raises(Invalid):
                await index.known(HERE, SPACE, [*many, "0" * 64])
            assert await index.known(HERE, SPACE, []) == {}
            monkeypatch.setattr(embedded, "KNOWN_PAGE", 3)
            assert await index.known(HERE, SPACE, digests) == known

    run(scenario())


def test_an_index_that_nobody_has_used_is_not_begun_by_compacting(tmp_path):
    async def scenario():
        index = EmbeddedIndex(tmp_path / "index")
        await index.compact()
        assert index.pid is None
        assert not (tmp_path / "index").exists()
        async with indexed(tmp_path / "index") as (used, _):
            await put(used, HERE)
            assert await used.delete(HERE) == 3
            await used.compact()
            assert (await used.status()).rows == 0

    run(scenario())


def test_exact_names_no_set_of_all_rows(opened, monkeypatch):
    """Who measures has every row read from the file: a graph is asked for none of them."""
    engine = opened()
    filled(engine, count=60)
    settled(engine)
    engine.put(HERE, SPACE, [document("beside", "water", vector=packed([1.0] * 16))], "fp32")
    engine.delete(HERE, ["d007", "d008"], "")
    monkeypatch.setattr(Graph, "_search", None)

    def nearest(limit):
        return engine.search(HERE, SPACE, Question(vector=towards(0), limit=limit, exact=True)).dense

    for limit in (1, 10, 100):
        found = nearest(limit)
        scores = [hit.score for hit in found]
        assert len(found) == min(limit, 59)
        assert scores == sorted(scores, reverse=True)
        assert found[0].document in {"d000", "d016", "d032", "d048"}
    assert set(ids(nearest(100))) == {"beside", *(f"d{i:03}" for i in range(60))} - {"d007", "d008"}


# --------------------------------------------------------------------------------------------- what they take


def tasks() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


def test_a_small_space_keeps_no_threads(opened):
    engine = opened(Limits())
    before = tasks()
    places = [Place(f"tenant {number}", "papers") for number in range(20)]
    for place in places:
        filled(engine, place)
        all_there(engine, place)
    until(lambda: tasks() <= before + 6)
    for place in places:
        filled(engine, place, count=41)
        all_there(engine, place, count=41)
    until(lambda: tasks() <= before + 6)
    assert engine.status().loaded == 20
    assert engine.status().loaded_bytes <= 20 * (1 << 20)


def test_an_open_writer_is_counted_until_it_closes(tmp_path):
    for folder in (None, tmp_path / "words"):
        words = Words(0, folder)
        least = words.bytes
        words.add([(1, "", "water")])
        assert words.bytes >= least + WRITER_BYTES
        words.commit()
        assert (words.bytes >= least + WRITER_BYTES) is (folder is not None)
        words.close()
        assert words.bytes < least + WRITER_BYTES


def test_spaces_that_are_written_make_room_too(opened):
    """Each of them has a writer, until somebody searches it: together they keep to the bound."""
    most = 3 * WRITER_BYTES
    engine = opened(Limits(memory_bytes=most))
    places = [Place(f"tenant {number}", "papers") for number in range(8)]
    for place in places:
        filled(engine, place, count=3)
        all_there(engine, place, count=3)
    assert engine.status().loaded == len(places)
    for place in places:
        filled(engine, place, count=4)
    assert engine.status().loaded_bytes <= most
    assert engine.status().loaded < len(places)
    for place in places:
        all_there(engine, place, count=4)


def test_the_sum_of_what_is_loaded_follows_every_change(opened):
    engine = opened(Limits(exact_most=12, scan_most=8, memory_words_most=4, memory_bytes=8 * WRITER_BYTES))
    library = engine._library
    for number in range(6):
        place = Place(f"tenant {number}", "papers")
        filled(engine, place, count=3 + 15 * (number % 3))
        all_there(engine, place, count=3 + 15 * (number % 3))
        engine.delete(place, ["d001"], "")
        if number == 3:
            settled(engine)
            engine.delete(Place("tenant 1", "papers"), None, "")
        if number == 4:
            library.loaded[0].fail()  # whoever comes next has it read anew
    until(lambda: not engine.status().waiting)
    assert library.loaded
    assert library.loaded_bytes == sum(each.bytes for each in library.loaded)
    engine.close()
    assert (library.loaded, library.loaded_bytes) == ([], 0)
