"""`penstock alerts`: what needs looking at, and trying out who is told of it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated

from cyclopts import App, Parameter
from rich.console import RenderableType

from penstock.cli.output import line, table
from penstock.cli.server import HERE, Server
from penstock.console.formats import count
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


@alerts.command
def rules(*, server: Server = HERE) -> None:
    """Show when each alert fires; limits are in the unit of its rule (docs/reference/settings.md, alerts)."""
    found = server.ask(lambda client: client.alerts.rules())
    rows = [
        (each.rule, "off" if each.off else count(each.limit), each.severity, each.runbook) for each in found
    ]
    server.show(found, table(("rule", ">above", "severity", "what to do"), rows, empty="There is no rule."))


@alerts.command
def messages(*, org: Org = "", server: Server = HERE) -> None:
    """Show who is told, and what became of the latest messages."""
    found = server.ask(lambda client: client.alerts.deliveries(org))
    targets = [
        (each.name, each.form, "signed" if each.signed else "not signed", ", ".join(each.orgs) or "all")
        for each in found.targets
    ]
    rows = [
        (_at(each.at_s), each.target, each.state, str(each.attempts), each.text, each.failure)
        for each in found.deliveries
    ]
    server.show(
        found,
        table(("target", "form", "", "organisations"), targets, empty="Nobody is told: name a [[webhooks]]."),
        table(("when", "to", "state", ">attempts", "what", "why not"), rows, empty="No message yet."),
    )


def _table(found: Iterable[AlertView], empty: str) -> RenderableType:
    rows = [
        (each.state, each.severity, _at(each.resolved_s or each.fired_s or each.began_s), each.org, each.text)
        for each in found
    ]
    return table(("state", "severity", "since", "org", "what"), rows, empty=empty)


def _at(at_s: float) -> str:
    return f"{datetime.fromtimestamp(at_s, UTC):%Y-%m-%d %H:%M}"
