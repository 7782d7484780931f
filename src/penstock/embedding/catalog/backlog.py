"""What waits to be ingested, in fair order: documents on the stream, taken by project, and within it by job.

    stream ingest-00 … ingest-15 ──poll──▶ by project ──▶ by job ──take──▶ a worker ──done──▶ commit
                (SHA-256 of the document's id decides)      (each in turn)

Promises: a message is committed after `done` named it and never before, so that a crash brings it again; nobody waits
for another project's documents but for those that are worked on, nor a job for another of its project; what is parked
keeps nobody waiting. At most `WAITING_MOST` messages are held, what is beyond stays on the stream; of one project not
more are put there than a part of that (`announcing`).
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Final, NamedTuple

import msgspec

from penstock.kernel.clock import Clock
from penstock.kernel.errors import PenstockError
from penstock.ports.stream import Message, Stream

_log = logging.getLogger("penstock.embedding")
GROUP: Final = "ingest"
PARTITIONS: Final = 16
TOPICS: Final = tuple([f"ingest-{number:02d}" for number in range(PARTITIONS)])
WAITING_MOST: Final = 50_000
"""Messages held; about 300 bytes each."""
HASTENED_MOST: Final = 1_000
POLLED: Final = 1_000
HIDDEN_S: Final = 3_600.0
"""Seconds after which the stream gives a message again that nobody committed; those that are held are known."""
LOOK_S: Final = 1.0
"""Seconds between two looks at the stream when nobody said that there is something."""
APPENDED_MOST: Final = 5_000


class Item(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One document of one job, of the project `owner`."""

    owner: str
    job: str
    document: str


class Taken(NamedTuple):
    """Documents of one job, and where on the stream each stands."""

    job: str
    owner: str
    documents: tuple[str, ...]
    places: tuple[tuple[int, int], ...]
    is_alone: bool = False
    """It is worked on by itself, for together with others it failed."""


