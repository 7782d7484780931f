"""A stream in segment files of one folder, for one process.

    append ──▶ pending ──▶ writer thread: one write per topic and turn ──▶ futures set, waiters woken
    read, poll ──▶ reader threads (mapped files, every CRC checked)

Promises: the port's (`ports/stream.py`), and: a kill of the process loses nothing that `append` or `commit` returned
for; a power cut loses at most the last `sync_s` seconds (0: nothing). Appends that arrive while the disk is busy
share the next write (group commit). A second process is refused by a lock on the folder. A topic exists from its
first append on; reading an unwritten one finds nothing. A consumer group begins at the oldest message that is left;
a trimmed message no longer counts in `lag`. One `read` or `poll` returns 4 MiB or so at most.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Self

from penstock.adapters.stream.groups import WINDOW, Group, spans
from penstock.adapters.stream.segments import MAX_MESSAGE_BYTES, READ_BUDGET_BYTES, TopicLog
from penstock.adapters.stream.writer import MAX_PENDING_BYTES, Writer, translated
from penstock.kernel.clock import Clock
from penstock.kernel.errors import Conflict, Invalid, NotFound
from penstock.ports.stream import Message

MAX_BATCH = 10_000
MAX_TOPICS = 1_000
MAX_GROUPS = 1_000
"""Groups of one topic."""

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,119}")


class _Topic:
    """A topic's log, its groups and who waits for it."""

    __slots__ = ("groups", "log", "waiters")

    def __init__(self, log: TopicLog) -> None:
        self.log = log
        self.groups: dict[str, Group] = {}
        self.waiters: dict[asyncio.Future[None], int] = {}

    def wake(self, *, everybody: bool = False) -> None:
        """Wake those whose offset exists now."""
        end = self.log.next
        for waiter, offset in self.waiters.items():
            if (everybody or offset < end) and not waiter.done():
                waiter.set_result(None)


def _checked(kind: str, name: str) -> str:
    if not _NAME.fullmatch(name):
        remedy = "Use 1 to 120 of a-z, 0-9, '.', '_' and '-', starting with a letter or a digit."
        raise Invalid(f"This is not a {kind}'s name.", field=kind, value=name[:200], remedy=remedy)
    return name


def _bounded(field: str, value: int, limit: int) -> int:
    if not 1 <= value <= limit:
        raise Invalid(f"{field} is out of bounds.", field=field, value=value, limit=limit)
    return value


def _collect(log: TopicLog, offsets: Sequence[int]) -> list[Message]:
    """Read messages at ascending `offsets`, as many as one read may return."""
    messages: list[Message] = []
    budget_bytes = READ_BUDGET_BYTES
    for start, end in spans(offsets):
        if budget_bytes <= 0:
            break
        got = log.read(start, end - start, budget_bytes)
        budget_bytes -= sum(len(message.value) for message in got)
        messages += got
    return messages


