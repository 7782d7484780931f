"""`penstock cache`: what kept answers save, and having them forgotten."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter

from penstock.cli.output import dollars, facts, line
from penstock.cli.server import HERE, Server
from penstock.sdk.replies import Purge

cache = App(name="cache", help="See what kept answers save, and have them forgotten.")

Org = Annotated[str, Parameter(help="Organisation; your key's own by default.")]


@cache.command
def status(*, org: Org = "", server: Server = HERE) -> None:
    """Show how the cache serves an organisation, since the server started."""
    found = server.ask(lambda client: client.cache.status(org))
    asked = found.hits + found.misses
    rows = [
        ("organisation", found.org),
        ("served", f"{found.hits} of {asked}" + (f" ({found.hits * 100 // asked} %)" if asked else "")),
        ("served stale", str(found.stale)),
        ("kept", str(found.kept)),
        ("not kept", str(found.not_kept)),
        ("saved", dollars(found.saved_nanos)),
    ]
    rows += [(f"store: {name}", f"{figure:,}") for name, figure in (found.store or {}).items()]
    server.show(found, facts(rows))


@cache.command
def purge(
    *,
    tag: Annotated[str, Parameter(help="Only answers with this tag, e.g. doc:42.", show_default=False)] = "",
    model: Annotated[str, Parameter(help="Only answers of this model.", show_default=False)] = "",
    everything: Annotated[bool, Parameter(help="All of them.", negative="", show_default=False)] = False,
    org: Org = "",
    server: Server = HERE,
) -> None:
    """Forget answers of an organisation, on every node within a second."""
    request = Purge(org=org, tag=tag or None, model=model or None, everything=everything)
    made = server.ask(lambda client: client.cache.purge(request))
    server.show(made, line(f"{made.forgotten} forgotten here"))
