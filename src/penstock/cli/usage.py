"""`penstock usage`: what was spent, as a table and as a chart.

Promise: two sources, never mixed. The ledger says what each account was charged, and is asked for days and levels; the
requests say what they were for, and are asked for everything else. Where the ledger knows the same sum, it is told too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec
from cyclopts import Parameter

from penstock.cli.cost_chart import STEPS_S, chart, cost_table
from penstock.cli.output import NARROWEST_CHARS, Page, bars, dollars, line, table
from penstock.cli.server import HERE, Server
from penstock.cli.which import ALL, Which, calendar, moment
from penstock.kernel.clock import SystemClock
from penstock.kernel.errors import Invalid
from penstock.sdk.client import Client
from penstock.sdk.replies import Usage
from penstock.sdk.requests import Costs

By = Literal["org", "team", "project", "user", "key"]
DAY_CHARS = len("2026-11-20")
HOURLY_S = 3 * 86_400
"""A period up to this is drawn by hours."""


class Spent(msgspec.Struct, frozen=True, kw_only=True):
    """What one name (a level's, or a day) spent; nano-dollars."""

    name: str
    posted_nanos: int = 0
    held_nanos: int = 0
    requests: int = 0

    def plus(self, row: Usage) -> Spent:
        """Add an account."""
        return Spent(
            name=self.name,
            posted_nanos=self.posted_nanos + row.posted_nanos,
            held_nanos=self.held_nanos + row.held_nanos,
            requests=self.requests + row.requests,
        )


def usage(
    level: By | Literal["day"] = "day",
    /,
    *,
    by: Annotated[str, Parameter(show_default=False)] = "",
    since: Annotated[str, Parameter(show_default=False)] = "",
    day: Annotated[str, Parameter(show_default=False)] = "",
    which: Which = ALL,
    server: Server = HERE,
) -> None:
    """See what was spent, by day or by level, or by anything that a request is.

    Parameters
    ----------
    level
        `day` adds up the organisation day by day; a level adds up each name of it. The ledger is asked.
    by
        One or two of hour, day, org, team, project, user, key_id, feature, model, provider, outcome: `team,model`.
        The requests are asked, as with --since or a filter.
    since
        From then on: 24h or 7d ago, or a UTC time such as 2026-11-20. Without it: 30 days, 48 hours by hour.
    day
        Only this day (UTC), YYYY-MM-DD, or days that begin so, YYYY-MM.
    """
    if by or since or Which(org=which.org) != which:
        _of_requests(by or ("key_id" if level == "key" else level), since, day, which, server)
        return
    rows = server.ask(lambda client: client.usage.list(which.org))
    found = grouped(rows, level, day)
    lines = [(s.name, dollars(s.posted_nanos), dollars(s.held_nanos), s.requests) for s in found]
    drawn = bars([(s.name, s.posted_nanos) for s in found], dollars)
    people = table((level, ">spent", ">held", ">requests"), lines, empty="Nothing was spent yet.")
    server.show(found, people, *((drawn,) if found else ()))


def _of_requests(by: str, since: str, day: str, which: Which, server: Server) -> None:
    """Show what requests cost, by one or two of their features."""
    if since and day:
        raise Invalid("A period has one beginning.", field="--since", value=since, remedy="Give it or --day.")
    since_s, until_s = calendar("day", day) if day else (moment("since", since), 0.0)
    wanted = which.filter(since_s, until_s)
    names = by.split(",")

    async def read(client: Client) -> tuple[Costs, Costs]:
        costs = await client.costs.get(*names, **wanted)
        if server.json or not STEPS_S.keys().isdisjoint(names):
            return costs, costs
        length_s = (until_s or SystemClock().wall_s()) - since_s
        step = "hour" if since_s and length_s <= HOURLY_S else "day"
        return costs, await client.costs.get(step, names[0], **wanted)

    costs, over_time = server.ask(read)
    page = Page()
    width = page.width if page.is_terminal else NARROWEST_CHARS
    drawn = chart(over_time, width)
    told = [] if costs.settled_nanos is None else [line(f"The ledger says {dollars(costs.settled_nanos)}.")]
    server.show(costs, *drawn, *([line("")] if drawn else []), cost_table(costs, width), *told)


def grouped(rows: Sequence[Usage], by: str, day: str) -> list[Spent]:
    """Add up the daily accounts of one level by name, the dearest first, or the organisation's by day, in order.

    Only daily accounts count: monthly and total ones hold the same money again.
    """
    level = "org" if by == "day" else by
    sums: dict[str, Spent] = {}
    for row in rows:
        path, _, window = row.account.rpartition("@")
        kind, _, name = path.rpartition("/")[2].partition(":")
        if kind != level or len(window) != DAY_CHARS or not window.startswith(day):
            continue
        label = window if by == "day" else path.partition("/")[2] or name
        sums[label] = sums.get(label, Spent(name=label)).plus(row)
    found = list(sums.values())
    return (
        sorted(found, key=lambda s: s.name) if by == "day" else sorted(found, key=lambda s: -s.posted_nanos)
    )
