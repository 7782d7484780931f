"""Costs: what requests cost together, by one or two of their features.

Promises: sums are exact, over the caller's reach and no more, also when there are more groups than are shown; where the
ledger keeps an account of exactly what is asked for, its word stands beside ours.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import Query
from pydantic import BaseModel, Field

from penstock.gateway.management.filters import Filter, within_reach
from penstock.gateway.management.parts import Api, Management
from penstock.gateway.management.policy import By, Routes
from penstock.gateway.management.requests import traces_of
from penstock.kernel.errors import Invalid
from penstock.mechanisms.limits import account_name
from penstock.mechanisms.roles import Action
from penstock.ports.traces import DAY_S, DIMENSIONS, HOUR_S, Total, TraceFilter

ROUTES: Final = Routes("costs")
BY_MOST: Final = 2
DAYS: Final = 30
HOURS: Final = 48


class CostFilter(Filter):
    """Which requests, and how they are grouped."""

    by: Annotated[
        str,
        Field(max_length=64, description=f"One or two of {', '.join(DIMENSIONS)}; empty: day."),
    ] = ""


class CostSum(BaseModel):
    """Some requests together; `latency_ms` is their mean, `estimated` how many were billed by estimate."""

    requests: int = 0
    failed: int = 0
    refused: int = 0
    estimated: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    cost_nanos: int = 0
    latency_ms: float = 0.0


class CostRow(CostSum):
    """The requests of one group: one name for each of `Costs.by`, an hour or a day as its start in seconds."""

    group: list[str]


class Costs(BaseModel):
    """What requests of a period cost, dearest group first. `total` has every group, those not shown too.

    `settled_nanos` is what the ledger charged for the same, null when it keeps no account of exactly that: it does of
    one organisation on one day or in one month (UTC). A request counts there on the day on which it was admitted.
    """

    by: list[str]
    rows: list[CostRow]
    total: CostSum
    since_s: float
    until_s: float
    settled_nanos: int | None


@ROUTES.add("GET", "/costs", needs=Action.READ_USAGE)
async def costs(by: By, api: Api, asked: Annotated[CostFilter, Query()]) -> Costs:
    """Add up what requests cost. Without a period: the last 30 days, 48 hours when grouped by hour."""
    dimensions = _dimensions(asked.by)
    since_s, until_s = period(asked, api.clock.wall_s(), hourly="hour" in dimensions)
    wanted = within_reach(by.principal, asked.model_copy(update={"since_s": since_s, "until_s": until_s}))
    if wanted is None:
        return Costs(
            by=dimensions, rows=[], total=CostSum(), since_s=since_s, until_s=until_s, settled_nanos=None
        )
    traces = traces_of(api)
    rows = [
        CostRow.model_validate({"group": list(row.group), **_sums(row)})
        for row in await traces.totals(wanted, dimensions)
    ]
    (total,) = await traces.totals(wanted, ())
    return Costs(
        by=dimensions,
        rows=rows,
        total=CostSum.model_validate(_sums(total)),
        since_s=since_s,
        until_s=until_s,
        settled_nanos=await _settled(api, wanted),
    )


def period(asked: Filter, now_s: float, *, hourly: bool) -> tuple[float, float]:
    """Return from when until when (outside); whole days or hours where the caller leaves it open.

    It ends with the hour under way: totals are of whole hours, each counted where it begins.
    """
    until_s = asked.until_s or (now_s // HOUR_S + 1) * HOUR_S
    if asked.since_s:
        return asked.since_s, until_s
    step_s, steps = (HOUR_S, HOURS) if hourly else (DAY_S, DAYS)
    # The step that holds the last moment is one of them.
    last_s = max(until_s - 1e-3, 0.0) // step_s * step_s
    return max(last_s - (steps - 1) * step_s, 0.0), until_s


def accounts(wanted: TraceFilter) -> list[str]:
    """Return the ledger's accounts of exactly what is asked for: none, a day's, or those of each day of a month."""
    only_org = TraceFilter(org=wanted.org, since_s=wanted.since_s, until_s=wanted.until_s)
    if not wanted.org or wanted != only_org or wanted.since_s % DAY_S or wanted.until_s % DAY_S:
        return []
    first, last = (datetime.fromtimestamp(at_s, UTC) for at_s in (wanted.since_s, wanted.until_s - DAY_S))
    days = round((wanted.until_s - wanted.since_s) / DAY_S)
    after = datetime.fromtimestamp(wanted.until_s, UTC)
    is_month = first.day == after.day == 1 and (first.year, first.month) == (last.year, last.month)
    if days != 1 and not is_month:
        return []
    return [
        account_name(f"org:{wanted.org}", "day", datetime.fromtimestamp(wanted.since_s + day * DAY_S, UTC))
        for day in range(days)
    ]


def _dimensions(text: str) -> list[str]:
    """Return what is grouped by; Invalid unless that is one or two dimensions."""
    named = text.split(",") if text else ["day"]
    known = len(named) <= BY_MOST and all(each in DIMENSIONS for each in named)
    if not known or len(set(named)) != len(named):
        raise Invalid(
            "Costs are grouped by one or two dimensions.",
            field="by",
            value=text,
            limit=", ".join(DIMENSIONS),
            remedy="Name one, or two with a comma between.",
        )
    return named


def _sums(total: Total) -> dict[str, int | float]:
    sums: dict[str, int | float] = {
        name: getattr(total, name) for name in CostSum.model_fields if name != "latency_ms"
    }
    return sums | {"latency_ms": total.latency_ms / total.requests if total.requests else 0.0}


async def _settled(api: Management, wanted: TraceFilter) -> int | None:
    names = accounts(wanted)
    if not names:
        return None
    return sum(balance.posted_nanos for balance in await api.ledger.balance(accounts=names))
