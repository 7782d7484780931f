"""What can be asked of the management API, taken from its OpenAPI document, and how each question is put.

Promise: what the document declares is the whole list; a route without exactly one declaration of who may call it, or
with a parameter or a body that nobody here knows how to fill, is an error, not a gap.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from penstock.mechanisms.changes import THE_PLATFORM
from penstock.mechanisms.roles import Action, Role, may
from tests.matrix.callers import Caller, Place
from tests.matrix.world import ANYONE, PASSWORD, Somebody, World, canary
from tests.oidc_provider import signed_in

DECLARATIONS = ("x-penstock-public", "x-penstock-authenticated", "x-penstock-action")
SAFE = frozenset({"get", "head"})
PREFIX = "/api/v1"
BACK = "http://127.0.0.1:9/console/sign-in/oidc/back"
"""Where people return from the OpenID provider; nobody needs to be there."""


@dataclass(frozen=True)
class Operation:
    """One method of one route. `needs` is an action, "public" or "authenticated"."""

    method: str
    path: str
    needs: str
    query: tuple[str, ...]
    body: bool

    @property
    def name(self) -> str:
        """What people call it."""
        return f"{self.method} {self.path.removeprefix(PREFIX)}"

    @property
    def is_safe(self) -> bool:
        """Whether it only reads."""
        return self.method.lower() in SAFE

    @property
    def is_live(self) -> bool:
        """Whether its reply does not end."""
        return self.path.endswith("/live")

    @property
    def uses_up_session(self) -> bool:
        """Whether the session it is asked with ends: whoever signs in, or out, goes on under another or none."""
        return (
            "/sessions" in self.path
            and self.path.count("/") <= 5
            and not self.is_safe
            and "{" not in self.path
        )

    def admits(self, caller: Caller) -> bool:
        """Tell whether the table of roles lets this caller use it at all."""
        if self.needs == "public":
            return True
        if caller is ANYONE:
            return False
        return self.needs == "authenticated" or may(caller.role, Action(self.needs))


@dataclass(frozen=True)
class Question:
    """One call: where it goes and what it brings. `about` is whose things it asks for, None for no one's."""

    target: str
    body: object
    about: Place | None


def operations(document: dict[str, Any]) -> tuple[list[Operation], list[str]]:
    """Return every operation of an OpenAPI document, and what is wrong with its declarations."""
    found: list[Operation] = []
    wrong: list[str] = []
    for path, methods in document["paths"].items():
        for method, told in methods.items():
            declared = [name for name in DECLARATIONS if name in told]
            if len(declared) != 1:
                wrong.append(f"{method.upper()} {path} declares {declared or 'nothing'}")
                continue
            kind = declared[0].removeprefix("x-penstock-")
            needs = told[declared[0]] if kind == "action" else kind
            query = tuple(each["name"] for each in told.get("parameters", ()) if each["in"] == "query")
            found.append(Operation(method.upper(), path, needs, query, "requestBody" in told))
    return found, wrong


class Unknown(Exception):
    """A route asks for something that this file does not know how to give."""


async def about(world: World, operation: Operation, whose: Somebody, *, filtered: bool) -> Question:
    """Put the question of an operation about somebody's things; `filtered` names them in the query too."""
    path = operation.path
    if "{" in path:
        path = (
            path[: path.index("{")]
            + quote(await _thing(world, operation, whose))
            + path[path.index("}") + 1 :]
        )
    query = _query(operation, whose) if filtered else {}
    body = await _body(world, operation, whose) if operation.body else None
    named = "{" in operation.path or bool(query) or body is not None
    target = path + (f"?{urlencode(query)}" if query else "")
    # The limits of a project are its team's, whoever works on it.
    at = Place(whose.place.org, whose.place.team) if "/scopes" in path else whose.place
    return Question(target, body, at if named else None)


async def _thing(world: World, operation: Operation, whose: Somebody) -> str:
    """Return the id that a path asks for: of something made anew where the call would use it up."""
    noun = operation.path.removeprefix(PREFIX).split("/")[1]
    if noun == "keys":
        return whose.key_id if operation.is_safe else (await world.fresh_key(whose.place))[0]
    if noun == "people":
        return whose.person.id if operation.is_safe else await _fresh_person(world, operation, whose)
    if noun == "sessions":
        return await world.fresh_session(whose)
    if noun == "requests":
        return whose.request_id
    raise Unknown(f"{operation.name}: what is its {{…}}?")


async def _fresh_person(world: World, operation: Operation, whose: Somebody) -> str:
    person = await world.fresh_person(whose.place)
    if operation.path.endswith("/enable"):
        await world.platform.people.disable(THE_PLATFORM, person)
    return person


