"""Collections of documents: where their index is, how much a project may have, how fast documents are worked off."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from penstock.kernel.settings_types import Positive, Seconds, Text, doc


class CollectionSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Collections of documents that are found by meaning and by words."""

    index: Annotated[Text, doc("`embedded` (inside `data`) or `postgresql://…` with pgvector.")] = "embedded"
    model: Annotated[Text, doc("Model of collections that name none.")] = "local/all-MiniLM-L6-v2"
    per_project: Annotated[int, Meta(ge=1, le=1_000), doc("Collections of one project at most.")] = 100
    documents: Annotated[Positive, doc("Documents of one collection at most.")] = 1_000_000
    document_bytes: Annotated[
        Positive, doc("Bytes of one document at most; `server.body_bytes` bounds what is sent at one time.")
    ] = 20 * 1024 * 1024
    open_jobs: Annotated[
        int, Meta(ge=1, le=1_000), doc("Jobs of one project with work left at most; more are refused.")
    ] = 32
    open_documents: Annotated[
        Positive, doc("Documents of one project that wait to be ingested at most; more are refused.")
    ] = 20_000
    workers: Annotated[Positive, doc("Batches of documents one process works on at one time.")] = 2
    batch_documents: Annotated[int, Meta(ge=1, le=48), doc("Documents of one job in a batch at most.")] = 32
    kept_days: Annotated[Positive, doc("Days after which finished jobs are forgotten.")] = 30
    old_space_days: Annotated[
        Positive, doc("Days that the rows of the model before are kept current, so that one may go back.")
    ] = 7
    compact_s: Annotated[
        Seconds,
        doc(
            "Seconds between two rounds in which what was deleted leaves the disk and large graphs are brought up."
        ),
    ] = 3_600.0
    reembed: Annotated[
        Literal["eager", "lazy"],
        doc(
            "When an upgrade changes a model's version: `eager` re-embeds its collections in the background at once, "
            "`lazy` begins with the first search of a collection."
        ),
    ] = "eager"
