"""Jobs on the stream: each document of a job is put there once it is written down, and again when nobody has it.

Promises: a job with work left has its documents on some living process's stream, at the latest `LEASE_S` after the
process that had them was gone; a document that comes twice for it ends once; a job that was broken off while its
documents were taken in goes on with those that were.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from penstock.embedding.catalog.backlog import Item
from penstock.embedding.catalog.jobs import JobDoc, changed, list_write
from penstock.embedding.catalog.library import Library

LEASE_S: Final = 20.0
PAGE: Final = 500
LOOKED_AT: Final = 1_000
"""Open jobs looked at in one turn."""


class Announcer:
    """Puts jobs on the stream. One per process."""

    def __init__(self, library: Library) -> None:
        """Put them on the stream of `library`."""
        self._library = library
        self.queued = self.running = self.lag = 0
        """Open jobs by how far they are, everybody's, and messages on the stream, as the last look saw them."""

    async def announce(self, job: JobDoc) -> JobDoc:
        """Put what is left of a job on the stream, and say so in its row; returns it."""
        library = self._library
        if job.kind == "migration" and not job.announced:
            job = await self._listed(job)
        async for page in library.jobs.documents(job.id):
            left = [name for name in page if await library.jobs.end(job.id, name) is None]
            await library.backlog.append([Item(job.owner, job.id, name) for name in left])
        now_s = library.clock.wall_s()

        def said(now: JobDoc) -> JobDoc:
            leased = changed(now, announced=True, runner=library.runner, leased_until_s=now_s + LEASE_S)
            return leased.settled(now_s)

        return await library.jobs.change(job.id, said) or job

    async def tend(self) -> None:
        """See to it that every open job goes on."""
        library = self._library
        backlog, now_s = library.backlog, library.clock.wall_s()
        self.lag = await backlog.lag()
        unread = self.lag > backlog.waiting
        found = await library.jobs.open(LOOKED_AT)
        self.queued = sum([job.status == "queued" for job in found])
        self.running = len(found) - self.queued
        for job in found:
            is_ours = job.runner == library.runner
            if job.leased_until_s - now_s > (LEASE_S / 2 if is_ours else 0.0):
                continue
            if job.announced and (backlog.has(job.id) or (is_ours and unread)):
                await self._lease(job)
            elif job.leased_until_s <= now_s:
                await self._lease(job)
                await self.announce(job)

    async def _lease(self, job: JobDoc) -> None:
        runner, until_s = self._library.runner, self._library.clock.wall_s() + LEASE_S

        def leased(now: JobDoc) -> JobDoc | None:
            return changed(now, runner=runner, leased_until_s=until_s) if now.is_open else None

        await self._library.jobs.change(job.id, leased)

    async def _listed(self, job: JobDoc) -> JobDoc:
        """List all documents for a migration, from its cursor on."""
        library = self._library
        while page := await library.book.documents(job.uid, job.cursor, PAGE):
            names = [doc.id for doc in page if not doc.deleted]
            leased_s = library.clock.wall_s() + LEASE_S
            longer = partial(_longer, cursor=page[-1].id, more=len(names), leased_until_s=leased_s)
            now = await library.jobs.change(job.id, longer, [list_write(job.id, names)])
            if now is None:
                break
            job = now
        return job


def _longer(job: JobDoc, *, cursor: str, more: int, leased_until_s: float) -> JobDoc:
    return changed(job.longer(more, leased_until_s), cursor=cursor)
