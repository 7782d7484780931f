"""News that every node must hear within a second: revocations, configuration, pointers.

Promises
1. A subscriber hears every signal published after `subscribe` returned, in order per topic, within 1 s.
2. Every topic has a version that grows with each publish; a lost message is only a late one, because
subscribers poll it.
3. A subscriber that is too slow loses no fact: its queue is bounded, and on overflow it is told to reload
(`missed`).
4. Closing a subscription frees it; nothing is delivered after.

Errors: Unavailable.
"""

from __future__ import annotations

from typing import Protocol

import msgspec


class Signal(msgspec.Struct, frozen=True):
    """One piece of news. `missed` True means signals were lost before this one: reload everything of the
    topic.
    """

    topic: str
    version: int
    body: bytes
    missed: bool = False


class Subscription(Protocol):
    """An open ear on one topic."""

    async def next(self, timeout_s: float) -> Signal | None:
        """Return the next signal, or None after `timeout_s`."""
        ...

    async def close(self) -> None:
        """Stop listening."""
        ...


class Signals(Protocol):
    """Publish and subscribe. See the promises above."""

    async def publish(self, topic: str, body: bytes) -> int:
        """Tell every subscriber on every node; returns the topic's new version."""
        ...

    async def subscribe(self, topic: str) -> Subscription:
        """Listen to a topic from now on."""
        ...

    async def version(self, topic: str) -> int:
        """Return the topic's version, 0 if nothing was ever published."""
        ...

    async def close(self) -> None:
        """Close every subscription."""
        ...
