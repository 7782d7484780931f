"""The cost explorer: what requests cost together, by one or two of what they have, each sum a link to its requests.

Promises: sums are the platform's, in whole nano-dollars, never added up here from rounded ones; a link asks for the
requests of exactly its row and period; a chart that leaves small groups out says so and counts them as "others".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from starlette.responses import Response

from penstock.console import formats
from penstock.console.filters import FIELDS, PERIODS, Sought, group_fields, seconds, sought
from penstock.console.pages.overview import DAY_S, first_call, month_start
from penstock.console.security import PREFIX
from penstock.console.visits import Page, Visit
from penstock.kernel.errors import Invalid
from penstock.sdk.requests import CostRow, Costs

BY: Final = {"day": "Day", "hour": "Hour", **FIELDS}
STEP_S: Final = {"hour": 3_600, "day": 86_400}
SERIES_MOST: Final = 7
GROUPS_MOST: Final = 16
STEPS_MOST: Final = 400
OTHERS: Final = "others"


@dataclass(frozen=True, slots=True)
class Line:
    """A row of the table: its names, its sum, and the address of its requests."""

    names: tuple[str, ...]
    sum: CostRow
    link: str
    failed: str
    refused: str


async def show(visit: Visit) -> Response:
    """Show the costs that the address asks for."""
    by = _by(visit)
    now_s = visit.console.clock.wall_s()
    wanted = sought(visit.request.query_params, last="30d" if by[0] != "hour" else "24h")
    costs = await visit.client.costs.get(*by, **wanted.where(now_s))
    exact = Sought(wanted.named, since_s=costs.since_s, until_s=costs.until_s)
    return visit.render(
        "pages/costs.html",
        costs=costs,
        by=by,
        by_names=[BY[each] for each in by],
        choices=[(name, label) for name, label in BY.items() if name != "org" or visit.me.role == "owner"],
        fields=tuple(FIELDS.items()),
        wanted=wanted,
        periods=_periods(wanted, by, now_s),
        lines=[_line(costs, row, exact) for row in _ordered(costs)],
        exact=exact,
        chart=chart(costs, exact),
        curl=first_call(visit),
        may_requests=visit.may("read requests"),
    )


def chart(costs: Costs, exact: Sought) -> dict[str, object]:
    """Return the costs as charts.js draws them: time or groups from left to right, the second name in colours."""
    across = _across(costs)
    kept = _largest((row.group[-1], row.cost_nanos) for row in costs.rows) if len(costs.by) == 2 else ["cost"]
    cells: dict[tuple[str, str], int] = {}
    for row in costs.rows:
        series = "cost" if len(costs.by) == 1 else row.group[-1] if row.group[-1] in kept else OTHERS
        at = row.group[0] if row.group[0] in across else OTHERS
        cells[series, at] = cells.get((series, at), 0) + row.cost_nanos
    names = [*kept, *([OTHERS] if any(series == OTHERS for series, _ in cells) else [])]
    groups = [*across, *([OTHERS] if any(at == OTHERS for _, at in cells) and OTHERS not in across else [])]
    return {
        "kind": "stack" if len(costs.by) == 2 else "bar",
        "unit": "money",
        "labels": [
            formats.short_day(float(at)) if costs.by[0] == "day" else _label(costs.by[0], at) for at in groups
        ],
        "series": [
            {
                "label": _label(costs.by[-1], name) if name not in ("cost", OTHERS) else name,
                "tone": "7" if name == OTHERS else str(position % 8 + 1),
                "values": [cells.get((name, at), 0) for at in groups],
                "links": [_cell_link(costs, exact, name, at) for at in groups],
            }
            for position, name in enumerate(names)
        ],
    }


def _by(visit: Visit) -> tuple[str, ...]:
    """Return what is grouped by. Raises Invalid."""
    first, then = visit.query("by") or "day", visit.query("then")
    for name, value in (("by", first), ("then", then)):
        if value and value not in BY:
            raise Invalid(
                "Costs cannot be grouped by that.", field=name, value=value[:40], limit=", ".join(BY)
            )
    if then in STEP_S and first not in STEP_S:
        first, then = then, first  # time goes from left to right
    return (first, then) if then and then != first else (first,)


def _across(costs: Costs) -> list[str]:
    """Return the first names in the order of the chart: all steps of time, or the groups that cost most."""
    step_s = STEP_S.get(costs.by[0])
    if step_s is None:
        return _largest(((row.group[0], row.cost_nanos) for row in costs.rows), GROUPS_MOST)
    first_s = int(costs.since_s) // step_s * step_s
    last_s = int(costs.until_s - 1) // step_s * step_s
    if not costs.rows or (last_s - first_s) // step_s > STEPS_MOST:
        return sorted({row.group[0] for row in costs.rows}, key=float)
    known = {float(row.group[0]): row.group[0] for row in costs.rows}
    return [known.get(float(at_s), str(at_s)) for at_s in range(first_s, last_s + 1, step_s)]


def _largest(sums: Iterable[tuple[str, int]], most: int = SERIES_MOST) -> list[str]:
    totals: dict[str, int] = {}
    for name, cost_nanos in sums:
        totals[name] = totals.get(name, 0) + cost_nanos
    return sorted(totals, key=lambda name: (-totals[name], name))[:most]


def _ordered(costs: Costs) -> list[CostRow]:
    """Return the rows of the table: the latest time first, or what cost most."""
    if costs.by[0] in STEP_S:
        return sorted(costs.rows, key=lambda row: (-float(row.group[0]), -row.cost_nanos, row.group))
    return sorted(costs.rows, key=lambda row: (-row.cost_nanos, row.group))


def _line(costs: Costs, row: CostRow, exact: Sought) -> Line:
    narrowed = _narrowed(costs, zip(costs.by, row.group, strict=True))
    return Line(
        names=tuple(_label(by, name) for by, name in zip(costs.by, row.group, strict=True)),
        sum=row,
        link=exact.requests(**narrowed),
        failed=exact.requests(**{**narrowed, "outcome": "failed"}),
        refused=exact.requests(**{**narrowed, "outcome": "refused"}),
    )


def _cell_link(costs: Costs, exact: Sought, series: str, at: str) -> str:
    groups = [(costs.by[0], at), *([(costs.by[1], series)] if len(costs.by) == 2 else [])]
    return exact.requests(**_narrowed(costs, ((by, name) for by, name in groups if name != OTHERS)))


def _narrowed(costs: Costs, groups: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the fields that narrow the period to some groups; a first or last day is only as long as its part."""
    narrowed: dict[str, str] = {}
    for by, name in groups:
        fields = group_fields(by, name)
        if by in STEP_S:
            fields["since_s"] = seconds(max(float(fields["since_s"]), costs.since_s))
            fields["until_s"] = seconds(min(float(fields["until_s"]), costs.until_s))
        narrowed |= fields
    return narrowed


