"""The levels of the tenancy path as they are stored, and the limits that follow from them.

Promises: a level nobody configured limits nothing, except a user, who gets the nearest defaults above: never unlimited
by accident; a user and a key are one per organisation, whatever project they come from.
"""

from __future__ import annotations

import msgspec

from penstock.kernel.context import Cap, Rate, Scope
from penstock.ports.records import Records, Row, Write


class ScopeDoc(msgspec.Struct, frozen=True, kw_only=True):
    """A stored level of the tenancy path with what is limited there, and the defaults for users first seen below it."""

    path: str
    level: str
    name: str = ""
    rate: Rate = Rate()
    caps: tuple[Cap, ...] = ()
    user_rate: Rate = Rate()
    user_caps: tuple[Cap, ...] = ()


def scope_paths(org: str, team: str, project: str, user: str, key: str) -> tuple[tuple[str, str], ...]:
    """Return (level, path) from organisation to key. A user and a key are one per organisation, whatever project."""
    root = f"org:{org}"
    return (
        ("org", root),
        ("team", f"{root}/team:{team}"),
        ("project", f"{root}/team:{team}/project:{project}"),
        ("user", f"{root}/user:{user}"),
        ("key", f"{root}/key:{key}"),
    )


async def resolve(records: Records, org: str, team: str, project: str, user: str) -> tuple[Scope, ...]:
    """Return the limits of organisation, team, project and user, in this order."""
    docs: dict[str, ScopeDoc] = {}
    for level, path in scope_paths(org, team, project, user, "")[:4]:
        row = await records.get("scopes", org, path)
        docs[level] = _scope_doc(row, level, path)
        if level == "user" and row is None:
            docs[level] = _first_seen(path, docs["project"], docs["team"], docs["org"])
    return tuple(Scope(level=d.level, path=d.path, rate=d.rate, caps=d.caps) for d in docs.values())


def scope_write(org: str, doc: ScopeDoc, expected: int | None = None) -> Write:
    """Return the row that stores one level."""
    return Write(
        collection="scopes",
        tenant=org,
        id=doc.path,
        value=msgspec.json.encode(doc),
        indexed={"level": doc.level},
        expected=expected,
    )


def _scope_doc(row: Row | None, level: str, path: str) -> ScopeDoc:
    return ScopeDoc(path=path, level=level) if row is None else msgspec.json.decode(row.value, type=ScopeDoc)


def _first_seen(path: str, *above: ScopeDoc) -> ScopeDoc:
    """A user nobody configured gets the nearest defaults above it: never unlimited by accident."""
    rate = next((d.user_rate for d in above if d.user_rate.is_set), Rate())
    caps = next((d.user_caps for d in above if d.user_caps), ())
    return ScopeDoc(path=path, level="user", rate=rate, caps=caps)
