"""A job tried again, and a job called off.

Promises: what is tried again is what failed for a reason that may pass, under the key of whoever asks; its counts are
taken back with its ends, once however many ask, so that the job is counted exactly; a job that is called off ends what
it has begun.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import structs

from penstock.embedding.catalog.announcing import Announcer
from penstock.embedding.catalog.collections import document_write
from penstock.embedding.catalog.jobs import JobDoc, changed
from penstock.embedding.catalog.library import Library
from penstock.kernel.errors import Conflict, StaleVersion
from penstock.ports.records import Write

PAGE: Final = 40
TRIES_MOST: Final = 8


async def retry(library: Library, announcer: Announcer, job: JobDoc, key_id: str) -> JobDoc:
    """Try the failures of a job again, as `key_id`. Raises Conflict where it has work left, or nothing to try again."""
    if job.is_open:
        raise Conflict("The job has work left.", code="wrong_state", field="status", value=job.status)
    begun = changed(job, key_id=key_id, begun_s=library.clock.wall_s())
    after, again = "", 0
    while failures := await library.jobs.failures(job.id, after, PAGE):
        after = failures[-1][0]
        names = [name for name, end in failures if end.failure is not None and end.failure.retryable]
        if names:
            await _reopened(library, begun, names)
            again += len(names)
    if not again:
        raise Conflict(
            "Nothing of the job can be tried again.",
            code="nothing_to_retry",
            field="status",
            value=job.status,
            remedy="Send the documents anew, mended.",
        )
    return await announcer.announce(await library.jobs.found(job.uid, job.id))


async def cancel(library: Library, job: JobDoc) -> JobDoc:
    """Call a job off. Raises Conflict where it has ended."""
    told = await library.jobs.change(
        job.id, lambda now: changed(now, cancelled=True) if now.is_open else None
    )
    if told is None:
        raise Conflict("The job has ended.", code="wrong_state", field="status", value=job.status)
    library.backlog.unpark(job.id)
    return told


async def _reopened(library: Library, job: JobDoc, documents: Sequence[str]) -> None:
    for _ in range(TRIES_MOST):
        writes: list[Write] = []
        for name in documents if job.kind == "ingest" else ():
            doc, version = await library.book.document(job.uid, name)
            if doc is not None and doc.job == job.id and doc.failure is not None:
                writes.append(document_write(job.uid, structs.replace(doc, failure=None), version))
        try:
            await library.jobs.reopen(job, documents, writes)
        except StaleVersion:
            continue
        return
    raise StaleVersion