def _label(by: str, name: str) -> str:
    if by == "day" and name != OTHERS:
        return formats.day(float(name))
    if by == "hour" and name != OTHERS:
        return formats.moment(float(name))[5:16]
    return name or "(none)"


def _periods(wanted: Sought, by: tuple[str, ...], now_s: float) -> list[tuple[str, str, bool]]:
    """Return the choices of the period: label, address, whether it is the one shown."""
    day_s = now_s - now_s % DAY_S
    month_s = month_start(now_s)
    spans = (("Today", day_s, day_s + DAY_S), ("This month", month_s, month_start(month_s + 32 * DAY_S)))
    grouped = {"by": by[0], "then": by[1] if len(by) == 2 else ""}
    plain = Sought(wanted.named)
    choices = [
        (
            label,
            f"{PREFIX}/costs?{plain.query(**grouped, since_s=seconds(since_s), until_s=seconds(until_s))}",
            (wanted.since_s, wanted.until_s) == (since_s, until_s),
        )
        for label, since_s, until_s in spans
    ]
    choices += [
        (label, f"{PREFIX}/costs?{plain.query(**grouped, last=name)}", wanted.last == name)
        for name, (label, seconds) in PERIODS.items()
        if seconds >= DAY_S
    ]
    return choices


PAGES: Final = (Page(path="/costs", serve=show, needs="read usage"),)
