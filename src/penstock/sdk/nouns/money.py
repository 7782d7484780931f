"""Limits and money: scopes, budgets, usage, prices, the ledger. Amounts are whole nano-dollars."""

from __future__ import annotations

from penstock.sdk.calls import Calls
from penstock.sdk.replies import Budget, LedgerReport, ModelPrice, ScopeLimits, ScopeRequest, Usage


class ScopeCalls(Calls):
    """The limits of organisations, teams, projects and users."""

    async def put(self, request: ScopeRequest) -> ScopeLimits:
        """Set the limits of one level, replacing what was set there."""
        return await self._ask("PUT", "/scopes", ScopeLimits, body=request)

    async def list(self, level: str, org: str = "") -> tuple[ScopeLimits, ...]:
        """Return every configured scope of one level."""
        query = {"level": level, "org": org}
        return await self._rows("/scopes", tuple[ScopeLimits, ...], lambda scope: scope.path, query)

    async def get(
        self, level: str, *, org: str = "", team: str = "", project: str = "", user: str = ""
    ) -> ScopeLimits:
        """Return the limits of one scope. Raises NotFound where none are set."""
        query = {"level": level, "org": org, "team": team, "project": project, "user": user}
        return await self._ask("GET", "/scopes/one", ScopeLimits, query=query)


class BudgetCalls(Calls):
    """Budgets and what they have left."""

    async def list(self, org: str = "") -> tuple[Budget, ...]:
        """Return every budget of an organisation."""
        return await self._ask("GET", "/budgets", tuple[Budget, ...], query={"org": org})


class UsageCalls(Calls):
    """What accounts were charged."""

    async def list(self, org: str = "", prefix: str = "") -> tuple[Usage, ...]:
        """Return the accounts of an organisation whose names go on with `prefix` after ``org:NAME``.

        All of them is asked for in two parts, ``@`` its own and ``/`` those below it, so that an organisation whose
        name begins alike never fills a page.
        """
        rows: tuple[Usage, ...] = ()
        for start in (prefix,) if prefix else ("@", "/"):
            query = {"org": org, "prefix": start}
            rows += await self._rows("/usage", tuple[Usage, ...], lambda row: row.account, query)
        return rows


class PriceCalls(Calls):
    """What a token costs here, today."""

    async def list(self, provider: str = "", model: str = "") -> tuple[ModelPrice, ...]:
        """Return the prices in force; `model` is any part of a name."""
        query = {"provider": provider, "model": model}
        return await self._rows("/prices", tuple[ModelPrice, ...], _name_of, query)


class LedgerCalls(Calls):
    """The books."""

    async def verify(self) -> LedgerReport:
        """Have the server walk its whole ledger: hash chains, conservation, balances."""
        return await self._ask("GET", "/ledger/verify", LedgerReport)


def _name_of(price: ModelPrice) -> str:
    """Return what the list of prices is in order of."""
    return f"{price.provider}/{price.model} {price.org}".rstrip()
