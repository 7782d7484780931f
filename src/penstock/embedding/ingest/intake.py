"""Documents on their way in: within the project's bounds, kept whole, written down, then put on the stream.

    bounds → job → (bytes → rows and the job's count, a page at a time) → stream → 202

Promises: a document that a job counts has its bytes and its row; what comes too late to be counted, its sender is told
of by an error; whatever breaks off in between, the job counts what was taken, and goes on with that (`announcing`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from hashlib import sha256
from operator import methodcaller
from typing import Final
from weakref import WeakValueDictionary

import msgspec

from penstock.embedding.catalog.announcing import Announcer
from penstock.embedding.catalog.collections import (
    CollectionDoc,
    DocumentDoc,
    Failure,
    Source,
    document_write,
    no_collection,
)
from penstock.embedding.catalog.jobs import End, JobDoc, list_write
from penstock.embedding.catalog.library import Library
from penstock.embedding.catalog.sources import kept_as
from penstock.kernel.context import Principal
from penstock.kernel.errors import Invalid, OverLimit, StaleVersion, Unauthenticated
from penstock.kernel.ids import new_id
from penstock.kernel.settings_collections import CollectionSettings
from penstock.ports.index import Scalar
from penstock.ports.records import Write

PAGE: Final = 40
"""Documents written down at a time."""
TRIES_MOST: Final = 8
LEASE_S: Final = 20.0
"""Seconds until a job whose process is gone is taken up by another."""
RETRY_AFTER_S: Final = 5.0


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """A document as its sender sent it."""

    id: str
    content: bytes
    media_type: str = ""
    name: str = ""
    title: str = ""
    url: str = ""
    language: str = ""
    version: str = ""
    labels: tuple[str, ...] = ()
    metadata: Mapping[str, Scalar] = {}

    def source(self, job: str) -> Source:
        """Return what its row says of it."""
        return Source(
            kept=kept_as(self.id, job),
            digest=sha256(self.content).hexdigest(),
            size_bytes=len(self.content),
            media_type=self.media_type,
            name=self.name,
            title=self.title,
            url=self.url,
            language=self.language,
            version=self.version,
            labels=tuple(sorted(set(self.labels))),
            metadata=self.metadata,
        )


class Intake:
    """Takes documents in. One per process."""

    def __init__(self, library: Library, announcer: Announcer, settings: CollectionSettings) -> None:
        """Take as many as `settings` allows."""
        self._library = library
        self._announcer = announcer
        self._settings = settings
        self._doors: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def take(
        self,
        collection: CollectionDoc,
        principal: Principal,
        sent: Sequence[Sent],
        unread: Mapping[str, Failure] = {},
    ) -> JobDoc:
        """Take documents in, as a job of `principal`; `unread` are those that were none, and fail with it.

        Raises OverLimit (the project has as many jobs or documents open as it may), Invalid, Unavailable, NotFound (the
        collection is deleted meanwhile).
        """
        library = self._library
        await self.check_key(principal)
        async with self._door(collection.owner):
            await self._check_room(collection, len(sent))
            now_s = library.clock.wall_s()
            job = JobDoc(
                id=new_id("job_"),
                uid=collection.uid,
                org=collection.org,
                owner=collection.owner,
                key_id=principal.key_id,
                kind="ingest",
                created_s=now_s,
                begun_s=now_s,
                reserved=len(sent) + len(unread),
                runner=library.runner,
                leased_until_s=now_s + LEASE_S,
            )
            await self._begin(job)
        for first in range(0, len(sent), PAGE):
            await self._write(collection, job, sent[first : first + PAGE])
        await self._fail(job, unread)
        return await self._announcer.announce(job)

    async def check_key(self, principal: Principal) -> None:
        """Raise Invalid for a caller that has no API key: work that goes on when it left must spend as somebody."""
        try:
            await self._library.principals.principal_of(principal.key_id)
        except Unauthenticated:
            raise Invalid(
                "Work on a collection needs an API key to spend as.", remedy="Call it with a key."
            ) from None

    async def _check_room(self, collection: CollectionDoc, count: int) -> None:
        bounds, library = self._settings, self._library
        busy = await library.jobs.busy(collection.owner, bounds.open_jobs)
        if len(busy) >= bounds.open_jobs:
            raise OverLimit(
                "The project has as many open jobs as it may.",
                code="too_many_jobs",
                field="jobs",
                value=len(busy),
                limit=bounds.open_jobs,
                retry_after_s=RETRY_AFTER_S,
                remedy="Wait until some have ended, or send more documents at a time.",
            )
        waiting = sum([job.waiting for job in busy if job.kind == "ingest"])
        if waiting and waiting + count > bounds.open_documents:
            raise OverLimit(
                "The project has as many documents waiting as it may.",
                code="too_many_documents_waiting",
                field="documents",
                value=waiting + count,
                limit=bounds.open_documents,
                retry_after_s=RETRY_AFTER_S,
                remedy="Wait until some are indexed.",
            )
        held = await library.book.count(collection.uid)
        if held + count > bounds.documents:
            raise Invalid(
                "The collection would have too many documents.",
                code="collection_full",
                field="documents",
                value=held + count,
                limit=bounds.documents,
                remedy="Delete some, or use another collection.",
            )

    async def _begin(self, job: JobDoc) -> None:
        """Write a job down while its collection is there. Raises NotFound."""
        library = self._library
        for _ in range(TRIES_MOST):
            stands = await library.book.standing(job.uid)
            try:
                await library.jobs.add(job, [stands])
            except StaleVersion:
                continue
            return
        raise StaleVersion

    async def _write(self, collection: CollectionDoc, job: JobDoc, page: Sequence[Sent]) -> None:
        """Keep a page's bytes, then write its documents down and count them in their job, all or nothing."""
        library = self._library
        sources = {each.id: each.source(job.id) for each in page}
        await library.sources.put(collection.uid, [(sources[each.id].kept, each.content) for each in page])

        def counted(now: JobDoc) -> JobDoc:
            return now.longer(len(page), library.clock.wall_s() + LEASE_S)

        for _ in range(TRIES_MOST):
            writes = [await self._row(collection.uid, job, name, source) for name, source in sources.items()]
            try:
                now = await library.jobs.change(job.id, counted, [list_write(job.id, list(sources)), *writes])
            except StaleVersion:
                continue
            if now is None:  # the collection was deleted, and its jobs with it
                for name in sources:
                    await library.sources.drop(collection.uid, name, until=job.id)
                raise no_collection(collection.name)
            return
        raise StaleVersion

    async def _row(self, uid: str, job: JobDoc, document_id: str, source: Source) -> Write:
        now_s = self._library.clock.wall_s()
        doc, version = await self._library.book.document(uid, document_id)
        if doc is None or doc.deleted:
            created_s = now_s if doc is None else doc.created_s
            fresh = DocumentDoc(
                id=document_id, created_s=created_s, changed_s=now_s, latest=source, job=job.id, waits=True
            )
            return document_write(uid, fresh, version)
        after = msgspec.structs.replace(
            doc, latest=source, job=job.id, waits=True, failure=None, changed_s=now_s
        )
        return document_write(uid, after, version)

    async def _fail(self, job: JobDoc, unread: Mapping[str, Failure]) -> None:
        names = list(unread)
        for first in range(0, len(names), PAGE):
            page = names[first : first + PAGE]
            now_s = self._library.clock.wall_s()
            ends = {name: End(kind="failed", failure=unread[name]) for name in page}
            longer = methodcaller("longer", len(page), now_s + LEASE_S)
            await self._library.jobs.settle(job.id, ends, now_s, [list_write(job.id, page)], also=longer)

    def _door(self, owner: str) -> asyncio.Lock:
        """Return where a project's callers go through one at a time, so that its bounds hold."""
        lock = self._doors.get(owner)
        if lock is None:
            lock = self._doors[owner] = asyncio.Lock()
        return lock
