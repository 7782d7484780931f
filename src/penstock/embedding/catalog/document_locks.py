"""Who works on a document in this process: one at a time.

Promise: of several documents the locks are taken in one order, so that two who want some of the same never wait for
each other; a lock nobody holds or waits for costs nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from weakref import WeakValueDictionary


class DocumentLocks:
    """A lock a document. One per process."""

    def __init__(self) -> None:
        """Start with nobody at work."""
        self._locks: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def held(self, uid: str, documents: Iterable[str]) -> AsyncGenerator[None]:
        """Hold documents of the collection `uid`."""
        async with AsyncExitStack() as stack:
            for document in sorted(set(documents)):
                lock = self._locks.get((uid, document))
                if lock is None:
                    lock = self._locks[uid, document] = asyncio.Lock()
                await stack.enter_async_context(lock)
            yield
