"""The helper process of the embedded index: questions in, answers out (`embedded_wire`), the engine between.

Promise: only what we refuse is the caller's mistake; whatever goes wrong in an engine (theirs raise ValueError for a
full disk, too) is a failure of the index.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from penstock.adapters.helper_process import Answer, serve
from penstock.adapters.index import embedded_wire as wire
from penstock.adapters.index.embedded_engine import THREADS, Engine
from penstock.kernel.errors import Rejected


class Worker:
    """The engine, from the start message to the end of the process."""

    def __init__(self) -> None:
        self._engine: Engine | None = None

    def begin(self, start: bytes) -> tuple[bytes, Answer]:
        """Open the index that the start message names."""
        chosen = msgspec.msgpack.decode(start, type=wire.Start)
        engine = Engine(Path(chosen.folder), chosen.limits)
        self._engine = engine

        def answer(question: bytes) -> bytes:
            try:
                asked = wire.ASK.decode(question)
            except msgspec.DecodeError as error:
                raise ValueError(str(error)) from error
            try:
                return wire.ENCODER.encode(_reply(engine, asked))
            except Rejected as error:
                raise ValueError(str(error)) from error
            except ValueError as error:
                raise RuntimeError(str(error)) from error

        return b"", answer

    def end(self) -> None:
        """Close what was opened."""
        if self._engine is not None:
            self._engine.close()


def _reply(engine: Engine, asked: wire.Ask) -> object:
    match asked:
        case wire.Put():
            return engine.put(asked.place, asked.space, asked.documents, asked.precision)
        case wire.Search():
            search = engine.search if asked.patient else engine.search_at_once
            return search(asked.place, asked.space, asked.question)
        case wire.Delete():
            return engine.delete(asked.place, asked.documents, asked.space)
        case wire.Known():
            return engine.known(asked.place, asked.space, asked.digests)
        case wire.Scan():
            return engine.scan(asked.place, asked.space, asked.after, asked.limit)
        case wire.Count():
            return engine.count(asked.place, asked.space)
        case wire.Compact():
            return engine.compact(asked.round)
        case wire.Ping():
            return engine.ping()
        case wire.Look():
            return engine.status()


def main() -> None:
    """Serve until stdin ends."""
    worker = Worker()
    serve(worker.begin, threads=THREADS)
    worker.end()


if __name__ == "__main__":
    main()
