"""What happens to collections by itself: jobs go on, migrations advance, what was deleted goes, old jobs are forgotten.

Promises: whatever a crash left half done is taken up, at the latest a minute later; one collection that cannot be
tended just now keeps nobody waiting; jobs are forgotten once they ended so many days ago; what was deleted leaves the
index's disk with the next compacting.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Final

from penstock.embedding.catalog.announcing import Announcer
from penstock.embedding.catalog.collections import CollectionDoc
from penstock.embedding.catalog.library import Library
from penstock.embedding.ingest.removal import Removal
from penstock.embedding.migrations.migrations import Migrations
from penstock.kernel.errors import PenstockError
from penstock.mechanisms.background import woken

_log = logging.getLogger("penstock.embedding")
LOOK_S: Final = 1.0
"""Seconds between two looks at jobs and migrations."""
SWEEP_S: Final = 60.0
"""Seconds between two looks at every collection."""
DAY_S: Final = 86_400.0
TOLD_S: Final = 3 * DAY_S
"""Seconds that messages stay on the stream. A job has a day: what is older belongs to none that is open."""


class Upkeep:
    """Tends collections. One per process."""

    def __init__(
        self,
        library: Library,
        announcer: Announcer,
        removal: Removal,
        migrations: Migrations,
        *,
        kept_days: float,
        is_eager: bool,
    ) -> None:
        """Forget jobs `kept_days` days after their end; `is_eager` follows models whose version changed at once."""
        self._library = library
        self._announcer = announcer
        self._removal = removal
        self._migrations = migrations
        self._kept_s = kept_days * DAY_S
        self._is_eager = is_eager
        self._swept_s = -SWEEP_S
        self._woken = asyncio.Event()
        self.failures = 0
        """Times something could not be tended."""
        self.compactions = 0
        """Times the index was compacted."""

    def wake(self) -> None:
        """Say that there is something to tidy up."""
        self._swept_s = -SWEEP_S
        self._woken.set()

    async def watch(self) -> None:
        """Tend, for ever."""
        while True:
            await self.look()
            await woken(self._woken, LOOK_S)

    async def compacting(self, every_s: float) -> None:
        """Compact the index every `every_s` seconds, for ever."""
        while True:
            await asyncio.sleep(every_s)
            await self.compact()

    async def compact(self) -> None:
        """Have the index free its disk of what was deleted, the last collection too."""
        try:
            await self._library.index.compact()
            self.compactions += 1
        except Exception as error:  # because the next round may find things in order
            self._failed("the index cannot be compacted", error)

    async def look(self) -> None:
        """Tend once what is due."""
        now_s = self._library.clock.monotonic_s()
        try:
            await self._announcer.tend()
            await self._migrations.tend()
            if now_s - self._swept_s >= SWEEP_S:
                self._swept_s = now_s
                await self.sweep()
        except Exception as error:  # because the next look may find things in order
            self._failed("collections cannot be tended", error)

    async def sweep(self) -> None:
        """Look at every collection, and let old messages go."""
        before_s = self._library.clock.wall_s() - TOLD_S
        await self._library.backlog.trim(before_s)
        await self._library.events.trim(before_s)
        async for collection in self._every():
            try:
                await self._tidy(collection)
            except PenstockError as error:
                self.failures += 1
                _log.warning("the collection %s cannot be tended: %s", collection.uid, error)

    async def _every(self) -> AsyncIterator[CollectionDoc]:
        after = ""
        while page := await self._library.book.all(after):
            after = page[-1].uid
            for collection in page:
                yield collection

    async def _tidy(self, collection: CollectionDoc) -> None:
        if collection.deleted:
            await self._migrations.book.forget(collection.uid)
            await self._removal.finish(collection)
            return
        await self._removal.finish_documents(collection)
        await self._library.sources.tidy(collection.uid)
        oldest_s = self._library.clock.wall_s() - self._kept_s
        for job in await self._library.jobs.of(collection.uid):
            if job.created_s >= oldest_s:
                break  # the others are younger
            if not job.is_open and job.ended_s < oldest_s:
                await self._library.jobs.forget(job.id)
        if self._is_eager:  # last: whatever refuses that keeps nothing else from being tidied
            await self._migrations.follow(collection)

    def _failed(self, what: str, error: Exception) -> None:
        self.failures += 1
        _log.warning("%s: %s", what, error, exc_info=not isinstance(error, PenstockError))
