"""`penstock people`: those who sign in to the console."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from cyclopts import App, Parameter

from penstock.cli.output import facts, line, table, when
from penstock.cli.server import HERE, Server
from penstock.sdk.people import Invited, InviteRequest, PersonView

people = App(name="people", help="List and invite those who sign in, make links, disable and enable.")

Role = Literal["owner", "admin", "team-admin", "developer", "reviewer", "auditor"]


@people.command(name="list")
def show(
    *,
    org: Annotated[str, Parameter(help="Organisation; your key's own by default.", show_default=False)] = "",
    server: Server = HERE,
) -> None:
    """List everybody within reach."""
    found = server.ask(lambda client: client.people.list(org))
    columns = ("id", "email", "name", "role", "team", "state", "last seen")
    rows = [
        (
            each.id,
            each.email,
            each.name,
            each.role,
            each.team,
            each.state,
            when(each.last_seen_s, never="never"),
        )
        for each in found
    ]
    server.show(found, table(columns, rows, empty="Nobody yet: `penstock people invite EMAIL NAME`."))


@people.command
def invite(
    email: str,
    name: str,
    *,
    role: Role = "developer",
    org: Annotated[str, Parameter(help="Organisation; your own by default.", show_default=False)] = "",
    team: Annotated[str, Parameter(help="Team; your own by default.", show_default=False)] = "",
    server: Server = HERE,
) -> None:
    """Invite somebody. The link that lets them in works once, and is shown once, now.

    Parameters
    ----------
    email
        What they will sign in with.
    name
        What they are called.
    role
        What they may do.
    """
    request = InviteRequest(email=email, name=name, role=role, org=org, team=team)
    _show_invited(server.ask(lambda client: client.people.invite(request)), server)


@people.command
def link(person_id: str, *, server: Server = HERE) -> None:
    """Make somebody a new one-time link, to set a password anew; an older one stops working.

    Parameters
    ----------
    person_id
        As `penstock people list` names them.
    """
    _show_invited(server.ask(lambda client: client.people.link(person_id)), server)


@people.command
def disable(person_id: str, *, server: Server = HERE) -> None:
    """Shut somebody out; their sessions end at once.

    Parameters
    ----------
    person_id
        As `penstock people list` names them.
    """
    _show_person(server.ask(lambda client: client.people.disable(person_id)), server)


@people.command
def enable(person_id: str, *, server: Server = HERE) -> None:
    """Let somebody in again.

    Parameters
    ----------
    person_id
        As `penstock people list` names them.
    """
    _show_person(server.ask(lambda client: client.people.enable(person_id)), server)


def _show_person(person: PersonView, server: Server) -> None:
    server.show(person, line(f"{person.id} ({person.email}) is {person.state}"))


def _show_invited(invited: Invited, server: Server) -> None:
    url = f"{server.address().rstrip('/')}/console/link?token={invited.link_token}"
    person = invited.person
    server.show(
        {**msgspec.to_builtins(invited), "link": url},
        facts(
            (("person", person.id), ("email", person.email), ("role", person.role), ("state", person.state))
        ),
        line("link, shown only now:"),
        line(url),
    )
