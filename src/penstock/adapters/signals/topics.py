"""Ears: the bounded queues that both signals adapters deliver into.

Promises: an ear keeps at most `QUEUE_MOST` signals; when one more comes it forgets them all and keeps the newest,
marked `missed`, so that a slow subscriber learns that it must reload and never believes it is up to date; after
`close` nothing is delivered and the ear is gone from its topic.
"""

from __future__ import annotations

import asyncio
from collections import deque

import msgspec

from penstock.kernel.errors import Invalid, Overloaded
from penstock.ports.signals import Signal

QUEUE_MOST = 256
EARS_MOST = 10_000
TOPIC_BYTES = 512
BODY_BYTES = 64 * 1024


def check_signal(topic: str, body: bytes = b"") -> None:
    """Raise Invalid unless topic (1 to 512 bytes) and body (to 64 KiB) are within bounds."""
    if not 1 <= len(topic.encode(errors="replace")) <= TOPIC_BYTES:
        bounds = f"1 to {TOPIC_BYTES} bytes"
        raise Invalid("A topic is out of bounds.", field="topic", value=len(topic), limit=bounds)
    if len(body) > BODY_BYTES:
        raise Invalid(
            "A signal's body is too large.",
            field="body",
            value=len(body),
            limit=BODY_BYTES,
            remedy="Signal where to read it instead.",
        )


class Ear:
    """One subscription. `floor` is the topic's version when it began: what is not newer is not news."""

    __slots__ = ("_ears", "_floor", "_queue", "_waiter", "is_open", "topic")

    def __init__(self, ears: Ears, topic: str, floor: int) -> None:
        """Made by `Ears.listen`."""
        self._ears = ears
        self._floor = floor
        self._queue: deque[Signal] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self.topic = topic
        self.is_open = True

    async def next(self, timeout_s: float) -> Signal | None:
        """Return the next signal, or None after `timeout_s`; None at once when closed. For one task at a time."""
        if not self._queue and self.is_open:
            self._waiter = asyncio.get_running_loop().create_future()
            await asyncio.wait((self._waiter,), timeout=timeout_s)
            self._waiter = None
        return self._queue.popleft() if self._queue else None

    async def close(self) -> None:
        """Stop listening; what was queued is forgotten and a waiting `next` returns None."""
        self.is_open = False
        self._queue.clear()
        self._ears.forget(self)
        self._wake()

    def hear(self, signal: Signal) -> None:
        """Queue a signal."""
        if signal.version <= self._floor or not self.is_open:
            return
        queue = self._queue
        if len(queue) >= QUEUE_MOST:
            self._ears.overflows += 1
            queue.clear()
            signal = msgspec.structs.replace(signal, missed=True)
        queue.append(signal)
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Ears:
    """Every open ear of one node, by topic. `overflows` counts the queues that were forgotten."""

    __slots__ = ("_count", "by_topic", "overflows")

    def __init__(self) -> None:
        """Start with none."""
        self.by_topic: dict[str, set[Ear]] = {}
        self._count = 0
        self.overflows = 0

    def listen(self, topic: str, floor: int) -> Ear:
        """Open an ear that hears versions above `floor`; Overloaded past 10,000 of them."""
        if self._count >= EARS_MOST:
            raise Overloaded("Too many subscriptions are open.", limit=EARS_MOST)
        ear = Ear(self, topic, floor)
        self.by_topic.setdefault(topic, set()).add(ear)
        self._count += 1
        return ear

    def tell(self, signal: Signal) -> None:
        """Let every ear of the topic hear `signal`."""
        for ear in self.by_topic.get(signal.topic, ()):
            ear.hear(signal)

    def forget(self, ear: Ear) -> None:
        """Drop a closed ear."""
        ears = self.by_topic.get(ear.topic, set())
        if ear not in ears:
            return
        ears.discard(ear)
        self._count -= 1
        if not ears:
            del self.by_topic[ear.topic]

    async def close(self) -> None:
        """Close every ear."""
        for ear in [ear for ears in self.by_topic.values() for ear in ears]:
            await ear.close()
