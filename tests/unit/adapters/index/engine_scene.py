"""What the tests of the embedded index's engine share: documents put, upkeep awaited, and all of it found again."""

from __future__ import annotations

import time
from collections.abc import Callable

from penstock.adapters.index.embedded_engine import Engine
from penstock.contracts.index_search import SPACE, asked, document, ids, towards
from penstock.ports.index import Place

HERE = Place("acme", "papers")
THERE = Place("other", "papers")
PATIENCE_S = 20.0


def filled(engine: Engine, place: Place = HERE, count: int = 40) -> None:
    """Put so many documents, each of one chunk."""
    documents = [document(f"d{i:03}", f"water {i}", vector=towards(i)) for i in range(count)]
    engine.put(place, SPACE, documents, "fp32")


def compacted(engine: Engine) -> str:
    """Compact, and return what went wrong, "" for nothing."""
    seen = engine.compact(0)
    while not (seen := engine.compact(seen.round)).ended:
        time.sleep(0.005)
    return seen.error


def settled(engine: Engine) -> None:
    """Compact, and see that all went well."""
    error = compacted(engine)
    assert not error, error


def all_there(engine: Engine, place: Place = HERE, count: int = 40) -> None:
    """See that every document is found, by meaning and by words."""
    found = engine.search(place, SPACE, asked(200))
    wanted = {f"d{i:03}" for i in range(count)}
    assert set(ids(found.dense)) == wanted == set(ids(found.words))


def until(seen: Callable[[], object]) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + PATIENCE_S
    while not seen():
        assert time.monotonic() < deadline
        time.sleep(0.002)