def _query(operation: Operation, whose: Somebody) -> dict[str, str]:
    at = whose.place
    known = {
        "org": at.org,
        "team": at.team,
        "project": whose.project,
        "user": at.user,
        "key_id": whose.key_id,
        "feature": whose.feature,
        "subject": at.user,
        "actor": at.user,
    }
    if operation.path.endswith("/scopes/one"):
        return {"level": "project", "org": at.org, "team": at.team, "project": whose.project}
    given = {name: known[name] for name in operation.query if name in known}
    if "level" in operation.query:
        given["level"] = "project"
    if "by" in operation.query:
        given["by"] = "user,feature"
    if "since" in operation.query:
        given |= {"since": "2026-11-20", "until": "2026-11-20"}
    if "account" in operation.query:
        given["account"] = f"org:{at.org}/user:{at.user}"
    return given


Body = Callable[[World, Somebody], Awaitable[object]]


async def _key(_: World, whose: Somebody) -> object:
    at = whose.place
    return {"org": at.org, "team": at.team, "project": whose.project, "user": at.user, "name": canary("made")}


async def _scope(_: World, whose: Somebody) -> object:
    at = whose.place
    rate = {"requests_per_minute": 6_000}
    return {"level": "project", "org": at.org, "team": at.team, "project": whose.project, "rate": rate}


async def _person(_: World, whose: Somebody) -> object:
    at = whose.place
    made = {"email": f"{canary('mail')}@example.org", "name": canary("made"), "role": Role.DEVELOPER.value}
    return made | {"org": at.org, "team": at.team}


async def _sign_in(_: World, whose: Somebody) -> object:
    return {"email": whose.person.email, "password": PASSWORD}


async def _accept(world: World, whose: Somebody) -> object:
    person = await world.fresh_person(whose.place)
    return {"token": await world.platform.people.invite_again(THE_PLATFORM, person), "password": PASSWORD}


async def _rotation(_: World, __: Somebody) -> object:
    return {"overlap_s": 60}


async def _renaming(_: World, __: Somebody) -> object:
    return {"name": canary("renamed")}


async def _oidc(_: World, __: Somebody) -> object:
    return {"redirect_uri": BACK}


async def _oidc_code(world: World, whose: Somebody) -> object:
    """Invite somebody, and have them sign in at the provider: what their browser comes back with."""
    login = canary("mail")
    place = whose.place
    await world.platform.people.invite(
        THE_PLATFORM, f"{login}@example.org", login, Role.DEVELOPER, org=place.org, team=place.team
    )
    begun = (await world.wire.ask(ANYONE, "POST", f"{PREFIX}/sessions/oidc", {"redirect_uri": BACK})).json
    back = await asyncio.to_thread(signed_in, begun["url"], login)
    return {"code": back["code"], "state": back["state"], "kept": begun["kept"], "redirect_uri": BACK}


async def _routing(_: World, __: Somebody) -> object:
    return {"document": {"routes": []}}


async def _to_the_file(_: World, __: Somebody) -> object:
    return {"to": 0}


async def _request_not_made(_: World, whose: Somebody) -> object:
    return {"model": "local/extractive", "org": whose.place.org, "user": whose.place.user}


async def _purge(_: World, whose: Somebody) -> object:
    return {"org": whose.place.org, "everything": True}


async def _audit_query(_: World, whose: Somebody) -> object:
    return {"org": whose.place.org, "sql": "SELECT count(*) FROM audit"}


async def _content_rule(_: World, whose: Somebody) -> object:
    return {"org": whose.place.org, "team": whose.place.team, "mode": "full"}


async def _forgetting(_: World, whose: Somebody) -> object:
    return {"org": whose.place.org, "user": canary("nobody")}


async def _score(_: World, __: Somebody) -> object:
    return {"thumb": "up"}


async def _invoice(_: World, __: Somebody) -> object:
    return {"vendor": "openai", "form": "csv", "text": "date,model,cost_usd\n2026-11-20,gpt-4o,1.00\n"}


_BODIES: dict[str, Body] = {
    "POST /audit/query": _audit_query,
    "POST /reconcile": _invoice,
    "PUT /contents/rules": _content_rule,
    "POST /contents/forget": _forgetting,
    "POST /requests/{}/feedback": _score,
    "POST /cache/purge": _purge,
    "POST /routing/check": _routing,
    "PUT /routing": _routing,
    "POST /routing/rollback": _to_the_file,
    "POST /routing/explain": _request_not_made,
    "POST /keys": _key,
    "PATCH /keys/{}": _renaming,
    "POST /keys/{}/rotate": _rotation,
    "PUT /scopes": _scope,
    "POST /people": _person,
    "PATCH /people/{}": _renaming,
    "POST /sessions": _sign_in,
    "POST /sessions/link": _accept,
    "POST /sessions/oidc": _oidc,
    "POST /sessions/oidc/code": _oidc_code,
}


async def _body(world: World, operation: Operation, whose: Somebody) -> object:
    path = operation.path.removeprefix(PREFIX)
    if "{" in path:
        path = path[: path.index("{")] + "{}" + path[path.index("}") + 1 :]
    make = _BODIES.get(f"{operation.method} {path}")
    if make is None:
        raise Unknown(f"{operation.name}: what is its body?")
    return await make(world, whose)
