"""What the embedded index does when a part of it fails: it goes on with the rest, and says whose fault it is."""

from __future__ import annotations

import shutil
import subprocess
import sys

import msgspec
import pytest

from penstock.adapters.index import embedded_upkeep
from penstock.adapters.index import embedded_wire as wire
from penstock.adapters.index.embedded_build import Task
from penstock.adapters.index.embedded_engine import Engine
from penstock.adapters.index.embedded_graph import DRAFT
from penstock.adapters.index.embedded_pauses import AGAIN_MOST_S, AGAIN_S, Pauses
from penstock.adapters.index.embedded_rows import Rows
from penstock.adapters.index.embedded_upkeep import Upkeep
from penstock.adapters.index.embedded_words import Words
from penstock.adapters.index.embedded_worker import Worker
from penstock.contracts.index_search import SPACE, asked, document
from penstock.ports.index import Question
from tests.contracts.index_engines import LARGE, found_in
from tests.unit.adapters.index.engine_scene import HERE, THERE, all_there, compacted, filled, settled, until


def fails(*_arguments, **_named):
    raise OSError


def drafts_in(folder):
    return [each.name for each in (folder / "index" / "spaces").rglob(f"*{DRAFT}")]


# ------------------------------------------------------------------------------------------- builds that fail


@pytest.fixture
def dying_builders(monkeypatch):
    """Have every builder die in the middle of its draft; give the list of those that were begun."""
    begun = []
    honest = subprocess.Popen

    def popen(command, **rest):
        target = msgspec.json.decode(command[-1], type=Task).target
        begun.append(target)
        script = f"import os; os.makedirs({target!r} + '-7{DRAFT}'); os.kill(os.getpid(), 9)"
        return honest([sys.executable, "-S", "-c", script], **rest)

    monkeypatch.setattr(embedded_upkeep.subprocess, "Popen", popen)
    return begun


def test_a_builder_that_dies_leaves_no_draft_and_is_not_begun_again_at_once(
    opened, tmp_path, monkeypatch, dying_builders
):
    engine = opened()
    filled(engine)
    all_there(engine)
    until(lambda: engine.status().failures == 1)
    for _ in range(20):
        all_there(engine)
    until(lambda: not engine.status().waiting)
    assert len(dying_builders) == 1
    assert drafts_in(tmp_path) == []
    assert "not built" in compacted(engine)  # who compacts waits for no pause
    assert len(dying_builders) == 2
    assert drafts_in(tmp_path) == []
    monkeypatch.undo()
    settled(engine)
    assert engine.status().graphs == 1
    all_there(engine)


def test_words_that_cannot_be_written_anew_leave_no_folder(opened, tmp_path, monkeypatch):
    monkeypatch.setattr(Upkeep, "_run_builder", fails)
    engine = opened()
    filled(engine, count=3)
    all_there(engine, count=3)
    monkeypatch.setattr(Words, "_note", fails)
    filled(engine)
    until(lambda: engine.status().failures >= 1)
    until(lambda: not engine.status().waiting)
    assert not list((tmp_path / "index" / "spaces").rglob("words-*"))
    monkeypatch.undo()
    all_there(engine)
    engine = opened()
    all_there(engine)
    assert len(list((tmp_path / "index" / "spaces").rglob("words-*"))) == 1


def test_a_pause_doubles_to_its_most_and_ends_with_a_success():
    pauses = Pauses()
    assert pauses.over(("graph", 1), 0.0)
    now_s, waited = 0.0, []
    for _ in range(20):
        pauses.failed(("graph", 1), now_s)
        waited.append(pause_s := pauses.left_s(("graph", 1), now_s))
        assert not pauses.over(("graph", 1), now_s + pause_s - 0.01)
        now_s += pause_s
        assert pauses.over(("graph", 1), now_s)
        assert pauses.over(("graph", 2), now_s)
    assert waited[:3] == [AGAIN_S, 2 * AGAIN_S, 4 * AGAIN_S]
    assert waited[-1] == AGAIN_MOST_S
    pauses.failed(("graph", 1), now_s)
    pauses.ended(("graph", 1))
    assert pauses.over(("graph", 1), now_s)


