"""Signals inside the process: the default on one machine.

Promises, beyond the port's: a signal is in every ear's queue when `publish` returns; at most `TOPICS_MOST` topics
have a version (a new one past that raises Overloaded, because forgetting a version would make it shrink). Versions
start again at 1 with the process, as do all subscribers.
"""

from __future__ import annotations

from penstock.adapters.signals.topics import Ears, check_signal
from penstock.kernel.errors import Overloaded, Unavailable
from penstock.ports.signals import Signal, Subscription

TOPICS_MOST = 100_000


class EmbeddedSignals:
    """The Signals port in process memory."""

    def __init__(self) -> None:
        """Start with no topic."""
        self._versions: dict[str, int] = {}
        self._ears = Ears()
        self._is_open = True

    @property
    def overflows(self) -> int:
        """How often a slow subscriber's queue was forgotten and it was told to reload."""
        return self._ears.overflows

    async def publish(self, topic: str, body: bytes) -> int:
        """Tell every ear; returns the topic's new version."""
        self._check_open()
        check_signal(topic, body)
        version = self._versions.get(topic, 0) + 1
        if version == 1 and len(self._versions) >= TOPICS_MOST:
            raise Overloaded("Too many topics have signals.", limit=TOPICS_MOST)
        self._versions[topic] = version
        self._ears.tell(Signal(topic, version, body))
        return version

    async def subscribe(self, topic: str) -> Subscription:
        """Listen to a topic from now on."""
        self._check_open()
        check_signal(topic)
        return self._ears.listen(topic, self._versions.get(topic, 0))

    async def version(self, topic: str) -> int:
        """Return the topic's version, 0 if nothing was ever published."""
        self._check_open()
        check_signal(topic)
        return self._versions.get(topic, 0)

    async def healthy(self) -> bool:
        """Tell whether signals are open."""
        return self._is_open

    async def close(self) -> None:
        """Close every subscription; later calls raise Unavailable."""
        self._is_open = False
        await self._ears.close()

    def _check_open(self) -> None:
        if not self._is_open:
            raise Unavailable("The signals were closed.")
