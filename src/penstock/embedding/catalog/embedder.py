"""What collections ask for vectors: the gateway, as the caller on whose behalf they work. Wiring implements it.

Promises
1. Every call passes the gateway's own lines under `who`: its limits, budgets, prices, audit and fallbacks hold. What
   they refuse is raised as they refuse it (`OverLimit` with `retry_after_s`, `OverBudget`, `Forbidden`, …).
2. `embed` returns one vector a text, in order, all of the space that `space(model)` names; an answer of another length
   is `Upstream`.
3. `space` changes when whatever changes the vectors does, and never otherwise; asking for it computes nothing.

Errors: Rejected in all its kinds, Unavailable in all its kinds; NotFound (no such model) names those there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

from penstock.embedding.catalog.collections import model_of
from penstock.kernel.context import Principal
from penstock.kernel.errors import NotFound
from penstock.ports.encoder import Lane, Tokenized

Purpose = Literal["query", "passage"]


class Space(msgspec.Struct, frozen=True, kw_only=True):
    """Where a model's vectors live. `model` as the gateway's routes know it; `max_tokens` holds the model's own marks
    and prefixes too; `languages` are ISO 639-1 codes, () for any. `late`: its tokens' vectors can be had.
    """

    model: str
    version: str
    dimensions: int
    max_tokens: int
    languages: tuple[str, ...] = ()
    late: bool = False

    @property
    def name(self) -> str:
        """What its rows carry: vectors of two names are never compared."""
        return f"{self.model}@{self.version}"


class Embedded(msgspec.Struct, frozen=True, kw_only=True):
    """Vectors (little-endian float32) in the order of the texts, the tokens they were of and what they cost."""

    vectors: tuple[bytes, ...]
    tokens: int = 0
    cost_nanos: int = 0


class Embedder(Protocol):
    """Vectors on behalf of a caller. See the promises above."""

    def space(self, model: str) -> Space:
        """Return the space a model's vectors are of now. Raises NotFound."""
        ...

    async def tokenize(self, texts: Sequence[str], *, model: str) -> Sequence[Tokenized]:
        """Return each text's tokens; for a model elsewhere, whose tokens nobody here knows, an estimate from above."""
        ...

    async def embed(
        self, who: Principal, texts: Sequence[str], *, model: str, lane: Lane, purpose: Purpose
    ) -> Embedded:
        """Return the texts' vectors."""
        ...

    async def token_vectors(
        self, who: Principal, texts: Sequence[str], *, model: str, lane: Lane
    ) -> tuple[bytes, ...]:
        """Return each text's matrix, one float32 row a token; only where `space(model).late`, Invalid elsewhere."""
        ...

    async def rerank(
        self, who: Principal, model: str, query: str, documents: Sequence[str]
    ) -> tuple[float, ...]:
        """Return how well each document answers the query, in the documents' order, in the model's own numbers."""
        ...


def is_alive(embedder: Embedder, space: str) -> bool:
    """Tell whether anything can be embedded for a space: its model is there, in its version."""
    try:
        return embedder.space(model_of(space)).name == space
    except NotFound:
        return False
