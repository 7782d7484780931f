"""The work on documents: taken from the backlog, built, put into the index, told of, counted, committed.

    take → whose? → lock → what is wanted → read → build → put → tell → count (with the document's row) → commit

Promises: a crash anywhere repeats documents and halves none; what a document's job wanted is put only while nobody
wanted something later, and what was deleted meanwhile is deleted again; one bad document fails by itself, also one for
which a try of several never ends well; a job whose key is gone or has no money left ends with that reason, one that a
limit keeps waiting lets the others pass; what was paid is its job's, whatever came of it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from penstock.embedding.catalog.backlog import Taken
from penstock.embedding.catalog.collections import (
    CollectionDoc,
    DocumentDoc,
    Failure,
    Source,
    marked,
)
from penstock.embedding.catalog.jobs import JobDoc, changed
from penstock.embedding.catalog.library import Library
from penstock.embedding.ingest.building import Bill, Builder, Opened
from penstock.embedding.ingest.near_report import NearReport
from penstock.embedding.ingest.outcomes import Outcome, settled_row
from penstock.embedding.ingest.placing import Batch, Placing, able_spaces
from penstock.kernel.context import Principal
from penstock.kernel.errors import (
    Forbidden,
    NotFound,
    OverBudget,
    OverLimit,
    PenstockError,
    StaleVersion,
    Unauthenticated,
    Unavailable,
)
from penstock.ports.records import Write

_log = logging.getLogger("penstock.embedding")
DAY_S: Final = 86_400.0
TRIES_MOST: Final = 6
"""Times in a row that a job's documents may fail for a reason that may pass, a limit aside."""
PAUSE_MOST_S: Final = 30.0
CHANGES_MOST: Final = 8
REFUSALS: Final = (Unauthenticated, Forbidden, OverBudget)
"""What a key is refused with, whatever it asks to have embedded."""


