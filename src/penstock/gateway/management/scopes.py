"""Scopes: the limits and budgets of organisations, teams, projects and users.

Promises: a team-admin divides the team among its projects, whose size is set from above; a level out of reach looks
like one that nobody configured; what was changed meanwhile is not overwritten; every write is audited with it.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from fastapi import Query
from pydantic import BaseModel, Field

from penstock.gateway.management.bodies import Body, CapBody, Caps, Label, Name, RateBody, caps_of
from penstock.gateway.management.parts import Api, Management
from penstock.gateway.management.policy import By, Routes, must_may
from penstock.gateway.management.reach import After, Limit, Org, must_hold, must_reach, page
from penstock.kernel.context import Principal
from penstock.kernel.errors import NotFound
from penstock.mechanisms.roles import Action, reach_of
from penstock.mechanisms.scopes import ScopeDoc, scope_paths

ROUTES = Routes("limits")
Level = Literal["org", "team", "project", "user"]
LEVELS: Final[tuple[Level, ...]] = ("org", "team", "project", "user")
Part = Annotated[str, Query(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._-]+$")]


class ScopeBody(Body):
    """Limits of one level of the tenancy path. Name the level and every name above it."""

    level: Level
    org: Name = "default"
    team: Name = "default"
    project: Name = "default"
    user: Name = "default"
    name: Label = ""
    rate: RateBody = RateBody()
    caps: Caps = Field([])
    user_rate: RateBody = RateBody()
    user_caps: Caps = Field([])


class ScopeView(BaseModel):
    """A level with its limits, and the defaults for users first seen below it."""

    path: str
    level: str
    name: str
    rate: RateBody
    caps: list[CapBody]
    user_rate: RateBody
    user_caps: list[CapBody]


@ROUTES.add("PUT", "/scopes", needs=Action.WRITE_PROJECT_LIMITS, besides=[Action.WRITE_LIMITS])
async def put_scope(body: ScopeBody, by: By, api: Api) -> ScopeView:
    """Set the limits and budgets of an organisation, team, project or user."""
    must_reach(by.principal, body.org)
    if body.level != "project":
        must_may(by, Action.WRITE_LIMITS)
    else:
        must_hold(by.principal, body.org, body.team)
    doc = ScopeDoc(
        path=_path(body.level, body.org, body.team, body.project, body.user),
        level=body.level,
        name=body.name,
        rate=body.rate.rate(),
        caps=caps_of(body.caps),
        user_rate=body.user_rate.rate(),
        user_caps=caps_of(body.user_caps),
    )
    await api.tenancy.put_scope(body.org, doc, by=by.author())
    return scope_view(doc)


@ROUTES.add("GET", "/scopes", needs=Action.READ_LIMITS)
async def list_scopes(
    level: Level, by: By, api: Api, org: Org = "", after: After = "", limit: Limit = 100
) -> list[ScopeView]:
    """List the configured scopes of one level that the caller reaches, in order of their paths."""
    own = must_reach(by.principal, org)
    return [scope_view(doc) for doc in await scopes_in_reach(api, by.principal, own, level, after, limit)]


@ROUTES.add("GET", "/scopes/one", needs=Action.READ_LIMITS, refuses=[404])
async def read_scope(
    level: Level,
    by: By,
    api: Api,
    *,
    org: Org = "",
    team: Part = "default",
    project: Part = "default",
    user: Part = "default",
) -> ScopeView:
    """Show one configured scope. Name the level and every name above it."""
    own = must_reach(by.principal, org)
    path = _path(level, own, team, project, user)
    doc = await api.tenancy.scope(own, path)
    if doc is None or not _holds(by.principal, own, doc):
        raise NotFound("Nobody set limits there.", field="scope", value=path)
    return scope_view(doc)


async def scopes_in_reach(
    api: Management, principal: Principal, org: str, level: str, after: str, limit: int
) -> list[ScopeDoc]:
    """Return a page of an organisation's configured scopes of one level that the caller reaches."""
    return await page(
        lambda last, most: api.tenancy.scopes(org, level, last, most),
        lambda doc: _holds(principal, org, doc),
        lambda doc: doc.path,
        after,
        limit,
    )


def _holds(principal: Principal, org: str, doc: ScopeDoc) -> bool:
    """Tell whether a caller reaches a scope. A user is one per organisation, in no team: others' are for its admins."""
    reach = reach_of(principal)
    if (
        doc.level == "user"
        and principal.org == org
        and doc.path == _path("user", org, "", "", principal.user)
    ):
        return True
    _, _, under_team = doc.path.partition("/team:")
    return reach.holds(org, under_team.partition("/")[0])


def _path(level: Level, org: str, team: str, project: str, user: str) -> str:
    return dict(scope_paths(org, team, project, user, ""))[level]


def scope_view(doc: ScopeDoc) -> ScopeView:
    """Return a scope as it is shown."""
    return ScopeView.model_validate(msgspec.to_builtins(doc))
