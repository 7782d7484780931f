"""What is seen: requests, what they cost, how things are now, how the platform is set."""

from __future__ import annotations

from typing import Unpack

from penstock.sdk.calls import Calls, inside, target
from penstock.sdk.oversight import CostForecast
from penstock.sdk.requests import (
    Costs,
    Filter,
    Overview,
    RequestDetail,
    RequestPage,
    RequestView,
    Scored,
    Settings,
)
from penstock.sdk.streams import Live, Query


class RequestCalls(Calls):
    """Requests, one by one."""

    async def list(self, *, after: str = "", limit: int = 50, **which: Unpack[Filter]) -> RequestPage:
        """Return a page of at most `limit` (<= 200) requests, the latest first; its `after` asks for the next."""
        return await self._ask(
            "GET", "/requests", RequestPage, query={**_query(which), "after": after, "limit": limit}
        )

    async def get(self, request_id: str) -> RequestDetail:
        """Return a request with its spans. Raises NotFound."""
        return await self._ask("GET", inside("requests", request_id), RequestDetail)

    async def score(self, request_id: str, score: float) -> Scored:
        """Say how good the answer of a request was, from 0 to 1, once. Raises NotFound, Conflict."""
        return await self._ask(
            "POST", inside("requests", request_id, "feedback"), Scored, body={"score": score}
        )

    def live(self, **which: Unpack[Filter]) -> Live[RequestView]:
        """Return requests as they end, at most 20 a second (`skipped` counts the rest): ``async with``."""
        return self._live("/requests/live", b"request", RequestView, _query(which))


class CostCalls(Calls):
    """What requests cost together."""

    async def get(self, *by: str, **which: Unpack[Filter]) -> Costs:
        """Return sums by one or two of hour, day, org, team, project, user, key_id, feature, model, provider, outcome.

        Without a period: the last 30 days, or 48 hours when `by` has hour.
        """
        return await self._ask("GET", "/costs", Costs, query={"by": ",".join(by), **_query(which)})

    async def chargeback(self, since: str, until: str, org: str = "") -> str:
        """Return a CSV of what each team, project, user and model cost on the UTC days `since` to `until`
        (``YYYY-MM-DD``), both included.
        """
        query: Query = {"since": since, "until": until, "org": org}
        reply = await self._transport.call("GET", target("/costs/chargeback", query))
        return reply.body.decode()

    async def forecast(self, org: str = "") -> CostForecast:
        """Return what an organisation's day and month come to."""
        return await self._ask("GET", "/costs/forecast", CostForecast, query={"org": org})


class OverviewCalls(Calls):
    """How things are now."""

    async def get(self, org: str = "") -> Overview:
        """Return spending, what breaks first, latency, errors and the latest requests."""
        return await self._ask("GET", "/overview", Overview, query={"org": org})

    def live(self, org: str = "") -> Live[Overview]:
        """Return the overview each time it changes, at most twice a second: ``async with``."""
        return self._live("/overview/live", b"overview", Overview, {"org": org})


class SettingCalls(Calls):
    """How the platform is set."""

    async def get(self) -> Settings:
        """Return every setting in force; secrets are three stars."""
        return await self._ask("GET", "/settings", Settings)


def _query(which: Filter) -> Query:
    """Return a filter as a query."""
    return {name: value for name, value in which.items() if isinstance(value, str | float | int)}
