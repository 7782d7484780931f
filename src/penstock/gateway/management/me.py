"""Who is asking, and what they may do: what a page or a program looks at first.

Promise: `may` is the table of roles itself, so a page that hides what is not in it hides nothing that would work.
"""

from __future__ import annotations

from typing import Literal, cast

from penstock.gateway.management.parts import Api
from penstock.gateway.management.people_models import Me
from penstock.gateway.management.policy import By, Open, Routes
from penstock.mechanisms.roles import Action, may

ROUTES = Routes("me")


@ROUTES.add("GET", "/me", needs=Open.AUTHENTICATED)
async def me(by: By, api: Api) -> Me:
    """Tell who is asking: a key, a person, or a machine by its own token."""
    who, visit = by.principal, by.visit
    return Me(
        kind=cast("Literal['key', 'person', 'machine']", by.kind),
        id=visit.person.id if visit else who.key_id,
        name=by.name,
        email=visit.person.email if visit else "",
        org=who.org,
        team=who.team,
        project=who.project,
        user=who.user,
        role=who.role,
        may=[action.value for action in Action if may(who.role, action)],
        csrf=api.sessions.csrf_token(by.token) if visit else "",
    )
