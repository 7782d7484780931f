"""The files of one topic: framed records in segment files, one active, the older ones sealed.

    0000000000000000000000.v1.seg     the name is the offset of the first record
    ┌────────┬───────┬────────────┬─────────────┐
    │ length │ crc32 │ appended_s │ value …     │  repeated; little-endian, 16 bytes of head, the CRC covers
    └────────┴───────┴────────────┴─────────────┘  the time and the value

Promises: a record is whole or not there (`TopicLog.open` cuts a torn tail; a write that failed half-way is cut at
once); a value that changed on disk is never returned (Broken). One thread writes; any thread may read, because a
record is counted (`Segment.count`) only after its last byte was written, and `segments` is replaced, never changed.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from mmap import ACCESS_READ, mmap
from pathlib import Path
from struct import Struct
from zlib import crc32

from penstock.kernel.clock import Clock
from penstock.kernel.errors import Broken
from penstock.ports.stream import Message

MAX_MESSAGE_BYTES = 1 << 20
READ_BUDGET_BYTES = 4 << 20
"""One read returns about this much at most, however many messages were asked for."""

_SUFFIX = ".v1.seg"
_FRAME = Struct("<IId")
_STAMP = Struct("<d")
_HEAD_BYTES = _FRAME.size
_STRIDE = 1024
"""Records between two remembered positions: what a random read may have to step over."""


def frame(values: Sequence[bytes], stamp_s: float, parts: list[bytes]) -> None:
    """Add head and value of each of `values` to `parts`; about 0.4 µs a value."""
    pack, add = _FRAME.pack, parts.append
    seed = crc32(_STAMP.pack(stamp_s))
    for value in values:
        add(pack(len(value), crc32(value, seed), stamp_s))
        add(value)


def write_all(file: int, data: bytes) -> None:
    """Write all of `data` to a descriptor; a short write (a disk filling up) goes on until the system says why."""
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def whole_records(view: memoryview) -> Iterator[tuple[int, int, float]]:
    """Yield (start of the value, its end, appended_s) of each whole record, up to the first one that is not."""
    position, size = 0, len(view)
    while position + _HEAD_BYTES <= size:
        length, crc, stamp_s = _FRAME.unpack_from(view, position)
        start = position + _HEAD_BYTES
        position = start + length
        seed = crc32(view[start - _STAMP.size : start])
        if length > MAX_MESSAGE_BYTES or position > size or crc32(view[start:position], seed) != crc:
            return
        yield start, position, stamp_s


@contextmanager
def mapped(path: Path) -> Generator[memoryview]:
    """Map a file for reading; an empty one is an empty view."""
    with path.open("rb") as file:
        if not os.fstat(file.fileno()).st_size:
            yield memoryview(b"")
            return
        with mmap(file.fileno(), 0, access=ACCESS_READ) as area, memoryview(area) as view:
            yield view


class Segment:
    """One file. `marks` are (record number, file position) pairs, one per ~1,000 records, empty until first needed."""

    __slots__ = ("base", "count", "marks", "newest_s", "path")

    def __init__(self, path: Path, base: int, count: int = 0) -> None:
        """Describe the file at `path` that starts at offset `base` and holds `count` records."""
        self.path = path
        self.base = base
        self.count = count
        self.marks: list[tuple[int, int]] = []
        self.newest_s: float | None = None

    @property
    def end(self) -> int:
        """Offset after the last record."""
        return self.base + self.count

    def survey(self) -> tuple[int, int]:
        """Walk the file, verifying; fill `marks` and `newest_s`; return (whole records, their bytes)."""
        marks = [(0, 0)]
        newest_s, size, count = float("-inf"), 0, 0
        with mapped(self.path) as view:
            for start, end, stamp_s in whole_records(view):
                if count - marks[-1][0] >= _STRIDE:
                    marks.append((count, start - _HEAD_BYTES))
                count, size, newest_s = count + 1, end, max(newest_s, stamp_s)
        if count < self.count:  # damaged: what cannot be read any more is as young as the file
            newest_s = max(newest_s, self.path.stat().st_mtime)
        self.newest_s, self.marks = newest_s, marks
        return count, size

    def older_than(self, before_s: float) -> bool:
        """Tell whether every record was appended before the wall time `before_s`."""
        if self.newest_s is None:
            self.survey()
        return self.newest_s is not None and self.newest_s < before_s

    def read(self, offset: int, limit: int, budget_bytes: int) -> list[Message]:
        """Return up to `limit` records from `offset` (inside this segment) on, stopping past `budget_bytes`."""
        if not self.marks:
            self.survey()
        wanted, stop = (
            offset - self.base,
            min(self.end, offset + limit),
        )  # before mapping: the file may grow meanwhile
        number, position = self.marks[bisect_right(self.marks, (wanted, 1 << 62)) - 1]
        messages: list[Message] = []
        with mapped(self.path) as view:
            for at in range(self.base + number, stop):
                start = position + _HEAD_BYTES
                if start > len(view):
                    raise self._damaged(at)
                length, crc, stamp_s = _FRAME.unpack_from(view, position)
                position = start + length
                if at < offset:
                    continue
                value = bytes(view[start:position])
                if position > len(view) or crc32(value, crc32(view[start - _STAMP.size : start])) != crc:
                    raise self._damaged(at)
                messages.append(Message(at, value, stamp_s))
                budget_bytes -= length
                if budget_bytes <= 0:
                    break
        return messages

    def _damaged(self, offset: int) -> Broken:
        return Broken(
            f"Record {offset} of {self.path.name} changed on disk since it was written.", offset=offset
        )


class TopicLog:
    """All segments of a topic. Only the writer's thread calls `append`, `trim`, `sync` and `close`."""

    __slots__ = (
        "_clock",
        "_dirty",
        "_file",
        "_oldest_s",
        "_roll_s",
        "_segment_bytes",
        "_size",
        "folder",
        "segments",
        "torn_bytes",
    )

    def __init__(self, folder: Path, clock: Clock, *, segment_bytes: int, roll_s: float) -> None:
        """Describe the topic in `folder`; no file is touched before `open` or the first `append`."""
        self.folder = folder
        self.segments: tuple[Segment, ...] = ()
        self.torn_bytes = 0
        self._clock = clock
        self._segment_bytes = segment_bytes
        self._roll_s = roll_s
        self._file = -1
        self._size = 0
        self._oldest_s = 0.0
        self._dirty = False

    @property
    def first(self) -> int:
        """The oldest offset that is left."""
        segments = self.segments
        return segments[0].base if segments else 0

    @property
    def next(self) -> int:
        """The offset the next record will get."""
        segments = self.segments
        return segments[-1].end if segments else 0

    def open(self) -> None:
        """Find the segments, verify the last and cut its torn tail."""
        paths = sorted(self.folder.glob(f"*{_SUFFIX}"))
        bases = [int(path.name.removesuffix(_SUFFIX)) for path in paths]
        ends = [*bases[1:], bases[-1]] if bases else []
        found = [Segment(p, base, end - base) for p, base, end in zip(paths, bases, ends, strict=True)]
        if not found:
            return
        active = found[-1]
        active.count, self._size = active.survey()
        self._file = os.open(active.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        self.torn_bytes = os.fstat(self._file).st_size - self._size
        os.ftruncate(self._file, self._size)
        self._oldest_s = self._clock.monotonic_s()
        self.segments = tuple(found)

    def append(self, batches: Sequence[Sequence[bytes]], *, sync: bool) -> list[int]:
        """Write the batches in order with one system call; returns each one's last offset. OSError: none is there."""
        active = self._active()
        stamp_s = self._clock.wall_s()
        parts: list[bytes] = []
        lasts: list[int] = []
        count = active.count
        for values in batches:
            frame(values, stamp_s, parts)
            count += len(values)
            lasts.append(active.base + count - 1)
        data = b"".join(parts)
        try:
            write_all(self._file, data)
            if sync:
                os.fdatasync(self._file)
        except OSError:
            with suppress(OSError):  # tried again before the next write
                os.ftruncate(self._file, self._size)
            raise
        if active.count - active.marks[-1][0] >= _STRIDE:
            active.marks.append((active.count, self._size))
        self._size += len(data)
        self._dirty = not sync
        active.newest_s = max(stamp_s, active.newest_s if active.newest_s is not None else stamp_s)
        active.count = count
        return lasts

    def _active(self) -> Segment:
        """Return the segment to write to, after rolling a full or old one and cutting what a failed write left."""
        if not self.segments:
            self.folder.mkdir(parents=True, exist_ok=True)
            return self._roll(0)
        active = self.segments[-1]
        old = self._clock.monotonic_s() - self._oldest_s >= self._roll_s
        if active.count and (old or self._size >= self._segment_bytes):
            return self._roll(active.end)
        if os.fstat(self._file).st_size != self._size:
            os.ftruncate(self._file, self._size)
        return active

    def _roll(self, base: int) -> Segment:
        """Seal the active segment and start a new one at offset `base`."""
        self.sync()
        path = self.folder / f"{base:022d}{_SUFFIX}"
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        if self._file >= 0:
            os.close(self._file)
        fresh = Segment(path, base)
        fresh.marks = [(0, 0)]
        self._file, self._size, self._oldest_s = file, 0, self._clock.monotonic_s()
        self.segments = (*self.segments, fresh)
        return fresh

    def trim(self, before_s: float) -> int:
        """Remove the oldest segments whose every record is older than `before_s`; returns the first offset left."""
        if self.segments and self.segments[-1].count and self.segments[-1].older_than(before_s):
            self._roll(self.next)
        while len(self.segments) > 1 and self.segments[0].older_than(before_s):
            oldest = self.segments[0]
            self.segments = self.segments[1:]
            oldest.path.unlink()
        return self.first

    def read(self, offset: int, limit: int, budget_bytes: int = READ_BUDGET_BYTES) -> list[Message]:
        """Return up to `limit` records from `offset` on, fewer past `budget_bytes`; any thread may call this."""
        messages: list[Message] = []
        segments = self.segments
        at = max(0, bisect_right(segments, offset, key=lambda segment: segment.base) - 1)
        for segment in segments[at:]:
            if limit <= 0 or budget_bytes <= 0 or offset >= segment.end:
                break
            got = segment.read(offset, limit, budget_bytes)
            messages += got
            offset += len(got)
            limit -= len(got)
            budget_bytes -= sum(len(message.value) for message in got)
        return messages

    def sync(self) -> None:
        """Force what was written onto the disk."""
        if self._dirty:
            os.fdatasync(self._file)
            self._dirty = False

    def close(self) -> None:
        """Sync and close the active file."""
        if self._file >= 0:
            try:
                self.sync()
            finally:
                os.close(self._file)
                self._file = -1
