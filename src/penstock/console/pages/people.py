"""People: who signs in, invited and changed by whoever may; a link that lets somebody in is shown once.

Promises: what a role may not do is not offered, and refused by the platform all the same; a form that came back wrong
holds what was typed; nobody shuts themselves out by a click.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, urlencode

from starlette.responses import Response

from penstock.console.filters import VALUE_CHARS_MAX, Sought
from penstock.console.inputs import FORM_ERRORS, Reading, fingerprint, must_be_seen
from penstock.console.limits import place_problem
from penstock.console.pages.keys import org_query
from penstock.console.roles import ROLES, WHO_MAY, fixed_for, grants_of
from penstock.console.security import PREFIX
from penstock.console.visits import Page, Visit
from penstock.kernel.errors import Invalid, NotFound, PenstockError
from penstock.sdk.people import Invited, InviteRequest, PersonChange, PersonView, SessionView

ROWS_MOST: Final = 500
LINK_DAYS: Final = 3
"""How long a one-time link can be used."""
EMAIL_CHARS_MOST: Final = 254
FIELDS: Final = ("email", "name", "role", "team", "org")
TAKEN: Final = "Somebody has this address already. If they forgot their password, make them a new link."
STATE_KINDS: Final = {"active": "ok", "invited": "warn", "disabled": ""}


async def index(visit: Visit) -> Response:
    """Show everybody of an organisation within reach, and who may what."""
    org = visit.query("org") or visit.me.org
    wanted = visit.query("q").strip()[:VALUE_CHARS_MAX]
    people = await visit.client.people.list(org)
    found = [person for person in people if _matches(person, wanted)]
    found.sort(key=lambda person: (person.state == "disabled", person.name.casefold(), person.email))
    return visit.render(
        "pages/people.html",
        org=org,
        people=[(person, entry(person), address(visit, person)) for person in found[:ROWS_MOST]],
        kinds=STATE_KINDS,
        found=len(found),
        all=len(people),
        wanted=wanted,
        may_write=visit.may("write people"),
        roles=ROLES,
        who_may=WHO_MAY,
        query=org_query(visit, org),
    )


async def blank(visit: Visit) -> Response:
    """Show the form of an invitation."""
    org = visit.query("org") or visit.me.org
    return _invitation(
        visit, {"email": "", "name": "", "role": "developer", "org": org, "team": visit.me.team}
    )


async def invite(visit: Visit) -> Response:
    """Invite somebody, and show their link this once."""
    form = await visit.form()
    reading = Reading(form)
    email = reading.text("email", most=EMAIL_CHARS_MOST)
    if "@" not in email.strip("@"):
        reading.wrong["email"] = "Write a whole email address, like ada@example.org."
    name = reading.text("name")
    if not name:
        reading.wrong["name"] = "Write what the person is called."
    request = InviteRequest(
        email=email,
        name=name,
        role=reading.choice("role", grants_of(visit.me.role), "developer"),
        org=reading.name("org", required=False),
        team=reading.name("team", required=False),
    )
    if reading.wrong:
        return _invitation(visit, form, wrong=reading.wrong)
    try:
        return _shown_once(visit, await visit.client.people.invite(request))
    except FORM_ERRORS as problem:
        if problem.reason == "duplicate":
            return _invitation(visit, form, wrong={"email": TAKEN})
        return _invitation(visit, form, wrong=place_problem(problem, FIELDS), problem=problem)


async def detail(visit: Visit) -> Response:
    """Show one person."""
    return await _show(visit, await _person(visit))


async def change(visit: Visit) -> Response:
    """Change somebody's name, team or role: what was changed in the form, and no more."""
    person = await _person(visit)
    form = await visit.form()
    reading = Reading(form)
    name = reading.text("name")
    if not name:
        reading.wrong["name"] = "Write what the person is called."
    wanted: dict[str, str] = {
        "name": name,
        "team": reading.name("team"),
        "role": reading.choice("role", {*grants_of(visit.me.role), person.role}, person.role),
    }
    if reading.wrong:
        return await _show(visit, person, typed=form, wrong=reading.wrong)
    changed = {name: value for name, value in wanted.items() if value != getattr(person, name)}
    if not changed:
        return visit.go(address(visit, person), notice="Nothing was changed.")
    try:
        must_be_seen(form, _seen(person))
        await visit.client.people.change(person.id, PersonChange(**changed))
    except FORM_ERRORS as problem:
        return await _show(visit, person, typed=form, wrong=place_problem(problem, FIELDS), problem=problem)
    return visit.go(address(visit, person), notice="Changed. Their open pages feel it within a second.")


async def link(visit: Visit) -> Response:
    """Make a new one-time link, and show it this once."""
    person = await _person(visit)
    try:
        return _shown_once(visit, await visit.client.people.link(person.id), is_new=False)
    except FORM_ERRORS as problem:
        return await _show(visit, person, problem=problem)


async def disable(visit: Visit) -> Response:
    """Shut somebody out."""
    person = await _person(visit)
    if person.id == visit.me.id:
        raise Invalid(
            "You cannot shut yourself out.", field="person", remedy="Ask another admin or owner to do it."
        )
    try:
        await visit.client.people.disable(person.id)
    except FORM_ERRORS as problem:
        return await _show(visit, person, problem=problem)
    return visit.go(
        address(visit, person), notice=f"{person.name} is shut out; every session of theirs has ended."
    )


