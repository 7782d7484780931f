"""Our side of a reconciliation: what was settled with each vendor, call by call, or by model and day.

Two readers, for two questions. The lake has every call of every request (`from_lake`): a fallback's failed call that
the vendor may bill is its own line, at its own vendor. The totals (`from_totals`) are there without a lake, and count
the whole of a request where it was answered; what they cannot tell apart is a difference that `from_lake` explains.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Final, cast

from penstock.kernel.errors import Invalid
from penstock.mechanisms.lake.questions import LakeQuestions
from penstock.mechanisms.reconcile.invoices import InvoiceLine
from penstock.ports.traces import DAY_S, TraceFilter, Traces

BY_DAY: Final = """
    SELECT strftime(day, '%Y-%m-%d'), c.provider, c.model, sum(c.cost_nanos), sum(c.input_tokens),
           sum(c.output_tokens), count(*)
    FROM (SELECT day, unnest(calls) AS c FROM audit) GROUP BY ALL ORDER BY ALL
"""
BY_CALL: Final = """
    SELECT strftime(day, '%Y-%m-%d'), c.provider, c.model, c.cost_nanos, c.input_tokens, c.output_tokens, 1,
           request_id || '/' || place
    FROM (SELECT day, request_id, unnest(calls) AS c, generate_subscripts(calls, 1) AS place FROM audit)
    ORDER BY ALL
"""


async def from_lake(
    lake: LakeQuestions,
    orgs: Iterable[str],
    since: date,
    until: date,
    *,
    vendors: Mapping[str, str],
    by_call: bool = False,
) -> list[InvoiceLine]:
    """Return what was settled on the days `since` to `until`, both included; each call by its own (``req_…/1``) or not.

    `vendors` maps our providers' names to vendors; a provider without one is its own. Raises what the lake raises, and
    Invalid when there are more lines than one answer holds.
    """
    lines: list[InvoiceLine] = []
    day = since
    while day <= until:
        for org in orgs:
            found = await lake.ask(org, BY_CALL if by_call else BY_DAY, since=day, until=day)
            if found.truncated:
                raise Invalid(
                    "The day has more lines than one answer holds.",
                    code="query_too_large",
                    field="days",
                    value=str(day),
                    remedy="Reconcile by model and day.",
                )
            lines += [_line(row, vendors) for row in found.rows]
        day += timedelta(days=1)
    return lines


def _line(row: tuple[object, ...], vendors: Mapping[str, str]) -> InvoiceLine:
    day, provider, model, *counts = row
    cost, inputs, outputs, requests = cast("list[int]", counts[:4])
    return InvoiceLine(
        vendor=vendors.get(str(provider), str(provider)),
        day=str(day),
        model=str(model),
        cost_nanos=cost,
        input_tokens=inputs,
        output_tokens=outputs,
        requests=requests,
        reference=str(counts[4]) if len(counts) > 4 else "",
    )


async def from_totals(
    traces: Traces, since: date, until: date, *, vendors: Mapping[str, str]
) -> list[InvoiceLine]:
    """Return what requests of the days `since` to `until`, both included, cost where they were answered."""
    start_s = datetime(since.year, since.month, since.day, tzinfo=UTC).timestamp()
    days = (until - since).days + 1
    wanted = TraceFilter(since_s=start_s, until_s=start_s + days * DAY_S)
    return [
        InvoiceLine(
            vendor=vendors.get(provider, provider),
            day=f"{datetime.fromtimestamp(int(day_s), UTC):%Y-%m-%d}",
            model=model,
            cost_nanos=total.cost_nanos,
            input_tokens=total.input_tokens,
            output_tokens=total.output_tokens,
            requests=total.requests,
        )
        for total in await traces.totals(wanted, ("day", "provider", "model"))
        for day_s, provider, model in (cast("tuple[str, str, str]", total.group),)
        if total.cost_nanos or provider
    ]
