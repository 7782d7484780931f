"""Members that a caller may not set, put into every body that may be sent: none may be taken.

Two kinds: members that no body has (the store's own names, and what attackers try), which must be refused by name; and
members that a body has, with a value that gives more than the caller has.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from penstock.mechanisms.roles import Role
from tests.matrix.callers import Caller
from tests.matrix.operations import PREFIX, Operation, about
from tests.matrix.world import Somebody, World, canary

PRIVILEGED: dict[str, object] = {
    "id": "abcdefabcdef",
    "mac": "00" * 32,
    "created_s": 1.0,
    "expires_s": 9e9,
    "revoked_s": 0.0,
    "last_seen_s": 1.0,
    "state": "active",
    "epoch": 0,
    "password_hash": "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaA",
    "oidc_issuer": "http://127.0.0.1/",
    "oidc_subject": "root",
    "scopes": [],
    "key_id": "admin",
    "principal": {"role": "owner"},
    "actor": "platform",
    "author": {"kind": "platform", "role": "owner"},
    "by": "platform",
    "method": "oidc",
    "person": "per_0",
    "csrf": "",
    "is_admin": True,
    "admin": True,
    "permissions": ["*"],
    "posted_nanos": 0,
    "held_nanos": 0,
    "balance_nanos": 10**18,
    "path": "org:default",
    "__proto__": {"role": "owner"},
    "__class__": "Owner",
    "constructor": {"prototype": {"role": "owner"}},
    "role ": "owner",
    "Role": "owner",
    "role[]": ["owner"],
}
"""Names of the store's own, and of those that are tried everywhere."""


@dataclass(frozen=True)
class Tried:
    """One attempt; `accepted` when it was answered as if it were all right."""

    what: str
    status: int
    accepted: bool


async def smuggle(world: World, operations: list[Operation]) -> list[Tried]:
    """Try every privileged member in every body, by everybody whom the route admits."""
    tried: list[Tried] = []
    for operation in operations:
        if not operation.body:
            continue
        for caller in _authors(world, operation):
            own = _own(world, caller)
            for name, value in PRIVILEGED.items():
                question = await about(world, operation, own, filtered=False)
                if not isinstance(question.body, dict) or name in question.body:
                    continue
                body = {**question.body, name: value}
                told = await world.wire.ask(caller, operation.method, question.target, body)
                what = f"{operation.name} with {name} by {caller.name}"
                tried.append(Tried(what, told.status, told.status < 300 or told.status >= 500))
    return tried


def _authors(world: World, operation: Operation) -> list[Caller]:
    """Return two who may send it: the widest and the narrowest; an open route, somebody without a token."""
    admitted = [each for each in world.callers.values() if operation.admits(each)]
    return [admitted[0], admitted[-1]] if len(admitted) > 1 else admitted


def _own(world: World, caller: Caller) -> Somebody:
    own = next((each for each in world.people.values() if each.token == caller.token), None)
    org = world.orgs[0]
    return own or world.people[org, world.teams[org][0], Role.DEVELOPER.value]


async def escalate(world: World) -> list[Tried]:
    """Try to give oneself, or somebody else, more than one has."""
    tried: list[Tried] = []
    for caller_name, method, path, body in _escalations(world):
        caller = world.callers[caller_name]
        told = await world.wire.ask(caller, method, PREFIX + path, body)
        given = {name: value for name, value in body.items() if name not in ("email", "name")}
        tried.append(
            Tried(f"{method} {path.split('/')[1]} {given} by {caller_name}", told.status, told.status < 400)
        )
    return tried


Attempt = tuple[str, str, str, dict[str, Any]]


def _escalations(world: World) -> Iterator[Attempt]:
    yield from _keys(world)
    yield from _invitations(world)
    yield from _promotions(world)
    yield from _limits(world)


def _keys(world: World) -> Iterator[Attempt]:
    foreign, other = world.orgs[1], world.teams[world.orgs[0]][1]

    def key(caller: str, **more: object) -> Attempt:
        at = world.callers[caller].place
        body = {"org": at.org, "team": at.team, "user": at.user, "project": canary("project")}
        return caller, "POST", "/keys", body | more

    for caller in ("admin", "team-admin", "developer", "key of a admin"):
        yield key(caller, role="owner")
        yield key(caller, role="admin")
        yield key(caller, org=foreign)
    for caller in ("team-admin", "developer"):
        yield key(caller, team=other)
        yield key(caller, tier="platinum")
    yield key("developer", user="somebody.else")
    yield key("developer", end_users=True)


def _invitations(world: World) -> Iterator[Attempt]:
    org, foreign = world.orgs
    team, other = world.teams[org]

    def person(caller: str, role: str, at_org: str, at_team: str) -> Attempt:
        mail = f"{canary('mail')}@example.org"
        return (
            caller,
            "POST",
            "/people",
            {"email": mail, "name": "x", "role": role, "org": at_org, "team": at_team},
        )

    for caller, roles in (("admin", ("owner",)), ("team-admin", ("owner", "admin", "auditor"))):
        for role in roles:
            yield person(caller, role, org, team)
    yield person("admin", "developer", foreign, team)
    yield person("team-admin", "developer", org, other)


def _promotions(world: World) -> Iterator[Attempt]:
    org = world.orgs[0]
    team, other = world.teams[org]
    for caller in ("admin", "team-admin", "developer", "reviewer", "auditor"):
        path = f"/people/{_own(world, world.callers[caller]).person.id}"
        for role in ("owner", "admin"):
            if role != caller:
                yield caller, "PATCH", path, {"role": role}
        if caller != "admin":
            yield caller, "PATCH", path, {"team": other}
    owner = world.people[org, team, "owner"].person.id
    for caller in ("admin", "team-admin"):
        yield caller, "PATCH", f"/people/{owner}", {"role": "developer"}
        yield caller, "POST", f"/people/{owner}/disable", {}


def _limits(world: World) -> Iterator[Attempt]:
    org, foreign = world.orgs
    team = world.teams[org][0]
    free = {"rate": {"requests_per_minute": 0}}
    yield "team-admin", "PUT", "/scopes", {"level": "team", "org": org, "team": team, **free}
    yield "team-admin", "PUT", "/scopes", {"level": "org", "org": org, **free}
    yield "admin", "PUT", "/scopes", {"level": "org", "org": foreign, **free}
    yield (
        "developer",
        "PUT",
        "/scopes",
        {"level": "project", "org": org, "team": team, "project": "p", **free},
    )
