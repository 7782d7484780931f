"""`penstock budgets`: what every budget has left."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter

from penstock.cli.output import dollars, table
from penstock.cli.server import HERE, Server
from penstock.sdk.replies import Budget

budgets = App(name="budgets", help="See what every budget has left.")


@budgets.command(name="list")
def show(
    *,
    org: Annotated[str, Parameter(help="Organisation; your key's own by default.")] = "",
    server: Server = HERE,
) -> None:
    """List every budget of an organisation, the fullest first."""
    found = sorted(server.ask(lambda client: client.budgets.list(org)), key=_room_left)
    columns = ("account", "window", ">limit", ">spent", ">held", ">room", ">used", "")
    rows = [
        (
            b.account, b.window, dollars(b.limit_nanos), dollars(b.posted_nanos), dollars(b.held_nanos),
            dollars(b.room_nanos), _used(b), "" if b.hard else "soft",
        )
        for b in found
    ]  # fmt: skip
    server.show(
        found,
        table(columns, rows, empty="There is no budget yet: `penstock teams set team search --day 5.00`."),
    )


def _room_left(budget: Budget) -> int:
    """Parts per million of a budget that are left; a budget of nothing is full."""
    return budget.room_nanos * 1_000_000 // budget.limit_nanos if budget.limit_nanos else 0


def _used(budget: Budget) -> str:
    if not budget.limit_nanos:
        return "full"
    return f"{(budget.posted_nanos + budget.held_nanos) * 100 // budget.limit_nanos} %"
