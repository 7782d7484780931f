"""Embeddings: how the model in this machine computes, and what is known of models elsewhere."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from penstock.kernel.settings_types import Count, Positive, Text, doc

BATCHES_MOST: Final = 256
Dimensions = Annotated[int, Meta(ge=1, le=65_536)]
Batches = Annotated[int, Meta(ge=0, le=BATCHES_MOST)]


class EmbeddingSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The embedding model in this machine, `local/all-MiniLM-L6-v2`; it needs the extra `local`."""

    local: Annotated[bool, doc("Serve it, where the extra is installed.")] = True
    warm: Annotated[
        bool,
        doc(
            "Start all its processes with the platform and serve only once it has computed something; else the first "
            "requests that need it start them, and a platform that nobody asks for vectors stays small."
        ),
    ] = False
    precision: Annotated[
        Literal["auto", "bf16", "fp32"],
        doc(
            "What it computes in; `auto` takes bf16 where the processor has it: twice as fast, and no search can tell. "
            "Vectors of the two are of different versions."
        ),
    ] = "auto"
    query_batch_tokens: Annotated[
        Positive, doc("Tokens, padding included, computed at once for callers who wait.")
    ] = 1_024
    ingest_batch_tokens: Annotated[
        Positive, doc("Tokens, padding included, computed at once in the background.")
    ] = 2_048
    query_queue_tokens: Annotated[
        Positive, doc("Tokens that may wait for callers who wait; one tenant may have half of that.")
    ] = 65_536
    ingest_queue_tokens: Annotated[
        Positive, doc("Tokens that may wait in the background; one tenant may have half of that.")
    ] = 262_144
    query_batches: Annotated[
        Batches,
        doc(
            "Batches under way at one time for callers who wait; 0: two for each process that computes them, of which "
            "there is one a core, four at most."
        ),
    ] = 0
    ingest_batches: Annotated[
        Batches,
        doc(
            "Batches under way at one time in the background; 0: two for each process that computes them, of which "
            "there is one for every 4 cores."
        ),
    ] = 0
    ingest_tokens_per_s: Annotated[
        Count, doc("Tokens a second that one tenant gets computed in the background; 0 no bound.")
    ] = 0
    cache_bytes: Annotated[
        Count,
        doc(
            "Bytes of vectors kept for texts that come again, for each model; 0 keeps none. 256 MiB are 150,000 "
            "vectors of 384 numbers: what one machine's questions repeat, and little beside its memory. A machine that "
            "does nothing else can give 4 GiB."
        ),
    ] = 256 * 1024 * 1024


class EmbeddingModelSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What nobody can ask a model elsewhere for, and collections must know of it."""

    name: Annotated[Text, doc("Its name as routes know it; unique.")]
    version: Annotated[
        Annotated[str, Meta(min_length=1, max_length=128)],
        doc("Changes with whatever changes its vectors: vectors of two versions are never compared."),
    ]
    dimensions: Annotated[Dimensions, doc("Numbers in a vector.")]
    max_tokens: Annotated[Positive, doc("Tokens of a text it reads, its own marks included.")] = 512
    languages: Annotated[
        tuple[Text, ...], doc("ISO 639-1 codes of the languages it was trained for; empty for any.")
    ] = ()
    query_prefix: Annotated[Text, doc("Put before a question, such as `query: `.")] = ""
    passage_prefix: Annotated[Text, doc("Put before a passage, such as `passage: `.")] = ""
    pooling: Annotated[
        Literal["mean", "cls", "last"], doc("How it makes one vector of a text's; its space's name tells it.")
    ] = "mean"
    shorter: Annotated[
        tuple[Dimensions, ...],
        doc("Lengths its vectors may be cut to (`dimensions`), for a model trained for that (Matryoshka)."),
    ] = ()
