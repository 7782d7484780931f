"""What a platform finds with, without one: to measure on this machine (`penstock embed`); nothing is kept or billed.

Promises: model, parser, chunker, index and search are those of a platform; the index lies in a folder that goes with
the laboratory, as do its helper processes.
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from penstock.embedding.catalog.embedder import Embedded, Purpose, Space
from penstock.embedding.search.late_interaction import LateInteraction
from penstock.embedding.search.quality import Lab
from penstock.embedding.search.rerank import Reranking
from penstock.embedding.search.search import Searcher
from penstock.embedding.serving.service import PREFIX, EmbeddingService
from penstock.kernel.clock import SystemClock
from penstock.kernel.context import Principal
from penstock.kernel.errors import Invalid
from penstock.kernel.settings_collections import CollectionSettings
from penstock.kernel.settings_embedding import EmbeddingSettings
from penstock.ports.encoder import Encoder, Lane, Tokenized
from penstock.wiring import adapters

TENANT = "lab"


class DirectEmbedder:
    """An `Embedder` over the models in this machine: no gateway, no limits, no bill."""

    def __init__(self, service: EmbeddingService) -> None:
        """Embed with `service`."""
        self._service = service

    def space(self, model: str) -> Space:
        """Return the space a model's vectors are of. Raises NotFound."""
        spec = self._service.spec(model)
        return Space(
            model=model,
            version=spec.version,
            dimensions=spec.dimensions,
            max_tokens=spec.max_tokens,
            languages=spec.languages,
            late=True,
        )

    async def tokenize(self, texts: Sequence[str], *, model: str) -> Sequence[Tokenized]:
        """Return each text's tokens."""
        return await self._service.tokenize(texts, model=model)

    async def embed(
        self, who: Principal, texts: Sequence[str], *, model: str, lane: Lane, purpose: Purpose
    ) -> Embedded:
        """Return the texts' vectors."""
        told = await self._service.embed(texts, model=model, lane=lane, tenant=who.org, purpose=purpose)
        return Embedded(vectors=told.vectors, tokens=told.tokens)

    async def token_vectors(
        self, who: Principal, texts: Sequence[str], *, model: str, lane: Lane
    ) -> tuple[bytes, ...]:
        """Return each text's matrix."""
        return await self._service.token_vectors(
            texts, model=model, lane=lane, tenant=who.org, truncate="end"
        )

    async def rerank(
        self, who: Principal, model: str, query: str, documents: Sequence[str]
    ) -> tuple[float, ...]:
        """There is no gateway to ask."""
        raise Invalid("There is no reranker beside the model in this machine.", field="rerank", value=model)


def open_encoder(settings: EmbeddingSettings | None = None) -> Encoder:
    """Return the model of this machine; its owner closes it. Raises Invalid naming the extra it needs."""
    return adapters.encoder(settings or EmbeddingSettings())


def default_model(encoder: Encoder) -> str:
    """Return a model's name as routes know it."""
    return PREFIX + encoder.spec.name


@asynccontextmanager
async def laboratory(settings: EmbeddingSettings | None = None) -> AsyncGenerator[tuple[Lab, str]]:
    """Open a laboratory with the model of this machine, and say the model's name. Raises Invalid (missing extra)."""
    chosen = settings or EmbeddingSettings()
    clock = SystemClock()
    async with AsyncExitStack() as opening:
        folder = Path(opening.enter_context(tempfile.TemporaryDirectory(prefix="penstock-lab-")))
        encoder = open_encoder(chosen)
        service = EmbeddingService([encoder], chosen, clock)
        opening.push_async_callback(service.close)
        matcher = adapters.matcher()
        opening.push_async_callback(matcher.close)
        parser = adapters.parser()
        opening.push_async_callback(parser.close)
        index = await adapters.index(CollectionSettings(), folder)
        opening.push_async_callback(index.close)
        embedder, late = DirectEmbedder(service), LateInteraction(matcher)
        searcher = Searcher(index, embedder, Reranking(embedder, late), clock)
        yield Lab(index, parser, embedder, late, searcher), default_model(encoder)
