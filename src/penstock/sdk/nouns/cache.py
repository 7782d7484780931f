"""The cache of answers: its figures, and having it forget."""

from __future__ import annotations

from penstock.sdk.calls import Calls
from penstock.sdk.replies import CacheFigures, PromptCacheRow, Purge, Purged


class CacheCalls(Calls):
    """Answers that are kept."""

    async def status(self, org: str = "") -> CacheFigures:
        """Return how the cache serves an organisation. Raises NotFound where no answers are kept."""
        return await self._ask("GET", "/cache", CacheFigures, query={"org": org})

    async def prompts(self, org: str = "") -> tuple[PromptCacheRow, ...]:
        """Return what vendors' own caches of prompts saved an organisation, the most first."""
        return await self._ask("GET", "/cache/prompts", tuple[PromptCacheRow, ...], query={"org": org})

    async def purge(self, request: Purge) -> Purged:
        """Forget answers, on every node within a second. Raises NotFound where no answers are kept."""
        return await self._ask("POST", "/cache/purge", Purged, body=request)
