"""Signals through Redis: news for every node, pushed by pub/sub and polled for what pub/sub loses.

Promises, beyond the port's: one script gives a topic its version, keeps the latest body and publishes, so order of
versions and order of messages are one; each message names the version before it, so a gap is noticed at once and told
as `missed`; every `POLL_S` the versions of the topics with subscribers are compared, so a lost message is late by
`POLL_S` + `GRACE_S` at most. A broken connection is made again, with pauses of 50 ms to 1 s; one that went dead is
found out by ping. Versions outlive the data of Redis (publish.lua). Losing every message costs only half a second each.

All topics of a deployment share one channel: signals are few, and every node listens to most of them anyway.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from importlib.resources import files
from typing import Any, ClassVar, TypeVar, cast

from redis import exceptions as driver
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from penstock.adapters.signals.topics import Ears, check_signal
from penstock.kernel.errors import Invalid, Overloaded, TimedOut, Unavailable
from penstock.ports.signals import Signal, Subscription

T = TypeVar("T")

POLL_S = 0.5
GRACE_S = 0.1
"""A version seen by polling before its message came by is given this long to arrive by itself."""

BEAT_S = 5.0
PAUSE_S = (0.05, 1.0)
CONNECTIONS = 8
CALLS_MOST = 1_024
POLL_PART = 500
HEADER = struct.Struct("<ddI")

FOREIGN = (driver.RedisError, OSError, TimeoutError, RuntimeError)
"""What a call may raise: the driver's errors, the network's, and uvloop's for a socket that was closed a moment ago."""
ERRORS: tuple[tuple[type[BaseException], type[Unavailable], str], ...] = (
    (driver.TimeoutError, TimedOut, "Redis did not answer in time."),
    (TimeoutError, TimedOut, "Redis did not answer in time."),
    (driver.ConnectionError, Unavailable, "Redis cannot be reached."),
    (OSError, Unavailable, "Redis cannot be reached."),
    (driver.RedisError, Unavailable, "Redis failed."),
)
"""The table from the driver's errors to ours: the first kind that fits."""


def translated(error: BaseException) -> Unavailable:
    """Return our error for the driver's."""
    for kind, ours, message in ERRORS:
        if isinstance(error, kind):
            return ours(f"{message} ({error})" if str(error) else message)
    return Unavailable(f"Redis failed: {error!r}")