# ---------------------------------------------------------------------------------------- compacting that fails


def test_one_space_that_fails_keeps_no_other_on_the_disk(opened, tmp_path, monkeypatch):
    engine = opened()
    filled(engine)
    filled(engine, THERE)
    engine.put(THERE, SPACE, [document("doomed", "xyzzyplugh")], "fp32")
    settled(engine)
    one, other = [each.number for each in engine._library.loaded]
    engine.delete(HERE, ["d039"], "")
    engine.delete(THERE, ["doomed"], "")
    honest = Upkeep._build

    def build(upkeep, space):
        if space.number == min(one, other):
            raise OSError("no space left")
        honest(upkeep, space)

    monkeypatch.setattr(Upkeep, "_build", build)
    assert "no space left" in compacted(engine)
    assert not found_in(tmp_path, b"xyzzyplugh")
    (kept,) = [each for each in engine._library.loaded if each.number == max(one, other)]
    assert kept.graph.size == 40
    monkeypatch.undo()
    settled(engine)
    assert engine.status().failures == 1


def test_a_deleted_tenants_files_are_gone_before_it_is_forgotten(opened, tmp_path, monkeypatch):
    """A kill between the two leaves rows, which the next round takes, and never a folder that nobody knows."""
    engine = opened()
    filled(engine)
    settled(engine)
    engine.delete(HERE, None, "")
    monkeypatch.setattr(Rows, "forget", fails)
    assert compacted(engine)
    assert list((tmp_path / "index" / "spaces").iterdir()) == []
    monkeypatch.undo()
    settled(opened())
    assert not found_in(tmp_path, b"water 39")


def test_a_folder_that_cannot_be_removed_is_tried_again(opened, tmp_path, monkeypatch):
    engine = opened()
    filled(engine)
    settled(engine)
    engine.delete(HERE, None, "")
    honest = shutil.rmtree
    monkeypatch.setattr(shutil, "rmtree", fails)
    assert compacted(engine)
    monkeypatch.setattr(shutil, "rmtree", honest)
    settled(engine)
    assert list((tmp_path / "index" / "spaces").iterdir()) == []


def test_a_folder_of_no_space_is_removed_at_the_start(opened, tmp_path):
    engine = opened()
    filled(engine)
    settled(engine)
    spaces = tmp_path / "index" / "spaces"
    (known,) = spaces.iterdir()
    shutil.copytree(known, spaces / "77")
    engine = opened()
    assert list(spaces.iterdir()) == [known]
    all_there(engine)


# --------------------------------------------------------------------------------------------- whose fault it is


@pytest.fixture
def answer(tmp_path):
    """Give what answers the questions of the helper process."""
    worker = Worker()
    _, answers = worker.begin(wire.ENCODER.encode(wire.Start(str(tmp_path / "index"), LARGE)))
    yield lambda asked_for: answers(wire.ENCODER.encode(asked_for))
    worker.end()


def test_a_full_disk_is_no_mistake_of_who_asked(answer, monkeypatch):
    """The engines raise ValueError for whatever goes wrong in them; only our own refusals are a caller's."""

    def full(*_):
        raise ValueError("No space left on device")

    search = wire.Search(HERE, SPACE, asked(5))
    monkeypatch.setattr(Engine, "search", full)
    monkeypatch.setattr(Engine, "search_at_once", full)
    with pytest.raises(RuntimeError, match="No space left"):
        answer(search)
    monkeypatch.undo()
    answer(search)


@pytest.mark.parametrize("limit", [0, 1_001])
def test_what_is_out_of_bounds_is_refused(limit, answer):
    with pytest.raises(ValueError, match="Out of bounds"):
        answer(wire.Search(HERE, SPACE, Question(words="water", limit=limit)))
