"""`penstock keys`: make, list, revoke and rotate keys of a running server, and mint one for its environment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final, Literal

import msgspec
from cyclopts import App, Parameter

from penstock.cli.limits import NONE, Limits, nanos
from penstock.cli.output import PEOPLE, Output, facts, line, table, when
from penstock.cli.server import HERE, Server
from penstock.sdk.replies import Key, KeyRequest, MadeKey
from penstock.wiring.owner import mint

keys = App(name="keys", help="Make, list, revoke and rotate keys.")

DAY_S = 86_400
Org = Annotated[str, Parameter(help="Organisation; your key's own by default.", show_default=False)]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Whose:
    """Where a key belongs."""

    org: Annotated[str, Parameter(help="Organisation it belongs to.")] = "default"
    team: Annotated[str, Parameter(help="Team it belongs to.")] = "default"
    project: Annotated[str, Parameter(help="Project it belongs to.")] = "default"
    user: Annotated[str, Parameter(help="User it belongs to.")] = "default"
    end_users: Annotated[
        bool, Parameter(help="Let requests name the user they act for.", negative="", show_default=False)
    ] = False


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class PerRequest:
    """Bounds on each request."""

    max_input_tokens: Annotated[int, Parameter(help="Longest prompt.", show_default=False)] = 0
    max_output_tokens: Annotated[int, Parameter(help="Longest answer.", show_default=False)] = 0
    max_request: Annotated[
        str, Parameter(help="Dollars that one request may cost at worst.", show_default=False)
    ] = "0"


DEFAULT: Final = Whose()
UNBOUNDED: Final = PerRequest()


@keys.command
def create(
    name: str = "",
    *,
    whose: Whose = DEFAULT,
    role: Literal["caller", "admin", "owner"] = "caller",
    model: Annotated[list[str] | None, Parameter(negative="")] = None,
    expires_days: Annotated[int, Parameter(show_default=False)] = 0,
    limits: Limits = NONE,
    bounds: PerRequest = UNBOUNDED,
    server: Server = HERE,
) -> None:
    """Make a key. Its token is shown once, now.

    Parameters
    ----------
    name
        A note on what it is for.
    role
        `admin` manages its organisation, `owner` all of them.
    model
        A model it may use; repeat for more. None given: every model.
    expires_days
        Days it lives; not given: until it is revoked.
    """
    request = KeyRequest(
        org=whose.org,
        team=whose.team,
        project=whose.project,
        user=whose.user,
        name=name,
        role=role,
        models=tuple(model or ()),
        rate=limits.rate(),
        caps=limits.caps(),
        max_input_tokens=bounds.max_input_tokens,
        max_output_tokens=bounds.max_output_tokens,
        max_request_nanos=nanos("max-request", bounds.max_request),
        expires_in_s=expires_days * DAY_S,
        end_users=whose.end_users,
    )
    _show_made(server.ask(lambda client: client.keys.create(request)), server)


@keys.command(name="list")
def show(*, org: Org = "", server: Server = HERE) -> None:
    """List the keys of an organisation, without their tokens."""
    found = server.ask(lambda client: client.keys.list(org))
    columns = ("id", "name", "role", "team", "project", "user", "made", "state")
    rows = [(k.id, k.name, k.role, k.team, k.project, k.user, when(k.created_s), _state(k)) for k in found]
    server.show(found, table(columns, rows, empty="There is no key yet."))


@keys.command
def revoke(key_id: str, *, server: Server = HERE) -> None:
    """Revoke a key, everywhere within a second.

    Parameters
    ----------
    key_id
        The 12 characters after `pen-`.
    """
    key = server.ask(lambda client: client.keys.revoke(key_id))
    server.show(key, line(f"revoked {key.id} ({key.name or 'no name'}) at {when(key.revoked_s)}"))


@keys.command
def rotate(key_id: str, *, overlap_s: int = 3600, server: Server = HERE) -> None:
    """Make a key with the same rights; the old one goes on for a while.

    Parameters
    ----------
    key_id
        The 12 characters after `pen-` of the old key.
    overlap_s
        Seconds that the old key goes on.
    """
    _show_made(server.ask(lambda client: client.keys.rotate(key_id, overlap_s=overlap_s)), server)


@keys.command(name="mint")
def mint_key(*, output: Output = PEOPLE) -> None:
    """Print a strong token for PENSTOCK_ADMIN_KEY. Nothing is stored and no server is asked."""
    token = mint()
    output.show({"token": token}, line(token))


def _show_made(made: MadeKey, server: Server) -> None:
    server.show(
        msgspec.to_builtins(made),
        facts(
            (
                ("key", made.key.id),
                ("role", made.key.role),
                ("expires", when(made.key.expires_s, never="never")),
            )
        ),
        line("token, shown only now:"),
        line(made.token),
    )


def _state(key: Key) -> str:
    if key.revoked_s:
        return f"revoked {when(key.revoked_s)}"
    return f"expires {when(key.expires_s)}" if key.expires_s else "alive"
