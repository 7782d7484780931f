"""The embedder of collections: the gateway's own lines, as the caller on whose behalf they work.

Promises: as `embedding/catalog/embedder`. What a vendor refuses for what was said is `Invalid` here, so that nobody
tries it again; what may pass is as the gateway raised it. Tokens' vectors and tokens themselves come from the models
in this machine, which nobody is billed for; the caller's limits hold for what is read for tokens' vectors all the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from penstock.dialects import embeddings, rerank
from penstock.embedding.catalog.embedder import Embedded, Purpose, Space
from penstock.embedding.serving.service import PREFIX, EmbeddingService
from penstock.embedding.serving.token_estimate import estimated
from penstock.gateway.batch_lines import Sink
from penstock.gateway.embeddings import EMBEDDINGS
from penstock.gateway.faces import Face
from penstock.gateway.inquiry import Inquiry
from penstock.gateway.lanes import HEADER as LANE_HEADER
from penstock.gateway.lanes import tenant_of
from penstock.gateway.line import Line
from penstock.gateway.reranking import RERANKING
from penstock.gateway.story import Story
from penstock.kernel.clock import Clock
from penstock.kernel.context import Principal, RequestContext
from penstock.kernel.errors import Forbidden, Invalid, NotFound, OverBudget, Upstream
from penstock.kernel.ids import new_id
from penstock.kernel.settings_embedding import EmbeddingModelSettings
from penstock.mechanisms.priorities import HEADER as PRIORITY_HEADER
from penstock.ports.encoder import Lane, Tokenized
from penstock.ports.providers import ProviderFailure
from penstock.wiring.unpaid import Unpaid

FEATURE: Final = "collections"
"""What the audit names the work of collections with."""
BYTES_PER_NUMBER: Final = 4
MARKS: Final = 2
"""Tokens that a model puts around a text; each of the others covers at least one byte."""
NS_PER_S: Final = 1_000_000_000
_COST: Final = re.compile(rb"x-penstock-cost-nanos: (\d+)")
_REFUSALS: Final = {
    "invalid": Invalid,
    "context_overflow": Invalid,
    "content_filter": Invalid,
    "not_found": NotFound,
    "forbidden": Forbidden,
    "unauthenticated": Forbidden,
    "quota_exhausted": OverBudget,
    "spend_limit": OverBudget,
}
"""What a failure of these kinds is to whoever works for somebody: trying again does not help."""


class GatewayEmbedder:
    """An `Embedder` over the gateway. One per process."""

    def __init__(
        self,
        embedding: Line,
        reranking: Line,
        service: EmbeddingService | None,
        declared: Mapping[str, EmbeddingModelSettings],
        unpaid: Unpaid,
        clock: Clock,
        *,
        deadline_s: float,
    ) -> None:
        """`service` has the models in this machine, None where there are none; `declared` says what those elsewhere
        are; `unpaid` lets in what a search reads beside them. Each call has `deadline_s` seconds.
        """
        self._embedding = embedding
        self._reranking = reranking
        self._service = service
        self._declared = declared
        self._unpaid = unpaid
        self._clock = clock
        self._deadline_s = deadline_s

    def space(self, model: str) -> Space:
        """Return the space a model's vectors are of now. Raises NotFound."""
        declared = self._declared.get(model)
        if declared is not None:
            marks = len(estimated([declared.passage_prefix])[0].ids)
            return Space(
                model=model,
                version=f"{declared.version}.{declared.pooling}",
                dimensions=declared.dimensions,
                max_tokens=max(declared.max_tokens - marks, 1),
                languages=declared.languages,
            )
        if self._service is not None and model.startswith(PREFIX):
            spec = self._service.spec(model)
            return Space(
                model=model,
                version=spec.version,
                dimensions=spec.dimensions,
                max_tokens=spec.max_tokens,
                languages=spec.languages,
                late=True,
            )
        known = [*self._declared, *[PREFIX + name for name in (self._service.pools if self._service else ())]]
        raise NotFound(
            f"Collections know no model {model!r}.",
            code="model_not_found",
            field="model",
            value=model[:200],
            limit=", ".join(known) or None,
            remedy="Declare it under [[embedding_models]], or install the model in this machine with: "
            "pip install 'penstock[local]'.",
        )

    async def tokenize(self, texts: Sequence[str], *, model: str) -> Sequence[Tokenized]:
        """Return each text's tokens, or for a model elsewhere an estimate from above."""
        if self._service is not None and self._is_here(model):
            return await self._service.tokenize(texts, model=model)
        return estimated(texts)

    async def embed(
        self, who: Principal, texts: Sequence[str], *, model: str, lane: Lane, purpose: Purpose
    ) -> Embedded:
        """Return the texts' vectors."""
        space = self.space(model)
        body: dict[str, object] = {"model": model, "encoding_format": "base64"}
        declared = self._declared.get(model)
        if declared is not None:
            prefix = declared.query_prefix if purpose == "query" else declared.passage_prefix
            body["input"] = [prefix + text for text in texts] if prefix else texts
        else:
            body["input"], body["input_type"] = texts, "query" if purpose == "query" else "document"
        sink = await self._asked(self._embedding, EMBEDDINGS, "/v1/embeddings", body, who, lane)
        reply = embeddings.parse_reply(sink.body)
        if any(len(vector) != space.dimensions * BYTES_PER_NUMBER for vector in reply.vectors):
            sizes = {len(vector) // BYTES_PER_NUMBER for vector in reply.vectors}
            raise Upstream(
                f"{model} sent vectors of another length than declared.",
                code="wrong_dimensions",
                field="dimensions",
                value=", ".join(map(str, sorted(sizes))),
                limit=space.dimensions,
                remedy="Declare the model's dimensions under [[embedding_models]], and a new version with them.",
            )
        cost = _COST.search(sink.headers)
        return Embedded(
            vectors=reply.vectors, tokens=reply.input_tokens or 0, cost_nanos=int(cost[1]) if cost else 0
        )

    async def token_vectors(
        self, who: Principal, texts: Sequence[str], *, model: str, lane: Lane
    ) -> tuple[bytes, ...]:
        """Return each text's matrix; only of a model in this machine. What is read is taken from the caller's limits:
        it is computed beside the texts' own vectors, and also where those are known.
        """
        if self._service is None or not self._is_here(model):
            raise Invalid("The vectors of this model's tokens cannot be had.", field="model", value=model)
        spec = self._service.spec(model)
        most = sum([min(len(text.encode()) + MARKS, spec.max_tokens) for text in texts])
        async with self._unpaid.reading(who, model, most) as read:
            matrices = await self._service.token_vectors(
                texts, model=model, lane=lane, tenant=tenant_of(who), truncate="end"
            )
            read.tokens = sum(map(len, matrices)) // (spec.dimensions * BYTES_PER_NUMBER)
        return matrices

    async def rerank(
        self, who: Principal, model: str, query: str, documents: Sequence[str]
    ) -> tuple[float, ...]:
        """Return how well each document answers the query."""
        body: dict[str, object] = {"model": model, "query": query, "documents": documents}
        sink = await self._asked(self._reranking, RERANKING, "/v1/rerank", body, who, "query")
        ranked = rerank.parse_reply(sink.body, len(documents)).results
        scores = {each.index: each.score for each in ranked}
        if len(scores) != len(documents):
            raise Upstream(
                f"{model} ranked {len(scores)} of {len(documents)} documents.", code="malformed_reply"
            )
        return tuple([scores[number] for number in range(len(documents))])

    def _is_here(self, model: str) -> bool:
        return model not in self._declared and model.startswith(PREFIX)

    async def _asked(
        self, line: Line, face: Face, path: str, body: Mapping[str, object], who: Principal, lane: Lane
    ) -> Sink:
        """Have one call served as `who`; it waits for nobody's connection. Raises PenstockError."""
        now_s = self._clock.monotonic_s()
        context = RequestContext(
            new_id("req_"),
            who,
            deadline_s=now_s + self._deadline_s,
            received_ns=int(now_s * NS_PER_S),
            feature=FEATURE,
        )
        headers = {LANE_HEADER: lane.encode(), **({PRIORITY_HEADER: b"low"} if lane == "ingest" else {})}
        context.header = headers.get
        sink, story = Sink(), Story(context, self._clock, face.name)
        try:
            await line.serve(context, Inquiry(face, path, msgspec.json.encode(body)), sink, story)
        except ProviderFailure as failure:
            refused = _REFUSALS.get(failure.kind)
            if refused is None:
                raise
            raise refused(
                failure.message,
                code=failure.reason,
                field=failure.field,
                value=failure.value,
                limit=failure.limit,
                remedy=failure.remedy,
            ) from failure
        return sink
