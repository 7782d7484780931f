"""The embedded index as a whole: its bounds, what it makes anew, whom it refuses, and what upkeep leaves behind."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from penstock.adapters.index.embedded import LIMITS, EmbeddedIndex
from penstock.adapters.index.embedded_engine import Engine
from penstock.adapters.index.embedded_sql import SCHEMA_VERSION
from penstock.adapters.index.embedded_upkeep import Upkeep
from penstock.adapters.index.embedded_wire import Limits
from penstock.contracts.index_search import SPACE, asked, document, ids
from penstock.kernel.errors import Unavailable
from penstock.ports.index import Place, Question
from tests.contracts.index_engines import LARGE, found_in
from tests.support import run
from tests.unit.adapters.index.engine_scene import HERE, THERE, all_there, filled, settled, until

# ------------------------------------------------------------------------------------------------ made anew


@pytest.mark.parametrize("kind", ["words", "graph"])
@pytest.mark.parametrize("harm", ["emptied", "cut", "unmarked"])
def test_what_is_damaged_beside_the_rows_is_made_anew(kind, harm, opened, tmp_path):
    engine = opened()
    filled(engine)
    settled(engine)
    engine = opened()  # so that what it holds is on disk
    all_there(engine)
    engine.close()
    (folder,) = (tmp_path / "index" / "spaces").glob(f"*/{kind}-*")
    for file in [each for each in folder.rglob("*") if each.is_file()]:
        if harm == "unmarked":
            file.unlink() if file.name == "at" else None
        elif file.name != "at" and harm == "emptied":
            file.write_bytes(b"")
        elif file.name.endswith(("json", "at")):
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    again = Engine(tmp_path / "index", LARGE)
    all_there(again)
    settled(again)
    all_there(again)
    again.close()


def test_a_graph_grows_by_what_came_beside_it(opened):
    engine = opened()
    filled(engine, count=20)
    settled(engine)
    all_there(engine, count=20)
    filled(engine, count=60)
    all_there(engine, count=60)
    settled(engine)
    status = engine.status()
    assert (status.graphs, status.graph_builds, status.failures) == (1, 2, 0)
    all_there(engine, count=60)
    engine = opened()
    all_there(engine, count=60)


def test_a_graph_that_cannot_be_built_costs_no_answer(opened, monkeypatch):
    def fails(_upkeep, _task):
        raise RuntimeError

    monkeypatch.setattr(Upkeep, "_run_builder", fails)
    engine = opened()
    filled(engine)
    all_there(engine)
    until(lambda: engine.status().failures)
    all_there(engine)
    monkeypatch.undo()
    settled(engine)
    assert engine.status().graphs == 1
    all_there(engine)


def test_words_that_cannot_be_kept_are_made_anew(opened, monkeypatch):
    engine = opened()
    filled(engine)
    all_there(engine)
    filled(engine, count=41)
    (loaded,) = engine._library.loaded

    def fails():
        raise ValueError

    monkeypatch.setattr(loaded.words, "commit", fails)
    with pytest.raises(Unavailable):
        engine.search(HERE, SPACE, asked())
    all_there(engine, count=41)


# --------------------------------------------------------------------------------------------------- bounds


def test_memory_is_bounded_and_who_was_let_go_is_found_again(opened):
    most = 700 << 10
    engine = opened(Limits(memory_bytes=most))
    places = [Place(f"tenant {number}", "papers") for number in range(12)]
    for place in places:
        filled(engine, place)
    for _ in range(2):
        for place in places:
            all_there(engine, place)
            assert engine.status().loaded_bytes <= most
    assert engine.status().loaded < len(places)
    assert engine._library.evictions >= len(places)


def test_what_was_deleted_makes_room_in_memory_too(opened):
    engine = opened(Limits())
    for edition in range(4):
        engine.put(HERE, SPACE, [document(f"d{i}", f"water {edition}") for i in range(1_000)], "fp32")
        engine.search(HERE, SPACE, asked(5))
    assert engine._library.loaded[0].chunks.size <= 3_100
    assert len(engine.search(HERE, SPACE, asked(1_000)).words) == 1_000


def test_a_deleted_collection_leaves_the_disk(opened, tmp_path):
    engine = opened()
    filled(engine)
    filled(engine, THERE, count=30)
    settled(engine)
    before = engine.status()
    assert engine.delete(HERE, None, "") == 40
    settled(engine)
    after = engine.status()
    assert (after.rows, after.loaded) == (30, 1)
    assert after.disk_bytes < before.disk_bytes
    assert len(list((tmp_path / "index" / "spaces").iterdir())) == 1
    assert not found_in(tmp_path, b"water 39")
    all_there(engine, THERE, count=30)


def test_a_deleted_word_leaves_the_dictionary(opened):
    engine = opened()
    filled(engine)
    engine.put(HERE, SPACE, [document("doomed", "xyzzyplugh")], "fp32")
    settled(engine)

    def dictionary() -> list[str]:
        (loaded,) = engine._library.loaded
        loaded.words.commit()
        searcher = loaded.words._index.searcher()
        return [term for term, _ in searcher.terms_with_prefix("words", "xyzzy")]

    assert dictionary() == ["xyzzyplugh"]
    engine.delete(HERE, ["doomed"], "")
    settled(engine)
    assert dictionary() == []
    all_there(engine)


# ------------------------------------------------------------------------------------------------ who is refused


def test_a_second_process_is_told_why(tmp_path):
    async def both() -> None:
        one, other = EmbeddedIndex(tmp_path), EmbeddedIndex(tmp_path)
        assert (await one.count(HERE)).documents == 0
        with pytest.raises(Unavailable, match="Another process has the index"):
            await other.count(HERE)
        os.kill(one.pid or 0, signal.SIGKILL)
        await one.close()
        await other.close()
        third = EmbeddedIndex(tmp_path)
        assert (await third.count(HERE)).documents == 0
        assert await third.healthy()
        await third.close()

    run(both())


def test_a_newer_file_is_refused(opened, tmp_path):
    opened().close()
    with sqlite3.connect(tmp_path / "index" / "rows.sqlite") as file:
        file.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    with pytest.raises(Unavailable, match="newer Penstock"):
        Engine(tmp_path / "index", LIMITS)


def test_the_gateways_process_loads_none_of_the_engines():
    engines = "{'numpy', 'apsw', 'tantivy', 'qdrant_edge'}"
    source = f"import sys, penstock.adapters.index.embedded; print(sorted({engines} & set(sys.modules)))"
    environment = {"PYTHONPATH": str(Path("src").absolute())}
    command = [sys.executable, "-c", source]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=30)
    assert said.stdout.strip() == "[]"


def test_the_helper_ends_when_the_index_is_closed_and_starts_when_it_is_asked(tmp_path):
    async def life() -> None:
        index = EmbeddedIndex(tmp_path)
        assert index.pid is None
        assert await index.healthy()
        await index.put(HERE, SPACE, [document("d", "water")])
        pid = index.pid
        os.kill(pid, signal.SIGKILL)
        async with asyncio.timeout(20):
            while True:
                try:
                    found = await index.search(HERE, SPACE, Question(words="water"))
                    break
                except Unavailable:
                    await asyncio.sleep(0.05)
        assert ids(found.words) == ["d"]
        assert index.pid not in (None, pid)
        pid = index.pid
        await index.close()
        assert not Path(f"/proc/{pid}").exists()

    run(life())
