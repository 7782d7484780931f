"""`penstock costs`: what to charge whom, and what the month comes to."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from penstock.cli.output import dollars, facts, line, verbatim
from penstock.cli.server import HERE, Server

costs = App(name="costs", help="See what to charge whom, and what the month comes to.")

Org = Annotated[str, Parameter(help="Organisation; your key's own by default.")]


@costs.command
def chargeback(
    *,
    since: Annotated[str, Parameter(help="First day, YYYY-MM-DD (UTC).")],
    until: Annotated[str, Parameter(help="Last day.")],
    out: Annotated[
        Path | None, Parameter(help="File to write; without it, standard output.", show_default=False)
    ] = None,
    org: Org = "",
    server: Server = HERE,
) -> None:
    """Write what each team, project, user and model cost on each day, as CSV; its sum is the ledger's."""
    text = server.ask(lambda client: client.costs.chargeback(since, until, org))
    if out is None:
        server.show({"csv": text}, verbatim(text))
        return
    out.write_text(text, encoding="utf-8", newline="")
    server.show({"file": str(out), "rows": text.count("\n") - 1}, line(f"Written to {out}."))


@costs.command
def forecast(*, org: Org = "", server: Server = HERE) -> None:
    """Show what the day and the month (UTC) come to at the pace of the last 24 hours."""
    found = server.ask(lambda client: client.costs.forecast(org))
    rows = [
        ("organisation", found.org),
        ("today so far", dollars(found.today_nanos)),
        ("today at its end", dollars(found.today_end_nanos)),
        ("this month so far", dollars(found.month_nanos)),
        ("this month at its end", dollars(found.month_end_nanos)),
    ]
    server.show(found, facts(rows))
