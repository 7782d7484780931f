"""Two organisations of two teams, with people of every role, keys, limits, sessions and requests, behind a real server.

Promise: every name is a canary: random, and registered with the place it belongs to, so that a reply which holds one
tells whose it is.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from penstock.kernel.context import Cap, Rate
from penstock.kernel.settings import (
    AuthSettings,
    CacheSettings,
    ContentSettings,
    LakeSettings,
    ServerSettings,
    Settings,
    StoreSettings,
)
from penstock.mechanisms.changes import THE_PLATFORM, Author
from penstock.mechanisms.persons import Person
from penstock.mechanisms.roles import Role
from penstock.mechanisms.scopes import ScopeDoc, scope_paths
from penstock.mechanisms.tenancy import KeyDoc
from penstock.wiring.app import start
from penstock.wiring.platform import Platform
from tests.matrix.callers import Caller, Place, Wire

PASSWORD = "correct horse battery staple 42"
PEOPLE = (Role.ADMIN, Role.TEAM_ADMIN, Role.DEVELOPER, Role.REVIEWER, Role.AUDITOR)
KEYS = (Role.CALLER, Role.ADMIN, Role.OWNER)
MATE = "mate"
ANYONE = Caller("anyone")
CHAT = {"model": "local/extractive", "messages": [{"role": "user", "content": "Water runs. What runs?"}]}


def canary(kind: str) -> str:
    """Return a name that occurs nowhere else."""
    return f"{kind}-{secrets.token_hex(6)}"


@dataclass
class Somebody:
    """A person, with what is theirs: the session, the key, the limits and the request that others must not see."""

    person: Person
    token: str
    session_id: str
    key_id: str
    key_token: str
    project: str
    feature: str
    request_id: str = ""

    @property
    def place(self) -> Place:
        """Where this person is."""
        return Place(self.person.org, self.person.team, self.person.id)


@dataclass
class World:
    """A running platform and everybody in it."""

    platform: Platform
    wire: Wire
    orgs: list[str] = field(default_factory=list[str])
    teams: dict[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])
    people: dict[tuple[str, str, str], Somebody] = field(default_factory=dict[tuple[str, str, str], Somebody])
    """By organisation, team and role; the second developer of a team is its "mate"."""
    canaries: dict[str, Place] = field(default_factory=dict[str, Place])
    callers: dict[str, Caller] = field(default_factory=dict[str, Caller])

    def mark(self, text: str, place: Place) -> str:
        """Register a canary."""
        self.canaries[text] = place
        return text

    def leaks(self, caller: Caller, said: str, given: str) -> list[str]:
        """Return the canaries in a reply that this caller neither may know nor gave."""
        return [
            text
            for text, place in self.canaries.items()
            if text in said and text not in given and not caller.sees(place)
        ]

    async def settle(self, org: str, team: str, role: Role, label: str = "") -> Somebody:
        """Have somebody come in, make a key, get limits and ask a question."""
        platform = self.platform
        email, name = f"{canary('mail')}@example.org", canary("name")
        person, link = await platform.people.invite(THE_PLATFORM, email, name, role, org=org, team=team)
        peer = ".".join(str(each) for each in (10, *secrets.token_bytes(3)))
        person = await platform.people.accept(link, PASSWORD, peer=peer)
        place = Place(org, team, person.id)
        for text in (person.id, email, name):
            self.mark(text, place)
        agent = self.mark(canary("agent"), place)
        session, token = await platform.sessions.open(person, method="password", agent=agent, peer=peer)
        self.mark(session.id, place)
        key_id, key_token, project = await self.fresh_key(place, author(person))
        feature = self.mark(canary("feature"), place)
        somebody = Somebody(person, token, session.id, key_id, key_token, project, feature)
        self.people[org, team, label or role.value] = somebody
        await self._limit(somebody)
        await self._asks(somebody)
        return somebody

    async def fresh_key(self, place: Place, by: Author = THE_PLATFORM) -> tuple[str, str, str]:
        """Make a key somewhere; return its id, its token and its project."""
        project = self.mark(canary("project"), place)
        doc = KeyDoc(
            id="",
            mac="",
            org=place.org,
            team=place.team,
            project=project,
            user=place.user,
            role="caller",
            name=self.mark(canary("key"), place),
        )
        made, token = await self.platform.tenancy.create_key(doc, by=by)
        self.mark(made.id, place)
        return made.id, token, project

    async def fresh_person(self, place: Place, role: Role = Role.DEVELOPER) -> str:
        """Invite somebody somewhere; return their id."""
        email, name = f"{canary('mail')}@example.org", canary("name")
        person, _ = await self.platform.people.invite(
            THE_PLATFORM, email, name, role, org=place.org, team=place.team
        )
        at = Place(place.org, place.team, person.id)
        for text in (person.id, email, name):
            self.mark(text, at)
        return person.id

    async def fresh_session(self, somebody: Somebody) -> str:
        """Sign somebody in once more; return the session's id."""
        session, _ = await self.platform.sessions.open(somebody.person, method="password")
        return self.mark(session.id, somebody.place)

    async def _limit(self, somebody: Somebody) -> None:
        """Set limits of the person's project and of the person, so that there is something to see."""
        at = somebody.place
        paths = scope_paths(at.org, at.team, somebody.project, at.user, "")
        for level, path in paths[2:4]:
            doc = ScopeDoc(
                path=path,
                level=level,
                rate=Rate(requests_per_minute=6_000),
                caps=(Cap(window="day", limit_nanos=10**12),),
            )
            await self.platform.tenancy.put_scope(at.org, doc, by=THE_PLATFORM)

    async def _asks(self, somebody: Somebody) -> None:
        """Ask a model under the person's key, for their feature."""
        caller = Caller("asks", somebody.key_token)
        told = await self.wire.ask(caller, "POST", "/v1/chat/completions", CHAT, feature=somebody.feature)
        if told.status != 200:
            raise AssertionError(f"A question was answered {told.status}: {told.text}")
        somebody.request_id = self.mark(told.header("x-request-id"), somebody.place)

    async def recorded(self, requests: int, within_s: float = 20.0) -> None:
        """Wait until the last of so many requests can be looked up."""
        async with asyncio.timeout(within_s):
            for each in list(self.people.values())[-requests:]:
                while await self.platform.traces.get(each.request_id) is None:
                    await asyncio.sleep(0.05)
            if self.platform.contents is not None and self.platform.contents.store is not None:
                await self.platform.contents.store.flush()


