"""Contents: what is known of prompts and answers, reading what was kept, and having it forgotten."""

from __future__ import annotations

from penstock.sdk.calls import Calls, inside
from penstock.sdk.contents import Content, ContentDecision, ContentRule, ContentRules, Forgetting, Forgotten


class ContentCalls(Calls):
    """Prompts and answers, as far as their teams let them be known."""

    async def rules(self, org: str = "") -> ContentRules:
        """Return what an organisation's teams let be known. Raises NotFound where nothing is known of any."""
        return await self._ask("GET", "/contents/rules", ContentRules, query={"org": org})

    async def decide(self, request: ContentDecision) -> ContentRule:
        """Decide what a team lets be known, on every node within seconds."""
        return await self._ask("PUT", "/contents/rules", ContentRule, body=request)

    async def read(self, request_id: str, org: str = "") -> Content:
        """Return what was kept of a request; that you read it is written down. Raises NotFound."""
        return await self._ask("GET", inside("requests", request_id, "content"), Content, query={"org": org})

    async def forget(self, request: Forgetting) -> Forgotten:
        """Make contents unreadable for ever, for everybody. Raises NotFound where none are kept."""
        return await self._ask("POST", "/contents/forget", Forgotten, body=request)
