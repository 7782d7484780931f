"""Contents off the request path: sealed into blobs, by organisation and day, under a key of the person who asked.

    keep ──▶ queue ──(each second)──▶ sealed ──▶ content/2026-11-21/<first id>~<last>-<random>

Promises: `keep` never waits and never raises; at any moment ``produced == delivered + dropped + queued``. What waits is
at most `capacity_bytes`; what has no room, or is larger than `CONTENT_BYTES`, is dropped and counted: its request is
audited all the same. What a store refuses is tried again, after a growing pause. A
content is readable until its day is past `days` (a flagged one: for ever), or its key was deleted: `forget`.
"""

from __future__ import annotations

import asyncio
import logging
import re
import zlib
from collections import deque
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from penstock.kernel.clock import Clock
from penstock.kernel.errors import NotFound, PenstockError
from penstock.kernel.ids import new_id
from penstock.mechanisms.contents.keys import FLAGGED, ContentKeys, Seal
from penstock.mechanisms.lake.names import tenant_of
from penstock.ports.blobs import Blobs
from penstock.ports.records import Collection, Records, Write

COLLECTIONS: Final = (Collection(name="content_orgs"),)
PLATFORM: Final = "*"
CONTENT_BYTES: Final = 4 << 20
"""A larger prompt and answer, together, are not kept."""
BATCH_BYTES: Final = 8 << 20
EVERY_S: Final = 1.0
MAX_BACKOFF_S: Final = 30.0
GRACE_S: Final = 3_600.0
PAGE: Final = 1_000
NAMES_MOST: Final = 10_000
"""Names listed at a time: to a store of files a page of ten costs as much as one of ten thousand."""
_NAME: Final = re.compile(r"content/(?P<day>\d{4}-\d\d-\d\d|flagged)/(?P<first>[^~/]+)~(?P<last>[^~/]+)-w\w+")
_ID: Final = re.compile(r"req_(?P<ms>[0-9a-f]{12})[0-9a-f]{20}")
_log = logging.getLogger("penstock.contents")


