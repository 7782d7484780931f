"""Jobs on a collection: what each was to do, how every document of it ended, and what the job may call itself.

    queued → running → complete    every document ended well: indexed, unchanged, or overtaken by a later change
                     → partial     some did; some failed, or were indexed in part, each with its reason
                     → failed      none did
                     → cancelled   some were not begun, for somebody said so

Promises: a document's end is written once, together with the job's counts and with the document itself, so that a job
is counted exactly however often a message of it comes; a job with an end missing is never called complete, nor one with
a document of which something was left out; a failure that may be tried again says so, and `retry` tries it again under
the key of whoever asks. What was paid is the job's, whatever became of its documents.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from typing import Final, Literal
from weakref import WeakValueDictionary

import msgspec

from penstock.embedding.catalog.collections import CHANGES_MOST, TENANT, Failure
from penstock.kernel.errors import NotFound, StaleVersion
from penstock.kernel.ids import new_id
from penstock.ports import records
from penstock.ports.records import Records, Row, Write

JOBS: Final = records.Collection(name="knowledge_jobs", indexes=("collection", "open", "busy"))
ENDS: Final = records.Collection(name="knowledge_ends", indexes=("end", "near"))
LISTS: Final = records.Collection(name="knowledge_lists")
"""Which documents are a job's, in pages."""
OPEN: Final = ("queued", "running")
NOT_WELL: Final = "failed"
"""How ends are found that say why they did not go well, whatever their kind."""
PAGE_ROWS: Final = 100
LISTS_ROWS: Final = 10
"""Pages of ids read at a time; each may be 128 KB."""

Status = Literal["queued", "running", "complete", "partial", "failed", "cancelled"]
Kind = Literal["ingest", "migration"]
EndKind = Literal["done", "in_part", "unchanged", "superseded", "failed", "cancelled"]


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """How far a job is: documents by their end (`in_part`: indexed, but for something that was left out), the chunks of
    those that were indexed, and what it paid.
    """

    documents: int = 0
    done: int = 0
    in_part: int = 0
    unchanged: int = 0
    superseded: int = 0
    failed: int = 0
    cancelled: int = 0
    chunks: int = 0
    embedded: int = 0
    reused: int = 0
    near_duplicates: int = 0
    tokens: int = 0
    cost_nanos: int = 0

    @property
    def ended(self) -> int:
        """Documents that have ended, well or not."""
        return self.done + self.in_part + self.unchanged + self.superseded + self.failed + self.cancelled


class NearDuplicate(msgspec.Struct, frozen=True, kw_only=True):
    """A chunk that says nearly what another one says: of this document, and of `other`, by their positions."""

    position: int
    other: str
    other_position: int
    similarity: float


class End(msgspec.Struct, frozen=True, kw_only=True):
    """How one document of a job ended; `failure` says why not well, or what was left out."""

    kind: EndKind
    chunks: int = 0
    embedded: int = 0
    reused: int = 0
    near: tuple[NearDuplicate, ...] = ()
    failure: Failure | None = None


class JobDoc(msgspec.Struct, frozen=True, kw_only=True):
    """A job on the collection `uid`, working and spending as `key_id`. `space` is what a migration builds.

    `listed`: all its documents are; until then a migration's are up to `cursor`, and `reserved` more are about to be.
    `announced`: those that have not ended are on the stream; until then those up to the page `at` are, and `streamed`
    counts them with those that had ended. `refusal` is what its key was refused with: what is left fails with that.
    `begun_s` is when it was last asked for. `runner` sees to it that it goes on, until `leased_until_s`.
    """

    id: str
    uid: str
    org: str
    owner: str
    key_id: str
    kind: Kind
    created_s: float
    begun_s: float = 0.0
    space: str = ""
    status: Status = "queued"
    ended_s: float = 0.0
    counts: Counts = Counts()
    listed: bool = False
    cursor: str = ""
    reserved: int = 0
    announced: bool = False
    at: str = ""
    streamed: int = 0
    cancelled: bool = False
    refusal: Failure | None = None
    runner: str = ""
    leased_until_s: float = 0.0

    @property
    def is_open(self) -> bool:
        """Tell whether there is work left."""
        return self.status in OPEN

    @property
    def waiting(self) -> int:
        """Documents that have not ended, those about to be listed too."""
        return self.counts.documents + self.reserved - self.counts.ended

    @property
    def on_stream(self) -> int:
        """Documents on the stream that have not ended, about."""
        return max(0, self.streamed - self.counts.ended)

    def told(self) -> dict[str, object]:
        """Return it as callers read it."""
        return {
            "id": self.id,
            "object": "collection.job",
            "kind": self.kind,
            "status": self.status,
            "cancelling": self.cancelled and self.is_open,
            "counts": self.counts,
            "refused": self.refusal,
            "created_at": int(self.created_s),
            "ended_at": int(self.ended_s) or None,
        }

    def longer(self, documents: int, leased_until_s: float) -> JobDoc:
        """Return it with more documents, leased until then."""
        counts = msgspec.structs.replace(self.counts, documents=self.counts.documents + documents)
        reserved = max(0, self.reserved - documents)
        return changed(self, counts=counts, reserved=reserved, leased_until_s=leased_until_s)

    def billed(self, tokens: int, cost_nanos: int) -> JobDoc:
        """Return it with more that was paid."""
        counts = self.counts
        paid = {"tokens": counts.tokens + tokens, "cost_nanos": counts.cost_nanos + cost_nanos}
        return changed(self, counts=msgspec.structs.replace(counts, **paid))

    def settled(self, now_s: float) -> JobDoc:
        """Return it in the state that its counts make."""
        counts = self.counts
        if not self.announced or counts.ended < counts.documents:
            status: Status = "running" if counts.ended else "queued"
            return changed(self, status=status, ended_s=0.0)
        if counts.cancelled:
            status = "cancelled"
        elif counts.failed or counts.in_part:
            status = "failed" if counts.failed == counts.documents else "partial"
        else:
            status = "complete"
        return changed(self, status=status, ended_s=now_s, runner="", leased_until_s=0.0)


