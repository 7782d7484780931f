"""Routing: which back end answers which model name, as numbered versions."""

from __future__ import annotations

from typing import Any

from penstock.sdk.calls import Calls
from penstock.sdk.routing import (
    Canaries,
    RouteAnswer,
    RouteQuestion,
    RouteTiers,
    RoutingCheck,
    RoutingConfig,
    RoutingVersion,
)
from penstock.sdk.streams import Live


class RoutingCalls(Calls):
    """The routing configuration of the platform."""

    async def get(self, version: int = -1) -> RoutingConfig:
        """Return a version with its document; -1 is the one in force. Raises NotFound."""
        return await self._ask("GET", "/routing", RoutingConfig, query={"version": version})

    async def history(self, limit: int = 50) -> tuple[RoutingVersion, ...]:
        """Return the versions, newest first; 0 is the settings file's."""
        return await self._ask("GET", "/routing/versions", tuple[RoutingVersion, ...], query={"limit": limit})

    async def tiers(self) -> tuple[RouteTiers, ...]:
        """Return, by route, what telling easy requests from hard ones saved."""
        return await self._ask("GET", "/routing/tiers", tuple[RouteTiers, ...])

    async def check(self, document: dict[str, Any]) -> RoutingCheck:
        """Check a document. Raises Invalid that lists every mistake."""
        return await self._ask("POST", "/routing/check", RoutingCheck, body={"document": document})

    async def apply(
        self, document: dict[str, Any], *, why: str = "", based_on: int | None = None
    ) -> RoutingVersion:
        """Route by a document, everywhere within a second. Raises Invalid, Conflict when overtaken."""
        body = {"document": document, "why": why, "based_on": based_on}
        return await self._ask("PUT", "/routing", RoutingVersion, body=body)

    async def rollback(self, to: int | None = None, *, why: str = "") -> RoutingVersion:
        """Go back to a version, or to the one before. Raises NotFound, Conflict when overtaken."""
        return await self._ask("POST", "/routing/rollback", RoutingVersion, body={"to": to, "why": why})

    async def canaries(self) -> Canaries:
        """Return every canary with what both sides did and the evidence against it."""
        return await self._ask("GET", "/routing/canaries", Canaries)

    def watch_canaries(self) -> Live[Canaries]:
        """Return the canaries each time something about one changed, at most once a second: ``async with``."""
        return self._live("/routing/canaries/live", b"canaries", Canaries, {})

    async def explain(self, question: RouteQuestion) -> RouteAnswer:
        """Return who would answer a request now, and why; nobody is called. Raises NotFound, Forbidden."""
        return await self._ask("POST", "/routing/explain", RouteAnswer, body=question)
