"""`penstock alerts`: what needs looking at, and trying out who is told of it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated

from cyclopts import App, Parameter
from rich.console import RenderableType

from penstock.cli.output import line, table
from penstock.cli.server import HERE, Server
from penstock.sdk.oversight import AlertView

alerts = App(name="alerts", help="See what needs looking at, and try who is told of it.")

Org = Annotated[str, Parameter(help="Organisation; your key's own by default, an owner's key shows all.")]


@alerts.default
def show(
    *,
    past: Annotated[bool, Parameter(help="Those resolved, too.", negative="", show_default=False)] = False,
    org: Org = "",
    server: Server = HERE,
) -> None:
    """Show what stands now."""
    found = server.ask(lambda client: client.alerts.list(org))
    parts = [_table(found.standing, empty="Nothing needs looking at.")]
    if past:
        parts.append(_table(found.past, empty="Nothing was resolved."))
    server.show(found, *parts)


@alerts.command(name="test")
def try_out(*, org: Org = "", server: Server = HERE) -> None:
    """Send a message to everybody who is told of an organisation."""
    made = server.ask(lambda client: client.alerts.test(org))
    server.show(made, line(f"A message is on its way to {made.targets} of them."))


def _table(found: Iterable[AlertView], empty: str) -> RenderableType:
    rows = [
        (each.state, each.severity, _at(each.resolved_s or each.fired_s or each.began_s), each.org, each.text)
        for each in found
    ]
    return table(("state", "severity", "since", "org", "what"), rows, empty=empty)


def _at(at_s: float) -> str:
    return f"{datetime.fromtimestamp(at_s, UTC):%Y-%m-%d %H:%M}"
