"""The sizing arithmetic: the two worked examples to the figure, its bounds, and that it says what it assumes."""

from __future__ import annotations

import pytest

from penstock.kernel.errors import Invalid
from penstock.planner.embedding_sizing import Corpus, Load, Machines, chunks_of, size, vector_bytes

TB, GB = 10**12, 10**9


def test_half_a_billion_vectors_of_1024():
    made = size(
        Corpus(chunks=500_000_000),
        Load(queries_a_second=10_000, query_tokens=64),
        Machines(),
        dimensions=1_024,
    )
    told = {name: round(value / TB, 1) for name, value in made.vector_bytes.items()}
    assert told == {"fp32": 2.0, "fp16": 1.0, "int8": 0.5}
    assert made.vector_bytes["fp32"] == 2_048_000_000_000
    assert [round(each / GB) for each in made.graph_bytes] == [205, 410], "20 to 40 % of 1 TB"
    assert made.tokens_a_second == 640_000
    assert (made.replicas, made.replicas_with_headroom, made.nodes) == (32, 42, 11)
    assert round(made.dollars_a_month, -3) == 45_000
    assert made.ingest_replicas == (8, 16)
    assert made.ingest_days == (9.3, 4.6)


def test_ten_terabytes_of_contracts():
    """30,000 tokens a document, 1,536 dimensions in fp16, 5,000 queries a second, embedded within 30 days."""
    made = size(
        Corpus(bytes=10 * TB, document_tokens=30_000, chunk_tokens=512),
        Load(queries_a_second=5_000, query_tokens=64, ingest_days=30),
        Machines(),
        dimensions=1_536,
    )
    assert made.documents == 83_333_334
    assert made.chunks == 83_333_334 * 65
    assert round(made.vector_bytes["fp16"] / TB, 1) == 16.6
    assert [round(each / TB, 1) for each in made.graph_bytes] == [3.3, 6.7]
    assert (made.replicas, made.replicas_with_headroom, made.nodes) == (16, 21, 6)
    assert made.dollars_a_month == 24_528
    assert made.ingest_replicas == (54, 54)
    assert made.ingest_days == (29.7, 29.7)


def test_a_window_more_where_one_token_is_over():
    assert [chunks_of(tokens, 100, 10) for tokens in (1, 100, 101, 190, 191, 280)] == [1, 1, 2, 2, 3, 3]
    assert chunks_of(1_000, 100, 0) == 10
    assert vector_bytes(10, 384, "int8") == 3_880, "388 bytes a vector with its scale"


def test_a_document_shorter_than_a_chunk_has_no_more_tokens_to_embed_than_it_has():
    for tokens, embedded in ((64, 64_000), (256, 256_000), (257, 2 * 256_000)):
        corpus = Corpus(documents=1_000, document_tokens=tokens, chunk_tokens=256)
        assert size(corpus, Load(), Machines(), dimensions=384).ingest_tokens == embedded
    counted = size(Corpus(chunks=1_000, document_tokens=64), Load(), Machines(), dimensions=384)
    assert counted.ingest_tokens == 256_000, "what is counted in chunks says nothing of documents"


def test_exactly_full_needs_no_more_and_one_over_does():
    for queries, replicas in ((312, 1), (313, 2), (0, 0)):
        made = size(Corpus(chunks=1), Load(queries_a_second=queries), Machines(), dimensions=1)
        assert made.replicas == replicas


def test_everything_assumed_is_told():
    machines = Machines(
        tokens_a_second=12_345, headroom_percent=17, accelerators_a_node=7, node_cents_an_hour=321
    )
    corpus = Corpus(bytes=10**9, document_tokens=777, chunk_tokens=222, overlap_percent=13, bytes_a_token=3)
    told = " ".join(size(corpus, Load(query_tokens=88, ingest_days=9), machines, dimensions=5).assumptions)
    for figure in (
        "12,345",
        "17 %",
        "7 acc",
        "$3.21",
        "777",
        "222",
        "13 %",
        "3 bytes",
        "88",
        "9 days",
        "20 to 40 %",
    ):
        assert figure in told, figure


@pytest.mark.parametrize(
    ("corpus", "load", "machines", "dimensions", "field"),
    [
        (Corpus(), Load(), Machines(), 1, "corpus"),
        (Corpus(chunks=1, bytes=1), Load(), Machines(), 1, "corpus"),
        (Corpus(chunks=1), Load(), Machines(), 0, "dimensions"),
        (Corpus(chunks=1), Load(queries_a_second=-1), Machines(), 1, "queries_a_second"),
        (Corpus(chunks=1), Load(), Machines(tokens_a_second=0), 1, "tokens_a_second"),
        (Corpus(chunks=1, overlap_percent=51), Load(), Machines(), 1, "overlap_percent"),
        (Corpus(chunks=1), Load(), Machines(accelerators_a_node=0), 1, "accelerators_a_node"),
    ],
)
def test_figures_that_cannot_be_are_refused(corpus, load, machines, dimensions, field):
    with pytest.raises(Invalid) as told:
        size(corpus, load, machines, dimensions=dimensions)
    assert told.value.field == field
