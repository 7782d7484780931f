"""Who acts, as the applications behind the bridge see it: a key, a person's session, a machine, or nobody.

Promises: it names the author of whatever the request changes; its repr shows no token; a person's session comes with
it, so that signing out or checking a form needs no second look-up.
"""

from __future__ import annotations

from typing import Any

import msgspec

from penstock.kernel.context import Principal
from penstock.mechanisms.changes import Author
from penstock.mechanisms.sessions import Visit

ANYONE = Principal(key_id="", org="", team="", project="", user="", role="anyone")
"""Whoever calls without a token, where that is admitted. The role may do nothing."""


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """One request's caller. `kind` is "anyone", "key", "person" or "machine"; `token` is a person's session token."""

    principal: Principal
    kind: str = "anyone"
    name: str = ""
    request_id: str = ""
    peer: str = ""
    visit: Visit | None = None
    token: bytes = b""

    def author(self) -> Author:
        """Return the caller as the author of changes."""
        if self.visit is not None:
            return self.visit.author(self.request_id, self.peer)
        who = self.principal
        return Author(
            kind=self.kind,
            id=who.key_id,
            name=self.name,
            role=who.role,
            org=who.org,
            team=who.team,
            user=who.user,
            request_id=self.request_id,
            peer=self.peer,
        )

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Return what may be shown."""
        return [("kind", self.kind), ("id", self.principal.key_id), ("role", self.principal.role)]

    def __repr__(self) -> str:
        """Return who this is, without the token."""
        return f"Caller({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"
