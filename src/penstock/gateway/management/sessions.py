"""Signing in and out: by password, by a one-time link, through an OpenID provider; and one's own sessions.

Promises: a token is in the one reply that made it; a session presented while signing in ends (no fixation); a wrong
password, an unknown address and a disabled person get one reply; attempts are limited per peer and per address, and
the refusal says when to come again; a session of somebody else's looks like none.
"""

from __future__ import annotations

from penstock.edge.caller import Caller
from penstock.gateway.management.parts import Api, Management, OidcDoor
from penstock.gateway.management.people_models import (
    LinkBody,
    OidcBody,
    OidcCodeBody,
    OidcStarted,
    OidcView,
    SessionMade,
    SessionView,
    SignInBody,
    person_view,
    session_view,
)
from penstock.gateway.management.policy import By, Open, Routes
from penstock.gateway.management.reach import Id
from penstock.kernel.errors import NotFound
from penstock.mechanisms.people import LINK_START, OWNER_LINK
from penstock.mechanisms.persons import Person
from penstock.mechanisms.roles import Action

ROUTES = Routes("sessions")
FIRST_OWNERS = {"org": "default", "team": "default"}


@ROUTES.add("POST", "/sessions", needs=Open.PUBLIC, refuses=[401, 429], status_code=201)
async def sign_in(body: SignInBody, by: By, api: Api) -> SessionMade:
    """Sign in by email address and password."""
    person = await api.people.sign_in(body.email, body.password, peer=by.peer)
    return await _opened(api, by, person, "password", body.agent)


@ROUTES.add("POST", "/sessions/link", needs=Open.PUBLIC, refuses=[401, 429], status_code=201)
async def sign_in_by_link(body: LinkBody, by: By, api: Api) -> SessionMade:
    """Set a password by a one-time link and sign in; the owner's link makes the first owner."""
    if body.token.startswith(f"{LINK_START}{OWNER_LINK}-"):
        person = await api.people.claim_ownership(
            body.token, body.email, body.name, body.password, peer=by.peer, **FIRST_OWNERS
        )
    else:
        person = await api.people.accept(body.token, body.password, peer=by.peer)
    return await _opened(api, by, person, "link", body.agent)


@ROUTES.add("GET", "/sessions/oidc", needs=Open.PUBLIC)
async def oidc(api: Api) -> OidcView:
    """Tell whether people can sign in through an OpenID provider."""
    return OidcView(enabled=api.oidc is not None, name=api.oidc.name if api.oidc else "")


@ROUTES.add("POST", "/sessions/oidc", needs=Open.PUBLIC, refuses=[404, 502, 504])
async def begin_oidc(body: OidcBody, api: Api) -> OidcStarted:
    """Begin a sign-in through the OpenID provider: where to send the browser, and what to keep until it is back."""
    begun = await _door(api).begin(body.redirect_uri)
    return OidcStarted(url=begun.url, kept=begun.kept)


@ROUTES.add(
    "POST", "/sessions/oidc/code", needs=Open.PUBLIC, refuses=[401, 404, 429, 502, 504], status_code=201
)
async def sign_in_by_oidc(body: OidcCodeBody, by: By, api: Api) -> SessionMade:
    """Sign in with what came back from the OpenID provider; only somebody invited comes in."""
    door = _door(api)
    await api.people.attempt(by.peer)
    found = await door.finish(
        code=body.code, state=body.state, kept=body.kept, redirect_uri=body.redirect_uri
    )
    person = await api.people.sign_in_by_oidc(found.issuer, found.subject, found.email)
    await api.people.came_in(by.peer)
    return await _opened(api, by, person, "oidc", body.agent)


@ROUTES.add("GET", "/sessions", needs=Action.OWN_SESSIONS)
async def list_sessions(by: By, api: Api) -> list[SessionView]:
    """List one's own living sessions, the latest used first; a key has none."""
    if by.visit is None:
        return []
    own = by.visit.session.id
    return [session_view(session, own) for session in await api.sessions.of_person(by.visit.person.id)]


@ROUTES.add("DELETE", "/sessions/current", needs=Action.OWN_SESSIONS, refuses=[404], status_code=204)
async def sign_out(by: By, api: Api) -> None:
    """Sign out: the session that asks ends."""
    if by.visit is None:
        raise _no_session("current")
    await api.sessions.close(by.token)


@ROUTES.add("DELETE", "/sessions/{session_id}", needs=Action.OWN_SESSIONS, status_code=204)
async def end_session(session_id: Id, by: By, api: Api) -> None:
    """End one of one's own sessions, everywhere within a second."""
    if by.visit is None:
        raise _no_session(session_id)
    await api.sessions.revoke(by.author(), session_id, of=by.visit.person)


async def _opened(api: Management, by: Caller, person: Person, method: str, agent: str) -> SessionMade:
    session, token = await api.sessions.open(
        person, method=method, peer=by.peer, agent=agent, replaces=by.token
    )
    return SessionMade(
        token=token,
        csrf=api.sessions.csrf_token(token.encode()),
        session=session_view(session, session.id),
        person=person_view(person),
    )


def _door(api: Management) -> OidcDoor:
    if api.oidc is None:
        raise NotFound("Nobody signs in through an OpenID provider here.", code="oidc_off", field="auth.oidc")
    return api.oidc


def _no_session(session_id: str) -> NotFound:
    return NotFound("There is no such session.", field="session", value=session_id)
