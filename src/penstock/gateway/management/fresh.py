"""Values that cost something to make, made at most so often however many ask.

Promise: a value is made by one asker at a time and given to all who ask meanwhile; at most `KEPT` are remembered; a
making that failed is tried again by the next asker.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

from penstock.kernel.clock import Clock

KEPT: Final = 256
T = TypeVar("T")


class _Slot(Generic[T]):
    """One value, and who makes it now."""

    __slots__ = ("made_s", "making", "value")

    def __init__(self) -> None:
        self.making = asyncio.Lock()
        self.made_s = 0.0
        self.value: list[T] = []
        """The value, once there is one."""


class Fresh(Generic[T]):
    """Remembers values by name."""

    def __init__(self) -> None:
        """Remember nothing yet."""
        self._slots: OrderedDict[str, _Slot[T]] = OrderedDict()

    async def get(
        self, name: str, lives_s: Callable[[T], float], clock: Clock, make: Callable[[], Awaitable[T]]
    ) -> T:
        """Return the value of a name if it is younger than the seconds that it lives, else what `make` returns."""
        slot = self._slots.get(name)
        if slot is None:
            slot = self._slots[name] = _Slot()
            if len(self._slots) > KEPT:
                self._slots.popitem(last=False)
        async with slot.making:
            now_s = clock.monotonic_s()
            if not slot.value or now_s - slot.made_s >= lives_s(slot.value[0]):
                slot.value = [await make()]
                slot.made_s = now_s
            return slot.value[0]