class Ingest:
    """Works on documents. One per process, `worker` in several tasks."""

    def __init__(self, library: Library, builder: Builder, *, documents_at_once: int) -> None:
        """Take up to `documents_at_once` documents of a job at a time."""
        self._library = library
        self._book = library.book
        self._jobs = library.jobs
        self._backlog = library.backlog
        self._index = library.index
        self._clock = library.clock
        self._builder = builder
        self._placing = Placing(library, builder)
        self._near = NearReport()
        self._most = documents_at_once
        self._tries: dict[str, int] = {}
        self.follow: Callable[[CollectionDoc], Awaitable[object]] | None = None
        """Called for a collection whose model became another version, so that the new one's space is built."""
        self.at_work = 0
        self.documents_ended = 0
        self.documents_failed = 0
        self.waits = 0
        """Times documents were put back, for a limit or something that may pass."""
        self.stumbles = 0

    async def worker(self) -> None:
        """Work, for ever."""
        while True:
            taken = await self._backlog.take(self._most)
            self.at_work += 1
            try:
                await self._work(taken)
            except asyncio.CancelledError:
                self._backlog.put_back(taken)
                raise
            except Exception as error:  # because one job that stumbles must not end the work on the others
                await self._stumbled(taken, error)
            finally:
                self.at_work -= 1

    async def _stumbled(self, taken: Taken, error: Exception) -> None:
        """Have documents wait that could not be worked on just now; after too many times, try each by itself, and end
        what fails then.
        """
        is_limit = isinstance(error, OverLimit)
        tries = 0 if is_limit else self._tries.get(taken.job, 0) + 1
        self._tries[taken.job] = tries
        if isinstance(error, PenstockError):
            self.waits += 1
        else:
            self.stumbles += 1
            _log.exception("the work on %s stumbled", taken.job)
        after_s = getattr(error, "retry_after_s", None) or min(2.0**tries, PAUSE_MOST_S)
        if is_limit or (tries <= TRIES_MOST and not taken.is_alone):
            self._backlog.put_back(taken, after_s=min(max(after_s, 0.05), PAUSE_MOST_S))
            return
        if len(taken.places) > 1:
            self._backlog.put_back(taken, alone=True)
            return
        try:
            failure = failure_of(error, retryable=True)
            await self._end_all(taken, Outcome("failed", failure=failure))
        except Exception:  # because what cannot be written now can be later: the message comes again
            _log.exception("the end of documents of %s could not be written", taken.job)
            self._backlog.put_back(taken, after_s=PAUSE_MOST_S)

    # ------------------------------------------------------------------------------------------------ one batch

    async def _work(self, taken: Taken) -> None:
        job = await self._jobs.get(taken.job)
        collection = None if job is None or not job.is_open else await self._book.get(job.uid)
        if job is not None and job.is_open and collection is None:
            await self._jobs.forget(job.id)  # it came to be beside its collection's deletion
        if job is None or collection is None or collection.deleted:
            await self._done(taken)
            return
        outcome = self._without_work(job)
        if outcome is None:
            try:
                who = await self._library.principals.principal_of(job.key_id)
                batch = Batch(collection, job, who, await self._spaces(collection, job))
                await self._ingest(batch, tuple(dict.fromkeys(taken.documents)))
            except (*REFUSALS, NotFound) as error:
                outcome = await self._refused(job, error)
        if outcome is not None:
            await self._end_all(taken, outcome)
            return
        await self._done(taken)

    async def _done(self, taken: Taken) -> None:
        self._tries.pop(taken.job, None)
        await self._backlog.done(taken)

    def _without_work(self, job: JobDoc) -> Outcome | None:
        """Return how documents of a job end that are not to be worked on."""
        if job.cancelled:
            return Outcome("cancelled")
        if job.refusal is not None:
            return Outcome("failed", failure=job.refusal)
        if self._clock.wall_s() > job.begun_s + DAY_S:
            told = "The job's day was over before this document was worked on."
            return Outcome("failed", failure=Failure(code="expired", message=told, retryable=True))
        return None

    async def _refused(self, job: JobDoc, error: PenstockError) -> Outcome:
        """Note what a job's key was refused with: what is left of it needs not ask again."""
        failure = failure_of(error, retryable=True)
        await self._jobs.change(job.id, lambda now: changed(now, refusal=failure))
        return Outcome("failed", failure=failure)

    async def _spaces(self, collection: CollectionDoc, job: JobDoc) -> tuple[str, ...]:
        """Return the spaces to put into. Raises NotFound for a model that is gone or became another version."""
        able = able_spaces(self._library, collection, job)
        if not able and job.kind == "ingest" and self.follow is not None:
            await self.follow(collection)
            now = await self._book.get(collection.uid)
            able = (now.building,) if now is not None and now.building else ()
        if not able:
            raise NotFound(
                "The model is of another version now, or gone.",
                code="model_changed",
                field="model",
                value=job.space or collection.space,
            )
        return able

    async def _end_all(self, taken: Taken, outcome: Outcome) -> None:
        """End documents that are not worked on."""
        job = await self._jobs.get(taken.job)
        collection = None if job is None else await self._book.get(job.uid)
        if job is not None and collection is not None:
            batch = Batch(collection, job, NOBODY, ())
            batch.outcomes = dict.fromkeys(taken.documents, outcome)
            async with self._library.locks.held(collection.uid, taken.documents):
                await self._settle(batch)
        await self._done(taken)

    async def _ingest(self, batch: Batch, documents: tuple[str, ...]) -> None:
        async with self._library.locks.held(batch.collection.uid, documents):
            opened = await self._read(batch, documents)
            try:
                await self._index_all(batch, opened)
                await self._settle(batch)
            except Exception:  # because what was paid is the job's, whatever became of it
                await self._billed(batch)
                raise

    async def _read(self, batch: Batch, documents: tuple[str, ...]) -> list[Opened]:
        """Return those of the documents that there is something to put of."""
        uid = batch.collection.uid
        opened: list[Opened] = []
        for document_id in documents:
            doc, _ = await self._book.document(uid, document_id)
            outcome, source = _wanted(batch, doc)
            if source is None:
                batch.outcomes[document_id] = outcome
                continue
            read = await self._opened(uid, document_id, source)
            if isinstance(read, Outcome):
                batch.outcomes[document_id] = read
            else:
                opened.append(read)
        return opened

    async def _billed(self, batch: Batch) -> None:
        """Tell a job what was paid though the work on its documents broke off."""
        bill = batch.bill
        if bill.tokens or bill.cost_nanos:
            await self._jobs.change(batch.job.id, lambda now: now.billed(bill.tokens, bill.cost_nanos))

    async def _opened(self, uid: str, document_id: str, source: Source) -> Opened | Outcome:
        """Return a document's blocks, or why there are none. Raises what may pass."""
        try:
            return await self._builder.open(uid, document_id, source)
        except Unavailable:
            raise
        except PenstockError as error:
            return Outcome("failed", failure=failure_of(error, retryable=False))

    async def _index_all(self, batch: Batch, opened: list[Opened]) -> None:
        """Have documents in the index, together; where one is refused, each by itself."""
        try:
            await self._index_some(batch, opened)
        except (OverLimit, Unavailable, NotFound, *REFUSALS):
            raise
        except PenstockError as error:
            if len(opened) == 1:
                failure = failure_of(error, retryable=False)
                batch.outcomes[opened[0].id] = Outcome("failed", failure=failure)
                return
            for each in opened:
                await self._index_all(batch, [each])

    async def _index_some(self, batch: Batch, opened: list[Opened]) -> None:
        if not opened:
            return
        placed = await self._placing.put(batch, opened)
        for number, each in enumerate(opened):
            rows = [built[number] for built in placed.rows.values()]
            is_new = batch.job.kind == "ingest"
            if not rows:  # a migration's space is let go of
                batch.outcomes[each.id] = Outcome("superseded")
                continue
            batch.outcomes[each.id] = Outcome(
                "done",
                source=each.source,
                parsed=each.parsed,
                builds=placed.builds,
                chunks=len(rows[0].document.chunks),
                embedded=sum([row.embedded for row in rows]),
                reused=sum([row.reused for row in rows]),
                omitted=each.parsed.omitted if is_new else (),
                near=await self._near.of(batch.collection.uid, rows[0].document) if is_new else (),
            )

    # --------------------------------------------------------------------------------------------------- the ends

    async def _settle(self, batch: Batch) -> None:
        """Tell of what changed, and write down how the documents ended, with their rows."""
        collection, job = batch.collection, batch.job
        changes = [
            (name, outcome.source.version or outcome.source.digest)
            for name, outcome in batch.outcomes.items()
            if outcome.source is not None and job.kind == "ingest"
        ]
        await self._library.events.tell(collection, changes)

        def paid(now: JobDoc) -> JobDoc:
            return now.billed(batch.bill.tokens, batch.bill.cost_nanos)

        for _ in range(CHANGES_MOST):
            rows = {name: await self._settled(batch, name) for name in batch.outcomes}
            ends = {name: outcome.end() for name, (outcome, _) in rows.items()}
            writes = [write for _, write in rows.values() if write is not None]
            try:
                await self._jobs.settle(job.id, ends, self._clock.wall_s(), writes, also=paid)
            except StaleVersion:
                continue
            batch.bill = Bill()
            self.documents_ended += len(ends)
            self.documents_failed += sum([end.kind == "failed" for end in ends.values()])
            break
        else:
            raise StaleVersion
        for name, outcome in batch.outcomes.items():
            if outcome.kind in ("done", "cancelled", "unchanged") and job.kind == "ingest":
                doc, _ = await self._book.document(collection.uid, name)
                kept = () if doc is None else _kept(doc)
                await self._library.sources.drop(collection.uid, name, until=job.id, but=kept)

    async def _settled(self, batch: Batch, name: str) -> tuple[Outcome, Write | None]:
        """Return how a document ended, as its row is now, and what to write there."""
        outcome, collection, job = batch.outcomes[name], batch.collection, batch.job
        doc, version = await self._book.document(collection.uid, name)
        if outcome.kind == "done" and outcome.source is not None:
            if doc is None or doc.deleted:
                # It was deleted while it was on its way: what was put goes again, and nothing of it is found.
                await self._index.delete(collection.place, [name])
                await self._library.events.tell(collection, [(name, "")])
            elif _is_overtaken(job, doc, outcome.source) and doc.held is not None:
                # Another process put something later before this was put: that is put again.
                await self._index_some(batch, [await self._builder.open(job.uid, name, doc.held)])
                outcome = batch.outcomes[name]
        return settled_row(job, doc, version, outcome, now_s=self._clock.wall_s())


