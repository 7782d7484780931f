"""The embedded index itself, inside its helper process: every verb, on threads.

    put, delete ──▶ one transaction at a time ──▶ the loaded space follows, in the same turn
    search      ──▶ a turn to read: filters → nearest + worded → rows

Promises: the port's (`ports/index.py`). Who commits to a space and who searches it take turns, so a search sees the
space as of one commit in its vectors, words and rows alike. A search never waits for a graph being built, nor for
compacting.
"""

from __future__ import annotations

import fcntl
import os
import queue
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from penstock.adapters.index import checks
from penstock.adapters.index.embedded_library import Library
from penstock.adapters.index.embedded_lines import Change, Space
from penstock.adapters.index.embedded_rows import Rows, check_engine
from penstock.adapters.index.embedded_space import LoadedSpace
from penstock.adapters.index.embedded_sql import Sql
from penstock.adapters.index.embedded_upkeep import Upkeep
from penstock.adapters.index.embedded_wire import Compacting, Limits, Status
from penstock.kernel.errors import Unavailable
from penstock.ports.index import Counts, Document, Found, Place, Precision, Question, Row

THREADS: Final = 6
READERS: Final = THREADS + 2
LOCK_PATIENCE_S: Final = 2.0
"""So long a helper that was killed may take to be gone."""
ROWS: Final = "rows.sqlite"


