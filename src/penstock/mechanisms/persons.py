"""A person as it is kept, and how it is found: pure, so that people.py reads as what can be done with people.

Promises: an email address is one per platform whatever its case, an OIDC subject likewise; no repr shows the hash of a
password or the digest of a link.
"""

from __future__ import annotations

import unicodedata
from hashlib import blake2b
from ipaddress import IPv6Address, ip_address
from typing import Any

import msgspec

from penstock.kernel.errors import Invalid
from penstock.mechanisms.change_rows import PLATFORM
from penstock.mechanisms.roles import PEOPLE_ROLES
from penstock.ports.records import Collection, Row, Write
from penstock.ports.state import Ask

COLLECTIONS = (
    Collection(name="people", indexes=("org", "standing"), unique=("email", "oidc")),
    Collection(name="links", indexes=()),
)
EMAIL_BYTES = 254  # RFC 5321 §4.5.3.1.3, less the two angle brackets
NAME_MOST = 128
TRIES_S = 900
TRIES_PER_EMAIL = 10
TRIES_PER_PEER = 100


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who signs in. Times are seconds since 1970, 0 for never; `state` is invited, active or disabled.

    `epoch` grows whenever every session must end; a session of an earlier epoch is dead.
    """

    id: str
    org: str
    team: str
    email: str
    name: str
    role: str
    state: str = "invited"
    password_hash: str = ""
    oidc_issuer: str = ""
    oidc_subject: str = ""
    epoch: int = 0
    created_s: float = 0.0
    last_seen_s: float = 0.0

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Return what may be shown; `repr` itself is made of this."""
        return [(name, getattr(self, name)) for name in ("id", "org", "team", "role", "state")]

    def __repr__(self) -> str:
        """Return who this is, without the hash."""
        return f"Person({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """A one-time link as it is stored: the keyed digest of its token. Its row's id is its person's, or "owner"."""

    mac: str
    expires_s: float

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Return what may be shown."""
        return [("expires_s", self.expires_s)]

    def __repr__(self) -> str:
        """Return its end, without the digest."""
        return f"Link(expires_s={self.expires_s!r})"


def person_write(person: Person, expected: int | None) -> Write:
    """Return the row that stores a person; Conflict(duplicate) when the email or subject is somebody else's."""
    indexed = {
        "org": person.org,
        "standing": f"{person.role}/{person.state}",
        "email": person.email,
    }
    if person.oidc_subject:
        indexed["oidc"] = oidc_index(person.oidc_issuer, person.oidc_subject)
    return Write(
        collection="people",
        tenant=PLATFORM,
        id=person.id,
        value=msgspec.json.encode(person),
        indexed=indexed,
        expected=expected,
    )


def link_write(id: str, link: Link | None, expected: int | None = None) -> Write:
    """Return the row that stores a link, or removes it."""
    value = None if link is None else msgspec.json.encode(link)
    return Write(collection="links", tenant=PLATFORM, id=id, value=value, expected=expected)


def person_of(row: Row) -> Person:
    """Return the person a row holds."""
    return msgspec.json.decode(row.value, type=Person)


def folded_email(text: str) -> str:
    """Return an email address in the one form it is kept and found by; Invalid without showing it whole."""
    try:
        size = len(text[:1_024].encode())
    except UnicodeEncodeError:
        raise Invalid("This is not an email address.", field="email") from None
    folded = unicodedata.normalize("NFKC", text[:1_024].strip()).casefold()
    local, _, domain = folded.rpartition("@")
    plain = folded.isprintable() and not any(each.isspace() or each in '<>",;' for each in folded)
    if not (local and domain and plain) or max(size, len(folded.encode())) > EMAIL_BYTES:
        raise Invalid(
            "This is not an email address.", field="email", limit=f"{EMAIL_BYTES} bytes, name@domain"
        )
    return folded


def checked_name(text: str) -> str:
    """Return a person's name trimmed; Invalid unless it is 1 to 128 printable characters."""
    name = text.strip()
    if not 1 <= len(name) <= NAME_MOST or not name.isprintable():
        raise Invalid(
            "The name cannot be used.", field="name", limit=f"1 to {NAME_MOST} printable characters"
        )
    return name


def checked_role(role: str) -> str:
    """Return the role of a person; Invalid when people have no such role."""
    if role not in PEOPLE_ROLES:
        raise Invalid(
            "People have no such role.", field="role", value=role[:40], limit=", ".join(sorted(PEOPLE_ROLES))
        )
    return role


def oidc_index(issuer: str, subject: str) -> str:
    """Return the index value of an OIDC subject; a subject is unique only with its issuer (OpenID Connect Core §2)."""
    return blake2b(msgspec.json.encode((issuer, subject)), digest_size=32).hexdigest()


def tries(peer: str, email: str = "") -> list[Ask]:
    """Return the limits on attempts: per peer (an IPv6 peer is its /64: one customer's) and per email address."""
    asks = [Ask(f"{PLATFORM}|sign-in:peer:{_digest(_network(peer))}", "bucket", TRIES_PER_PEER, TRIES_S)]
    if email:
        asks.append(Ask(f"{PLATFORM}|sign-in:email:{_digest(email)}", "bucket", TRIES_PER_EMAIL, TRIES_S))
    return asks


def _network(peer: str) -> str:
    try:
        address = ip_address(peer)
    except ValueError:
        return peer
    if isinstance(address, IPv6Address) and address.ipv4_mapped is None:
        return str(int(address) >> 64)
    return str(getattr(address, "ipv4_mapped", None) or address)


def _digest(text: str) -> str:
    return blake2b(text.encode(), digest_size=16).hexdigest()
