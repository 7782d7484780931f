"""`penstock contents`: what is known of prompts and answers, reading what was kept, and having it forgotten."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter

from penstock.cli.output import facts, line, table
from penstock.cli.server import HERE, Server
from penstock.sdk.contents import ContentDecision, Forgetting

contents = App(
    name="contents", help="Decide what is known of prompts and answers, read what was kept, forget."
)

Org = Annotated[str, Parameter(help="Organisation; your key's own by default.", show_default=False)]


@contents.command
def rules(*, org: Org = "", server: Server = HERE) -> None:
    """Show what an organisation's teams let be known of their contents."""
    found = server.ask(lambda client: client.contents.rules(org))
    rows = [(each.team or "(every other)", each.mode) for each in found.rules]
    known = [("organisation", found.org), ("most known here", found.most), ("without a rule", found.default)]
    server.show(found, facts(known), table(("team", "lets be known"), rows, empty="No team has a rule."))


@contents.command(name="set")
def decide(
    mode: Annotated[str, Parameter(help="none, hash (keyed, in the audit) or full.")],
    *,
    team: Annotated[
        str, Parameter(help="Team; every one without a rule by default.", show_default=False)
    ] = "",
    org: Org = "",
    server: Server = HERE,
) -> None:
    """Decide what a team lets be known of its contents."""
    request = ContentDecision(org=org, team=team, mode=mode)
    made = server.ask(lambda client: client.contents.decide(request))
    server.show(made, line(f"{made.team or 'Every team without a rule'}: {made.mode}"))


@contents.command
def read(request_id: str, *, org: Org = "", server: Server = HERE) -> None:
    """Show what was asked and answered in one request; that you read it is written down."""
    found = server.ask(lambda client: client.contents.read(request_id, org))
    whose = [
        ("request", found.request_id),
        ("team", found.team),
        ("user", found.user),
        ("dialect", found.face),
    ]
    server.show(found, facts(whose), line(found.prompt), line(found.answer or "(no answer)"))


@contents.command
def forget(
    *,
    user: Annotated[str, Parameter(help="Only this user's.", show_default=False)] = "",
    everything: Annotated[bool, Parameter(help="All of them.", negative="", show_default=False)] = False,
    org: Org = "",
    server: Server = HERE,
) -> None:
    """Make contents unreadable for ever, for everybody. Records and figures stay."""
    request = Forgetting(org=org, user=user or None, everything=everything)
    made = server.ask(lambda client: client.contents.forget(request))
    server.show(made, line(f"{made.keys} keys are gone, and what they had sealed."))