class Engine:
    """The index in a folder, for one process."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        """Open or make it. Raises Unavailable, with what to do."""
        check_engine()
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = _locked(folder)
        self._commits = threading.Lock()
        self._writer = Rows(folder / ROWS)
        self._writer.prepare()
        self._readers: queue.SimpleQueue[Rows] = queue.SimpleQueue()
        for _ in range(READERS):
            reader = Rows(folder / ROWS)
            reader.ready()
            self._readers.put(reader)
        self._library = Library(folder / "spaces", self._reading, self._commits, limits)
        self._library.sweep(number for number, _ in self._writer.every_space())
        self._upkeep = Upkeep(self._library, folder / ROWS, self._writing, self._reading, limits)

    def close(self) -> None:
        """Keep what is worth keeping, and let everything go. Idempotent."""
        if self._lock < 0:
            return
        self._upkeep.close()
        self._library.close()
        with self._commits:
            self._writer.close()
        while not self._readers.empty():
            self._readers.get_nowait().close()
        os.close(self._lock)
        self._lock = -1

    # ------------------------------------------------------------------------------------------------- the verbs

    def put(self, place: Place, space: str, documents: Sequence[Document], precision: Precision) -> None:
        """See the port."""
        checks.names(place, space)
        given, _ = checks.put(documents)
        with self._writing() as rows:
            change = rows.put(place, space, given, precision)
            self._commit(rows, change)
        self._upkeep.changed(change)
        self._library.make_room()

    def delete(self, place: Place, documents: Sequence[str] | None, space: str) -> int:
        """See the port."""
        checks.names(place, space, space_least=0)
        if documents is not None:
            checks.ids(documents)
        wanted = None if documents is None else sorted(set(documents))
        gone: set[str] = set()
        with self._reading() as rows:
            spaces = rows.spaces(place, space)
        if wanted is None:
            return self._bury(place, space)
        for each in spaces:
            with self._writing() as rows:
                now = rows.space_of(each.number)
                if now is None:
                    continue
                change, there = rows.delete(now, wanted)
                self._commit(rows, change)
            gone |= there
            self._upkeep.changed(change)
        self._library.make_room()
        return len(gone)

    def search(self, place: Place, space: str, question: Question) -> Found:
        """See the port; a space that is not in memory is loaded first."""
        number = self._searched(place, space, question)
        if number is None:
            return Found()
        with self._library.using(number) as loaded:
            return Found() if loaded is None else self._find(loaded, question)  # None: deleted meanwhile

    def search_at_once(self, place: Place, space: str, question: Question) -> Found | None:
        """Do as `search` does where nothing must be loaded for it; return None where something must."""
        number = self._searched(place, space, question)
        if number is None:
            return Found()
        with self._library.if_loaded(number) as loaded:
            found = None if loaded is None else self._find(loaded, question)
        self._library.make_room()
        return found

    def known(self, place: Place, space: str, digests: Sequence[str]) -> dict[str, bytes]:
        """See the port."""
        checks.names(place, space)
        checks.count("digests", len(digests), checks.CHUNKS_MOST)
        for each in digests:
            checks.digest(each)
        with self._reading() as rows:
            found = rows.space(place, space)
            return rows.known(found, digests) if found is not None else {}

    def scan(self, place: Place, space: str, after: tuple[str, int], limit: int) -> list[Row]:
        """See the port."""
        checks.names(place, space)
        checks.page(after, limit)
        with self._reading() as rows:
            found = rows.space(place, space)
            return rows.scan(found, after, limit) if found is not None else []

    def count(self, place: Place, space: str) -> Counts:
        """See the port."""
        checks.names(place, space, space_least=0)
        with self._reading() as rows:
            spaces = rows.spaces(place, space)
            return Counts(
                documents=rows.different(spaces),
                chunks=sum(each.chunks for each in spaces),
                bytes=sum(each.bytes for each in spaces),
            )

    def compact(self, number: int) -> Compacting:
        """Begin a round of compacting, or look at one."""
        return self._upkeep.compact(number)

    def ping(self) -> None:
        """See that the rows can be read."""
        with self._reading() as rows:
            rows.number(Sql.ping)

    def status(self) -> Status:
        """Tell how it stands."""
        loaded = self._library.loaded
        with self._reading() as rows:
            return Status(
                waiting=self._upkeep.waiting,
                loaded=len(loaded),
                loaded_bytes=self._library.loaded_bytes,
                graphs=sum(each.graph is not None for each in loaded),
                graph_builds=self._upkeep.builds,
                failures=self._upkeep.failures,
                rows=rows.number(Sql.rows),
                disk_bytes=rows.number(Sql.pages) + _size(self._library.folder),
            )

    # ------------------------------------------------------------------------------------------------- its parts

    def _searched(self, place: Place, space: str, question: Question) -> int | None:
        """Return the number of the space to search, None when nothing can be found. Raises Invalid."""
        checks.names(place, space)
        checks.question(question)
        with self._reading() as rows:
            found = rows.space(place, space)
        if found is None or not (question.vector or question.words):
            return None
        if question.vector:
            checks.dimensions(found.dimensions, len(question.vector) // checks.FLOAT)
        return found.number

    def _find(self, loaded: LoadedSpace, question: Question) -> Found:
        self._upkeep.look_at(loaded)
        with loaded.reading(question), self._reading() as rows:
            if loaded.broken:
                raise Unavailable("A space of the index is being read anew.", retry_after_s=1.0)
            passing = loaded.passing(question)
            dense = loaded.nearest(question, passing, rows) if question.vector else []
            words = loaded.worded(question, passing) if question.words else []
            return Found(
                tuple(rows.hits(dense, tokens=question.tokens)),
                tuple(rows.hits(words, tokens=question.tokens)),
            )

    def _commit(self, rows: Rows, change: Change) -> None:
        """Commit a change, and let the space that is loaded follow in the same turn."""
        number = change.space.number
        with self._library.if_loaded(number) as loaded:
            if loaded is None:
                rows.commit()
                return
            with loaded.turns.writing():
                rows.commit()
                try:
                    loaded.apply(change)
                except (
                    Exception
                ):  # because what is committed stands, whatever keeps the copy of it from following
                    loaded.fail()

    def _bury(self, place: Place, space: str) -> int:
        """Delete whole spaces: nobody finds them from here on; their rows go with the next compacting."""
        with self._writing() as rows:
            spaces: list[Space] = rows.spaces(place, space)
            documents = rows.different(spaces)
            for each in spaces:
                rows.bury(each)
            rows.commit()
        for each in spaces:
            self._library.discard(each.number)
        return documents

    @contextmanager
    def _writing(self) -> Generator[Rows]:
        """Hold the one connection that writes, in a transaction that is undone unless it was committed."""
        with self._commits:
            self._writer.begin()
            try:
                yield self._writer
            finally:
                self._writer.give_up()

    @contextmanager
    def _reading(self) -> Generator[Rows]:
        """Borrow a connection that reads."""
        rows = self._readers.get()
        try:
            yield rows
        finally:
            self._readers.put(rows)


def _locked(folder: Path) -> int:
    """Return the lock on the folder, which ends with this process. Raises Unavailable when another one has it."""
    lock = os.open(folder / "LOCK", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    until_s = time.monotonic() + LOCK_PATIENCE_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until_s:
                os.close(lock)
                raise Unavailable(
                    f"Another process has the index in {folder}.",
                    remedy="Stop it, or set collections.index to a postgresql:// address to share one.",
                ) from None
            time.sleep(0.05)
        else:
            return lock


def _size(folder: Path) -> int:
    """Return what a folder's files take on disk, in bytes; what vanishes meanwhile takes none."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                total += Path(place, name).stat().st_blocks * 512
    return total
