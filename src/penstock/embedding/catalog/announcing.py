"""Jobs on the stream: each document of a job is put there once it is written down, and again when nobody has it.

    listed ──▶ on the stream, so many of a project at a time ──▶ ended            `tend` puts the next ones there

Promises: a job with work left has its documents on some living process's stream, at the latest `LEASE_S` after the
process that had them was gone; of one project about `AHEAD` documents are there at a time, shared by its jobs, so that
nobody waits behind a million of another's; a document that comes twice ends once; a job that was broken off while its
documents were taken in goes on with those that were.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Final
from weakref import WeakValueDictionary

from penstock.embedding.catalog.backlog import Item
from penstock.embedding.catalog.jobs import JobDoc, changed, list_write
from penstock.embedding.catalog.library import Library

LEASE_S: Final = 20.0
PAGE: Final = 500
LISTED_AT_ONCE: Final = 10
"""Pages of a migration's documents listed in one turn."""
LOOKED_AT: Final = 1_000
"""Open jobs looked at in one turn."""
AHEAD: Final = 4_000
"""Documents of one project on the stream at a time."""
SHARE_LEAST: Final = 32
"""Of a job, however many its project has."""


class Announcer:
    """Puts jobs on the stream. One per process."""

    def __init__(self, library: Library) -> None:
        """Put them on the stream of `library`."""
        self._library = library
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self.queued = self.running = self.lag = 0
        """Open jobs by how far they are, everybody's, and messages on the stream, as the last look saw them."""

    async def announce(self, job: JobDoc) -> JobDoc:
        """Begin, anew, to put what is left of a job on the stream; returns it. `tend` goes on with what is too much."""
        library = self._library
        async with self._lock(job.id):
            now = await library.jobs.change(job.id, self._begun)
            if now is None:
                return await library.jobs.get(job.id) or job
            busy = await library.jobs.busy(job.owner, LOOKED_AT)
            return await self._more(now, _share(len(busy)))

    async def tend(self) -> None:
        """See to it that every open job goes on."""
        library = self._library
        self.lag = await library.backlog.lag()
        found = await library.jobs.open(LOOKED_AT)
        self.queued = sum([job.status == "queued" for job in found])
        self.running = len(found) - self.queued
        jobs_of = Counter([job.owner for job in found])
        for job in found:
            lock = self._lock(job.id)
            if lock.locked():
                continue  # it is being announced
            if not job.announced and job.runner == library.runner:
                async with lock:
                    await self._gone_on(job.id, _share(jobs_of[job.owner]))
            await self._kept(job)

    async def hasten(self, job_id: str, documents: Sequence[str]) -> None:
        """Have documents of a job worked on before its others, those too that are not on the stream yet."""
        job = await self._library.jobs.get(job_id)
        if job is None or not job.is_open:
            return
        away = self._library.backlog.hasten(job.owner, job.id, documents)
        left = [] if job.announced else await self._library.jobs.left(job, away)
        await self._library.backlog.append([Item(job.owner, job.id, name) for name in left])

    async def _gone_on(self, job_id: str, share: int) -> None:
        """Put the next documents of a job on the stream, if this process is at it and the first ones are through."""
        job = await self._library.jobs.get(job_id)
        if job is None or job.announced or not job.is_open:
            return
        is_due = job.listed and job.on_stream <= share // 2
        if is_due or (job.kind == "migration" and not job.listed):
            await self._more(job, share)

    async def _kept(self, job: JobDoc) -> None:
        """See to it that some process has what of a job is on the stream."""
        backlog, left_s = self._library.backlog, job.leased_until_s - self._library.clock.wall_s()
        is_ours = job.runner == self._library.runner
        if left_s > (LEASE_S / 2 if is_ours else 0.0):
            return
        is_begun = job.announced or bool(job.at)
        if is_begun and (backlog.has(job.id) or (is_ours and self.lag > backlog.waiting)):
            await self._lease(job)
        elif left_s <= 0:
            await self._lease(job)
            await self.announce(job)

    async def _lease(self, job: JobDoc) -> None:
        def leased(now: JobDoc) -> JobDoc | None:
            return self._ours(now) if now.is_open else None

        await self._library.jobs.change(job.id, leased)

    def _ours(self, job: JobDoc) -> JobDoc:
        runner, until_s = self._library.runner, self._library.clock.wall_s() + LEASE_S
        return changed(job, runner=runner, leased_until_s=until_s)

    def _begun(self, job: JobDoc) -> JobDoc | None:
        """Return a job with work left, and nothing on the stream yet. All of an ingest is listed, or never will be."""
        ended = job.counts.ended
        if not job.is_open and ended >= job.counts.documents:
            return None
        listed = job.listed or job.kind == "ingest"
        begun = changed(job, listed=listed, reserved=0, announced=False, at="", streamed=ended)
        return self._ours(begun.settled(self._library.clock.wall_s()))

    async def _more(self, job: JobDoc, share: int) -> JobDoc:
        """Put the next documents of a job on the stream, until `share` of it are there; returns it."""
        library = self._library
        if not job.listed:
            job = await self._listed(job)
        names: list[str] = []
        room, at = share - job.on_stream, job.at
        is_all = job.listed
        async for page, documents in library.jobs.documents(job.id, at):
            if len(names) >= room:
                is_all = False
                break
            at = page
            names += await library.jobs.left(job, documents)
        for first in range(0, len(names), PAGE):
            await library.backlog.append(
                [Item(job.owner, job.id, name) for name in names[first : first + PAGE]]
            )

        def said(now: JobDoc) -> JobDoc:
            more = changed(now, announced=is_all, at=at, streamed=now.streamed + len(names))
            return self._ours(more).settled(library.clock.wall_s())

        return await library.jobs.change(job.id, said) or job

    async def _listed(self, job: JobDoc) -> JobDoc:
        """List the next documents for a migration, from its cursor on."""
        library = self._library
        for _ in range(LISTED_AT_ONCE):
            page = await library.book.documents(job.uid, job.cursor, PAGE)
            names = [doc.id for doc in page if not doc.deleted]
            longer = partial(
                _longer,
                before=job.cursor,
                after=page[-1].id if page else job.cursor,
                more=len(names),
                leased_until_s=library.clock.wall_s() + LEASE_S,
                listed=len(page) < PAGE,
            )
            writes = [list_write(job.id, names)] if names else []
            now = await library.jobs.change(job.id, longer, writes)
            if now is None or now.listed:
                return now or job
            job = now
        return job

    def _lock(self, job_id: str) -> asyncio.Lock:
        lock = self._locks.get(job_id)
        if lock is None:
            lock = self._locks[job_id] = asyncio.Lock()
        return lock


def _share(jobs: int) -> int:
    """Return how many documents of a job may be on the stream, of a project with so many jobs."""
    return max(AHEAD // max(1, jobs), SHARE_LEAST)


def _longer(
    job: JobDoc, *, before: str, after: str, more: int, leased_until_s: float, listed: bool
) -> JobDoc | None:
    if job.cursor != before:
        return None  # another process lists it
    return changed(job.longer(more, leased_until_s), cursor=after, listed=listed)
