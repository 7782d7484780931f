"""People: invited, changed, disabled and let in again by whoever reaches and outranks them.

Promises: nobody gives a role above their own or changes somebody who has one; a person out of reach looks like nobody;
the token of a link is in the one reply that made it; every write is audited with it, and what was changed meanwhile is
not overwritten.
"""

from __future__ import annotations

from penstock.edge.caller import Caller
from penstock.gateway.management.parts import Api, Management
from penstock.gateway.management.people_models import (
    InviteBody,
    Invited,
    PersonPatch,
    PersonView,
    SessionView,
    person_view,
    session_view,
)
from penstock.gateway.management.policy import By, Routes, must_may
from penstock.gateway.management.reach import After, Id, Limit, Org, must_hold, must_reach, page
from penstock.kernel.errors import Forbidden, Invalid, NotFound
from penstock.mechanisms.persons import Person
from penstock.mechanisms.roles import Action, Role, may_grant, reach_of

ROUTES = Routes("people")


@ROUTES.add("GET", "/people", needs=Action.READ_PEOPLE)
async def list_people(
    by: By, api: Api, org: Org = "", after: After = "", limit: Limit = 100
) -> list[PersonView]:
    """List the people of an organisation that the caller reaches, in order of their ids."""
    own, reach = must_reach(by.principal, org), reach_of(by.principal)
    found = await page(
        lambda last, most: api.people.of_org(own, after=last, limit=most),
        lambda person: reach.holds(person.org, person.team, person.id),
        lambda person: person.id,
        after,
        limit,
    )
    return [person_view(person) for person in found]


@ROUTES.add("POST", "/people", needs=Action.WRITE_PEOPLE, status_code=201)
async def invite(body: InviteBody, by: By, api: Api) -> Invited:
    """Add a person; the link that lets them in is shown only in this reply."""
    org, team = body.org or by.principal.org, body.team or by.principal.team
    must_hold(by.principal, org, team)
    _must_grant(by, body.role)
    person, token = await api.people.invite(by.author(), body.email, body.name, body.role, org=org, team=team)
    return Invited(person=person_view(person), link_token=token)


@ROUTES.add("PATCH", "/people/{person_id}", needs=Action.WRITE_PEOPLE)
async def change_person(person_id: Id, body: PersonPatch, by: By, api: Api) -> PersonView:
    """Change a person's role, team or name; felt by their sessions within a second."""
    before = await own_person(api, by, person_id)
    given = {name: str(getattr(body, name)) for name in body.model_fields_set}
    if not given:
        raise Invalid("There is nothing to change.", field="body", remedy="Give at least one member.")
    if "role" in given:
        _must_grant(by, body.role)
    if "team" in given:
        must_hold(by.principal, before.org, body.team)
    return person_view(await api.people.change(by.author(), person_id, **given))


@ROUTES.add("POST", "/people/{person_id}/link", needs=Action.WRITE_PEOPLE)
async def new_link(person_id: Id, by: By, api: Api) -> Invited:
    """Make a new link for somebody invited, or who forgot the password; earlier links end."""
    token = await api.people.invite_again(by.author(), person_id)
    return Invited(person=person_view(await own_person(api, by, person_id)), link_token=token)


@ROUTES.add("POST", "/people/{person_id}/disable", needs=Action.WRITE_PEOPLE)
async def disable_person(person_id: Id, by: By, api: Api) -> PersonView:
    """Let somebody in no more: their sessions end everywhere within a second, their links at once."""
    return person_view(await api.people.disable(by.author(), person_id))


@ROUTES.add("POST", "/people/{person_id}/enable", needs=Action.WRITE_PEOPLE)
async def enable_person(person_id: Id, by: By, api: Api) -> PersonView:
    """Let somebody disabled in again."""
    return person_view(await api.people.enable(by.author(), person_id))


@ROUTES.add("GET", "/people/{person_id}/sessions", needs=Action.READ_PEOPLE, besides=[Action.WRITE_PEOPLE])
async def list_sessions_of(person_id: Id, by: By, api: Api) -> list[SessionView]:
    """List somebody's living sessions: one's own, or of whom one may write."""
    person = await own_person(api, by, person_id)
    own = by.visit
    if own is None or own.person.id != person.id:
        must_may(by, Action.WRITE_PEOPLE)
    current = own.session.id if own else ""
    return [session_view(session, current) for session in await api.sessions.of_person(person.id)]


@ROUTES.add("DELETE", "/people/{person_id}/sessions", needs=Action.WRITE_PEOPLE)
async def end_sessions(person_id: Id, by: By, api: Api) -> PersonView:
    """End every session of somebody, everywhere within a second."""
    return person_view(await api.people.end_sessions(by.author(), person_id))


async def own_person(api: Management, by: Caller, person_id: str) -> Person:
    """Return a person of the caller's reach, or raise NotFound (the same for absent and foreign)."""
    person = await api.people.person(person_id)
    if person is None or not reach_of(by.principal).holds(person.org, person.team, person.id):
        raise NotFound("There is no such person.", field="person", value=person_id)
    return person


def _must_grant(by: Caller, role: str) -> None:
    """Raise Forbidden, naming what the caller may give, unless it may give `role`."""
    if not may_grant(by.principal.role, role):
        given = sorted(each for each in Role if may_grant(by.principal.role, each))
        raise Forbidden("Your role may not give this role.", field="role", value=role, limit=", ".join(given))