async def enable(visit: Visit) -> Response:
    """Let somebody in again."""
    person = await _person(visit)
    try:
        now = await visit.client.people.enable(person.id)
    except FORM_ERRORS as problem:
        return await _show(visit, person, problem=problem)
    more = " Send them a new link." if now.state == "invited" else ""
    return visit.go(address(visit, person), notice=f"{person.name} may sign in again.{more}")


async def end_sessions(visit: Visit) -> Response:
    """End every session of somebody."""
    person = await _person(visit)
    try:
        await visit.client.people.end_sessions(person.id)
    except FORM_ERRORS as problem:
        return await _show(visit, person, problem=problem)
    return visit.go(address(visit, person), notice=f"Every session of {person.name} has ended.")


# --- inside -----------------------------------------------------------------------------------------------------------


def entry(person: PersonView) -> str:
    """Return in words how somebody signs in."""
    if person.oidc:
        return "single sign-on"
    return "link not used yet" if person.state == "invited" else "password"


def address(visit: Visit, person: PersonView) -> str:
    """Return the address of a person's page."""
    return f"{PREFIX}/people/{quote(person.id, safe='')}{org_query(visit, person.org)}"


async def _person(visit: Visit) -> PersonView:
    """Return the person of the address. Raises NotFound, the same for absent and out of reach."""
    wanted = visit.request.path_params["id"]
    for person in await visit.client.people.list(visit.query("org")):
        if person.id == wanted:
            return person
    raise NotFound("There is no such person.", field="person", value=wanted[:VALUE_CHARS_MAX])


async def _show(
    visit: Visit,
    person: PersonView,
    *,
    typed: Mapping[str, str] | None = None,
    wrong: Mapping[str, str] | None = None,
    problem: PenstockError | None = None,
) -> Response:
    """Show a person's page, with the form as it was typed and what was wrong with it."""
    is_self = person.id == visit.me.id
    may_write = visit.may("write people") and person.role in grants_of(visit.me.role)
    sessions = await _sessions(visit, person)
    org = {"org": person.org} if person.org != visit.me.org else {}
    here = address(visit, person).removeprefix(PREFIX)
    where, _, query = here.partition("?")
    return visit.render(
        "pages/person.html",
        status=problem.status if problem else 400 if wrong else 200,
        person=person,
        entry=entry(person),
        kind=STATE_KINDS.get(person.state, ""),
        is_self=is_self,
        may_write=may_write,
        sessions=sessions,
        typed=typed or {"name": person.name, "team": person.team, "role": person.role},
        seen=_seen(person),
        wrong=wrong or {},
        problem=problem,
        roles=[role for role in ROLES if role.name in {*grants_of(visit.me.role), person.role}],
        fixed=fixed_for(visit.me.role),
        requests=Sought({"user": person.id} | org).requests(),
        keys=f"{PREFIX}/keys?{urlencode({'q': person.id, 'state': 'all'} | org)}",
        may_read_keys=visit.may("read keys"),
        link_days=LINK_DAYS,
        do={
            name: f"{where}/{name}{'?' if query else ''}{query}"
            for name in ("change", "link", "disable", "enable", "end-sessions")
        },
    )


async def _sessions(visit: Visit, person: PersonView) -> tuple[SessionView, ...] | None:
    """Return somebody's living sessions; None for whoever may not see them."""
    if person.id != visit.me.id and not visit.may("write people"):
        return None
    found = await visit.client.people.sessions(person.id)
    return tuple(sorted(found, key=lambda session: (not session.current, -session.seen_s)))


def _invitation(
    visit: Visit,
    typed: Mapping[str, str],
    *,
    wrong: Mapping[str, str] | None = None,
    problem: PenstockError | None = None,
) -> Response:
    """Show the form of an invitation."""
    return visit.render(
        "pages/invite.html",
        status=problem.status if problem else 400 if wrong else 200,
        typed=typed,
        wrong=wrong or {},
        problem=problem,
        roles=[role for role in ROLES if role.name in grants_of(visit.me.role)],
        fixed=fixed_for(visit.me.role),
        link_days=LINK_DAYS,
    )


def _shown_once(visit: Visit, invited: Invited, *, is_new: bool = True) -> Response:
    """Show a one-time link: it is kept nowhere."""
    address_of_link = f"{visit.origin}{PREFIX}/link?token={quote(invited.link_token)}"
    return visit.render(
        "pages/invited.html",
        status=201,
        person=invited.person,
        link=address_of_link,
        is_new=is_new,
        link_days=LINK_DAYS,
        back=address(visit, invited.person),
    )


def _seen(person: PersonView) -> str:
    return fingerprint(person.name, person.team, person.role, person.state)


def _matches(person: PersonView, wanted: str) -> bool:
    text = f"{person.id} {person.name} {person.email} {person.role} {person.team} {person.state}".lower()
    return all(word in text for word in wanted.lower().split())


PAGES: Final = (
    Page(path="/people", serve=index, needs="read people"),
    Page(path="/people/invite", serve=blank, needs="write people"),
    Page(path="/people/invite", serve=invite, needs="write people", method="POST"),
    Page(path="/people/{id}", serve=detail, needs="read people"),
    Page(path="/people/{id}/change", serve=change, needs="write people", method="POST"),
    Page(path="/people/{id}/link", serve=link, needs="write people", method="POST"),
    Page(path="/people/{id}/disable", serve=disable, needs="write people", method="POST"),
    Page(path="/people/{id}/enable", serve=enable, needs="write people", method="POST"),
    Page(path="/people/{id}/end-sessions", serve=end_sessions, needs="write people", method="POST"),
)
