"""Every caller asks every route about everybody's things; what is said and done is judged by the tree of tenants.

A place is *own*, a *mate*'s (same team), in the *other team*, or in the *other organisation*. Judged for each reply:

1. Whoever the table of roles does not admit is refused: 401 without a token, 403 with one.
2. What is asked about a place out of reach is refused, or answered as if it did not exist; it is never changed.
3. No reply holds a canary of a place that its caller may not see, unless the caller said it first.
4. No reply is a 5xx.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from penstock.mechanisms.roles import Role
from tests.matrix.callers import Caller, Place, Told
from tests.matrix.operations import Operation, Question, about
from tests.matrix.world import MATE, Somebody, World

FULL = frozenset({"own", "mate", "other team", "other organisation"})


@dataclass
class Verdict:
    """What the matrix showed."""

    calls: int = 0
    statuses: Counter[str] = field(default_factory=Counter[str])
    answered: set[str] = field(default_factory=set[str])
    """Operations that somebody used successfully."""
    faults: list[str] = field(default_factory=list[str])
    leaks: list[str] = field(default_factory=list[str])

    def share_answered(self, operations: Iterable[Operation]) -> float:
        """Return the share of operations that somebody used successfully."""
        names = [each.name for each in operations]
        return len(self.answered & set(names)) / len(names)


def places(world: World, caller: Caller) -> dict[str, Somebody]:
    """Return somebody at each distance from a caller."""
    org = world.orgs[0]
    foreign = world.orgs[1]
    team, other = world.teams[org]
    own = next((each for each in world.people.values() if each.token == caller.token), None)
    return {
        "own": own or world.people[org, team, Role.DEVELOPER.value],
        "mate": world.people[org, team, MATE],
        "other team": world.people[org, other, Role.DEVELOPER.value],
        "other organisation": world.people[foreign, world.teams[foreign][0], Role.DEVELOPER.value],
    }


async def ask_everything(
    world: World, operations: list[Operation], *, only: frozenset[str] = FULL
) -> Verdict:
    """Ask; return what was seen."""
    verdict = Verdict()
    for operation in operations:
        for caller in world.callers.values():
            for distance, whose in places(world, caller).items():
                if distance in only:
                    await _one(world, verdict, operation, caller, whose, filtered=True)
            if operation.query:
                await _one(world, verdict, operation, caller, places(world, caller)["own"], filtered=False)
    return verdict


async def _one(
    world: World, verdict: Verdict, operation: Operation, caller: Caller, whose: Somebody, *, filtered: bool
) -> None:
    if operation.uses_up_session and caller.token:
        caller = await _signed_in_again(world, caller)
    question = await about(world, operation, whose, filtered=filtered)
    told = await world.wire.ask(caller, operation.method, question.target, question.body)
    verdict.calls += 1
    verdict.statuses[f"{told.status // 100}xx"] += 1
    case = f"{operation.name} by {caller.name} about {_where(caller, question.about)}: {told.status}"
    fault = fault_of(operation, caller, question, told)
    if fault:
        verdict.faults.append(f"{case}: {fault}")
    elif told.status < 300:
        verdict.answered.add(operation.name)
    given = question.target + json.dumps(question.body)
    viewer = _whoever_came_in(told) if operation.needs == "public" and told.status == 201 else caller
    for text in world.leaks(viewer, told.said, given):
        verdict.leaks.append(f"{case} tells {text} of {_where(caller, world.canaries[text])}")


def fault_of(operation: Operation, caller: Caller, question: Question, told: Told) -> str:
    """Return what is wrong with a status, "" for nothing."""
    if told.status >= 500 and told.status != 503:
        return "failed"
    if not operation.admits(caller):
        expected = 403 if caller.token else 401
        return "" if told.status == expected else f"expected {expected}"
    if told.status in (401, 405, 415, 422):
        return "" if operation.needs == "public" else "was admitted by the table"
    if question.about is None or operation.needs in ("public", "authenticated"):
        return ""
    if caller.reaches(question.about):
        return (
            ""
            if (told.status < 500 and told.status != 404) or "sessions/" in operation.path
            else "is in reach"
        )
    if operation.is_safe:
        return "" if told.status in (200, 403, 404) else "expected 403 or 404"
    return "" if told.status in (403, 404) else "changed what is out of reach"


def _where(caller: Caller, place: Place | None) -> str:
    if place is None:
        return "nothing in particular"
    own = caller.place
    if place.org != own.org:
        return "the other organisation"
    if place.team and place.team != own.team:
        return "the other team"
    if place.user and place.user != own.user:
        return "a mate"
    return "their own"


def _whoever_came_in(told: Told) -> Caller:
    """Return the person that a sign-in made of its caller: what is theirs may be told."""
    person = told.json["person"]
    return Caller(person["name"], "", person["role"], Place(person["org"], person["team"], person["id"]))


async def _signed_in_again(world: World, caller: Caller) -> Caller:
    somebody = next((each for each in world.people.values() if each.token == caller.token), None)
    if somebody is None:
        return caller
    _, token = await world.platform.sessions.open(somebody.person, method="password")
    return Caller(caller.name, token, caller.role, caller.place)
