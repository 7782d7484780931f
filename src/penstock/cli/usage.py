"""`penstock usage`: what was spent, as a table and as bars."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from cyclopts import Parameter

from penstock.cli.output import bars, dollars, table
from penstock.cli.server import HERE, Server
from penstock.sdk.replies import Usage

By = Literal["org", "team", "project", "user", "key"]
DAY_CHARS = len("2026-11-20")


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
    by: By | Literal["day"] = "day",
    *,
    day: str = "",
    org: Annotated[str, Parameter(help="Organisation; your key's own by default.")] = "",
    server: Server = HERE,
) -> None:
    """See what was spent, by day or by level.

    Parameters
    ----------
    by
        `day` adds up the organisation day by day; a level adds up each name of it.
    day
        Only this day (UTC), YYYY-MM-DD, or days that begin so, YYYY-MM.
    """
    rows = server.ask(lambda client: client.usage(org))
    found = grouped(rows, by, day)
    columns = ("day" if by == "day" else by, ">spent", ">held", ">requests")
    lines = [(s.name, dollars(s.posted_nanos), dollars(s.held_nanos), s.requests) for s in found]
    chart = bars([(s.name, s.posted_nanos) for s in found], dollars)
    server.show(found, table(columns, lines, empty="Nothing was spent yet."), *((chart,) if found else ()))


def grouped(rows: list[Usage], by: str, day: str) -> list[Spent]:
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
