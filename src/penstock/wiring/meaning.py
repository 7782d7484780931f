"""What means the same, by the embedding model in this machine: for the semantic cache and for `local/extractive`.

Promise: nothing starts before somebody asks; neither the gateway nor the provider knows the service, only one method
each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from penstock.embedding.serving.service import EmbeddingService


class LocalMeaning:
    """A question's vector, for `gateway/semantic`; sentences' vectors, for `adapters/providers/meant`."""

    def __init__(self, service: EmbeddingService, model: str) -> None:
        """Use `model` of `service`."""
        self._service = service
        self._model = model
        spec = service.spec(model)
        self.space = f"{spec.name}@{spec.version}"

    async def of(self, text: str, *, tenant: str) -> bytes:
        """Return the vector of a question, computed in its tenant's name."""
        found = await self._service.embed(
            [text], model=self._model, lane="query", tenant=tenant, purpose="query"
        )
        return found.vectors[0]

    async def of_all(self, sentences: Sequence[str], *, tenant: str) -> Sequence[bytes]:
        """Return the vectors of sentences, each as far as the model reads it, computed in their tenant's name."""
        found = await self._service.embed(
            sentences, model=self._model, lane="query", tenant=tenant, truncate="end"
        )
        return found.vectors


class Quoting(Protocol):
    """A provider that ranks what it quotes by meaning, too, where it is given one."""

    meaning: LocalMeaning | None
