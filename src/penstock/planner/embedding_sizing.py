"""What an embedding service and its index need: chunks, bytes, accelerators, money. Arithmetic, and what it assumes.

    chunks   = documents × windows of `chunk_tokens` that overlap by `overlap_percent`
    bytes    = chunks × dimensions × bytes a number; the graph on top 20 to 40 percent
    replicas = queries a second × their tokens ÷ tokens a second of one accelerator, rounded up; then headroom

Promise: pure and in whole numbers, rounded up wherever half a machine would be none; every assumption is told.
"""

from __future__ import annotations

import math
from typing import Final, Literal

import msgspec

from penstock.kernel.errors import Invalid

Precision = Literal["fp32", "fp16", "int8"]

BYTES_A_NUMBER: Final[dict[Precision, int]] = {"fp32": 4, "fp16": 2, "int8": 1}
SCALE_BYTES: Final = 4
"""An int8 vector has a scale of its own."""
GRAPH_PERCENT: Final = (20, 40)
HOURS_A_MONTH: Final = 730
DAY_S: Final = 86_400
INGEST_PARTS: Final = (4, 2)
"""Without a deadline the pool that ingests is a quarter to a half of the one that answers queries."""


class Corpus(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be found: `chunks` where they are counted already, else `documents` of so many tokens, else `bytes` of
    plain text in such documents.
    """

    chunks: int = 0
    documents: int = 0
    bytes: int = 0
    document_tokens: int = 1_000
    chunk_tokens: int = 256
    overlap_percent: int = 10
    bytes_a_token: int = 4


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of it. `ingest_days` is the time to embed the whole corpus in; 0 for no deadline."""

    queries_a_second: int = 0
    query_tokens: int = 64
    ingest_days: int = 0


class Machines(msgspec.Struct, frozen=True, kw_only=True):
    """What does it. `tokens_a_second` is of one accelerator, measured with the model in question."""

    tokens_a_second: int = 20_000
    headroom_percent: int = 30
    accelerators_a_node: int = 4
    node_cents_an_hour: int = 560


class Sizing(msgspec.Struct, frozen=True, kw_only=True):
    """What it takes. `graph_bytes` and `ingest_replicas` are from-to; `ingest_days` belong to these in turn."""

    chunks: int
    documents: int
    vector_bytes: dict[Precision, int]
    precision: Precision
    graph_bytes: tuple[int, int]
    tokens_a_second: int
    replicas: int
    replicas_with_headroom: int
    nodes: int
    dollars_a_month: int
    ingest_tokens: int
    ingest_replicas: tuple[int, int]
    ingest_days: tuple[float, float]
    assumptions: tuple[str, ...]


def size(
    corpus: Corpus, load: Load, machines: Machines, *, dimensions: int, precision: Precision = "fp16"
) -> Sizing:
    """Size a service for a corpus. Raises Invalid for figures that cannot be."""
    _check(corpus, load, machines, dimensions)
    documents, chunks = _counted(corpus)
    vectors: dict[Precision, int] = {each: vector_bytes(chunks, dimensions, each) for each in BYTES_A_NUMBER}
    low, high = (vectors[precision] * percent // 100 for percent in GRAPH_PERCENT)
    wanted = load.queries_a_second * load.query_tokens
    replicas = -(-wanted // machines.tokens_a_second)
    roomy = -(-wanted * (100 + machines.headroom_percent) // (100 * machines.tokens_a_second))
    nodes = -(-roomy // machines.accelerators_a_node)
    ingest_tokens = chunks * _chunk_tokens(corpus)
    pool = _pool(ingest_tokens, replicas, load.ingest_days, machines.tokens_a_second)
    return Sizing(
        chunks=chunks,
        documents=documents,
        vector_bytes=vectors,
        precision=precision,
        graph_bytes=(low, high),
        tokens_a_second=wanted,
        replicas=replicas,
        replicas_with_headroom=roomy,
        nodes=nodes,
        dollars_a_month=nodes * machines.node_cents_an_hour * HOURS_A_MONTH // 100,
        ingest_tokens=ingest_tokens,
        ingest_replicas=pool,
        ingest_days=(_days(ingest_tokens, pool[0], machines), _days(ingest_tokens, pool[1], machines)),
        assumptions=_assumed(corpus, load, machines),
    )


def chunks_of(document_tokens: int, chunk_tokens: int, overlap_percent: int) -> int:
    """Return the windows of one document."""
    if document_tokens <= chunk_tokens:
        return 1
    overlap = chunk_tokens * overlap_percent // 100
    return math.ceil((document_tokens - overlap) / (chunk_tokens - overlap))


def vector_bytes(chunks: int, dimensions: int, precision: Precision) -> int:
    """Return the bytes of so many vectors, without a graph."""
    return chunks * (dimensions * BYTES_A_NUMBER[precision] + (SCALE_BYTES if precision == "int8" else 0))


def _check(corpus: Corpus, load: Load, machines: Machines, dimensions: int) -> None:
    least = {
        "chunk_tokens": (corpus.chunk_tokens, 1),
        "document_tokens": (corpus.document_tokens, 1),
        "bytes_a_token": (corpus.bytes_a_token, 1),
        "overlap_percent": (corpus.overlap_percent, 0),
        "queries_a_second": (load.queries_a_second, 0),
        "query_tokens": (load.query_tokens, 1),
        "ingest_days": (load.ingest_days, 0),
        "tokens_a_second": (machines.tokens_a_second, 1),
        "headroom_percent": (machines.headroom_percent, 0),
        "accelerators_a_node": (machines.accelerators_a_node, 1),
        "node_cents_an_hour": (machines.node_cents_an_hour, 0),
        "dimensions": (dimensions, 1),
    }
    for field, (value, bound) in least.items():
        if value < bound:
            raise Invalid("This figure cannot be.", field=field, value=value, limit=f"at least {bound}")
    if corpus.overlap_percent > 50:
        raise Invalid(
            "This figure cannot be.",
            field="overlap_percent",
            value=corpus.overlap_percent,
            limit="at most 50",
        )
    given = [name for name in ("chunks", "documents", "bytes") if getattr(corpus, name) > 0]
    if len(given) != 1:
        raise Invalid(
            "How large is the corpus?",
            field="corpus",
            value=", ".join(given) or "nothing",
            limit="one of chunks, documents and bytes",
            remedy="Give its chunks, or its documents, or the bytes of its text.",
        )


def _counted(corpus: Corpus) -> tuple[int, int]:
    """Return the documents (0 where only chunks are known) and the chunks."""
    if corpus.chunks:
        return 0, corpus.chunks
    documents = corpus.documents or -(-corpus.bytes // (corpus.bytes_a_token * corpus.document_tokens))
    return documents, documents * chunks_of(
        corpus.document_tokens, corpus.chunk_tokens, corpus.overlap_percent
    )


def _chunk_tokens(corpus: Corpus) -> int:
    """Return the tokens of one chunk: no more than a document has, where documents are known."""
    return corpus.chunk_tokens if corpus.chunks else min(corpus.document_tokens, corpus.chunk_tokens)


def _pool(tokens: int, replicas: int, days: int, tokens_a_second: int) -> tuple[int, int]:
    """Return the least and the most accelerators that ingest."""
    if days:
        needed = -(-tokens // (tokens_a_second * days * DAY_S))
        return needed, needed
    least, most = (max(1, -(-replicas // part)) for part in INGEST_PARTS)
    return least, most


def _days(tokens: int, replicas: int, machines: Machines) -> float:
    return round(tokens / (replicas * machines.tokens_a_second * DAY_S), 1)


def _assumed(corpus: Corpus, load: Load, machines: Machines) -> tuple[str, ...]:
    """Return what all of this rests on, a sentence each."""
    counted = (
        f"a chunk has {corpus.chunk_tokens:,} tokens"
        if corpus.chunks
        else f"a document has {corpus.document_tokens:,} tokens, cut into windows of {corpus.chunk_tokens:,} that "
        f"overlap by {corpus.overlap_percent} %"
    )
    text = [f"a token is {corpus.bytes_a_token} bytes of text"] if corpus.bytes else []
    pool = (
        f"the whole corpus is embedded within {load.ingest_days:,} days"
        if load.ingest_days
        else "the ingest pool is a quarter to a half of the query pool, apart from it"
    )
    nodes = (
        f"{machines.accelerators_a_node} accelerators a node, at ${machines.node_cents_an_hour / 100:.2f} an hour, "
        f"{HOURS_A_MONTH} hours a month; the ingest pool, storage and traffic are not in the price"
    )
    return (
        counted,
        *text,
        f"a query has {load.query_tokens:,} tokens",
        f"one accelerator embeds {machines.tokens_a_second:,} tokens a second: measure yours with the model",
        f"{machines.headroom_percent} % headroom for peaks and for a replica that is down",
        nodes,
        f"a graph takes {GRAPH_PERCENT[0]} to {GRAPH_PERCENT[1]} % on top of the vectors; the index is kept once",
        pool,
    )
