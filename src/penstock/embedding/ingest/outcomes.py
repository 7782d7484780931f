"""What becomes of a document's row when the work on it has ended, whatever came between. Pure.

Promises: a row says of the index what is there (`held`, `spaces`), of its owner's wish what was sent last (`latest`);
an end that came too late for a later wish changes nothing of that wish.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from msgspec import structs

from penstock.embedding.catalog.collections import (
    DocumentDoc,
    Failure,
    Source,
    document_deletion,
    document_write,
    marked,
)
from penstock.embedding.catalog.jobs import End, EndKind, JobDoc, NearDuplicate
from penstock.embedding.ingest.building import TITLE_CHARS_MOST
from penstock.ports.parsers import Parsed
from penstock.ports.records import Write

OMITTED_CHARS_MOST = 500
"""Told by a job of what was left out of one document; the document's row has all of it."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the work on a document ended; of one that is "done", what was put. `omitted` is what the index has not of it,
    though its bytes had; `builds` are those of the spaces it was put into.
    """

    kind: EndKind
    failure: Failure | None = None
    source: Source | None = None
    parsed: Parsed | None = None
    builds: Mapping[str, str] = field(default_factory=dict[str, str])
    chunks: int = 0
    embedded: int = 0
    reused: int = 0
    omitted: tuple[str, ...] = ()
    near: tuple[NearDuplicate, ...] = ()

    def end(self) -> End:
        """Return it as its job keeps it."""
        is_in_part = bool(self.omitted) and self.kind in ("done", "unchanged")
        return End(
            kind="in_part" if is_in_part else self.kind,
            chunks=self.chunks,
            embedded=self.embedded,
            reused=self.reused,
            near=self.near,
            failure=_left_out(self.omitted) if is_in_part else self.failure,
        )


def settled_row(
    job: JobDoc,
    doc: DocumentDoc | None,
    version: int,
    outcome: Outcome,
    *,
    now_s: float,
) -> tuple[Outcome, Write | None]:
    """Return how a document of `job` ended whose row is `doc` now, at `version`, and what to write there."""
    if doc is None or doc.deleted:
        return replace(
            outcome, kind="superseded", chunks=0, embedded=0, reused=0, near=(), failure=None
        ), None
    if outcome.kind == "done" and outcome.source is not None:
        after = _put(job, doc, outcome, now_s)
    elif job.kind == "migration":
        return outcome, None
    elif doc.job != job.id or not doc.waits:
        return replace(outcome, kind="superseded", failure=None), None
    elif outcome.kind == "cancelled" and doc.held is None:
        return outcome, document_deletion(job.uid, doc.id, version)
    else:
        after = _not_put(doc, outcome, now_s)
    return outcome, document_write(job.uid, after, version)


def _put(job: JobDoc, doc: DocumentDoc, outcome: Outcome, now_s: float) -> DocumentDoc:
    """Return the row of a document that was put."""
    source, parsed = outcome.source, outcome.parsed
    if source is None or parsed is None:
        return doc
    stands = {space: marked(source, build) for space, build in outcome.builds.items()}
    if job.kind == "migration":
        return structs.replace(doc, spaces={**doc.spaces, **stands})
    is_latest = doc.job == job.id
    return structs.replace(
        doc,
        held=source,
        waits=doc.waits and not is_latest,
        failure=None if is_latest else doc.failure,
        spaces=stands,
        title=parsed.title[:TITLE_CHARS_MOST],
        language=parsed.language,
        omitted=parsed.omitted,
        chunks=outcome.chunks,
        changed_s=now_s,
    )


def _left_out(omitted: Sequence[str]) -> Failure:
    told = f"It is indexed without: {'; '.join(omitted)}"
    if len(told) > OMITTED_CHARS_MOST:
        told = f"{told[:OMITTED_CHARS_MOST]}…"
    return Failure(code="indexed_in_part", message=told, retryable=False)


def _not_put(doc: DocumentDoc, outcome: Outcome, now_s: float) -> DocumentDoc:
    """Return the row of a document that stands in the index as it stood."""
    if outcome.kind == "failed":
        return structs.replace(doc, failure=outcome.failure, changed_s=now_s)
    if outcome.kind == "cancelled" and doc.held is not None:
        return structs.replace(doc, latest=doc.held, waits=False, failure=None)
    return structs.replace(doc, held=doc.latest, waits=False, failure=None)  # unchanged