class SegmentStream:
    """A durable log in files. Open it with `SegmentStream.open`."""

    def __init__(
        self, folder: Path, clock: Clock, *, segment_bytes: int, roll_s: float, sync_s: float
    ) -> None:
        """Prepare; use `open`. Must be called on the event loop."""
        self._folder = folder
        self._clock = clock
        self._segment_bytes = segment_bytes
        self._roll_s = roll_s
        self._loop = asyncio.get_running_loop()
        self._topics: dict[str, _Topic] = {}
        self._by_log: dict[TopicLog, _Topic] = {}
        self._writer = Writer(sync_s, self._wake)
        self._readers = ThreadPoolExecutor(2, thread_name_prefix="stream-reader")
        self._closed = False
        self._lock = -1

    @classmethod
    async def open(
        cls,
        folder: Path,
        clock: Clock,
        *,
        segment_bytes: int = 16 << 20,
        roll_s: float = 3600.0,
        sync_s: float = 1.0,
    ) -> Self:
        """Open or create the stream in `folder`; torn tails are cut.

        A new segment starts after `segment_bytes` or `roll_s` (the grain of `trim`). The disk is forced every
        `sync_s` seconds of activity; 0 forces it before every append returns. Conflict: another process has it.
        """
        stream = cls(folder, clock, segment_bytes=segment_bytes, roll_s=roll_s, sync_s=sync_s)
        try:
            await stream._writer.call(stream._load)
        except BaseException:  # because the threads and the lock must go whatever happened
            await stream.close()
            raise
        return stream

    def _load(self) -> int:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(self._folder / "LOCK", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            remedy = "Stop it, or use the distributed adapter to share a stream between processes."
            raise Conflict(f"Another process has the stream in {self._folder}.", remedy=remedy) from None
        for place in sorted((self._folder / "topics").glob("*/")):
            topic = self._found(place.name)
            topic.log.open()
            for file in place.glob("groups/*.commits"):
                group = topic.groups[file.name.removesuffix(".commits")] = Group(file)
                group.restore(topic.log.next)

        return len(self._topics)

    def _found(self, name: str) -> _Topic:
        place = self._folder / "topics" / name
        log = TopicLog(place, self._clock, segment_bytes=self._segment_bytes, roll_s=self._roll_s)
        topic = self._topics[name] = self._by_log[log] = _Topic(log)
        return topic

    def _topic(self, name: str) -> _Topic:
        """Return a topic by name; one that nobody wrote yet is empty and costs no file."""
        topic = self._topics.get(name)
        if topic is None:
            _checked("topic", name)
            if len(self._topics) >= MAX_TOPICS:
                raise Invalid("There are too many topics.", field="topic", value=name, limit=MAX_TOPICS)
            topic = self._found(name)
        return topic

    def _group(self, topic: _Topic, name: str) -> Group:
        """Return a group by name, brought past what was trimmed; a new one begins at the first message left."""
        group = topic.groups.get(name)
        if group is None:
            _checked("group", name)
            if len(topic.groups) >= MAX_GROUPS:
                raise Invalid("There are too many groups.", field="group", value=name, limit=MAX_GROUPS)
            group = topic.groups[name] = Group(topic.log.folder / "groups" / f"{name}.commits")
        group.skip_to(topic.log.first)
        return group

    def _wake(self, logs: Iterable[TopicLog]) -> None:
        for log in logs:
            self._by_log[log].wake()

    # ------------------------------------------------------------------------------------------------ the verbs

    async def append(self, topic: str, values: Sequence[bytes]) -> int:
        """Append 1 to 10,000 messages (16 MiB together) in order; returns the offset of the last."""
        log = self._topic(topic).log
        _bounded("values", len(values), MAX_BATCH)
        sizes = [len(value) for value in values]
        if max(sizes) > MAX_MESSAGE_BYTES:
            raise Invalid(
                "A message is too large.", field="values", value=max(sizes), limit=MAX_MESSAGE_BYTES
            )
        size = sum(sizes)
        if size > MAX_PENDING_BYTES:
            raise Invalid("One append is too large.", field="values", value=size, limit=MAX_PENDING_BYTES)
        return await self._writer.append(log, values, size)

    async def read(self, topic: str, offset: int, limit: int = 1000) -> Sequence[Message]:
        """Return up to `limit` (at most 10,000) messages from `offset` on; NotFound carries the first one left."""
        log = self._topic(topic).log
        _bounded("limit", limit, MAX_BATCH)
        if offset < 0:
            raise Invalid("An offset is at least 0.", field="offset", value=offset, limit=0)
        if offset >= log.first:
            if offset >= log.next:
                return ()
            try:
                return await self._loop.run_in_executor(self._readers, log.read, offset, limit)
            except FileNotFoundError:
                pass  # trimmed while we looked
            except OSError as error:
                raise translated(error) from error
        remedy = f"Go on from offset {log.first}."
        raise NotFound(
            "This offset was trimmed away.", field="offset", value=offset, limit=log.first, remedy=remedy
        )

    async def poll(
        self, topic: str, group: str, member: str, limit: int = 100, visible_s: float = 30.0
    ) -> Sequence[Message]:
        """Return up to `limit` messages, hidden from every poll of the group for `visible_s` or until committed."""
        _bounded("limit", limit, MAX_BATCH)
        place = self._topic(topic)
        log, state = place.log, self._group(place, group)
        now_s = self._clock.monotonic_s()
        offsets = state.take(limit, log.next, now_s, now_s + visible_s)
        if not offsets:
            return ()
        messages: list[Message] = []
        try:
            messages = await self._loop.run_in_executor(self._readers, _collect, log, offsets)
        except FileNotFoundError:
            pass  # trimmed while we looked: the next poll starts behind it
        except OSError as error:
            raise translated(error) from error
        finally:  # what was leased and is not delivered must not stay hidden
            got = {message.offset for message in messages}
            state.give_up(offset for offset in offsets if offset not in got)
        return messages

    async def commit(self, topic: str, group: str, offsets: Sequence[int]) -> None:
        """Acknowledge messages of a group; repeating it changes nothing."""
        if not offsets:
            return
        _bounded("offsets", len(offsets), MAX_BATCH)
        place = self._topic(topic)
        work = self._commit(place.log, self._group(place, group), offsets)
        await asyncio.shield(
            self._loop.create_task(work)
        )  # a caller that goes away must not part file and memory

    async def _commit(self, log: TopicLog, group: Group, offsets: Sequence[int]) -> None:
        async with group.lock:
            end = min(log.next, group.floor + WINDOW)
            if min(offsets) < 0 or max(offsets) >= end:
                raise Invalid(
                    "No such message to commit.",
                    field="offsets",
                    value=max(offsets),
                    limit=end - 1,
                    remedy="Commit what `poll` returned.",
                )
            fresh = group.uncommitted(offsets)
            if fresh:
                entry, replace = group.entry(fresh)
                sync = self._writer.sync_s <= 0
                write = partial(group.record, entry, replace=replace, sync=sync)
                group.file_bytes = await self._writer.call(write)
                group.commit(fresh)

    async def lag(self, topic: str, group: str) -> int:
        """Return how many messages that are left the group has not committed."""
        place = self._topic(topic)
        return self._group(place, group).lag(place.log.next)

    async def trim(self, topic: str, before_s: float) -> int:
        """Remove the oldest segments wholly appended before `before_s`; returns the first offset left."""
        log = self._topic(topic).log
        return await self._writer.call(partial(log.trim, before_s))

    async def wait(self, topic: str, offset: int, timeout_s: float) -> bool:
        """Return True once a message at `offset` or later exists, False after `timeout_s` or when the stream closes."""
        place = self._topic(topic)
        if place.log.next <= offset and timeout_s > 0 and not self._closed:
            waiter: asyncio.Future[None] = self._loop.create_future()
            place.waiters[waiter] = offset
            try:
                async with asyncio.timeout(timeout_s):
                    await waiter
            except TimeoutError:
                pass
            finally:
                del place.waiters[waiter]
        return place.log.next > offset

    # ------------------------------------------------------------------------------------------------- the rest

    async def healthy(self) -> bool:
        """Tell whether the stream is open and the disk took what was last forced onto it."""
        return self._writer.sound and not self._closed

    async def stats(self) -> dict[str, int]:
        """Return topics, segments, pending bytes, and the torn bytes cut at open."""
        logs = [topic.log for topic in self._topics.values()]
        return {
            "topics": len(logs),
            "segments": sum(len(log.segments) for log in logs),
            "pending_bytes": self._writer.pending_bytes,
            "torn_bytes": sum(log.torn_bytes for log in logs),
        }

    async def close(self) -> None:
        """Write what is pending, force it onto the disk, wake every waiter, let go of the folder."""
        if self._closed:
            return
        self._closed = True
        for topic in self._topics.values():
            topic.wake(everybody=True)
        try:
            await self._writer.close(self._close_files)
        finally:
            self._readers.shutdown(wait=False)

    def _close_files(self) -> int:
        try:
            for topic in self._topics.values():
                topic.log.close()
        finally:
            if self._lock >= 0:
                os.close(self._lock)
                self._lock = -1
        return 0
