"""Traces in one SQLite file: the default on one machine.

Promises, beyond the port's: the event loop never touches the file, nor what is made of a batch for it: one thread adds
and trims, `READERS` others read meanwhile. What was added survives the end of the process; a loss of power may take the
last seconds, never a part of a batch. At most `WAITING_MOST` calls wait for the writer and as many for the readers;
more raise Overloaded. A second process on the same file is safe.

An engine older than 3.51.3 is refused: it can corrupt a WAL file that is reset under load (sqlite.org/wal.html).
"""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import apsw

from penstock.adapters.traces import questions
from penstock.adapters.traces.batches import check_times, event_of, may_be_kept
from penstock.adapters.traces.sqlite_file import SqliteFile, translated
from penstock.kernel.errors import Invalid, Overloaded, Unavailable
from penstock.kernel.events import RequestEvent
from penstock.ports.traces import Batch, Total, TraceFilter, TracePage

T = TypeVar("T")

WAITING_MOST = 256
READERS = 2


class _Lane:
    """Threads that work in the order of the calls, each on a connection of its own."""

    def __init__(self, name: str, files: Sequence[SqliteFile]) -> None:
        self._threads = ThreadPoolExecutor(len(files), name)
        self._idle: queue.SimpleQueue[SqliteFile] = queue.SimpleQueue()
        for file in files:
            self._idle.put(file)
        self._calls = 0

    async def run(self, work: Callable[[SqliteFile], T]) -> T:
        """Do the work on a thread; what the driver raises meanwhile is translated."""
        if self._calls >= WAITING_MOST:
            raise Overloaded("Too many calls wait for the traces.", limit=WAITING_MOST, retry_after_s=1.0)
        self._calls += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._do, work)
        except apsw.Error as error:
            raise translated(error) from error
        finally:
            self._calls -= 1

    def stop(self) -> None:
        """Finish what waits, and let go of the file (blocks; call it off the loop)."""
        self._threads.shutdown()
        for _ in range(self._idle.qsize()):  # every one: no thread is left
            self._idle.get_nowait().close()

    def _do(self, work: Callable[[SqliteFile], T]) -> T:
        file = self._idle.get_nowait()  # there are as many as threads
        try:
            return work(file)
        finally:
            self._idle.put(file)


class SqliteTraces:
    """The Traces port on a SQLite file. Open it with `SqliteTraces.open`."""

    def __init__(self, writer: SqliteFile, readers: Sequence[SqliteFile]) -> None:
        """Use `open`."""
        self._writing = _Lane("traces-writer", [writer])
        self._reading = _Lane("traces-reader", readers)
        self._is_open = True

    @classmethod
    async def open(cls, path: str | Path) -> SqliteTraces:
        """Open or make the file. Invalid: an engine too old, a newer schema; Unavailable."""
        version = apsw.sqlite_lib_version()
        if tuple(map(int, version.split("."))) < (3, 51, 3):
            raise Invalid(
                "This SQLite can corrupt its files.", value=version, limit="3.51.3", remedy="Upgrade apsw."
            )
        first, *others = await asyncio.get_running_loop().run_in_executor(None, _files, Path(path))
        return cls(first, others)

    async def add(self, batch: Batch) -> None:
        """Keep a batch, once. See ports/traces.py."""
        await self._write(lambda file: file.add(batch))

    async def get(self, request_id: str) -> RequestEvent | None:
        """Return one kept event."""
        if not may_be_kept(request_id):
            return None
        body = await self._read(lambda file: file.body(request_id))
        return event_of(body) if body else None

    async def find(self, wanted: TraceFilter, *, after: str = "", limit: int = 100) -> TracePage:
        """Return a page of kept events."""
        question = questions.find(wanted, after, limit)
        return await self._read(
            lambda file: questions.page_of([body for (body,) in file.ask(question)], limit)
        )

    async def totals(self, wanted: TraceFilter, by: Sequence[str]) -> list[Total]:
        """Return the sums of what matches."""
        question = questions.totals(wanted, by)
        return await self._read(lambda file: [questions.total_of(row) for row in file.ask(question)])

    async def trim(self, before_s: float, *, totals_before_s: float | None = None) -> int:
        """Forget the oldest of what is from before a time."""
        if totals_before_s is None:
            totals_before_s = before_s
        check_times(before_s, totals_before_s)
        return await self._write(lambda file: file.trim(before_s, totals_before_s))

    async def healthy(self) -> bool:
        """Tell whether the file can be read just now."""
        try:
            await self._read(SqliteFile.ping)
        except Unavailable:
            return False
        return True

    async def close(self) -> None:
        """Add what waits, close the file; later calls raise Unavailable."""
        if not self._is_open:
            return
        self._is_open = False
        for lane in (self._writing, self._reading):
            await asyncio.get_running_loop().run_in_executor(None, lane.stop)

    async def _write(self, work: Callable[[SqliteFile], T]) -> T:
        self._check_open()
        return await self._writing.run(work)

    async def _read(self, work: Callable[[SqliteFile], T]) -> T:
        self._check_open()
        return await self._reading.run(work)

    def _check_open(self) -> None:
        if not self._is_open:
            raise Unavailable("The traces were closed.")


def _files(path: Path) -> list[SqliteFile]:
    """Open the writer's connection and the readers', all now: a burst of reads opens no descriptor later."""
    files: list[SqliteFile] = []
    try:
        files.append(SqliteFile(path))
        files[0].prepare()
        for _ in range(READERS):
            files.append(SqliteFile(path))
            files[-1].bound()
    except BaseException as error:  # because the files must be let go; it is raised again
        for file in files:
            file.close()
        if isinstance(error, apsw.Error):
            raise translated(error) from error
        raise
    return files