class Kept(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What was asked and answered, as bytes in the dialect `face`, and whose it is."""

    team: str
    user: str
    face: str
    prompt: bytes
    answer: bytes


class Content(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What is to be kept of a request of an organisation; for good when it is flagged."""

    request_id: str
    org: str
    kept: Kept
    is_flagged: bool = False

    @property
    def size(self) -> int:
        """Bytes of both."""
        return len(self.kept.prompt) + len(self.kept.answer)


class Sealed(msgspec.Struct, frozen=True, array_like=True):
    """A content in a blob: whose it is, which key opens it, and itself."""

    request_id: str
    key_id: str
    box: bytes


_encode = msgspec.msgpack.encode
_decode_blob = msgspec.msgpack.Decoder(list[Sealed]).decode
_decode_kept = msgspec.msgpack.Decoder(Kept).decode


class ContentStore:
    """Keeps contents. `start` it on the event loop, `close` it at the end."""

    def __init__(
        self,
        keys: ContentKeys,
        seal: Seal,
        blobs: Blobs,
        records: Records,
        clock: Clock,
        *,
        days: int = 7,
        capacity_bytes: int = 32 << 20,
    ) -> None:
        """Keep contents for `days` whole days after their own."""
        self.produced = 0
        self.delivered = 0
        self.dropped = 0
        self.failures = 0
        """Writes that failed since the store was made."""
        self._keys = keys
        self._seal = seal
        self._blobs = blobs
        self._records = records
        self._clock = clock
        self._days = days
        self._capacity = capacity_bytes
        self._queue: deque[Content] = deque()
        self._under_way: list[Content] = []
        self._size = 0
        self._orgs: set[str] = set()
        self._writing = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    def keep(self, content: Content) -> None:
        """Take a content, or drop and count it when it is too large or there is no room."""
        self.produced += 1
        if content.size > CONTENT_BYTES or self._size + content.size > self._capacity:
            self.dropped += 1
            return
        self._queue.append(content)
        self._size += content.size

    def miss(self) -> None:
        """Count a content that was too large to be held until its end."""
        self.produced += 1
        self.dropped += 1

    @property
    def queued(self) -> int:
        """Contents taken and neither delivered nor dropped."""
        return len(self._queue) + len(self._under_way)

    def start(self) -> None:
        """Begin to write; once, on the running event loop."""
        self._task = asyncio.get_running_loop().create_task(self._write_forever(), name="contents")

    async def close(self, within_s: float = 5.0) -> None:
        """Write what waits within `within_s` seconds; what is left is dropped and counted."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        try:
            async with asyncio.timeout(within_s):
                while self.queued:
                    await self.flush()
        except (TimeoutError, PenstockError):
            pass
        self.dropped += self.queued
        self._queue.clear()
        self._under_way.clear()

    # ------------------------------------------------------------------------------------------------------ writing

    async def _write_forever(self) -> None:
        pause_s = EVERY_S
        while True:
            await asyncio.sleep(pause_s)
            try:
                while self.queued:
                    await self.flush()
                pause_s = EVERY_S
            except Exception as error:  # because whatever it is, what waits is tried again
                self.failures += 1
                pause_s = min(2 * pause_s, MAX_BACKOFF_S)
                _log.warning("contents wait: %s", error, exc_info=not isinstance(error, PenstockError))

    async def flush(self) -> None:
        """Write one batch of what waits."""
        async with self._writing:
            await self._flush()

    async def _flush(self) -> None:
        size = sum(content.size for content in self._under_way)
        while self._queue and size < BATCH_BYTES:
            content = self._queue.popleft()
            self._under_way.append(content)
            size += content.size
        groups: dict[tuple[str, str], list[Content]] = {}
        for content in self._under_way:
            day = FLAGGED if content.is_flagged else self._day(0)
            groups.setdefault((tenant_of(content.org), day), []).append(content)
        for (tenant, day), some in groups.items():
            await self._write(tenant, day, some)
            written = {id(content) for content in some}
            self._under_way = [each for each in self._under_way if id(each) not in written]
            self._size -= sum(content.size for content in some)
            self.delivered += len(some)

    async def _write(self, tenant: str, day: str, some: Sequence[Content]) -> None:
        if tenant not in self._orgs:
            write = Write(collection="content_orgs", tenant=PLATFORM, id=tenant, value=b"{}")
            await self._records.transact([write])
            self._orgs.add(tenant)
        keys = [await self._keys.writing(tenant, day, content.kept.user) for content in some]
        blob = await asyncio.to_thread(self._sealed, tenant, some, keys)
        ids = [content.request_id for content in some]
        await self._blobs.name(tenant, f"content/{day}/{min(ids)}~{max(ids)}-{new_id('w')}", blob)

    def _sealed(self, tenant: str, some: Iterable[Content], keys: Iterable[tuple[str, bytes]]) -> bytes:
        """Return contents as one blob; on a thread."""
        return _encode(
            [
                Sealed(
                    content.request_id,
                    key_id,
                    self._seal.seal(
                        key,
                        zlib.compress(_encode(content.kept), 1),
                        _context(tenant, content.request_id, key_id),
                    ),
                )
                for content, (key_id, key) in zip(some, keys, strict=True)
            ]
        )

    def _day(self, days: int) -> str:
        """Return the day that was so many days ago (UTC)."""
        then = datetime.fromtimestamp(self._clock.wall_s(), UTC) - timedelta(days=days)
        return f"{then:%Y-%m-%d}"

    # ------------------------------------------------------------------------------------------ reading, forgetting

    async def read(self, org: str, request_id: str) -> Kept:
        """Return what was kept of a request; NotFound, which does not say whether it was forgotten."""
        tenant = tenant_of(org)
        for name in await self._names(tenant, _days_of(request_id)):
            match = _NAME.fullmatch(name)
            if match is not None and match["first"] <= request_id <= match["last"]:
                for sealed in _decode_blob(await self._blobs.get(tenant, name)):
                    if sealed.request_id == request_id:
                        return await self._opened(tenant, sealed)
        raise not_kept(request_id)

    async def _opened(self, tenant: str, sealed: Sealed) -> Kept:
        key = await self._keys.reading(tenant, sealed.key_id)
        if key is None:
            raise not_kept(sealed.request_id)
        context = _context(tenant, sealed.request_id, sealed.key_id)
        return _decode_kept(zlib.decompress(self._seal.open(key, sealed.box, context)))

    async def _names(self, tenant: str, days: Iterable[str]) -> list[str]:
        names: list[str] = []
        for day in days:
            after = ""
            while page := await self._blobs.list(tenant, f"content/{day}", after=after, limit=NAMES_MOST):
                names += page
                after = page[-1]
        return names

    async def forget(self, org: str, *, user: str | None = None) -> int:
        """Make the contents of a user, or of a whole organisation, unreadable for ever; returns how many keys went.

        What waits is written first, so that it is under a key that goes.
        """
        while self.queued:
            await self.flush()
        return await self._keys.forget(tenant_of(org), user=user)

    async def trim(self) -> int:
        """Forget the days that are past their time; returns how many files went."""
        before, gone, after = self._day(self._days), 0, ""
        while rows := await self._records.scan("content_orgs", PLATFORM, after=after, limit=PAGE):
            for row in rows:
                gone += await self._trim(row.id, before)
            after = rows[-1].id
        return gone

    async def _trim(self, tenant: str, before: str) -> int:
        for day in await self._keys.days(tenant):
            if day != FLAGGED and day < before:
                await self._keys.forget(tenant, day=day)
        gone = 0
        for name in await self._names(tenant, ("",)):
            match = _NAME.fullmatch(name)
            if match is not None and match["day"] != FLAGGED and match["day"] < before:
                gone += await self._blobs.unname(tenant, name)
        if gone:
            await self._blobs.expire(tenant, self._clock.wall_s() - GRACE_S)
        return gone


def not_kept(request_id: str) -> NotFound:
    """Return the error of whoever asks for what is not kept, not any more, or not theirs to see."""
    return NotFound("No content is kept of this request.", field="request_id", value=request_id[:100])


def _days_of(request_id: str) -> tuple[str, ...]:
    """Return where a request's content can be: the day its id was made, the next one (when it ended), the flagged."""
    match = _ID.fullmatch(request_id)
    if match is None:
        return ()
    began = datetime.fromtimestamp(int(match["ms"], 16) / 1_000, UTC)
    return (f"{began:%Y-%m-%d}/", f"{began + timedelta(days=1):%Y-%m-%d}/", f"{FLAGGED}/")


def _context(tenant: str, request_id: str, key_id: str) -> bytes:
    return f"{tenant}\n{request_id}\n{key_id}".encode()