def changed(job: JobDoc, **changes: object) -> JobDoc:
    """Return a job with other fields."""
    return msgspec.structs.replace(job, **changes)


class JobBook:
    """Where jobs are written down. One per process."""

    def __init__(self, rows: Records) -> None:
        """Keep them in `rows`."""
        self._rows = rows
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def get(self, job_id: str) -> JobDoc | None:
        """Return a job, None where there is none."""
        row = await self._rows.get(JOBS.name, TENANT, job_id)
        return None if row is None else _job(row)

    async def found(self, uid: str, job_id: str) -> JobDoc:
        """Return a job of a collection. Raises NotFound."""
        job = await self.get(job_id[:64])
        if job is None or job.uid != uid:
            raise NotFound("There is no such job.", field="job", value=job_id[:64])
        return job

    async def add(self, job: JobDoc, writes: Sequence[Write] = ()) -> None:
        """Write a new job down, with `writes`. Raises StaleVersion when a row of those is not what it was."""
        await self._rows.transact([_job_write(job, 0), *writes])

    async def of(self, uid: str, after: str = "", limit: int = PAGE_ROWS) -> list[JobDoc]:
        """Return a collection's jobs, oldest first, after the id `after`."""
        rows = await self._rows.find(JOBS.name, TENANT, "collection", uid, after=after, limit=limit)
        return [_job(row) for row in rows]

    async def latest(self, uid: str, before: str = "", limit: int = PAGE_ROWS) -> list[JobDoc]:
        """Return a collection's jobs, newest first, of those made before the job `before`."""
        rows = await self._rows.latest(JOBS.name, TENANT, "collection", uid, before=before, limit=limit)
        return [_job(row) for row in rows]

    async def open(self, limit: int, after: str = "") -> list[JobDoc]:
        """Return everybody's jobs with work left."""
        rows = await self._rows.find(JOBS.name, TENANT, "open", "yes", after=after, limit=limit)
        return [_job(row) for row in rows]

    async def busy(self, owner: str, limit: int) -> list[JobDoc]:
        """Return a project's jobs with work left."""
        rows = await self._rows.find(JOBS.name, TENANT, "busy", owner, limit=limit)
        return [_job(row) for row in rows]

    async def change(
        self, job_id: str, decide: Callable[[JobDoc], JobDoc | None], writes: Sequence[Write] = ()
    ) -> JobDoc | None:
        """Change a job as `decide` says of what it is now, with `writes`; None there (or no such job) changes nothing.

        Raises StaleVersion when a row of `writes` is not what it was.
        """
        for _ in range(CHANGES_MOST):
            row = await self._rows.get(JOBS.name, TENANT, job_id)
            decided = None if row is None else decide(_job(row))
            if row is None or decided is None:
                return None
            try:
                await self._rows.transact([_job_write(decided, row.version), *writes])
            except StaleVersion as stale:
                if not stale.field.startswith(f"{JOBS.name}/"):
                    raise
                continue
            return decided
        raise StaleVersion

    async def documents(self, job_id: str, after: str = "") -> AsyncIterator[tuple[str, list[str]]]:
        """Yield a job's documents in the pages they were counted in, each with its id; those after the page `after`."""
        while rows := await self._rows.scan(LISTS.name, job_id, after=after, limit=LISTS_ROWS):
            after = rows[-1].id
            for row in rows:
                yield row.id, msgspec.json.decode(row.value, type=list[str])

    async def left(self, job: JobDoc, documents: Sequence[str]) -> list[str]:
        """Return those of a job's documents that have not ended."""
        if not job.counts.ended:
            return list(documents)
        return [name for name in documents if await self.end(job.id, name) is None]

    # ------------------------------------------------------------------------------------------------------- ends

    async def settle(
        self,
        job_id: str,
        ends: Mapping[str, End],
        now_s: float,
        writes: Sequence[Write] = (),
        *,
        also: Callable[[JobDoc], JobDoc] | None = None,
    ) -> JobDoc | None:
        """Write down how documents ended, those that have not, what `also` changes, and `writes`, all or nothing.

        Raises StaleVersion when a row of `writes` is not what it was.
        """
        async with self._lock(job_id):
            fresh = {name: end for name, end in ends.items() if await self.end(job_id, name) is None}

            def counted(job: JobDoc) -> JobDoc:
                job = also(job) if also is not None else job
                return changed(job, counts=_counted(job.counts, fresh)).settled(now_s)

            rows = [_end_write(job_id, name, end) for name, end in fresh.items()]
            return await self.change(job_id, counted, [*rows, *writes])

    async def end(self, job_id: str, document_id: str) -> End | None:
        """Return how a document of a job ended; None when it has not."""
        row = await self._rows.get(ENDS.name, job_id, document_id)
        return None if row is None else _end(row)

    async def failures(self, job_id: str, after: str = "", limit: int = PAGE_ROWS) -> list[tuple[str, End]]:
        """Return the documents that failed or were indexed in part, after the id `after`."""
        rows = await self._rows.find(ENDS.name, job_id, "end", NOT_WELL, after=after, limit=limit)
        return [(row.id, _end(row)) for row in rows]

    async def near(self, job_id: str, after: str = "", limit: int = PAGE_ROWS) -> list[tuple[str, End]]:
        """Return the documents with near-duplicates, after the id `after`."""
        rows = await self._rows.find(ENDS.name, job_id, "near", "yes", after=after, limit=limit)
        return [(row.id, _end(row)) for row in rows]

    async def reopen(
        self, job: JobDoc, documents: Collection[str], writes: Sequence[Write] = ()
    ) -> JobDoc | None:
        """Have documents of a job begun again, as its `key_id` and `begun_s` say: their ends are taken back, those that
        nobody took back before.

        Raises StaleVersion when a row of `writes` is not what it was, or somebody takes an end back just now.
        """
        async with self._lock(job.id):
            found = {name: await self._rows.get(ENDS.name, job.id, name) for name in documents}
            rows = {name: row for name, row in found.items() if row is not None}
            if documents and not rows:
                return None
            ended = {name: _end(row) for name, row in rows.items()}

            def reopened(now: JobDoc) -> JobDoc:
                return changed(
                    now,
                    key_id=job.key_id,
                    begun_s=job.begun_s,
                    counts=_counted(now.counts, ended, -1),
                    refusal=None,
                    cancelled=False,
                    ended_s=0.0,
                    status="queued",
                )

            deletions = [
                Write(collection=ENDS.name, tenant=job.id, id=name, value=None, expected=row.version)
                for name, row in rows.items()
            ]
            return await self.change(job.id, reopened, [*deletions, *writes])

    async def forget(self, job_id: str) -> None:
        """Forget a job and how its documents ended."""
        await self._forget_below(job_id)
        await self._rows.transact([Write(collection=JOBS.name, tenant=TENANT, id=job_id, value=None)])
        await self._forget_below(job_id)  # what was written down meanwhile: nothing is, without the job

    async def _forget_below(self, job_id: str) -> None:
        for kind in (ENDS.name, LISTS.name):
            while rows := await self._rows.scan(kind, job_id, limit=PAGE_ROWS):
                gone = [Write(collection=kind, tenant=job_id, id=row.id, value=None) for row in rows]
                await self._rows.transact(gone)

    def _lock(self, job_id: str) -> asyncio.Lock:
        lock = self._locks.get(job_id)
        if lock is None:
            lock = self._locks[job_id] = asyncio.Lock()
        return lock


