"""`penstock audit`: questions to the audit of requests."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter

from penstock.cli.output import line, table
from penstock.cli.server import HERE, Server
from penstock.cli.which import moment
from penstock.sdk.oversight import AuditQuery

audit = App(name="audit", help="Ask the audit of requests, in SQL.")


@audit.command
def query(
    sql: str,
    /,
    *,
    since: Annotated[str, Parameter(show_default=False)] = "",
    until: Annotated[str, Parameter(show_default=False)] = "",
    org: Annotated[str, Parameter(help="Organisation; your key's own by default.")] = "",
    server: Server = HERE,
) -> None:
    """Answer one SELECT about the table `audit`. The server needs `[lake] store = true`.

    Parameters
    ----------
    sql
        E.g. "select team, sum(cost_nanos) from audit group by team".
    since
        The first day: 30d ago, or a UTC day such as 2026-11-20. Without it: the last seven days.
    until
        The last day.
    """
    request = AuditQuery(sql=sql, since_s=moment("since", since), until_s=moment("until", until), org=org)
    found = server.ask(lambda client: client.audit.query(request))
    rows = [tuple("" if value is None else str(value) for value in row) for row in found.rows]
    more = [line("There is more: ask for less, or with LIMIT.")] if found.truncated else []
    server.show(found, table(found.columns, rows, empty="No record matches."), *more)
