"""What one consumer group of one topic has committed, holds and will get next; and the file that remembers it.

    committed        done   leased  ready   never given
    ──────────┬──────────────────────────────┬─────────────▶ offsets
            floor                          cursor

Promises: an offset is leased to one poll at a time; what is neither committed nor leased is given again, oldest
first; what was committed survives a restart. All of it is bounded: nothing past `WINDOW` offsets after the oldest
uncommitted one is given out, so a message that nobody ever acknowledges stops its group rather than fill memory.
Not thread-safe: `Group` belongs to the event loop, `restore` and `record` run on the writer's thread.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Sequence
from heapq import heapify, heappop, heappush
from pathlib import Path

import msgspec

from penstock.adapters.stream.segments import frame, mapped, whole_records, write_all

WINDOW = 100_000
COMPACT_BYTES = 256 << 10

_Spans = list[tuple[int, int]]
_encode = msgspec.msgpack.encode
_decoder = msgspec.msgpack.Decoder(_Spans)


def spans(offsets: Iterable[int]) -> _Spans:
    """Fold ascending offsets into [start, end) pairs."""
    folded: _Spans = []
    for offset in offsets:
        if folded and folded[-1][1] == offset:
            folded[-1] = (folded[-1][0], offset + 1)
        else:
            folded.append((offset, offset + 1))
    return folded


class Group:
    """The state of one group. Times are monotonic seconds."""

    __slots__ = (
        "_batches",
        "_cursor",
        "_listed",
        "_ready",
        "done",
        "file",
        "file_bytes",
        "floor",
        "leases",
        "lock",
    )

    def __init__(self, file: Path) -> None:
        """Start a group that has committed nothing and will write its commits to `file`."""
        self.file = file
        self.file_bytes = 0
        self.lock = asyncio.Lock()
        """Held while commits are written, so that what is in memory is always what the file says."""
        self.floor = 0
        self.done: set[int] = set()
        self.leases: dict[int, float] = {}
        self._cursor = 0
        self._ready: list[int] = []
        self._batches: list[tuple[float, list[int]]] = []
        self._listed = 0

    def take(self, limit: int, end: int, now_s: float, until_s: float) -> list[int]:
        """Lease up to `limit` offsets below `end` until `until_s`: those that came back first, then new ones."""
        self._recall(now_s)
        taken: list[int] = []
        while self._ready and len(taken) < limit:
            offset = heappop(self._ready)
            if offset >= self.floor and offset not in self.done:
                taken.append(offset)
        cursor, ceiling = max(self._cursor, self.floor), min(end, self.floor + WINDOW)
        while cursor < ceiling and len(taken) < limit:
            if cursor not in self.done:
                taken.append(cursor)
            cursor += 1
        self._cursor = cursor
        if taken:
            self.leases.update(dict.fromkeys(taken, until_s))
            heappush(self._batches, (until_s, taken))
            self._listed += len(taken)
        return taken

    def _recall(self, now_s: float) -> None:
        """Make ready what was leased until `now_s` or earlier and not committed."""
        while self._batches and self._batches[0][0] <= now_s:
            until_s, offsets = heappop(self._batches)
            self._listed -= len(offsets)
            self.give_up([offset for offset in offsets if self.leases.get(offset) == until_s])
        if self._listed > 2 * len(self.leases) + 10_000:
            self._forget_committed_leases()

    def _forget_committed_leases(self) -> None:
        """Rebuild the list of leases by time without the committed ones, so that long leases do not pile up."""
        by_time: dict[float, list[int]] = {}
        for offset, until_s in self.leases.items():
            by_time.setdefault(until_s, []).append(offset)
        self._batches = list(by_time.items())
        heapify(self._batches)
        self._listed = len(self.leases)

    def give_up(self, offsets: Iterable[int]) -> None:
        """End leases before their time: the offsets are ready for the next poll."""
        for offset in offsets:
            if self.leases.pop(offset, None) is not None:
                heappush(self._ready, offset)

    def uncommitted(self, offsets: Iterable[int]) -> list[int]:
        """Return those of `offsets` that are not committed yet, ascending, each once."""
        return sorted({offset for offset in offsets if offset >= self.floor} - self.done)

    def commit(self, offsets: Iterable[int]) -> None:
        """Count offsets as committed."""
        for offset in offsets:
            self.leases.pop(offset, None)
            if offset >= self.floor:
                self.done.add(offset)
        while self.floor in self.done:
            self.done.remove(self.floor)
            self.floor += 1

    def skip_to(self, first: int) -> None:
        """Forget offsets below `first`: they were trimmed away."""
        if first > self.floor:
            for offset in [offset for offset in self.leases if offset < first]:
                del self.leases[offset]
            self.done = {offset for offset in self.done if offset >= first}
            self.floor = first
            self.commit(())

    def lag(self, end: int) -> int:
        """Return how many offsets below `end` are not committed."""
        return end - self.floor - len(self.done)

    def entry(self, fresh: Sequence[int]) -> tuple[bytes, bool]:
        """Return what to write so that `fresh` is remembered, and whether it replaces the file."""
        if self.file_bytes < COMPACT_BYTES:
            return _encode(spans(fresh)), False
        return _encode([(0, self.floor), *spans(sorted({*self.done, *fresh}))]), True

    def restore(self, end: int) -> None:
        """Read the file, cut its torn tail; what the log itself lost (offsets from `end` on) is not committed."""
        if not self.file.exists():
            return
        with mapped(self.file) as view:
            for start, stop, _ in whole_records(view):
                for first, last in _decoder.decode(view[start:stop]):
                    self._remember(first, min(last, end))
                self.file_bytes = stop
        self.commit(())

    def _remember(self, first: int, last: int) -> None:
        if first <= self.floor:
            self.floor = max(self.floor, last)
            self.done = {offset for offset in self.done if offset >= self.floor}
        else:
            self.done.update(range(first, last))

    def record(self, entry: bytes, *, replace: bool, sync: bool) -> int:
        """Write an entry of `entry()` durably; returns the file's size after it."""
        parts: list[bytes] = []
        frame([entry], 0.0, parts)
        data = b"".join(parts)
        start = 0 if replace else self.file_bytes
        path = self.file.with_suffix(".new") if replace else self.file
        self.file.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(handle, start)  # what a failed write may have left
            os.lseek(handle, start, os.SEEK_SET)
            write_all(handle, data)
            if sync or replace:
                os.fdatasync(handle)
        finally:
            os.close(handle)
        if replace:
            path.replace(self.file)
        return start + len(data)