class Backlog:
    """Puts documents on the stream and takes them from there. One per process."""

    def __init__(self, stream: Stream, clock: Clock, member: str) -> None:
        """Be `member` of the group."""
        self._stream = stream
        self._clock = clock
        self._member = member
        self._owners: dict[str, dict[str, deque[tuple[int, int, str]]]] = {}
        """By project, by job: partition, offset, document. Both are kept in the order of their turns."""
        self._parked: dict[str, float] = {}
        self._held: set[tuple[int, int]] = set()
        self._alone: set[tuple[int, int]] = set()
        """Of those held, the ones that are to be taken by themselves."""
        self._jobs: dict[str, int] = {}
        """Messages held of each job, those that are worked on too."""
        self._hastened: OrderedDict[tuple[str, str], None] = OrderedDict()
        """Documents that come before their job's others."""
        self._filled = asyncio.Event()
        self._wanted = asyncio.Event()
        self.unread = 0
        """Messages that said nothing we know."""
        self.failures = 0
        """Times the stream could not be read."""

    @property
    def waiting(self) -> int:
        """Messages held here."""
        return len(self._held)

    def has(self, job: str) -> bool:
        """Tell whether messages of a job are held."""
        return job in self._jobs

    async def lag(self) -> int:
        """Return how many messages are not committed."""
        return sum([await self._stream.lag(topic, GROUP) for topic in TOPICS])

    async def trim(self, before_s: float) -> None:
        """Forget messages appended before the wall time `before_s`, committed or not. Raises Unavailable."""
        for topic in TOPICS:
            await self._stream.trim(topic, before_s)

    async def append(self, items: Iterable[Item]) -> None:
        """Put documents on the stream. Raises Unavailable."""
        by_topic: dict[str, list[bytes]] = {}
        for item in items:
            by_topic.setdefault(topic_of(item.document), []).append(msgspec.json.encode(item))
        for topic, values in by_topic.items():
            for first in range(0, len(values), APPENDED_MOST):
                await self._stream.append(topic, values[first : first + APPENDED_MOST])
        self._wanted.set()

    async def fill(self) -> None:
        """Bring what is on the stream here, for ever."""
        while True:
            polled = 0
            try:
                for partition, topic in enumerate(TOPICS):
                    room = WAITING_MOST - len(self._held)
                    if room > 0:
                        messages = await self._stream.poll(
                            topic, GROUP, self._member, min(room, POLLED), HIDDEN_S
                        )
                        polled += self._queue(partition, messages)
            except Exception as error:  # because the next look may find the stream in order
                self.failures += 1
                polled = 0
                foreign = not isinstance(error, PenstockError)
                _log.warning("documents to ingest cannot be read: %s", error, exc_info=foreign)
            if not polled:
                self._wanted.clear()
                try:
                    async with asyncio.timeout(LOOK_S):
                        await self._wanted.wait()
                except TimeoutError:
                    pass

    async def take(self, most: int) -> Taken:
        """Return up to `most` documents of the job whose turn it is; waits until there is one."""
        while True:
            taken = self._next(most)
            if taken is not None:
                return taken
            self._filled.clear()
            try:
                async with asyncio.timeout(self._pause_s()):
                    await self._filled.wait()
            except TimeoutError:
                pass

    async def done(self, taken: Taken) -> None:
        """Commit what was worked on. Raises Unavailable: it comes again then."""
        by_partition: dict[int, list[int]] = {}
        for partition, offset in taken.places:
            by_partition.setdefault(partition, []).append(offset)
        try:
            for partition, offsets in by_partition.items():
                await self._stream.commit(TOPICS[partition], GROUP, offsets)
        finally:
            self._held.difference_update(taken.places)
            self._alone.difference_update(taken.places)
            self._forget(taken.job, len(taken.places))

    def put_back(self, taken: Taken, *, after_s: float = 0.0, alone: bool = False) -> None:
        """Have documents wait again, first of their job, which is parked for `after_s` seconds; `alone`: they are taken
        each by itself then.
        """
        if alone:
            self._alone.update(taken.places)
        queue = self._owners.setdefault(taken.owner, {}).setdefault(taken.job, deque())
        for (partition, offset), document in zip(
            reversed(taken.places), reversed(taken.documents), strict=True
        ):
            queue.appendleft((partition, offset, document))
        if after_s > 0:
            self._parked[taken.job] = self._clock.monotonic_s() + after_s
        self._filled.set()

    def unpark(self, job: str) -> None:
        """Have a job taken that was parked: what it waits for does not matter any more."""
        if self._parked.pop(job, None) is not None:
            self._filled.set()

    def hasten(self, owner: str, job: str, documents: Iterable[str]) -> list[str]:
        """Have documents of a job taken before its others: those that wait here now, the rest when they come. Returns
        those of the rest that nobody hastened before.
        """
        queue = self._owners.get(owner, {}).get(job, deque())
        wanted = set(documents)
        first = [each for each in queue if each[2] in wanted]
        if first:
            later = [each for each in queue if each[2] not in wanted]
            queue.clear()
            queue.extend((*first, *later))
        away = wanted.difference([document for _, _, document in first])
        fresh = sorted([document for document in away if (job, document) not in self._hastened])
        self._hastened.update(dict.fromkeys([(job, document) for document in fresh]))
        while len(self._hastened) > HASTENED_MOST:
            self._hastened.popitem(last=False)
        return fresh

    # ------------------------------------------------------------------------------------------------------------

    def _queue(self, partition: int, messages: Sequence[Message]) -> int:
        fresh = 0
        for message in messages:
            place = (partition, message.offset)
            if place in self._held:
                continue  # it was hidden for as long as it may be, and is worked on or waits here
            try:
                item = msgspec.json.decode(message.value, type=Item)
            except msgspec.DecodeError:
                self.unread += 1
                item = Item("", "", "")  # whoever takes it finds no such job, and commits it
            self._held.add(place)
            self._jobs[item.job] = self._jobs.get(item.job, 0) + 1
            jobs = self._owners.setdefault(item.owner, {})
            queue = jobs.setdefault(item.job, deque())
            add = queue.appendleft if (item.job, item.document) in self._hastened else queue.append
            add((partition, message.offset, item.document))
            fresh += 1
        if fresh:
            self._filled.set()
        return fresh

    def _next(self, most: int) -> Taken | None:
        """Take from the first project, and of it from the first job, that is not parked; both go to the end."""
        now_s = self._clock.monotonic_s()
        for owner, jobs in self._owners.items():
            for job, queue in jobs.items():
                if self._parked.get(job, 0.0) > now_s:
                    continue
                self._parked.pop(job, None)
                return self._taken(owner, job, queue, most)
        return None

    def _taken(self, owner: str, job: str, queue: deque[tuple[int, int, str]], most: int) -> Taken:
        items = [queue.popleft()]
        is_alone = items[0][:2] in self._alone
        while queue and len(items) < most and not is_alone and queue[0][:2] not in self._alone:
            items.append(queue.popleft())
        jobs = self._owners.pop(owner)
        del jobs[job]
        if queue:
            jobs[job] = queue
        if jobs:
            self._owners[owner] = jobs
        places = tuple([(partition, offset) for partition, offset, _ in items])
        return Taken(job, owner, tuple([document for _, _, document in items]), places, is_alone)

    def _pause_s(self) -> float:
        """Return for how long nothing can be taken unless something comes."""
        now_s = self._clock.monotonic_s()
        until_s = min(self._parked.values(), default=now_s + LOOK_S)
        return min(max(until_s - now_s, 0.01), LOOK_S)

    def _forget(self, job: str, count: int) -> None:
        left = self._jobs.get(job, 0) - count
        if left > 0:
            self._jobs[job] = left
        else:
            self._jobs.pop(job, None)
            self._parked.pop(job, None)


def topic_of(document: str) -> str:
    """Return where the messages of a document go: so no source makes one partition hot."""
    return TOPICS[sha256(document.encode()).digest()[0] % PARTITIONS]
