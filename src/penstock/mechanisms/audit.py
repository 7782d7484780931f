"""The audit pipe: one compact event per request, off the request path, into the stream and to whoever listens.

    offer ──▶ fresh ──(every 100 ms or 1,000 events)──▶ listeners, then backlog ──▶ stream topic "audit"
    ◀──────────────────── at most `capacity` events in both together ──────────────▶

Promises: `offer` never blocks and never raises. At any moment
``produced == delivered + dropped + queued``. When the pipe is full the newest event is dropped and counted. A sink
that fails is retried with a bounded backoff, and the listeners (metrics, logs) go on hearing every event meanwhile.
An event is delivered at least once: a sink that answers too late may have it twice, under the same `request_id`.
Who asked and what it cost is here; prompts, answers, keys and secrets never are: `content_hash` is all of them.
Other records go the same way to topics of their own: `Pipe` is of any, `AuditPipe` of requests.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from functools import lru_cache
from hashlib import blake2b
from itertools import islice
from typing import Generic, Protocol, TypeVar

import msgspec

from penstock.kernel.clock import Clock
from penstock.kernel.events import RequestEvent
from penstock.mechanisms.background import woken
from penstock.ports.stream import Stream

BATCH = 1_000
"""Events that wake the drain early, and the most in one append."""
SLICE = 128
"""Events handled without letting the event loop breathe (about 0.3 ms)."""
MAX_BACKOFF_S = 5.0
MAX_RECORD_BYTES = 16 << 10
"""A larger record has its texts cut."""


class Dated(Protocol):
    """What a pipe carries: a struct that tells its wall time in seconds."""

    @property
    def at_s(self) -> float:
        """When it was."""
        ...


Record = TypeVar("Record", bound=Dated)
Listener = Callable[[Sequence[RequestEvent]], None]
_encode = msgspec.json.Encoder().encode


def encoded(event: msgspec.Struct) -> bytes:
    """Return the event as JSON of at most 32 KiB, whatever callers put into its texts and `flags`.

    A text that is not Unicode (a lone surrogate) is written with ``?`` in its place; a huge one is cut.
    """
    try:
        record = _encode(event)
        if len(record) <= MAX_RECORD_BYTES:
            return record
    except UnicodeEncodeError:
        pass
    fields = msgspec.structs.asdict(event)
    tame: dict[str, object] = {name: _tamed(text) for name, text in fields.items() if isinstance(text, str)}
    if "flags" in fields:
        tame["flags"] = tuple(_tamed(flag) for flag in fields["flags"][:32])
    return _encode(msgspec.structs.replace(event, **tame))


def _tamed(text: str) -> str:
    return text[:128].encode(errors="replace").decode()


@lru_cache(maxsize=4096)
def _tenant_hasher(master: bytes, tenant: str) -> blake2b:
    key = blake2b(tenant.encode(), key=master, digest_size=32, person=b"penstock-audit").digest()
    return blake2b(key=key, digest_size=16)


def content_hasher(master: bytes, tenant: str) -> blake2b:
    """Return what hashes a content of a tenant, piece by piece: see `content_hash`."""
    return _tenant_hasher(master, tenant).copy()


def content_hash(master: bytes, tenant: str, content: bytes) -> str:
    """Return 32 hexadecimal digits that tell equal contents of one tenant, and nothing to anybody else.

    BLAKE2b (RFC 7693) keyed per tenant with a key derived from `master` (1 to 64 secret bytes): without it neither a
    guess at the content nor another tenant's hash can be compared.
    """
    hasher = _tenant_hasher(master, tenant).copy()
    hasher.update(content)
    return hasher.hexdigest()


class Pipe(Generic[Record]):
    """Records from the request path to a topic. `start` it on the event loop, `close` it at the end."""

    def __init__(
        self,
        stream: Stream,
        clock: Clock,
        *,
        topic: str,
        encode: Callable[[Record], bytes],
        capacity: int = 10_000,
        listeners: Sequence[Callable[[Sequence[Record]], None]] = (),
        every_s: float = 0.1,
        sink_timeout_s: float = 5.0,
    ) -> None:
        """Hold at most `capacity` (> 1,000) events; drain each `every_s` seconds; give the sink `sink_timeout_s`."""
        if capacity <= BATCH:
            raise ValueError(f"capacity must exceed {BATCH}: one batch of room keeps the listeners hearing")
        self.produced = 0
        self.delivered = 0
        self.dropped = 0
        self.failures = 0
        """Appends that failed since the pipe was made."""
        self.listener_errors = 0
        self._stream = stream
        self._clock = clock
        self._topic = topic
        self._encode = encode
        self._capacity = capacity
        self._listeners = tuple(listeners)
        self._missed: Callable[[Record], None] | None = None
        self._every_s = every_s
        self._sink_timeout_s = sink_timeout_s
        self._fresh: deque[Record] = deque()
        self._backlog: deque[Record] = deque()
        self._room = capacity
        self._failing = False
        self._closed = False
        self._full = asyncio.Event()
        self._arrived = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def offer(self, event: Record) -> None:
        """Take an event, or drop and count it when the pipe is full or closed; about 0.2 µs."""
        self.produced += 1
        waiting = len(self._fresh)
        if waiting >= self._room:
            self.lose(event)
            return
        self._fresh.append(event)
        if waiting == BATCH:
            self._full.set()

    def listen(self, listener: Callable[[Sequence[Record]], None]) -> None:
        """Let one more hear every event from now on."""
        self._listeners = (*self._listeners, listener)

    def told_of_losses(self, missed: Callable[[Record], None]) -> None:
        """Have `missed` hear of each event that is dropped before the listeners heard it. It must not raise."""
        self._missed = missed

    def lose(self, event: Record) -> None:
        """Count an event that was produced and that no listener will hear as dropped."""
        self.dropped += 1
        if self._missed is not None:
            self._missed(event)

    @property
    def queued(self) -> int:
        """Events taken and neither delivered nor dropped."""
        return len(self._fresh) + len(self._backlog)

    @property
    def healthy(self) -> bool:
        """Whether the sink took what it was last given."""
        return not self._failing

    def lag_s(self) -> float:
        """Return the age in seconds of the oldest event not delivered; 0 when there is none."""
        oldest = self._backlog or self._fresh
        return max(0.0, self._clock.wall_s() - oldest[0].at_s) if oldest else 0.0

    def start(self) -> None:
        """Begin to drain; once, on the running event loop."""
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._tell_forever()), loop.create_task(self._send_forever())]

    # ------------------------------------------------------------------------------------- fresh ▶ listeners ▶ backlog

    async def _tell_forever(self) -> None:
        while not self._closed:
            await woken(self._full, self._every_s)
            await self._tell()

    async def _tell(self) -> None:
        """Let the listeners hear what is fresh, hand it to the sender; drop what a failing sink has no room for."""
        limit = self._capacity - BATCH
        while self._fresh:
            room = limit - len(self._backlog)
            if room <= 0 and not self._failing:
                return  # the sender is at it: what is fresh waits where it is, and `offer` counts what has no room
            batch = list(islice(self._fresh, min(SLICE, room) if room > 0 else SLICE))
            self._announce(batch)
            for _ in batch:
                self._fresh.popleft()
            if room > 0:
                self._backlog.extend(batch)
                self._arrived.set()
            else:
                self.dropped += len(batch)
            self._make_room()
            await asyncio.sleep(0)

    def _announce(self, batch: Sequence[Record]) -> None:
        for listener in self._listeners:
            try:
                listener(batch)
            except Exception:  # because a broken listener must not silence the others or the audit
                self.listener_errors += 1

    def _make_room(self) -> None:
        self._room = 0 if self._closed else self._capacity - len(self._backlog)

    # ------------------------------------------------------------------------------------------------ backlog ▶ stream

    async def _send_forever(self) -> None:
        backoff_s = self._every_s
        while True:
            if not self._backlog:
                self._arrived.clear()
                await self._arrived.wait()
            if await self._send():
                backoff_s = self._every_s
            else:
                await asyncio.sleep(backoff_s)
                backoff_s = min(2 * backoff_s, MAX_BACKOFF_S)

    async def _send(self) -> bool:
        """Append one batch to the stream; True when it was taken. What was not stays first in the backlog."""
        batch = list(islice(self._backlog, BATCH))
        records: list[bytes] = []
        for start in range(0, len(batch), SLICE):
            records += [self._encode(event) for event in batch[start : start + SLICE]]
            await asyncio.sleep(0)
        try:
            async with asyncio.timeout(self._sink_timeout_s):
                await self._stream.append(self._topic, records)
        except Exception:  # because whatever the sink says, the answer is to keep the events and try again
            self._failing = True
            self.failures += 1
            return False
        for _ in batch:
            self._backlog.popleft()
        self.delivered += len(batch)
        self._failing = False
        self._make_room()
        return True

    async def close(self, within_s: float = 5.0) -> None:
        """Take no more, deliver what is queued within `within_s` seconds; what is left is dropped and counted."""
        self._closed = True
        self._make_room()
        self._full.set()
        try:
            async with asyncio.timeout(within_s):
                if self._tasks:
                    await self._tasks[0]
                    await self._drain()
        except TimeoutError:
            pass
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.dropped += len(self._backlog)
        for event in self._fresh:
            self.lose(event)
        self._fresh.clear()
        self._backlog.clear()

    async def _drain(self) -> None:
        """Wait until the sender has delivered everything."""
        while self.queued:
            await self._tell()
            await asyncio.sleep(self._every_s / 10)


class AuditPipe(Pipe[RequestEvent]):
    """Events of requests to the topic "audit"."""

    def __init__(
        self,
        stream: Stream,
        clock: Clock,
        *,
        capacity: int = 10_000,
        listeners: Sequence[Listener] = (),
        every_s: float = 0.1,
        sink_timeout_s: float = 5.0,
    ) -> None:
        """See `Pipe`."""
        super().__init__(
            stream,
            clock,
            topic="audit",
            encode=encoded,
            capacity=capacity,
            listeners=listeners,
            every_s=every_s,
            sink_timeout_s=sink_timeout_s,
        )
