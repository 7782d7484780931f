"""`penstock changes`: who changed what."""

from __future__ import annotations

from typing import Annotated

import msgspec
from cyclopts import Parameter

from penstock.cli.output import line, table
from penstock.cli.server import HERE, Server
from penstock.console.formats import moment
from penstock.sdk.people import ChangeView


def changes(
    *,
    org: Annotated[str, Parameter(help="Organisation; your key's own by default.", show_default=False)] = "",
    actor: Annotated[str, Parameter(help="Only by whoever has this id.", show_default=False)] = "",
    subject: Annotated[str, Parameter(help="Only of this.", show_default=False)] = "",
    action: Annotated[str, Parameter(help="Only this kind of change.", show_default=False)] = "",
    limit: Annotated[int, Parameter(help="How many at most, up to 1000.")] = 50,
    after: Annotated[str, Parameter(help="Go on after this change.", show_default=False)] = "",
    verify: Annotated[bool, Parameter(help="Hold them to their seals instead.", negative=())] = False,
    head: Annotated[str, Parameter(help="With --verify: a head noted earlier.", show_default=False)] = "",
    server: Server = HERE,
) -> int:
    """See who changed what, with what was before and after.

    The latest is first.
    """
    if verify:
        return _verified(org, head, server)
    found = server.ask(
        lambda client: client.changes.list(
            org=org, actor=actor, subject=subject, action=action, limit=limit, after=after
        )
    )
    rows = [
        (moment(each.at_s), f"{each.actor_name or each.actor_id} ({each.actor_role})", each.action, each.subject,
         _difference(each))
        for each in found
    ]  # fmt: skip
    more = [line(f"more: --after {found[-1].id}", "dim")] if len(found) == limit else []
    heads = ("when (UTC)", "who", "did", "to", "what")
    server.show(found, table(heads, rows, empty="Nobody changed anything yet."), *more)
    return 0


def _verified(org: str, head: str, server: Server) -> int:
    """Show whether changes are as they were made; returns 1 when they are not."""
    found = server.ask(lambda client: client.changes.verify(org=org, head=head))
    told = f"{found.rows} changes, {found.seals} seals, {found.unsealed} of the last minute not sealed yet"
    server.show(
        found,
        line(told),
        line(f"head: {found.head or 'none yet'}", "dim"),
        *[line(problem, "red") for problem in found.problems],
    )
    return 1 if found.problems else 0


def _difference(change: ChangeView) -> str:
    """Return what is another than before, member by member; of what was made, what is not empty."""
    before, after = change.before, change.after
    if not isinstance(after, dict):
        return "" if after is None else _word(after)
    if not isinstance(before, dict):
        return ", ".join(f"{name}: {_word(value)}" for name, value in after.items() if value)
    names = [name for name in after if before.get(name) != after[name]]
    return ", ".join(f"{name}: {_word(before.get(name))} → {_word(after[name])}" for name in names)


def _word(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
