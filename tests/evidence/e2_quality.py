"""E2: what the search finds on two judged sets, whole: each way of it alone, fused, reranked; each stored precision.

In one process, with what a platform works with: parser, chunker, model, index (SQLite, tantivy, exact or graph), search
and reranker are the product's own (`wiring/laboratory`); no HTTP, no gateway (`tests/journeys/test_search.py` has
those). Constants were chosen on other questions: SciFact's train split and a set of code (`docs/retrieval.md`).
"""

from __future__ import annotations

import msgspec

from penstock.embedding.search.quality import HYBRID, RANKS, RERANKED, VECTOR, WORDS, Judged, Measures
from penstock.kernel.settings_embedding import EmbeddingSettings
from penstock.wiring.measuring import Quality, judge
from tests.evidence.registry import Bars, Result, Scalar, Table
from tests.retrieval_sets import documentation, scifact

ID = "E2"
TITLE = "Hybrid search with late interaction ranks better than any single method, and finds as much to half a point"
SINGLE = (VECTOR, WORDS)
SAME = 0.005
"""A question is 1/300 or 1/100 of a mean: what differs by less is told as the same (precisions by nDCG, recall@10)."""


async def produce(quick: bool) -> Result:
    """Measure both sets; quick: the smaller one only, whole as well."""
    sets = (
        {"documentation": documentation()}
        if quick
        else {"scifact": scifact(), "documentation": documentation()}
    )
    found = {name: await judge(EmbeddingSettings(), judged) for name, judged in sets.items()}
    missed = [wrong for name, each in found.items() for wrong in shortfalls(name, each)]
    return Result(
        {name: _figures(each) for name, each in found.items()},
        "missed" if missed else "met",
        "; ".join([*missed, *[_reason(name, each, sets[name]) for name, each in found.items()]]),
        tuple([table for name, each in found.items() for table in _tables(name, each)]),
        tuple([_bars(name, each) for name, each in found.items()]),
    )


def shortfalls(name: str, found: Quality) -> list[str]:
    """Return where hybrid with rerank does not rank better than a single method, or misses more among the first ten,
    and where a precision costs quality.
    """
    best, wrong = found.ways[RERANKED], list[str]()
    for single in SINGLE:
        alone = found.ways[single]
        for measure in ("ndcg_10", "mrr"):
            ours, theirs = getattr(best, measure), getattr(alone, measure)
            if ours <= theirs:
                wrong.append(f"{name}: {measure} of {RERANKED} is {ours}, of {single} alone {theirs}")
        if alone.recall_10 - best.recall_10 > SAME:
            wrong.append(
                f"{name}: recall_10 of {RERANKED} is {best.recall_10}, of {single} alone {alone.recall_10}"
            )
    whole = _stored(found, "fp32")
    for precision in ("fp16", "int8"):
        lost = whole.ndcg_10 - _stored(found, precision).ndcg_10
        if lost > SAME:
            wrong.append(f"{name}: {precision} loses {lost:.4f} of nDCG@10")
    return wrong


def _stored(found: Quality, name: str) -> Measures:
    (each,) = [each for each in found.precisions if each.name == name]
    if each.measures is None:
        raise ValueError(name)
    return each.measures


def _reason(name: str, found: Quality, judged: Judged) -> str:
    ways = found.ways
    unbeaten = [
        f"{measure} of {single} alone is {theirs}, of {RERANKED} {ours}"
        for measure, ours in msgspec.structs.asdict(ways[RERANKED]).items()
        for single in SINGLE
        if (theirs := getattr(ways[single], measure)) >= ours
    ]
    return (
        f"{name}, {len(judged.documents):,} documents and {len(judged.questions)} questions: nDCG@10 "
        f"{ways[VECTOR].ndcg_10:.3f} by vector, {ways[WORDS].ndcg_10:.3f} by BM25, {ways[RANKS].ndcg_10:.3f} with "
        f"their ranks fused, {ways[HYBRID].ndcg_10:.3f} by the calibrated score, {ways[RERANKED].ndcg_10:.3f} reranked"
        + "".join([f" (but {each})" for each in unbeaten])
    )


def _figures(found: Quality) -> dict[str, Scalar]:
    figures: dict[str, Scalar] = {
        "documents": found.documents,
        "chunks": found.chunks,
        "questions": found.questions,
    }
    for way, each in found.ways.items():
        name = way.lower().replace(" + ", "_").replace(" ", "_")
        figures |= {f"{name}_{measure}": value for measure, value in msgspec.structs.asdict(each).items()}
    return figures


def _tables(name: str, found: Quality) -> list[Table]:
    columns = ("nDCG@10", "MRR", "recall@3", "recall@10")
    ways = tuple([(way, *msgspec.structs.astuple(each)) for way, each in found.ways.items()])
    stored = tuple(
        [
            (each.name, each.bytes_each, each.agreement, *msgspec.structs.astuple(_stored(found, each.name)))
            for each in found.precisions
        ]
    )
    return [
        Table(
            title=f"{name}: {found.documents:,} documents, {found.questions} questions",
            columns=("search", *columns),
            rows=ways,
        ),
        Table(
            title=f"{name}: vectors alone, by how they are stored",
            columns=("stored as", "bytes", "of the exact ten nearest", *columns),
            rows=stored,
        ),
    ]


def _bars(name: str, found: Quality) -> Bars:
    return Bars(
        title=f"nDCG@10 on {name}",
        unit="%",
        bars={way: round(each.ndcg_10 * 100, 1) for way, each in found.ways.items()},
        better="higher",
        ours=(HYBRID, RERANKED),
    )
