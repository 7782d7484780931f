"""Whether somebody who was let in some time ago would be let in again now: for what stays open.

Promises: a session that was ended, ran out or whose person was disabled, a key that was revoked or ran out, and
whoever may no longer do this or reaches elsewhere by now, is out; asking is no use of a session, so a page left open
does not keep it alive; a store that cannot be asked raises Unavailable, so that nobody is let in for want of an answer.
"""

from __future__ import annotations

from penstock.edge.caller import Caller
from penstock.gateway.management.parts import Management
from penstock.kernel.context import Principal
from penstock.mechanisms.roles import Action, may, reach_of
from penstock.mechanisms.sessions import Visit


async def still_may(api: Management, caller: Caller, action: Action) -> bool:
    """Tell whether the caller may still do `action`, and reaches as far as when it came in."""
    if caller.visit is not None:
        now = await _person_now(api, caller, caller.visit)
    elif caller.kind == "key":
        now = await _key_now(api, caller.principal)
    else:
        now = _machine_now(api, caller)
    return now is not None and may(now.role, action) and reach_of(now) == reach_of(caller.principal)


async def _person_now(api: Management, caller: Caller, visit: Visit) -> Principal | None:
    known = api.sessions.known(caller.token)
    if known is not None:
        return known.principal
    person = await api.people.person(visit.person.id)
    if person is None:
        return None
    living = await api.sessions.of_person(person.id)
    if all(each.id != visit.session.id for each in living):
        return None
    return Principal(
        key_id=visit.session.id,
        org=person.org,
        team=person.team,
        project="",
        user=person.id,
        role=person.role,
    )


async def _key_now(api: Management, principal: Principal) -> Principal | None:
    doc = await api.tenancy.key(principal.key_id)
    if doc is None or any(0 < end_s <= api.clock.wall_s() for end_s in (doc.revoked_s, doc.expires_s)):
        return None
    return Principal(
        key_id=doc.id, org=doc.org, team=doc.team, project=doc.project, user=doc.user, role=doc.role
    )


def _machine_now(api: Management, caller: Caller) -> Principal | None:
    """A machine's token says itself how long it holds."""
    until_s = caller.principal.expires_at_s
    return caller.principal if caller.kind == "machine" and api.clock.wall_s() < until_s else None
