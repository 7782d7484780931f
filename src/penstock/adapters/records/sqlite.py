"""Records in one SQLite file: the default on one machine.

Promises, beyond the port's: one thread writes, and commits whatever has queued up together in one transaction (a
savepoint each, so a refused write harms no neighbour) with `synchronous=FULL`, so an acknowledged write survives a
power cut; reads run on threads of their own and see every acknowledged write; the event loop never touches the file.
At most `QUEUE_MOST` writes and as many reads wait; more raise Overloaded. A second process on the same file is safe.

An engine older than 3.51.3 is refused: it can corrupt a WAL file that is reset under load (sqlite.org/wal.html).
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import apsw

from penstock.adapters.records.plan import BEHIND_ALL, Catalogue, check_page, check_text
from penstock.adapters.records.sqlite_file import Sql, SqliteFile, translated
from penstock.kernel.clock import Clock
from penstock.kernel.errors import Invalid, Overloaded, PenstockError, Unavailable
from penstock.ports.records import Collection, Row, Write

T = TypeVar("T")

QUEUE_MOST = 1_024
GROUP_MOST = 64
READERS = 2
STOP_S = 10.0


class _Job:
    """One transaction on its way through the writer."""

    __slots__ = ("done", "loop", "writes")

    def __init__(self, writes: Sequence[Write], loop: asyncio.AbstractEventLoop) -> None:
        self.writes = writes
        self.loop = loop
        self.done: asyncio.Future[list[int]] = loop.create_future()

    def settle(self, outcome: list[int] | PenstockError) -> None:
        """Deliver the outcome, on the job's own loop; a caller that went away is past caring."""
        if self.done.done():
            return
        if isinstance(outcome, PenstockError):
            self.done.set_exception(outcome)
        else:
            self.done.set_result(outcome)


class _Writer(threading.Thread):
    """The one thread that writes."""

    def __init__(self, file: SqliteFile) -> None:
        super().__init__(name="records-writer", daemon=True)
        self.jobs: queue.Queue[_Job | None] = queue.Queue(QUEUE_MOST)
        self._file = file

    def run(self) -> None:
        """Commit jobs in groups until None comes by."""
        going = True
        while going:
            group: list[_Job] = []
            job = self.jobs.get()
            while job is not None:
                group.append(job)
                if len(group) == GROUP_MOST or self.jobs.empty():
                    break
                job = self.jobs.get()
            going = job is not None
            if group:
                _deliver(group, self._file.commit([job.writes for job in group]))
        self._file.close()


def _deliver(jobs: Sequence[_Job], outcomes: Sequence[list[int] | PenstockError]) -> None:
    """Hand the outcomes to the callers' event loops."""
    for job, outcome in zip(jobs, outcomes, strict=True):
        try:
            job.loop.call_soon_threadsafe(job.settle, outcome)
        except RuntimeError:  # the caller's loop was closed meanwhile: nobody is left to tell
            continue


