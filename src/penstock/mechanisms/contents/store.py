"""Contents off the request path: hashed at once, and sealed into blobs where a team or a flag asks for it.

    keep ──▶ hashes for the audit record
         └─▶ queue ──(each second)──▶ sealed, by organisation and day ──▶ content/2026-11-21/<first id>~<last>-<random>

Promises: `keep` never waits and never raises; at any moment ``produced == delivered + dropped + queued``, of contents
that were to be kept. What waits is at most `capacity_bytes`; what has no room, or is larger than `CONTENT_BYTES`, is
dropped and counted: its request is audited all the same. What a store refuses is tried again, after a growing pause. A
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
from penstock.mechanisms.audit import content_hash
from penstock.mechanisms.contents.keys import FLAGGED, ContentKeys, Seal
from penstock.mechanisms.contents.rules import ContentRules
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
_NAME: Final = re.compile(r"content/(?P<day>\d{4}-\d\d-\d\d|flagged)/(?P<first>[^~/]+)~(?P<last>[^~/]+)-w\w+")
_ID: Final = re.compile(r"req_(?P<ms>[0-9a-f]{12})[0-9a-f]{20}")
_log = logging.getLogger("penstock.contents")


class Content(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What was asked and answered, as bytes of whatever form the caller has."""

    request_id: str
    org: str
    team: str
    user: str
    prompt: bytes
    answer: bytes
    is_flagged: bool = False

    @property
    def size(self) -> int:
        """Bytes of both."""
        return len(self.prompt) + len(self.answer)


class Hashes(msgspec.Struct, frozen=True):
    """What the audit record says of a content."""

    prompt: str = ""
    answer: str = ""


class Sealed(msgspec.Struct, frozen=True, array_like=True):
    """A content in a blob: whose it is, which key opens it, and itself."""

    request_id: str
    key_id: str
    box: bytes


NOTHING: Final = Hashes()
_encode = msgspec.msgpack.encode
_decode_blob = msgspec.msgpack.Decoder(list[Sealed]).decode
_decode_content = msgspec.msgpack.Decoder(tuple[bytes, bytes]).decode


class ContentStore:
    """Keeps contents. `start` it on the event loop, `close` it at the end."""

    def __init__(
        self,
        rules: ContentRules,
        keys: ContentKeys,
        seal: Seal,
        blobs: Blobs,
        records: Records,
        clock: Clock,
        *,
        hash_key: bytes,
        days: int = 7,
        capacity_bytes: int = 32 << 20,
    ) -> None:
        """Hash with `hash_key` (1 to 64 secret bytes); keep contents for `days` whole days after their own."""
        self.produced = 0
        self.delivered = 0
        self.dropped = 0
        self.failures = 0
        """Writes that failed since the store was made."""
        self._rules = rules
        self._keys = keys
        self._seal = seal
        self._blobs = blobs
        self._records = records
        self._clock = clock
        self._hash_key = hash_key
        self._days = days
        self._capacity = capacity_bytes
        self._queue: deque[Content] = deque()
        self._under_way: list[Content] = []
        self._size = 0
        self._orgs: set[str] = set()
        self._task: asyncio.Task[None] | None = None

    def keep(self, content: Content) -> Hashes:
        """Take a content, as far as its team lets; returns what may be said of it in the audit record."""
        mode = self._rules.mode(content.org, content.team)
        if mode == "none":
            return NOTHING
        if mode == "full" or content.is_flagged:
            self._enqueue(content)
        return Hashes(
            content_hash(self._hash_key, content.org, content.prompt),
            content_hash(self._hash_key, content.org, content.answer),
        )

    def _enqueue(self, content: Content) -> None:
        self.produced += 1
        if content.size > CONTENT_BYTES or self._size + content.size > self._capacity:
            self.dropped += 1
            return
        self._queue.append(content)
        self._size += content.size

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
        keys = [await self._keys.writing(tenant, day, content.user) for content in some]
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
                        zlib.compress(_encode((content.prompt, content.answer)), 1),
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

    async def read(self, org: str, request_id: str) -> tuple[bytes, bytes]:
        """Return the prompt and answer of a request; NotFound when none was kept, or it was forgotten."""
        tenant = tenant_of(org)
        for name in await self._names(tenant, _days_of(request_id)):
            match = _NAME.fullmatch(name)
            if match is not None and match["first"] <= request_id <= match["last"]:
                for sealed in _decode_blob(await self._blobs.get(tenant, name)):
                    if sealed.request_id == request_id:
                        return await self._opened(tenant, sealed)
        raise NotFound("No content is kept of this request.", field="request_id", value=request_id[:100])

    async def _opened(self, tenant: str, sealed: Sealed) -> tuple[bytes, bytes]:
        key = await self._keys.reading(tenant, sealed.key_id)
        context = _context(tenant, sealed.request_id, sealed.key_id)
        return _decode_content(zlib.decompress(self._seal.open(key, sealed.box, context)))

    async def _names(self, tenant: str, days: Iterable[str]) -> list[str]:
        names: list[str] = []
        for day in days:
            after = ""
            while page := await self._blobs.list(tenant, f"content/{day}", after=after, limit=PAGE):
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


def _days_of(request_id: str) -> tuple[str, ...]:
    """Return where a request's content can be: the day its id was made, the next one (when it ended), the flagged."""
    match = _ID.fullmatch(request_id)
    if match is None:
        return ()
    began = datetime.fromtimestamp(int(match["ms"], 16) / 1_000, UTC)
    return (f"{began:%Y-%m-%d}/", f"{began + timedelta(days=1):%Y-%m-%d}/", f"{FLAGGED}/")


def _context(tenant: str, request_id: str, key_id: str) -> bytes:
    return f"{tenant}\n{request_id}\n{key_id}".encode()