def failure_of(error: Exception, *, retryable: bool) -> Failure:
    """Return why a document failed, as its owner reads it."""
    if isinstance(error, PenstockError):
        return Failure(code=error.reason, message=str(error)[:500], retryable=retryable)
    told = "Something unexpected went wrong here. This is a bug; the log of the server has it."
    return Failure(code="internal_error", message=told, retryable=retryable)


def _wanted(batch: Batch, doc: DocumentDoc | None) -> tuple[Outcome, Source | None]:
    """Return what is to be put of a document; where nothing is, how it ends."""
    if doc is None or doc.deleted:
        return Outcome("superseded"), None
    if batch.job.kind == "migration":
        return Outcome("superseded"), doc.held
    if doc.job != batch.job.id or not doc.waits:
        return Outcome("superseded"), None
    told = {space: marked(doc.latest, batch.collection.build_of(space)) for space in batch.spaces}
    if doc.held is not None and all(doc.spaces.get(space) == mark for space, mark in told.items()):
        return Outcome("unchanged", omitted=doc.omitted), None
    return Outcome("superseded"), doc.latest


def _is_overtaken(job: JobDoc, doc: DocumentDoc, put: Source) -> bool:
    """Tell whether somebody's work that has ended made something other than `put` stand in the index."""
    if doc.held is None or doc.held.print == put.print:
        return False
    return job.kind == "migration" or (doc.job != job.id and not doc.waits)


def _kept(doc: DocumentDoc) -> tuple[str, ...]:
    return tuple({source.kept for source in (doc.latest, doc.held) if source is not None})


NOBODY: Final = Principal(key_id="", org="", team="", project="", user="")
