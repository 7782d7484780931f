"""`penstock teams`: limits and budgets of organisations, teams, projects and users."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import App, Parameter
from rich.console import RenderableType

from penstock.cli.limits import NO_USER, NONE, Limits, UserLimits
from penstock.cli.output import dollars, line, table
from penstock.cli.server import HERE, Server
from penstock.kernel.context import Cap, Rate
from penstock.sdk.client import Client
from penstock.sdk.replies import ScopeLimits, ScopeRequest

teams = App(
    name="teams", help="Set and list the limits and budgets of organisations, teams, projects and users."
)

Level = Literal["org", "team", "project", "user"]
LEVELS: tuple[Level, ...] = ("org", "team", "project", "user")


@teams.command(name="set")
def put(
    level: Level,
    name: str,
    *,
    org: str = "default",
    team: str = "default",
    limits: Limits = NONE,
    users: UserLimits = NO_USER,
    server: Server = HERE,
) -> None:
    """Set what one level may use. It replaces what was set there: what is not given is not limited.

    Parameters
    ----------
    level
        Which kind of level.
    name
        Its name.
    org
        Organisation it is in.
    team
        Team it is in; for a project.
    """
    above: dict[str, str] = {"org": org, "team": team}
    above[level] = name
    request = ScopeRequest(
        level=level,
        rate=limits.rate(),
        caps=limits.caps(),
        user_rate=users.rate(),
        user_caps=users.caps(),
        **above,
    )
    made = server.ask(lambda client: client.scopes.put(request))
    server.show(made, line(made.path), _table([made]))


@teams.command(name="list")
def show(
    level: Annotated[Level | None, Parameter(show_default=False)] = None,
    *,
    org: str = "",
    server: Server = HERE,
) -> None:
    """List the levels that have limits.

    Parameters
    ----------
    level
        Only this kind of level.
    org
        Organisation; your key's own by default.
    """

    async def collect(client: Client) -> list[ScopeLimits]:
        wanted = LEVELS if level is None else (level,)
        return [scope for each in wanted for scope in await client.scopes.list(each, org)]

    found = server.ask(collect)
    server.show(found, _table(found))


def _table(scopes: list[ScopeLimits]) -> RenderableType:
    columns = ("path", "budgets", "rates", "budgets of each user", "rates of each user")
    rows = [(s.path, _caps(s.caps), _rate(s.rate), _caps(s.user_caps), _rate(s.user_rate)) for s in scopes]
    return table(columns, rows, empty="Nothing is limited yet: `penstock teams set team search --day 5.00`.")


def _caps(caps: tuple[Cap, ...]) -> str:
    return ", ".join(f"{dollars(c.limit_nanos)}/{c.window}{'' if c.hard else ' soft'}" for c in caps) or "-"


def _rate(rate: Rate) -> str:
    per = " in any minute" if rate.window else "/min"
    parts = (
        (rate.requests_per_minute, f"requests{per}"),
        (rate.tokens_per_minute, f"tokens{per}"),
        (rate.concurrency, "at once"),
    )
    return ", ".join(f"{amount:,} {unit}" for amount, unit in parts if amount) or "-"
