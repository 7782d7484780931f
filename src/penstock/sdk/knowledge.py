"""Knowledge as callers send and read it: collections, documents, jobs, searches, vectors and tokens.

Promise: unknown members of a reply are ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

Scalar = str | int | float | bool


class CollectionRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What makes a collection; what is left out is the server's choice."""

    name: str
    model: str = ""
    chunk_tokens: int | None = None
    overlap_percent: int = 10
    precision: Literal["fp32", "fp16", "int8"] = "fp16"
    rerank: str = "auto"
    keep_token_vectors: bool = False


class Searchable(msgspec.Struct, frozen=True, kw_only=True):
    """What a search can find now; `bytes` on disk."""

    documents: int = 0
    chunks: int = 0
    bytes: int = 0


class CollectionInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A collection. `stale`: its model has changed since; lists do not tell `documents` and `searchable`."""

    id: str
    name: str
    model: str
    space: str
    stale: bool = False
    building: str | None = None
    previous: str | None = None
    migration: str | None = None
    chunk_tokens: int | None = None
    overlap_percent: int = 10
    precision: str = "fp16"
    rerank: str = "auto"
    keep_token_vectors: bool = False
    created_at: int = 0
    documents: int | None = None
    searchable: Searchable | None = None


class DocumentRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A document: its `text`, or its bytes in base64 as `content`. `acl` are the labels one of which a search must
    have; without any, everybody finds it. Without an `id` it has one made from its name and bytes.
    """

    id: str = ""
    text: str | None = None
    content: str | None = None
    media_type: str = ""
    name: str = ""
    title: str = ""
    url: str = ""
    language: str = ""
    version: str = ""
    metadata: Mapping[str, Scalar] = {}
    acl: tuple[str, ...] = ()


class IndexFailure(msgspec.Struct, frozen=True, kw_only=True):
    """Why a document is not indexed, or without what (`indexed_in_part`); `line` is of lines that were no document."""

    code: str = ""
    message: str = ""
    retryable: bool = False
    document: str = ""
    line: int | None = None


class DocumentInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A document of a collection. `searchable_version` is what a search finds until the newest one is indexed. Of one
    whose `status` is "partial" it does not find what is `omitted`.
    """

    id: str
    status: str
    version: str = ""
    searchable_version: str | None = None
    name: str = ""
    title: str = ""
    url: str = ""
    media_type: str = ""
    language: str = ""
    acl: tuple[str, ...] = ()
    metadata: Mapping[str, Scalar] = {}
    bytes: int = 0
    chunks: int = 0
    omitted: tuple[str, ...] = ()
    spaces: tuple[str, ...] = ()
    job: str | None = None
    failure: IndexFailure | None = None
    created_at: int = 0
    changed_at: int = 0


class DocumentPage(msgspec.Struct, frozen=True, kw_only=True):
    """Some documents of a collection, and what the next ones come `after`; "" where there are no more."""

    documents: tuple[DocumentInfo, ...]
    after: str = ""


class JobCounts(msgspec.Struct, frozen=True, kw_only=True):
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
    """A chunk that says nearly what a chunk of the document `other` says."""

    position: int
    other: str
    other_position: int
    similarity: float


class NearDuplicates(msgspec.Struct, frozen=True, kw_only=True):
    """The near-duplicates of one document."""

    document: str
    of: tuple[NearDuplicate, ...] = ()


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """An ingest: queued, running, then complete, partial (see `failures`), failed or cancelled. `failures` and
    `near_duplicates` are told of one, not in lists: all failures of a job that has ended, some of one that is open.
    """

    id: str
    status: str
    counts: JobCounts
    collection: str = ""
    kind: str = ""
    cancelling: bool = False
    created_at: int = 0
    ended_at: int | None = None
    failures: tuple[IndexFailure, ...] = ()
    has_more_failures: bool = False
    last_failure: str | None = None
    near_duplicates: tuple[NearDuplicates, ...] = ()

    @property
    def is_open(self) -> bool:
        """Whether there is work left."""
        return self.status in {"queued", "running"}


class JobPage(msgspec.Struct, frozen=True, kw_only=True):
    """Some jobs of a collection, the newest first, and what the older ones come `after`; "" where there are none."""

    jobs: tuple[Job, ...]
    after: str = ""


class Condition(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A condition on metadata, or on the document's own ``title``, ``language``, ``url`` or ``id``."""

    field: str
    any_of: tuple[Scalar, ...] = ()
    at_least: float | None = None
    at_most: float | None = None


class SearchRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is looked for. `acl` are the labels the asker has; without any only documents without labels are found."""

    query: str
    k: int = 10
    candidates: int = 50
    where: tuple[Condition, ...] = ()
    acl: tuple[str, ...] = ()
    language: str = ""
    rerank: str | None = None
    explain: bool = False
    min_score: float | None = None


class Scores(msgspec.Struct, frozen=True, kw_only=True):
    """What a result's score was made of; None: it was not found that way."""

    cosine: float | None = None
    bm25: float | None = None
    words: float = 0.0
    rrf: float = 0.0
    late: float | None = None
    rerank: float | None = None


class SearchResult(msgspec.Struct, frozen=True, kw_only=True):
    """A passage that was found."""

    document: str
    text: str
    score: float
    version: str = ""
    title: str = ""
    url: str = ""
    language: str = ""
    position: int = 0
    page: int = 0
    heading: str = ""
    start: int = 0
    end: int = 0
    metadata: Mapping[str, Scalar] = {}
    scores: Scores | None = None


class ScoreMeaning(msgspec.Struct, frozen=True, kw_only=True):
    """What `score` is: calibrated, it is worth an answer from `threshold` on."""

    name: str
    model: str
    calibrated: bool
    threshold: float | None = None


class SearchAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What was found, best first. `tags` go into ``x-penstock-cache-tags`` of whatever is answered from it."""

    collection: str
    space: str
    results: tuple[SearchResult, ...]
    score: ScoreMeaning
    tags: tuple[str, ...] = ()
    stale: bool = False
    warnings: tuple[str, ...] = ()
    took_ms: float = 0.0


class MigrationCheck(msgspec.Struct, frozen=True, kw_only=True):
    """What a new space found in its check: by the search itself (`known`), by vectors alone (`meant`); `missing` says
    what is wrong, "" when it passed.
    """

    probes: int
    known_after: float
    dense_recall: float
    known_before: float | None = None
    meant_after: float | None = None
    meant_before: float | None = None
    missing: str = ""


class Migration(msgspec.Struct, frozen=True, kw_only=True, rename={"before": "from", "after": "to"}):
    """A collection on its way to another model: from the space `before` to the space `after`."""

    id: str
    status: str
    before: str
    after: str
    model: str = ""
    reason: str | None = None
    automatic: bool = False
    job: str = ""
    check: MigrationCheck | None = None
    rollback_until: int | None = None
    created_at: int = 0
    changed_at: int = 0


class Vectors(msgspec.Struct, frozen=True, kw_only=True):
    """Vectors in the order of the texts. `cost_nanos` is None when the reply does not tell."""

    model: str
    vectors: tuple[tuple[float, ...], ...]
    tokens: int
    request_id: str = ""
    cost_nanos: int | None = None


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """A token; `start` and `stop` count characters of the text, None for a mark of the model's own."""

    id: int
    text: str
    special: bool
    start: int | None = None
    stop: int | None = None
