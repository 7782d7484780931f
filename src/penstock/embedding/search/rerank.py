"""What a search's candidates are ordered by, beyond meaning and words: a cross-encoder, late interaction, or nothing.

    "auto"      late interaction where the collection's model is in this machine, else nothing
    "late"      late interaction, or a refusal that says why there is none
    "none"      nothing
    any other   a model of the gateway's /v1/rerank, asked as the caller

Late interaction looks at every candidate whose token vectors are kept in the index, and at `ON_THE_FLY` otherwise: to
make token vectors takes as long as to embed. A cross-encoder looks at `CROSS_MOST`.

Promises: the reply says what was used, on how many candidates, and why not what was asked for; a reranker that is not
to be had just now (`Unavailable`, `OverLimit`) costs quality, never the search.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from operator import mul
from typing import Final

import msgspec

from penstock.embedding.catalog.embedder import Embedder, Space
from penstock.embedding.search.calibration import Seen
from penstock.embedding.search.late_interaction import LateInteraction
from penstock.kernel.context import Principal
from penstock.kernel.errors import Invalid, OverLimit, PenstockError, Unavailable
from penstock.ports.index import Hit

AUTO, NONE, LATE = "auto", "none", "late"
ON_THE_FLY: Final = 16
CROSS_MOST: Final = 50
Key = tuple[str, int]


@dataclass(slots=True, kw_only=True)
class Candidate:
    """A passage that was found, and the evidence for it. `words` is its share of the question's best `bm25`."""

    hit: Hit
    cosine: float
    bm25: float | None
    words: float
    rrf: float
    late: float | None = None
    cross: float | None = None

    @property
    def key(self) -> Key:
        """What tells it from others."""
        return self.hit.document, self.hit.chunk.position

    @property
    def seen(self) -> Seen:
        """Its evidence as calibration takes it."""
        return Seen(self.cosine, self.words, self.late)


class Reranked(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What ordered a search's candidates. `why` is there when it is not what was asked for."""

    used: str = msgspec.field(name="by")
    candidates: int = 0
    computed: int = 0
    why: str = ""


class Reranking:
    """Reranks. One per process."""

    def __init__(self, embedder: Embedder, late: LateInteraction | None) -> None:
        """`late` None: the extra that compares token vectors is not installed."""
        self._embedder = embedder
        self._late = late

    def chosen(self, asked: str, space: Space) -> str:
        """Return what will be used. Raises Invalid where late interaction is asked for and cannot be."""
        able = self._late is not None and space.late
        if asked == AUTO:
            return LATE if able else NONE
        if asked == LATE and not able:
            raise Invalid(
                "Late interaction needs the vectors of the model's tokens.",
                code="no_token_vectors",
                field="rerank",
                value=LATE,
                limit="auto, none, or a model of /v1/rerank",
                remedy="Choose a collection whose model is in this machine, with: pip install 'penstock[local]'.",
            )
        return asked

    async def rerank(
        self, who: Principal, space: Space, question: str, candidates: Sequence[Candidate], by: str
    ) -> Reranked:
        """Write the evidence of `by` (see `chosen`) to the first of `candidates`. Raises PenstockError."""
        if by == NONE or not candidates:
            return Reranked(used=NONE)
        try:
            if by == LATE and self._late is not None:
                return await self._compare(self._late, who, space, question, candidates)
            return await self._cross(who, by, question, candidates[:CROSS_MOST])
        except (Unavailable, OverLimit) as error:
            return Reranked(used=NONE, why=_why(by, error))

    async def _compare(
        self,
        late: LateInteraction,
        who: Principal,
        space: Space,
        question: str,
        candidates: Sequence[Candidate],
    ) -> Reranked:
        tenant = f"{who.org}/{who.team}"
        kept = all(each.hit.chunk.tokens for each in candidates)
        head = candidates if kept else candidates[:ON_THE_FLY]
        matrices: dict[str, bytes] = {}
        texts: dict[str, str] = {}
        for each in head:
            chunk = each.hit.chunk
            known = chunk.tokens or late.known(tenant, space.name, chunk.digest)
            if known:
                matrices[chunk.digest] = known
            else:
                texts[chunk.digest] = chunk.text
        make = partial(self._embedder.token_vectors, who, model=space.model, lane="query")
        scores = await late.scores(
            question,
            matrices,
            texts,
            tenant=tenant,
            space=space.name,
            dimensions=space.dimensions,
            matrices=make,
        )
        for each in head:
            each.late = scores[each.hit.chunk.digest]
        return Reranked(used=LATE, candidates=len(head), computed=len(texts))

    async def _cross(
        self, who: Principal, model: str, question: str, candidates: Sequence[Candidate]
    ) -> Reranked:
        texts = [each.hit.chunk.text for each in candidates]
        for each, score in zip(
            candidates, await self._embedder.rerank(who, model, question, texts), strict=True
        ):
            each.cross = score
        return Reranked(used=model, candidates=len(texts), computed=len(texts))


def dot(one: Sequence[float], other: Sequence[float]) -> float:
    """Return the dot product of two vectors of one length."""
    return sum(map(mul, one, other))


def _why(by: str, error: PenstockError) -> str:
    return f"{by} could not be asked just now: {error.message}"
