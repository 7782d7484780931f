"""The intake of the lake: audit records from the stream into files, each exactly once, whatever dies when.

    stream ──(so many records, bytes or seconds)──▶ a batch, noted with its number ──▶ packed ──▶ named ──▶ the next
                                                           └──────── after a crash: the same batch again ────┘

Promises: a batch is noted in `records` before anything of it is written, and its files are named by its number, so that
one which is written again, by whomever, puts the same files in the same places. A `request_id` that the stream holds
twice is in the lake once: at once when the two are at most `KNOWN` messages apart, else from the day's merge on.
Nothing is dropped but what is no record, and what the stream forgot before it was read; both are counted. What cannot
be written is tried again, after a bounded and growing pause; meanwhile the stream keeps it. Of several processes that
read one stream one works, by a lease; one that has lost it changes nothing any more, by the version of the note.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from hashlib import blake2b
from typing import Final

import msgspec

from penstock.kernel.clock import Clock
from penstock.kernel.errors import NotFound, PenstockError, StaleVersion
from penstock.kernel.ids import new_id
from penstock.mechanisms.lake.names import hour_name, tenant_of
from penstock.ports.blobs import Blobs
from penstock.ports.records import Collection, Records, Write
from penstock.ports.stream import Message, Stream
from penstock.ports.tables import Packed, Part, Tables

COLLECTIONS: Final = (Collection(name="lake"), Collection(name="lake_orgs"))
PLATFORM: Final = "*"
TOPIC: Final = "audit"
GROUP: Final = "lake"
EVERY_S: Final = 1.0
LEASE_S: Final = 30.0
PAGE: Final = 1_000
KNOWN: Final = 10_000
"""Messages before a batch whose ids its records must not repeat: a sink that answers too late repeats at most 1,000."""
COMMIT: Final = 10_000
MAX_BACKOFF_S: Final = 60.0
ABANDONED_S: Final = 86_400.0
NUMBERS: Final = "numbers"
"""The row that says which number was given last."""
NOTE: Final = "stream:"
"""What the rows of notes are called, each with its stream."""
NOTHING: Final = Packed(parts=(), repeated=0, rejected=0)
_log = logging.getLogger("penstock.lake")


class Note(msgspec.Struct, frozen=True):
    """How far a stream is in the lake: its next batch begins at `first`. One is begun when `last` is not before that;
    then `batch` is its number, 0 when it has none yet. `mark` is a digest of the message before `first`. `owner` works
    until the wall time `until_s`.
    """

    first: int = 0
    mark: str = ""
    last: int = -1
    batch: int = 0
    owner: str = ""
    until_s: float = 0.0

    @property
    def is_begun(self) -> bool:
        """Whether a batch is begun and not done."""
        return self.last >= self.first


async def settled_batch(records: Records, now_s: float) -> int:
    """Return the number up to which every batch of every stream is in the lake, whole.

    One whose owner is away since `ABANDONED_S` is not waited for: it gets another number when it comes back.
    """
    row = await records.get("lake", PLATFORM, NUMBERS)
    numbers = [0 if row is None else msgspec.json.decode(row.value, type=int)]
    after = ""
    while rows := await records.scan("lake", PLATFORM, after=after, limit=PAGE):
        after = rows[-1].id
        notes = (msgspec.json.decode(row.value, type=Note) for row in rows if row.id.startswith(NOTE))
        fresh = (note for note in notes if note.is_begun and note.until_s > now_s - ABANDONED_S)
        numbers += [note.batch - 1 for note in fresh if note.batch]
    return min(numbers)


class LakeIntake:
    """Takes the topic `audit` into the lake. `start` it on the event loop, `close` it at the end."""

    def __init__(
        self,
        stream: Stream,
        tables: Tables,
        blobs: Blobs,
        records: Records,
        clock: Clock,
        *,
        source: str = "",
        batch_records: int = 20_000,
        batch_bytes: int = 16 << 20,
        flush_s: float = 60.0,
    ) -> None:
        """End a batch at `batch_records`, `batch_bytes`, or when its first record is `flush_s` old.

        `source` tells this stream from those of other processes; it is the same whenever this stream is opened.
        """
        self.stored = 0
        """Records in the lake, since this object was made; so are the other figures."""
        self.repeated = 0
        self.rejected = 0
        """Messages that were no records."""
        self.lost = 0
        """Messages that the stream had forgotten."""
        self.batches = 0
        self.failures = 0
        self._stream = stream
        self._tables = tables
        self._blobs = blobs
        self._records = records
        self._clock = clock
        self._batch_records = batch_records
        self._batch_bytes = batch_bytes
        self._flush_s = flush_s
        self._id = NOTE + source
        self._me = new_id("lake_")
        self._version = 0
        self._note: Note | None = None
        """What is noted under `_version`, as long as nobody else has noted anything."""
        self._before: deque[bytes] = deque(maxlen=KNOWN)
        """The messages right before the next batch."""
        self._orgs: set[str] = set()
        self._failing = False
        self._task: asyncio.Task[None] | None = None

    @property
    def healthy(self) -> bool:
        """Whether the last batch, if any, could be written."""
        return not self._failing

    @property
    def leads(self) -> bool:
        """Whether this process is the one that works."""
        note = self._note
        return note is not None and note.owner == self._me and note.until_s > self._clock.wall_s()

    async def lag(self) -> int:
        """Return how many messages of the stream are not in the lake."""
        return await self._stream.lag(TOPIC, GROUP)

    def start(self) -> None:
        """Begin to work; once, on the running event loop."""
        self._task = asyncio.get_running_loop().create_task(self._work_forever(), name="lake")

    async def close(self) -> None:
        """Stop where it is, and let another process go on there at once."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self.leads and self._note is not None:
            with suppress(PenstockError):
                await self._noted(self._note, owner="")

    async def _work_forever(self) -> None:
        backoff_s = pause_s = EVERY_S
        while True:
            try:
                pause_s = EVERY_S if await self.step() == 0 else 0.0
                backoff_s, self._failing = EVERY_S, False
            except (
                Exception
            ) as error:  # because whatever it is, the stream keeps the records and it is tried again
                self.failures += 1
                self._failing = True
                self._note = None
                _log.warning(
                    "the lake's intake waits: %s", error, exc_info=not isinstance(error, PenstockError)
                )
                pause_s, backoff_s = backoff_s, min(2 * backoff_s, MAX_BACKOFF_S)
            await asyncio.sleep(pause_s)

    # ---------------------------------------------------------------------------------------------------- a batch

    async def step(self, *, flush: bool = False) -> int:
        """Write the next batch if it is due (with `flush`, whatever there is); returns how many messages it had.

        Raises what the stores raise; then the next call does the same batch.
        """
        try:
            note = await self._leading()
            if note is None:
                return 0
            if note.is_begun:
                batch = await self._between(note.first, note.last + 1)
                if (
                    len(batch) <= note.last - note.first
                ):  # the rest is forgotten: what was written of it stays
                    note = msgspec.structs.replace(note, batch=0)
            elif batch := await self._next(note.first, flush=flush):
                note = msgspec.structs.replace(note, last=batch[-1].offset, batch=0)
            else:
                return 0
            if not note.batch:
                note = await self._numbered(note)
            await self._write(note, batch)
            return len(batch)
        except StaleVersion:  # another process works: look again what is noted
            self._note = None
            return 0

    async def _leading(self) -> Note | None:
        """Return where the intake is, when this process is the one that works."""
        now_s = self._clock.wall_s()
        if self._note is None:
            await self._recall()
        note = self._note
        if note is None or (note.owner not in {"", self._me} and note.until_s > now_s):
            self._note = None
            return None
        if note.owner != self._me or note.until_s - now_s < LEASE_S / 2:
            return await self._noted(note)
        return note

    async def _recall(self) -> None:
        """Read what is noted, and the messages before it."""
        row = await self._records.get("lake", PLATFORM, self._id)
        self._version = 0 if row is None else row.version
        note = Note() if row is None else msgspec.json.decode(row.value, type=Note)
        if note.until_s < self._clock.wall_s() - ABANDONED_S / 2:
            note = msgspec.structs.replace(note, batch=0)
        if note.first and await self._is_anew(note):
            note = msgspec.structs.replace(note, first=0, last=-1)
        before = await self._between(max(0, note.first - KNOWN), note.first)
        self._before = deque((message.value for message in before), maxlen=KNOWN)
        self._note = note

    async def _is_anew(self, note: Note) -> bool:
        """Tell whether the stream is another one than before: what precedes the next batch is not what did."""
        try:
            page = await self._stream.read(TOPIC, note.first - 1, 1)
        except NotFound:  # forgotten, so the stream is that old
            return False
        return not page or _mark(page[0].value) != note.mark

    async def _noted(self, note: Note, *others: Write, owner: str | None = None) -> Note:
        """Note where the intake is, and that this process works (or `owner`); StaleVersion when another one has."""
        until_s = self._clock.wall_s() + LEASE_S
        note = msgspec.structs.replace(note, owner=self._me if owner is None else owner, until_s=until_s)
        write = _row(self._id, note, self._version)
        self._version, *_ = await self._records.transact([write, *others])
        self._note = note
        return note

    async def _numbered(self, note: Note) -> Note:
        """Note a batch with the next number; StaleVersion when another process took that."""
        row = await self._records.get("lake", PLATFORM, NUMBERS)
        version, number = (0, 0) if row is None else (row.version, msgspec.json.decode(row.value, type=int))
        note = msgspec.structs.replace(note, batch=number + 1)
        return await self._noted(note, _row(NUMBERS, number + 1, version))

    async def _next(self, first: int, *, flush: bool) -> list[Message]:
        """Return the messages of the next batch, or none when it is not due."""
        head = await self._from(first, 1)
        if not head:
            return []
        aged = self._clock.wall_s() - head[0].appended_s >= self._flush_s
        if not (flush or aged or await self._from(head[0].offset + self._batch_records - 1, 1)):
            return []
        batch: list[Message] = []
        size, start = 0, head[0].offset
        while len(batch) < self._batch_records and size < self._batch_bytes:
            page = await self._from(start, min(PAGE, self._batch_records - len(batch)))
            if not page:
                break
            batch += page
            size += sum(len(message.value) for message in page)
            start = page[-1].offset + 1
        return batch

    async def _between(self, start: int, end: int) -> list[Message]:
        """Return what the stream still has from `start` on, up to `end` without it."""
        messages: list[Message] = []
        while start < end:
            page = await self._from(start, min(PAGE, end - start))
            messages += [message for message in page if message.offset < end]
            start = page[-1].offset + 1 if page else end
        return messages

    async def _from(self, offset: int, limit: int) -> Sequence[Message]:
        """Read from an offset on, or from the first one left."""
        try:
            return await self._stream.read(TOPIC, offset, limit)
        except NotFound as error:
            return await self._stream.read(TOPIC, max(offset, _first_left(error)), limit)

    # ----------------------------------------------------------------------------------------------- into the lake

    async def _write(self, note: Note, batch: Sequence[Message]) -> None:
        """Put a batch into the lake, and note that the next one begins."""
        values = [message.value for message in batch]
        packed = await self._tables.pack(values, list(self._before)) if values else NOTHING
        for part in packed.parts:
            await self._keep(part, note.batch)
        after = note.last + 1
        mark = _mark(values[-1]) if values else ""
        for start in range(after - len(batch), after, COMMIT):
            await self._stream.commit(TOPIC, GROUP, range(start, min(start + COMMIT, after)))
        await self._noted(msgspec.structs.replace(note, first=after, last=-1, batch=0, mark=mark))
        self._before.extend(values)
        self.batches += 1
        self.stored += sum(part.rows for part in packed.parts)
        self.repeated += packed.repeated
        self.rejected += packed.rejected
        self.lost += after - note.first - len(batch)

    async def _keep(self, part: Part, batch: int) -> None:
        """Name a file, and the organisation first: one that has files is known."""
        tenant = tenant_of(part.org)
        if tenant not in self._orgs:
            write = Write(collection="lake_orgs", tenant=PLATFORM, id=tenant, value=b"{}")
            await self._records.transact([write])
            self._orgs.add(tenant)
        await self._blobs.name(tenant, hour_name(part.day, part.hour, batch), part.value)


def _mark(message: bytes) -> str:
    return blake2b(message, digest_size=16).hexdigest()


def _row(id: str, value: object, version: int) -> Write:
    encoded = msgspec.json.encode(value)
    return Write(collection="lake", tenant=PLATFORM, id=id, value=encoded, expected=version)


def _first_left(error: NotFound) -> int:
    """Return the first offset that a stream still has, from its error."""
    return error.limit if isinstance(error.limit, int) else 0
