"""News of one topic: what a node remembers is forgotten everywhere within a second of a change.

Promises: `tell` forgets here before it returns and tells every other node; `watch` forgets at each piece of news; while
signals are down `heard_s` grows old, so that whoever remembers reads again what is older than `STALE_S`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from penstock.kernel.clock import Clock
from penstock.kernel.errors import PenstockError
from penstock.kernel.ids import new_id
from penstock.ports.signals import Signals, Subscription

STALE_S = 1.0


class News:
    """One topic and what is to be forgotten when it has news. `heard_s` is monotonic."""

    __slots__ = ("_clock", "_forget", "_signals", "_topic", "heard_s")

    def __init__(self, signals: Signals, topic: str, clock: Clock, forget: Callable[[], None]) -> None:
        """Call `forget` whenever `topic` has news."""
        self._signals = signals
        self._topic = topic
        self._clock = clock
        self._forget = forget
        self.heard_s = clock.monotonic_s()

    def is_fresh(self, loaded_s: float) -> bool:
        """Tell whether what was read at `loaded_s` may still be believed: we hear, or it is not `STALE_S` old."""
        now_s = self._clock.monotonic_s()
        return now_s - self.heard_s <= STALE_S or now_s - loaded_s <= STALE_S

    async def tell(self) -> None:
        """Forget here, and tell every node to forget."""
        self._forget()
        await self._signals.publish(self._topic, new_id("chg_").encode())

    async def watch(self) -> None:
        """Listen until cancelled. While signals are down, what is remembered goes stale and is read again."""
        ear: Subscription | None = None
        while True:
            try:
                if ear is None:
                    ear = await self._signals.subscribe(self._topic)
                    self._forget()
                signal = await ear.next(STALE_S / 4)
                self.heard_s = self._clock.monotonic_s()
                if signal is not None:
                    self._forget()
                else:
                    # A closed ear answers None at once: without a pause this would hold the loop for ever.
                    await asyncio.sleep(STALE_S / 20)
            except PenstockError:
                ear = None
                await asyncio.sleep(STALE_S / 4)
