"""Kill -9 in the middle of puts, deletions and upkeep, and check each time that what was promised holds.

A process of its own, with everything imported and no thread begun, so that each life costs a fork and not a start:
`python -m tests.unit.adapters.index.kill_rounds FOLDER SEED KILLS`.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from penstock.adapters.index.embedded_engine import Engine
from penstock.contracts.index_search import SPACE, asked, document
from penstock.ports.index import Place, Question
from tests.contracts.index_engines import LARGE

HERE, THERE = Place("acme", "papers"), Place("other", "papers")
CHUNKS = 4


def in_a_process(work: Callable[[], None]) -> int:
    """Run work in a forked process, which begins with everything imported; return its id."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException:  # because nothing may come back into the tests from here
            traceback.print_exc()
        finally:
            os._exit(status)
    return pid


def writes(folder: Path, acknowledged: int, generation: int) -> None:
    """Put a document's next edition again and again, in two places, and delete now and then; say each that is done."""
    engine = Engine(folder, LARGE)
    for number in range(10_000):
        id_ = f"d{number % 6}"
        version = f"{generation}.{number}"
        if number % 9 == 8:
            engine.delete(HERE, [id_], "")
            os.write(acknowledged, f"gone {id_}\n".encode())
            continue
        edition = document(id_, *(f"water {version} {i}" for i in range(CHUNKS)), version=version)
        engine.put(HERE, SPACE, [edition], "fp16")
        os.write(acknowledged, f"{version} {id_}\n".encode())
        if number % 5 == 0:
            engine.put(THERE, SPACE, [document("secret", "water elsewhere")], "fp32")
            engine.search(HERE, SPACE, asked(50))
        if number % 23 == 22:
            engine.compact(0)


def holds(folder: Path, promised: dict[str, str]) -> None:
    """Check that each document is whole, of the edition that was acknowledged or the one after it, in every reading."""
    engine = Engine(folder, LARGE)
    found = engine.search(HERE, SPACE, asked(100))
    rows = engine.scan(HERE, SPACE, ("", -1), 1_000)
    counts = engine.count(HERE, SPACE)
    assert counts.chunks == len(rows) == len(found.dense) == len(found.words)
    scanned = {(row.document.id, row.document.version, row.chunk.text) for row in rows}
    for hits in (found.dense, found.words):
        assert {(hit.document, hit.version, hit.chunk.text) for hit in hits} == scanned
    versions = {id_: {version for each, version, _ in scanned if each == id_} for id_, _, _ in scanned}
    assert all(len(each) == 1 for each in versions.values())
    assert counts.chunks == CHUNKS * len(versions) == CHUNKS * counts.documents
    late = [id_ for id_, version in promised.items() if versions.get(id_, {"gone"}) != {version}]
    assert len(late) <= 1, late  # the one that was under way when the kill came
    told = {id_: version for id_, each in versions.items() for version in each}
    (folder / "seen.json").write_text(json.dumps(dict.fromkeys(promised, "gone") | told))
    assert not engine.search(HERE, SPACE, Question(words="elsewhere")).words
    assert engine.status().failures == 0
    engine.close()


def rounds(folder: Path, seed: int, kills: int) -> None:
    """Write, kill, check, again and again in one folder."""
    rng = random.Random(seed)
    promised: dict[str, str] = {}
    for generation in range(kills):
        reading, writing = os.pipe()
        pid = in_a_process(lambda: writes(folder, writing, generation))  # noqa: B023 - used within the round
        os.close(writing)
        told = os.read(reading, 1 << 16)  # wait until it writes
        time.sleep(rng.uniform(0.0, 0.06))
        os.kill(pid, signal.SIGKILL)
        ended = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert ended == -signal.SIGKILL, ended
        while more := os.read(reading, 1 << 16):
            told += more
        os.close(reading)
        for line in told.decode().splitlines():
            version, id_ = line.split()
            promised[id_] = version
        checker = in_a_process(lambda: holds(folder, promised))  # noqa: B023 - used within the round
        assert os.waitstatus_to_exitcode(os.waitpid(checker, 0)[1]) == 0, (generation, promised)
        promised = json.loads((folder / "seen.json").read_text())
    print(f"{kills} kills, {len(promised)} documents")


if __name__ == "__main__":
    rounds(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
