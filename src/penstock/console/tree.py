"""The tenancy as a tree: organisation → teams → projects, and beside the teams the users, with what limits each.

Promises: whatever has limits is in it, with everything above it; a level nobody configured says so; each figure's
address leads to exactly its requests. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

from penstock.console.filters import Sought
from penstock.console.limits import Fill, cap_words, rate_words
from penstock.console.security import PREFIX
from penstock.sdk.replies import Key, ScopeLimits

LEVELS: Final = {"org": "organisation", "team": "team", "project": "project", "user": "user"}
"""The levels that limits are set on, as people call them."""
NODES_MOST: Final = 2_000
_PATHS: Final = {
    "org": "org:{org}",
    "team": "org:{org}/team:{team}",
    "project": "org:{org}/team:{team}/project:{project}",
    "user": "org:{org}/user:{user}",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One level: `name` as in its path, `label` what it was called; `users` is what somebody first seen gets."""

    path: str
    level: str
    name: str
    label: str
    is_set: bool
    rates: tuple[str, ...]
    fills: tuple[Fill, ...]
    users: tuple[str, ...]
    requests: str
    edit: str
    children: tuple[Node, ...]

    @property
    def level_name(self) -> str:
        """What the level is called."""
        return LEVELS.get(self.level, self.level)


def path_of(level: str, names: Mapping[str, str]) -> str:
    """Return the path of a level, as the platform names it."""
    return _PATHS[level].format_map(names)


def names_of(path: str) -> dict[str, str]:
    """Return the names in a path: ``org:acme/team:search`` is {org: acme, team: search}."""
    return {
        level: name
        for level, sign, name in (part.partition(":") for part in path.split("/"))
        if sign and level
    }


def paths_above(key: Key) -> tuple[str, ...]:
    """Return the paths whose limits a key's requests meet, besides its own, from the organisation down."""
    names = {"org": key.org, "team": key.team, "project": key.project, "user": key.user}
    return tuple(path_of(level, names) for level in LEVELS)


def edit_address(path: str) -> str:
    """Return where the limits of a path are edited."""
    names = names_of(path)
    level = next((name for name in ("user", "project", "team") if name in names), "org")
    return f"{PREFIX}/keys/limits?{urlencode({'level': level} | names)}"


def tree(
    org: str,
    scopes: Iterable[ScopeLimits],
    keys: Iterable[Key],
    filled: Mapping[str, list[Fill]],
    editable: frozenset[str],
) -> tuple[Node, tuple[Node, ...]]:
    """Return the organisation with its teams and their projects, and its users that have limits of their own.

    `editable` are the levels that may be edited. Teams and projects that only keys name are there too.
    """
    known: dict[str, ScopeLimits | None] = {scope.path: scope for scope in scopes}
    for key in keys:
        for path in paths_above(key)[1:3]:
            known.setdefault(path, None)
    for path in tuple(known):
        names = names_of(path)
        if "project" in names and "team" in names:
            known.setdefault(path_of("team", names), None)

    def node(path: str, level: str, children: tuple[Node, ...] = ()) -> Node:
        return _node(path, level, known.get(path), filled, editable, children)

    kept = sorted(known)[:NODES_MOST]
    projects = [path for path in kept if "/project:" in path]
    root = f"org:{org}"
    teams = [
        node(
            path,
            "team",
            tuple(node(each, "project") for each in projects if each.startswith(f"{path}/project:")),
        )
        for path in kept
        if path.startswith(f"{root}/team:") and "/project:" not in path
    ]
    users = tuple(node(path, "user") for path in kept if path.startswith(f"{root}/user:"))
    return node(root, "org", tuple(teams)), users


def _node(
    path: str,
    level: str,
    scope: ScopeLimits | None,
    filled: Mapping[str, list[Fill]],
    editable: frozenset[str],
    children: tuple[Node, ...],
) -> Node:
    names = names_of(path)
    users = () if scope is None else (*rate_words(scope.user_rate), *cap_words(scope.user_caps))
    return Node(
        path=path,
        level=level,
        name=names.get(level, path),
        label="" if scope is None else scope.name,
        is_set=scope is not None,
        rates=() if scope is None else rate_words(scope.rate),
        fills=tuple(filled.get(path, ())),
        users=users,
        requests=Sought(names).requests(),
        edit=edit_address(path) if level in editable else "",
        children=children,
    )