class SqliteRecords:
    """The Records port on a SQLite file. Open it with `SqliteRecords.open`."""

    def __init__(self, catalogue: Catalogue, first: SqliteFile, others: Sequence[SqliteFile]) -> None:
        """Use `open`; `others` are the readers' connections, one a thread."""
        self._catalogue = catalogue
        self._writer = _Writer(first)
        self._readers = ThreadPoolExecutor(len(others), "records-reader")
        self._idle: queue.SimpleQueue[SqliteFile] = queue.SimpleQueue()
        for file in others:
            self._idle.put(file)
        self._reading = 0
        self._is_open = True

    @classmethod
    async def open(cls, path: str | Path, collections: Sequence[Collection], clock: Clock) -> SqliteRecords:
        """Open or make the file. Invalid: an engine too old, a newer schema, clashing declarations; Unavailable."""
        if tuple(map(int, apsw.sqlite_lib_version().split("."))) < (3, 51, 3):
            version = apsw.sqlite_lib_version()
            raise Invalid(
                "This SQLite can corrupt its files.", value=version, limit="3.51.3", remedy="Upgrade apsw."
            )
        catalogue = Catalogue(collections)

        def open_file() -> SqliteFile:
            return SqliteFile(Path(path), catalogue, clock.wall_s)

        def prepare() -> list[SqliteFile]:
            files: list[SqliteFile] = []
            try:
                files.append(open_file())
                files[0].prepare()
                # All now, so that a burst of reads opens no descriptor at a time when they may be scarce.
                for _ in range(READERS):
                    files.append(open_file())
                    files[-1].number(Sql.ping)
            except BaseException as error:  # because the files must be let go; it is raised again
                for file in files:
                    file.close()
                if isinstance(error, apsw.Error):
                    raise translated(error) from error
                raise
            return files

        first, *others = await asyncio.get_running_loop().run_in_executor(None, prepare)
        records = cls(catalogue, first, others)
        records._writer.start()
        return records

    async def transact(self, writes: Sequence[Write]) -> Sequence[int]:
        """Apply all writes or none. See ports/records.py."""
        self._catalogue.check_writes(writes)
        self._check_open()
        job = _Job(writes, asyncio.get_running_loop())
        try:
            self._writer.jobs.put_nowait(job)
        except queue.Full:
            raise Overloaded("Too many writes are waiting.", limit=QUEUE_MOST, retry_after_s=1.0) from None
        return await job.done

    async def get(self, collection: str, tenant: str, id: str) -> Row | None:
        """Return the row, or None."""
        self._catalogue.check_scope(collection, tenant)
        check_text("id", id, least=1)
        rows = await self._read(lambda file: file.rows(Sql.get, (collection, tenant, id)))
        return rows[0] if rows else None

    async def find(
        self, collection: str, tenant: str, index: str, value: str, *, after: str = "", limit: int = 100
    ) -> Sequence[Row]:
        """Return a page of the rows with that index value."""
        self._catalogue.check_scope(collection, tenant)
        self._catalogue.check_index(collection, index, value)
        check_page(after, limit)
        return await self._read(
            lambda file: file.rows(Sql.find, (collection, tenant, index, value, after, limit))
        )

    async def latest(
        self, collection: str, tenant: str, index: str, value: str, *, before: str = "", limit: int = 100
    ) -> Sequence[Row]:
        """Return a page of the rows with that index value, the last first."""
        self._catalogue.check_scope(collection, tenant)
        self._catalogue.check_index(collection, index, value)
        check_page(before, limit)
        where = (collection, tenant, index, value, before or BEHIND_ALL, limit)
        return await self._read(lambda file: file.rows(Sql.latest, where))

    async def scan(self, collection: str, tenant: str, *, after: str = "", limit: int = 100) -> Sequence[Row]:
        """Return a page of the rows."""
        self._catalogue.check_scope(collection, tenant)
        check_page(after, limit)
        return await self._read(lambda file: file.rows(Sql.scan, (collection, tenant, after, limit)))

    async def count(self, collection: str, tenant: str) -> int:
        """Return the number of rows."""
        self._catalogue.check_scope(collection, tenant)
        return await self._read(lambda file: file.number(Sql.count, (collection, tenant)))

    async def healthy(self) -> bool:
        """Tell whether the file can be read just now."""
        try:
            await self._read(lambda file: file.number(Sql.ping))
        except Unavailable:
            return False
        return True

    async def close(self) -> None:
        """Commit what is queued, close the file; later calls raise Unavailable."""
        if not self._is_open:
            return
        self._is_open = False
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, self._writer.jobs.put, None)
        await loop.run_in_executor(None, self._writer.join, STOP_S)
        await loop.run_in_executor(None, self._readers.shutdown)
        for _ in range(self._idle.qsize()):  # every one: no reader is left
            self._idle.get_nowait().close()

    def _check_open(self) -> None:
        if not self._is_open:
            raise Unavailable("The records were closed.")

    async def _read(self, query: Callable[[SqliteFile], T]) -> T:
        """Run a query on a reader thread."""
        self._check_open()
        if self._reading >= QUEUE_MOST:
            raise Overloaded("Too many reads are waiting.", limit=QUEUE_MOST, retry_after_s=1.0)
        self._reading += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._readers, self._query, query)
        except apsw.Error as error:
            raise translated(error) from error
        finally:
            self._reading -= 1

    def _query(self, query: Callable[[SqliteFile], T]) -> T:
        """On a reader thread: run the query on a connection of its own; there are as many as threads."""
        file = self._idle.get_nowait()
        try:
            return query(file)
        finally:
            self._idle.put(file)
