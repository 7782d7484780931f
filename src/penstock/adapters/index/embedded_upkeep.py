"""What is done beside puts and searches, by one thread: graphs built, words kept, deleted rows taken off the disk.

Promises: no search waits for it longer than for a put; a task that fails is counted, leaves nothing half made, and
comes again with the next change or search that calls for it after a pause (`embedded_pauses`); a space that cannot be
compacted keeps no other on the disk; a kill at any moment leaves rows that everything is made from again.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Final, Literal

import msgspec

from penstock.adapters.index.embedded_build import Task as Building
from penstock.adapters.index.embedded_graph import DRAFT, Graph
from penstock.adapters.index.embedded_library import Library
from penstock.adapters.index.embedded_lines import Change, Space
from penstock.adapters.index.embedded_pauses import Kind, Pauses
from penstock.adapters.index.embedded_rows import Rows
from penstock.adapters.index.embedded_space import LoadedSpace, follow
from penstock.adapters.index.embedded_sql import Sql
from penstock.adapters.index.embedded_wire import Compacting, Limits
from penstock.adapters.index.embedded_words import Words

BEHIND_MOST: Final = 5_000
"""Rows put to a space that is not loaded, after which it is, so that no search has to catch up with more."""
PENDING_MOST: Final = 2_000
"""Texts told to the words and not kept on disk yet."""
PURGE_ROWS: Final = 1_000
CHECKPOINT_TRIES: Final = 200
LOOK_S: Final = 0.05
GRAPH_TIMEOUT_S: Final = 6 * 3600.0

HOME: Final = str(Path(__file__).parents[3])
"""Where this package is, for the process that builds."""

Waiting = tuple[Kind | Literal["compact"], int]
"""A task and its space, or a round of compacting."""
Connection = Callable[[], AbstractContextManager[Rows]]


class Upkeep:
    """The thread that keeps things up, and what waits for it."""

    def __init__(
        self,
        library: Library,
        rows: Path,
        writing: Connection,
        reading: Connection,
        limits: Limits,
    ) -> None:
        """Begin."""
        self.builds = 0
        self.failures = 0
        self._library = library
        self._rows = rows
        self._writing = writing
        self._reading = reading
        self._limits = limits
        self._behind: Counter[int] = Counter()
        self._tasks: deque[Waiting] = deque()
        self._busy: Waiting | None = None
        self._pauses = Pauses()
        self._changed = threading.Condition()
        self._closing = False
        self._builder: subprocess.Popen[bytes] | None = None
        self._round = 0
        self._ended_round = 0
        self._error = ""
        self._thread = threading.Thread(target=self._work, name="index-upkeep", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Return how many tasks wait or are under way."""
        with self._changed:
            return len(self._tasks) + (self._busy is not None)

    def close(self) -> None:
        """End what is under way at its next step."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if (builder := self._builder) is not None:
            builder.kill()
        self._thread.join()

    # ---------------------------------------------------------------------------------------- what calls for a task

    def changed(self, change: Change) -> None:
        """Look at a space that was written."""
        number = change.space.number
        with self._library.if_loaded(number) as loaded:
            if loaded is not None:
                self._behind.pop(number, None)
                self.look_at(loaded)
                return
        self._behind[number] += len(change.numbers)
        if self._behind[number] >= BEHIND_MOST:
            self._behind.pop(number, None)
            self._call_for("load", number)

    def look_at(self, space: LoadedSpace) -> None:
        """Look at a loaded space."""
        if self._graph_wanted(space):
            self._call_for("graph", space.number)
        if space.words.folder is None and space.rows > self._limits.memory_words_most:
            self._call_for("words", space.number)
        if space.words.pending > PENDING_MOST:
            self._call_for("keep", space.number)
        if space.wasted:
            self._library.doom(space.number)

    def compact(self, number: int) -> Compacting:
        """Begin a round (0), or look at one that was begun; who begins while one is under way gets the one after it."""
        with self._changed:
            if number == 0:
                under_way = self._busy is not None and self._busy[0] == "compact"
                if ("compact", self._round) not in self._tasks or under_way:
                    self._round += 1
                    self._tasks.append(("compact", self._round))
                    self._changed.notify_all()
                number = self._round
            ended = number <= self._ended_round
            return Compacting(number, ended, self._error if ended else "")

    def _graph_wanted(self, space: LoadedSpace) -> bool:
        beside = space.chunks.size - space.chunks.since
        if space.graph is None:
            return space.rows > self._limits.exact_most
        return beside > max(self._limits.exact_most // 2, space.graph.size // 4)

    def _call_for(self, kind: Kind, number: int) -> None:
        task = kind, number
        with self._changed:
            if task not in self._tasks and self._busy != task and self._pauses.over(task, time.monotonic()):
                self._tasks.append(task)
                self._changed.notify_all()

    # -------------------------------------------------------------------------------------------------- the thread

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._tasks or self._closing)
                if self._closing:
                    return
                kind, number = self._busy = self._tasks.popleft()
            error = ""
            try:
                if kind == "compact":
                    self._compact()
                else:
                    self._attempt(kind, number)
            except Exception as failure:  # because a task that fails must not end the thread that serves all
                self.failures += 1
                error = f"{type(failure).__name__}: {failure}"
            with self._changed:
                self._busy = None
                if kind == "compact":
                    self._ended_round, self._error = number, error

    def _attempt(self, kind: Kind, number: int) -> None:
        """Do a task, and leave it alone for a while if it fails."""
        try:
            self._do(kind, number)
        except BaseException:  # because whoever searches would call for it at once; it is raised again
            self._pauses.failed((kind, number), time.monotonic())
            raise
        self._pauses.ended((kind, number))

    def _do(self, kind: Kind, number: int) -> None:
        with self._library.using(number) as space:
            if space is None:
                return
            if kind == "graph" and self._graph_wanted(space):
                self._build(space)
            elif kind == "words" and space.words.folder is None:
                self._rewrite_words(space)
            elif kind == "keep":
                with space.turns.writing():
                    space.words.commit()
            elif kind == "load":
                self.look_at(space)

    def _build(self, space: LoadedSpace) -> None:
        """Build the space's next graph from the last one, and search that from then on."""
        with self._reading() as rows:
            now = rows.space_of(space.number)
        if now is None:
            return
        target = self._library.next(space.number, "graph")
        target.parent.mkdir(parents=True, exist_ok=True)
        task = Building(
            parent=os.getpid(),
            rows=str(self._rows),
            low=now.low,
            upto=now.at,
            dimensions=now.dimensions,
            target=str(target),
            before=str(space.graph.folder) if space.graph is not None else "",
        )
        try:
            self._run_builder(task)
            graph = Graph(target, self._limits.scan_most)
        except BaseException:  # because what is left of it would fill the disk; it is raised again
            for left in (target, *target.parent.glob(f"{target.name}-*{DRAFT}")):
                shutil.rmtree(left, ignore_errors=True)
            raise
        with space.turns.writing():
            former = space.adopt(graph)
        self.builds += 1
        if former is not None:
            former.close()
            shutil.rmtree(former.folder, ignore_errors=True)

    def _run_builder(self, task: Building) -> None:
        command = [sys.executable, "-s", "-P", "-m", "penstock.adapters.index.embedded_build"]
        self._builder = subprocess.Popen(  # noqa: S603 - our own module; its argument is ours too
            [*command, msgspec.json.encode(task).decode()],
            env={"PYTHONPATH": HOME},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        try:
            if self._closing:
                self._builder.kill()
            _, said = self._builder.communicate(timeout=GRAPH_TIMEOUT_S)
            if self._builder.returncode:
                message = f"a graph was not built: {said.decode(errors='replace')[-500:]}"
                raise RuntimeError(message)
        finally:
            self._builder.kill()
            self._builder.wait()
            self._builder = None

    def _rewrite_words(self, space: LoadedSpace) -> None:
        """Write a space's words anew on disk, without what was deleted, and look in these from then on."""
        former, target = space.words, self._library.next(space.number, "words")
        try:
            with self._reading() as rows:
                words = Words(space.low, target)
                follow(words, rows, space.at)
                words.commit()
                # The commits' own turn, so that nothing is committed that neither of the two has been told.
                with self._writing() as now, space.turns.writing():
                    follow(words, now, space.at)
                    words.commit()
                    space.words = words
        except BaseException:  # because what is left of it would fill the disk; it is raised again
            shutil.rmtree(target, ignore_errors=True)
            raise
        former.close()
        if former.folder is not None:
            shutil.rmtree(former.folder, ignore_errors=True)

    # -------------------------------------------------------------------------------------------------- compacting

    def _compact(self) -> None:
        dirty = [space.number for space in self._library.loaded if space.words.dirty]
        work = [partial(self._do, "keep", number) for number in dirty]
        with self._reading() as rows:
            for number, alive in rows.every_space():
                work.append(partial(self._compact_space if alive else self._purge_space, number))
        first: Exception | None = None
        for each in work:
            self._check_open()
            try:
                each()
            except Exception as failure:  # because one space's failure must not keep the others on the disk
                first = first or failure
        self._free_disk()
        if first is not None:
            raise first

    def _free_disk(self) -> None:
        """Give back what the file of the rows no longer needs, and empty its log."""
        more = True
        while more:
            self._check_open()
            with self._writing() as rows:
                more = rows.shrink()
                rows.commit()
        for _ in range(CHECKPOINT_TRIES):
            self._check_open()
            with self._writing() as rows:
                rows.give_up()
                if rows.checkpoint():
                    return
            time.sleep(LOOK_S)
        message = "the log of the rows could not be emptied: somebody reads all the time"
        raise RuntimeError(message)

    def _compact_space(self, number: int) -> None:
        """Build the graph that a space lacks; make anew what holds its deleted rows, then forget which they were."""
        with self._reading() as rows:
            now = rows.space_of(number)
            has_gone = now is not None and rows.has_gone(now)
        if now is None or not (has_gone or now.chunks > self._limits.exact_most):
            return
        with self._library.using(number) as space:
            if space is None:
                return
            upto = space.at
            if has_gone and space.words.folder is not None:
                self._rewrite_words(space)
            if self._graph_wanted(space) or (has_gone and space.graph is not None and space.graph.at < upto):
                self._build(space)
            kept = [space.words.at] if space.words.folder is not None else []
            kept += [space.graph.at] if space.graph is not None else []
        self._purge(Sql.purge_gone, now, min([upto, *kept]))
        self._pauses.forget(number)

    def _purge_space(self, number: int) -> None:
        """Take a space that was deleted as a whole off the disk: what nobody would know of without its rows first."""
        space = Space(number, 0, 0, 0, 0, 0)
        self._library.remove(number)
        for sql in (Sql.purge_chunks, Sql.purge_documents, Sql.purge_gone):
            self._purge(sql, space, space.high)
        with self._writing() as rows:
            rows.forget(number)
            rows.commit()
        self._pauses.forget(number)

    def _purge(self, sql: str, space: Space, upto: int) -> None:
        while True:
            self._check_open()
            with self._writing() as rows:
                purged = rows.purge(sql, space.low, upto, PURGE_ROWS)
                rows.commit()
            if purged < PURGE_ROWS:
                return

    def _check_open(self) -> None:
        if self._closing:
            message = "the index is being closed"
            raise RuntimeError(message)
