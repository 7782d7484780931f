"""People, their sessions and the changes they make, as they are asked for and shown.

Promises: what a caller may set stands here and nothing else; no view holds a hash or a digest, and a token is in the
one reply that made it; no repr shows a password or a token.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from penstock.gateway.management.bodies import Body, Name
from penstock.mechanisms.passwords import MOST_CHARACTERS
from penstock.mechanisms.persons import EMAIL_BYTES, NAME_MOST, Person
from penstock.mechanisms.sessions import Session

PersonRole = Literal["owner", "admin", "team-admin", "developer", "reviewer", "auditor"]
Email = Annotated[str, Field(max_length=EMAIL_BYTES)]
PersonName = Annotated[str, Field(max_length=NAME_MOST)]
Password = Annotated[str, Field(max_length=MOST_CHARACTERS, repr=False)]
Agent = Annotated[str, Field(max_length=1_024, description="What the browser calls itself.")]
OrOwn = Annotated[str, Field(max_length=64, pattern=r"^[A-Za-z0-9._-]*$")]
Opaque = Annotated[str, Field(min_length=1, max_length=8_192, repr=False)]
Address = Annotated[str, Field(min_length=1, max_length=2_048)]


# --- asked ------------------------------------------------------------------------------------------------------------


class SignInBody(Body):
    """An email address and a password."""

    email: Email
    password: Password
    agent: Agent = ""


class LinkBody(Body):
    """A one-time link and the password to set; the first owner's link needs `email` and `name` too."""

    token: Annotated[str, Field(max_length=256, repr=False)]
    password: Password
    email: Email = ""
    name: PersonName = ""
    agent: Agent = ""


class OidcBody(Body):
    """Where the OpenID provider is to send the browser back to."""

    redirect_uri: Address


class OidcCodeBody(Body):
    """What came back from the OpenID provider, and what was kept meanwhile."""

    code: Opaque
    state: Opaque
    kept: Opaque
    redirect_uri: Address
    agent: Agent = ""


class InviteBody(Body):
    """Somebody to invite; an empty `org` or `team` is the inviter's own."""

    email: Email
    name: PersonName
    role: PersonRole
    org: OrOwn = ""
    team: OrOwn = ""


class PersonPatch(Body):
    """What changes of a person; what is not given stays. Email and organisation never change."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    role: PersonRole = "developer"
    team: Name = "default"
    name: PersonName = ""


# --- shown ------------------------------------------------------------------------------------------------------------


class PersonView(BaseModel):
    """Somebody who signs in. `state` is invited, active or disabled; `oidc` tells whether by an OpenID provider."""

    id: str
    org: str
    team: str
    email: str
    name: str
    role: str
    state: str
    created_s: float
    last_seen_s: float
    oidc: bool


class Invited(BaseModel):
    """A person with the token of their one-time link, which is shown only here."""

    person: PersonView
    link_token: Annotated[str, Field(repr=False)]


class SessionView(BaseModel):
    """A living session. `method` is how it began; `current` marks the one that asks."""

    id: str
    person: str
    method: str
    created_s: float
    seen_s: float
    peer: str
    agent: str
    current: bool


class SessionMade(BaseModel):
    """A new session with its bearer token and CSRF token, which are shown only here."""

    token: Annotated[str, Field(repr=False)]
    csrf: Annotated[str, Field(repr=False)]
    session: SessionView
    person: PersonView


class OidcView(BaseModel):
    """Whether people can sign in through an OpenID provider, and what it is called."""

    enabled: bool
    name: str


class OidcStarted(BaseModel):
    """Where to send the browser, and the sealed text to keep until it comes back."""

    url: str
    kept: Annotated[str, Field(repr=False)]


class Me(BaseModel):
    """Who is asking, and what they may do. `csrf` is what the forms of a person's session must carry."""

    kind: Literal["key", "person", "machine"]
    id: str
    name: str
    email: str
    org: str
    team: str
    project: str
    user: str
    role: str
    may: list[str]
    csrf: Annotated[str, Field(repr=False)]


class SealView(BaseModel):
    """Whether the admin writes of an organisation are as they were made. `unsealed` are of the last minute; whoever
    notes `head` can tell later that nothing up to now was taken away; `problems` is empty when nothing was touched.
    """

    org: str
    seals: int
    rows: int
    unsealed: int
    head: str
    problems: list[str]


class ChangeView(BaseModel):
    """One change somebody made: who, what, and how it was before and after (null where it was not)."""

    id: str
    at_s: float
    org: str
    team: str
    actor_kind: str
    actor_id: str
    actor_name: str
    actor_role: str
    action: str
    subject: str
    before: JsonValue
    after: JsonValue
    request_id: str
    peer: str


def person_view(person: Person) -> PersonView:
    """Return a person as they are shown."""
    return PersonView(
        id=person.id,
        org=person.org,
        team=person.team,
        email=person.email,
        name=person.name,
        role=person.role,
        state=person.state,
        created_s=person.created_s,
        last_seen_s=person.last_seen_s,
        oidc=bool(person.oidc_subject),
    )


def session_view(session: Session, current: str) -> SessionView:
    """Return a session as it is shown; `current` is the id of the one that asks."""
    return SessionView(
        id=session.id,
        person=session.person,
        method=session.method,
        created_s=session.created_s,
        seen_s=session.seen_s,
        peer=session.peer,
        agent=session.agent,
        current=session.id == current,
    )