def author(person: Person) -> Author:
    """Return a person as the author of changes."""
    return Author(
        kind="person",
        id=person.id,
        name=person.name,
        role=person.role,
        org=person.org,
        team=person.team,
        user=person.id,
    )


@asynccontextmanager
async def open_world(folder: Path, auth: AuthSettings | None = None) -> AsyncIterator[World]:
    """Start a platform in `folder` and fill it. An OpenID provider in `auth` is asked as its client "public"."""
    settings = Settings(
        store=StoreSettings(data=str(folder)),
        server=ServerSettings(port=0),
        auth=auth or AuthSettings(),
        discover=False,
        cache=CacheSettings(url="memory:"),
        lake=LakeSettings(store=True),
        contents=ContentSettings(most="full"),
    )
    platform = await start(settings, {})
    wire = Wire(f"http://127.0.0.1:{platform.port}")
    world = World(platform, wire)
    try:
        await _fill(world)
        yield world
    finally:
        await wire.close()
        await platform.close()


async def _fill(world: World) -> None:
    for _ in range(2):
        org = canary("org")
        world.mark(org, Place(org))
        world.orgs.append(org)
        if world.platform.contents is not None:
            await world.platform.contents.rules.put(org, "", "full")
        teams = (canary("team"), canary("team"))
        world.teams[org] = teams
        for team in teams:
            world.mark(team, Place(org, team))
            for role in PEOPLE:
                await world.settle(org, team, role)
            await world.settle(org, team, Role.DEVELOPER, MATE)
    org, (team, _) = world.orgs[0], world.teams[world.orgs[0]]
    owner = await world.settle(org, team, Role.OWNER)
    add_person(world, "owner", owner)
    for role in PEOPLE:
        add_person(world, role.value, world.people[org, team, role.value])
    for role in KEYS:
        await _add_key(world, role, Place(org, team, canary("robot")))
    world.callers[ANYONE.name] = ANYONE
    await world.recorded(len(world.people))


def add_person(world: World, name: str, somebody: Somebody) -> None:
    """Let somebody call by their session."""
    world.callers[name] = Caller(name, somebody.token, somebody.person.role, somebody.place)


async def _add_key(world: World, role: Role, place: Place) -> None:
    world.mark(place.user, place)
    doc = KeyDoc(
        id="",
        mac="",
        org=place.org,
        team=place.team,
        project=canary("project"),
        user=place.user,
        role=role.value,
        name=world.mark(canary("key"), place),
    )
    _, token = await world.platform.tenancy.create_key(doc)
    world.callers[f"key of a {role.value}"] = Caller(f"key of a {role.value}", token, role.value, place)
