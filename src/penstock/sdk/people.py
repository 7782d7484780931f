"""People, their sessions and their changes, as the management API takes and shows them.

Promises: unknown members of a reply are ignored; no repr shows a token, a password or a link. Times are seconds since
1970 (UTC), 0 for never. Roles are those of `mechanisms/roles`.
"""

from __future__ import annotations

import msgspec
from msgspec import UNSET, UnsetType

JsonValue = str | int | float | bool | list[object] | dict[str, object] | None


class _Unshown:
    """Keeps what opens a door out of every repr."""

    __slots__ = ()
    __struct_fields__: tuple[str, ...]
    _SECRET = frozenset({"token", "csrf", "link_token", "password", "code", "kept"})

    def __rich_repr__(self) -> list[tuple[str, object]]:
        """Return what may be shown; `repr` itself is made of this."""
        return [
            (name, "***" if name in self._SECRET and getattr(self, name) else getattr(self, name))
            for name in self.__struct_fields__
        ]

    def __repr__(self) -> str:
        """Return the fields, secrets as three stars."""
        return (
            f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"
        )


# --- taken ------------------------------------------------------------------------------------------------------------


class SignIn(_Unshown, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An email address and a password. `agent` is what the browser calls itself."""

    email: str
    password: str
    agent: str = ""


class LinkSignIn(_Unshown, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A one-time link and the password to set; the first owner's link asks for `email` and `name` too."""

    token: str
    password: str
    email: str = ""
    name: str = ""
    agent: str = ""


class OidcSignIn(_Unshown, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What came back from the OpenID provider, with the sealed text that was `kept` meanwhile."""

    code: str
    state: str
    kept: str
    redirect_uri: str
    agent: str = ""


class InviteRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Somebody to invite; `org` and `team` "" are the inviter's own."""

    email: str
    name: str
    role: str
    org: str = ""
    team: str = ""


class PersonChange(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What to change of a person; what is not given stays."""

    role: str | UnsetType = UNSET
    team: str | UnsetType = UNSET
    name: str | UnsetType = UNSET


# --- given ------------------------------------------------------------------------------------------------------------


class PersonView(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who signs in. `state` is invited, active or disabled; `oidc` tells whether by an OpenID provider."""

    id: str
    org: str
    team: str
    email: str
    name: str
    role: str
    state: str
    created_s: float = 0.0
    last_seen_s: float = 0.0
    oidc: bool = False


class Invited(_Unshown, msgspec.Struct, frozen=True, kw_only=True):
    """A person with the token of their one-time link, which is shown only here."""

    person: PersonView
    link_token: str


class SessionView(msgspec.Struct, frozen=True, kw_only=True):
    """A living session. `method` is how it began; `current` marks the one that asks."""

    id: str
    person: str
    method: str
    created_s: float
    seen_s: float
    peer: str = ""
    agent: str = ""
    current: bool = False


class SessionMade(_Unshown, msgspec.Struct, frozen=True, kw_only=True):
    """A new session with its bearer token and CSRF token, which are shown only here."""

    token: str
    csrf: str
    session: SessionView
    person: PersonView


class OidcView(msgspec.Struct, frozen=True, kw_only=True):
    """Whether people can sign in through an OpenID provider, and what it is called."""

    enabled: bool
    name: str = ""


class OidcStarted(_Unshown, msgspec.Struct, frozen=True, kw_only=True):
    """Where to send the browser, and the sealed text to keep until it comes back."""

    url: str
    kept: str


class Me(_Unshown, msgspec.Struct, frozen=True, kw_only=True):
    """Who is asking. `kind` is key, person or machine; `may` holds the actions of `mechanisms/roles` by their words.

    `csrf` is "" for whoever is not in a browser.
    """

    kind: str
    id: str
    role: str
    name: str = ""
    email: str = ""
    org: str = ""
    team: str = ""
    project: str = ""
    user: str = ""
    may: tuple[str, ...] = ()
    csrf: str = ""


class SealView(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the admin writes of an organisation are as they were made. Note `head`, and nothing up to now can be
    taken away later unseen; `problems` is empty when nothing was touched.
    """

    org: str
    seals: int
    rows: int
    unsealed: int
    head: str
    problems: tuple[str, ...]


class ChangeView(msgspec.Struct, frozen=True, kw_only=True):
    """One change somebody made: who, what, and how it was before and after."""

    id: str
    at_s: float
    org: str = ""
    team: str = ""
    actor_kind: str = ""
    actor_id: str = ""
    actor_name: str = ""
    actor_role: str = ""
    action: str = ""
    subject: str = ""
    before: JsonValue = None
    after: JsonValue = None
    request_id: str = ""
    peer: str = ""
