"""A search and its reply as callers write and read them.

Promises: what is not as described is refused by its name, value and bound before anything is computed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from penstock.dialects.strict_json import check_text, decode_as, refusal
from penstock.embedding.search.rerank import Reranked
from penstock.kernel.errors import Invalid
from penstock.ports.index import Scalar

QUERY_CHARS_MOST: Final = 8_192
K_MOST: Final = 100
CANDIDATES_MOST: Final = 200
CANDIDATES: Final = 50


class WhereAsk(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A condition, as callers write it (`ports/index.Where`)."""

    field: Annotated[str, Meta(min_length=1, max_length=256)]
    any_of: Annotated[tuple[Scalar, ...], Meta(max_length=1_000)] = ()
    at_least: float | None = None
    at_most: float | None = None


class SearchAsk(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is looked for. `acl` are the labels its asker has: without any, only what has none is found. `rerank` None:
    as the collection says. `min_score`: nothing below it.
    """

    query: Annotated[str, Meta(min_length=1, max_length=QUERY_CHARS_MOST)]
    k: Annotated[int, Meta(ge=1, le=K_MOST)] = 10
    candidates: Annotated[int, Meta(ge=1, le=CANDIDATES_MOST)] = CANDIDATES
    where: Annotated[tuple[WhereAsk, ...], Meta(max_length=32)] = ()
    acl: Annotated[
        tuple[Annotated[str, Meta(min_length=1, max_length=128)], ...], Meta(max_length=1_000)
    ] = ()
    language: Annotated[str, Meta(max_length=35)] = ""
    rerank: Annotated[str, Meta(min_length=1, max_length=200)] | None = None
    explain: bool = False
    min_score: Annotated[float, Meta(ge=0, le=1)] | None = None


class Scores(msgspec.Struct, frozen=True, kw_only=True):
    """What a result's score was made of: `words` is its share of the best `bm25`; None: not found that way."""

    cosine: float | None
    bm25: float | None
    words: float
    rrf: float
    late: float | None
    rerank: float | None


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """A passage that was found."""

    document: str
    version: str
    title: str
    url: str
    language: str
    position: int
    page: int
    heading: str
    start: int
    end: int
    text: str
    score: float
    metadata: Mapping[str, Scalar]
    scores: Scores | msgspec.UnsetType = msgspec.UNSET


class ScoreSaid(msgspec.Struct, frozen=True, kw_only=True):
    """What `score` is. Calibrated: a probability, comparable between questions, and worth an answer from `threshold`
    on; else comparable within one question only.
    """

    name: str
    model: str
    calibrated: bool
    threshold: float | None


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The reply. `tags` name the documents shown, for ``x-penstock-cache-tags`` of whatever is answered from them."""

    object: str
    collection: str
    space: str
    results: tuple[Result, ...]
    score: ScoreSaid
    rerank: Reranked
    tags: tuple[str, ...]
    stale: bool
    warnings: tuple[str, ...]
    took_ms: float
    stages_ms: Mapping[str, float] | msgspec.UnsetType = msgspec.UNSET


REMEDIES: Final[Mapping[str, str]] = {
    "": "See docs/knowledge.md for what this member may be.",
    "query": f"Ask in 1 to {QUERY_CHARS_MOST:,} characters.",
    "k": f"Ask for 1 to {K_MOST} results.",
    "candidates": f"Consider 1 to {CANDIDATES_MOST} candidates.",
    "where": 'Use up to 32 conditions like {"field": "year", "at_least": 2020}.',
    "acl": "Name up to 1,000 labels of 1 to 128 characters.",
    "min_score": "Use 0 to 1.",
}
_ASK: Final = msgspec.json.Decoder(SearchAsk)


def parse_search(body: bytes) -> SearchAsk:
    """Read what is looked for. Raises Invalid."""
    content = bytes(body)
    check_text(content)
    try:
        ask = decode_as(content, _ASK)
    except msgspec.ValidationError as error:
        raise refusal(error, content, REMEDIES) from None
    if not ask.query.strip():
        raise Invalid(
            "There is nothing to look for.", field="query", value=ask.query[:20], remedy=REMEDIES["query"]
        )
    return ask