def list_write(job_id: str, documents: Sequence[str]) -> Write:
    """Return what writes down that documents are a job's; they are counted with it."""
    return Write(
        collection=LISTS.name, tenant=job_id, id=new_id("list_"), value=msgspec.json.encode(documents)
    )


def _counted(counts: Counts, ends: Mapping[str, End], sign: int = 1) -> Counts:
    """Return the counts with those of `ends` (taken away, with `sign` -1)."""
    now: dict[str, int] = msgspec.structs.asdict(counts)
    for end in ends.values():
        now[end.kind] += sign
        now["near_duplicates"] += sign * len(end.near)
        for name in ("chunks", "embedded", "reused"):
            now[name] += sign * getattr(end, name)
    return Counts(**now)


def _job(row: Row) -> JobDoc:
    return msgspec.json.decode(row.value, type=JobDoc)


def _end(row: Row) -> End:
    return msgspec.json.decode(row.value, type=End)


def _job_write(job: JobDoc, expected: int) -> Write:
    is_open = {"open": "yes", "busy": job.owner} if job.is_open else {}
    return Write(
        collection=JOBS.name,
        tenant=TENANT,
        id=job.id,
        value=msgspec.json.encode(job),
        indexed={"collection": job.uid, **is_open},
        expected=expected,
    )


def _end_write(job_id: str, document_id: str, end: End) -> Write:
    near = {"near": "yes"} if end.near else {}
    return Write(
        collection=ENDS.name,
        tenant=job_id,
        id=document_id,
        value=msgspec.json.encode(end),
        indexed={"end": NOT_WELL if end.failure is not None else end.kind, **near},
        expected=0,
    )
