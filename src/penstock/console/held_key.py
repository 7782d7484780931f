"""The API key a person looks at knowledge with.

Collections belong to a project, and whoever works on one does so as a key: its limits and budgets hold, its name is in
the audit, and a person's session is no such thing. So the page asks for one.

Promises: the key is kept in the browser alone, in a cookie that no script reads, for a working day or until its person
signs out; it serves nobody else who signs in there; only a key that calls models is taken, none that administers.
"""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from penstock.console import security
from penstock.console.visits import Visit
from penstock.kernel.errors import Invalid, Unauthenticated
from penstock.sdk.client import Client
from penstock.sdk.people import Me

COOKIE: Final = "key"
HELD_S: Final = 12 * 3_600
CALLER: Final = "caller"


def held_key(visit: Visit) -> str:
    """Return the key that this person gave, "" for none."""
    kept = visit.request.cookies.get(security.cookie_name(COOKIE, secure=visit.console.secure), "")
    whose, _, key = kept.rpartition(":")
    return key if whose == visit.me.id and is_token(key) else ""


def hold(response: Response, visit: Visit, key: str) -> None:
    """Keep a key in the browser."""
    kept = f"{visit.me.id}:{key}"
    security.set_cookie(response, COOKIE, kept, secure=visit.console.secure, max_age_s=HELD_S)


def let_go(response: Response, visit: Visit) -> None:
    """Have the browser forget it."""
    security.drop_cookie(response, COOKIE, secure=visit.console.secure)


async def checked(client: Client) -> Me:
    """Return who a key is. Raises Invalid for one that is none, or is not for calling models."""
    try:
        who = await client.me()
    except Unauthenticated:
        raise Invalid("This is no key here, or it has ended.", field="key", remedy="Give another.") from None
    if (who.kind, who.role) != ("key", CALLER):
        raise Invalid(
            "This key may do more than call models.",
            field="key",
            value=who.role or who.kind,
            limit=CALLER,
            remedy="Give one of the role caller: a browser is no place for the others.",
        )
    return who


def is_token(key: str) -> bool:
    """Tell whether a text can be a key's token at all."""
    return (
        bool(key)
        and len(key) <= security.TOKEN_BYTES_MAX
        and key.isascii()
        and key.isprintable()
        and " " not in key
    )