class RedisSignals:
    """The Signals port on a Redis (7.0 or later, or a Valkey). Open it with `RedisSignals.open`.

    `reconnects` counts broken listening connections, `late` the signals that polling had to fetch.
    """

    script: ClassVar[str] = files("penstock.adapters.signals").joinpath("publish.lua").read_text("utf-8")

    def __init__(self, client: Any, prefix: str, timeout_s: float) -> None:  # noqa: ANN401 - the driver's types are partial
        """Use `open`."""
        self._redis = client
        self._prefix = prefix
        self._timeout_s = timeout_s
        self._ears = Ears()
        self._seen: dict[str, int] = {}
        self._listening = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._calls = 0
        self._is_open = True
        self.reconnects = 0
        self.late = 0

    @classmethod
    async def open(cls, url: str, *, prefix: str = "penstock", timeout_s: float = 1.0) -> RedisSignals:
        """Connect and start listening. Unavailable; Invalid: not a URL."""
        try:
            pool = cast("Any", BlockingConnectionPool).from_url(
                url,
                socket_timeout=timeout_s,
                socket_connect_timeout=timeout_s,
                max_connections=CONNECTIONS,
                timeout=timeout_s,
                retry=Retry(NoBackoff(), 0),
            )
        except ValueError as error:
            raise Invalid(f"This is not the URL of a Redis: {error}", field="url") from error
        signals = cls(cast("Any", Redis).from_pool(pool), prefix, timeout_s)
        loop = asyncio.get_running_loop()
        try:
            await signals._timely(signals._redis.ping)
            signals._tasks = [loop.create_task(signals._listen()), loop.create_task(signals._poll())]
            await signals._timely(signals._listening.wait)
        except BaseException:  # because the connections must be closed whatever happened; it is raised again
            await signals.close()
            raise
        return signals

    @property
    def overflows(self) -> int:
        """How often a slow subscriber's queue was forgotten and it was told to reload."""
        return self._ears.overflows

    async def publish(self, topic: str, body: bytes) -> int:
        """Tell every subscriber on every node; returns the topic's new version."""
        self._check_open()
        check_signal(topic, body)
        return int(
            await self._timely(
                lambda: self._redis.eval(self.script, 1, self._key(topic), self._channel(), topic, body)
            )
        )

    async def subscribe(self, topic: str) -> Subscription:
        """Listen to a topic from now on."""
        version = await self.version(topic)
        if topic not in self._ears.by_topic:
            self._seen[topic] = version
        return self._ears.listen(topic, version)

    async def version(self, topic: str) -> int:
        """Return the topic's version, 0 if nothing was ever published."""
        self._check_open()
        check_signal(topic)
        return int(await self._timely(lambda: self._redis.hget(self._key(topic), "version")) or 0)

    async def healthy(self) -> bool:
        """Tell whether Redis answers in time."""
        try:
            await self._timely(self._redis.ping)
        except Unavailable:
            return False
        return True

    async def close(self) -> None:
        """Close every subscription and connection; later calls raise Unavailable."""
        self._is_open = False
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._ears.close()
        await self._redis.aclose()

    def _check_open(self) -> None:
        if not self._is_open:
            raise Unavailable("The signals were closed.")

    def _key(self, topic: str) -> str:
        return f"{self._prefix}:signal:{topic}"

    def _channel(self) -> str:
        return f"{self._prefix}:signals"

    async def _timely(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do `work` within the timeout, waiting for a connection included; errors translated."""
        if self._calls >= CALLS_MOST:
            raise Overloaded("Too many calls wait for Redis.", limit=CALLS_MOST, retry_after_s=1.0)
        self._calls += 1
        try:
            async with asyncio.timeout(self._timeout_s):
                value = await work()
        except FOREIGN as error:
            raise translated(error) from error
        finally:
            self._calls -= 1
        return value

    def _hear(self, topic: str, previous: int, version: int, body: bytes) -> None:
        """Pass on what is news to this node; a gap before it was missed."""
        seen = self._seen.get(topic)
        if seen is None or version <= seen:
            return
        self._seen[topic] = version
        if topic in self._ears.by_topic:
            self._ears.tell(Signal(topic, version, body, missed=previous != seen))
        else:
            del self._seen[topic]

    async def _listen(self) -> None:
        """Keep one listening connection, made again whenever it breaks."""
        pause_s = PAUSE_S[0]
        while True:
            pubsub = self._redis.pubsub()
            try:
                await pubsub.subscribe(self._channel())
                quiet = False
                while not quiet:
                    quiet = not await self._heard(pubsub)
                    pause_s = PAUSE_S[0]
            except FOREIGN:
                pause_s = min(pause_s * 2, PAUSE_S[1])
            finally:
                with suppress(*FOREIGN):
                    await pubsub.aclose()
            self.reconnects += 1
            await asyncio.sleep(pause_s)

    async def _heard(self, pubsub: Any) -> bool:  # noqa: ANN401 - the driver's types are partial
        """Handle the next message; False when even a ping brought none."""
        message = await pubsub.get_message(timeout=BEAT_S)
        if message is None:
            await pubsub.ping()
            message = await pubsub.get_message(timeout=self._timeout_s)
        if message is None:
            return False
        if message["type"] == "subscribe":
            self._listening.set()
        elif message["type"] == "message":
            data: bytes = message["data"]
            previous, version, length = HEADER.unpack_from(data)
            end = HEADER.size + length
            self._hear(data[HEADER.size : end].decode(), int(previous), int(version), data[end:])
        return True

    async def _poll(self) -> None:
        """Find out what pub/sub has lost."""
        while True:
            await asyncio.sleep(POLL_S)
            topics = list(self._ears.by_topic)
            for start in range(0, len(topics), POLL_PART):
                try:
                    await self._catch_up(topics[start : start + POLL_PART])
                except Unavailable:
                    break  # the next round tries again

    async def _catch_up(self, topics: Sequence[str]) -> None:
        """Deliver the latest of each topic whose message does not come."""
        found = await self._latest(topics)
        behind = [
            topic
            for topic, (version, _, _) in zip(topics, found, strict=True)
            if version > self._seen.get(topic, version)
        ]
        if not behind:
            return
        awaited = dict(zip(topics, found, strict=True))
        await asyncio.sleep(GRACE_S)
        still = [topic for topic in behind if awaited[topic][0] > self._seen.get(topic, 0)]
        for topic, (version, previous, body) in zip(still, await self._latest(still), strict=True):
            self.late += 1
            self._hear(topic, previous, version, body)

    async def _latest(self, topics: Sequence[str]) -> list[tuple[int, int, bytes]]:
        """Return version, previous version and body of each topic, in one round trip."""
        if not topics:
            return []
        pipeline = self._redis.pipeline(transaction=False)
        for topic in topics:
            pipeline.hmget(self._key(topic), "version", "previous", "body")
        rows = await self._timely(pipeline.execute)
        return [(int(version or 0), int(previous or 0), body or b"") for version, previous, body in rows]
