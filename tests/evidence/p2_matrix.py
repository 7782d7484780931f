"""P2: nobody reaches what is not theirs.

Every operation of the OpenAPI document is asked by every role about things of their own, of a mate, of the other team
and of the other organisation; every body is sent with members that it may not have; figures are read before and after
others grow; clocks are held to what does not exist; and machines' tokens are forged in every way known. The platform is
real, in this process, behind its own server.
"""

from __future__ import annotations

import itertools
import secrets
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from penstock.kernel.errors import Unauthenticated
from penstock.kernel.settings import AuthSettings, OidcSettings
from penstock.mechanisms.persons import TRIES_PER_EMAIL
from tests.evidence.registry import Result, Scalar, Table
from tests.matrix import counts, judge, smuggled
from tests.matrix.callers import Caller
from tests.matrix.forged import issuers, show_all
from tests.matrix.operations import BACK, PREFIX, Operation, operations
from tests.matrix.world import PASSWORD, World, canary, open_world
from tests.oidc_provider import provider

ID = "P2"
TITLE = "Tenant × role × route: no leak, no smuggled member, no forged token"
ANSWERED_LEAST = 0.95
AREA_MOST = 0.60
"""How well a clock may tell what is out of reach from what is not there: 0.5 is not at all."""
SHOWN = 12


async def produce(quick: bool) -> Result:
    """Ask everything."""
    with tempfile.TemporaryDirectory(prefix="penstock-p2-") as name, provider([BACK]) as oidc:
        folder = Path(name)
        auth = AuthSettings(issuers=issuers(folder), oidc=OidcSettings(issuer=oidc, client_id="public"))
        async with open_world(folder / "data", auth) as world:
            found, undeclared = await declared(world)
            verdict = await judge.ask_everything(world, found)
            tried = [*await smuggled.smuggle(world, found), *await smuggled.escalate(world)]
            growth = await grown(world, found, 2 if quick else 12)
            clocks = await timed(world, 60 if quick else 1_000)
            attacks = await show_all(world)
    taken = [each.what for each in tried if each.accepted]
    share = verdict.share_answered(found)
    forged = [each.name for each in attacks if each.accepted and not each.good]
    refused = [each.name for each in attacks if each.good and not each.accepted]
    told = [each.what for each in clocks if each.tells(AREA_MOST)]
    wrong = {
        "routes without a declaration": undeclared,
        "replies that were not as the table says": verdict.faults,
        "canaries of others in replies": verdict.leaks,
        "figures that tell of others' growth": growth,
        "questions told apart by a clock": told,
        "smuggled or escalating bodies taken": taken,
        "forged tokens taken": forged,
        "good tokens refused": refused,
    }
    faults = [f"{len(each)} {what}: {'; '.join(each[:SHOWN])}" for what, each in wrong.items() if each]
    if share < ANSWERED_LEAST:
        unused = sorted({each.name for each in found} - verdict.answered)
        faults.append(f"{share:.1%} of routes were used successfully; not {', '.join(unused)}")
    figures: dict[str, Scalar | dict[str, Scalar]] = {
        "routes": len(found),
        "callers": len(world.callers),
        "calls": verdict.calls,
        "routes_used_successfully_percent": round(100 * share, 1),
        **{what.replace(" ", "_"): len(each) for what, each in wrong.items()},
        "bodies_tried": len(tried),
        "attacks": sum(not each.good for each in attacks),
        "good_tokens": sum(each.good for each in attacks),
        "statuses": dict(verdict.statuses),
    }
    return Result(
        figures,
        "missed" if faults else "met",
        "; ".join(faults)
        or f"{verdict.calls} calls of {len(found)} routes by {len(world.callers)} callers, {len(tried)} bodies, "
        f"{figures['attacks']} forged tokens: nothing reached, told, counted or taken that should not be",
        (clock_table(clocks), route_table(found, verdict)),
    )


async def declared(world: World) -> tuple[list[Operation], list[str]]:
    """Return every operation of the management API, and those whose declaration is wrong."""
    owner = world.callers["owner"]
    told = await world.wire.ask(owner, "GET", f"{PREFIX}/openapi.json")
    document: dict[str, Any] = told.json
    return operations(document)


async def grown(world: World, found: list[Operation], count: int) -> list[str]:
    """Return the replies that tell callers of the first organisation that others grew."""
    org, team = world.orgs[0], world.teams[world.orgs[0]][0]
    # Whoever reaches the whole organisation sees its other team grow, and should.
    narrow = [world.callers[name] for name in ("team-admin", "developer", "reviewer")]
    before = await counts.figures(world, found, narrow)
    await counts.grow_elsewhere(world, org, team, count)
    return counts.counted(before, await counts.figures(world, found, narrow))


async def timed(world: World, pairs: int) -> list[counts.Clocked]:
    """Hold a clock to foreign and absent things, to unknown and known email addresses."""
    foreign_org = world.orgs[1]
    foreign = world.people[foreign_org, world.teams[foreign_org][0], "developer"]
    admin = world.callers["admin"]
    things = {
        "a key": ("/keys/", foreign.key_id, foreign.key_id[:-4] + "zzzz"),
        "a person": ("/people/{}/sessions", foreign.person.id, f"{foreign.person.id[:-4]}zzzz"),
        "a request": ("/requests/", foreign.request_id, f"{foreign.request_id[:-4]}zzzz"),
    }
    clocks = []
    for what, (path, theirs, nobodys) in things.items():
        asks = [partial(_read, world, admin, path, each) for each in (theirs, nobodys)]
        clocks.append(await counts.clocked(f"{what} of others and none", asks[0], asks[1], pairs))
    # Asked of the mechanism itself, each time from another address: over HTTP a hundred tries a quarter of an hour are
    # let through, too few to tell anything by.
    emails = itertools.cycle([each.person.email for each in world.people.values()])
    tries = min(pairs // 5, TRIES_PER_EMAIL * len(world.people))
    clocks.append(
        await counts.clocked(
            "a wrong password and an unknown email",
            lambda: _sign_in(world, next(emails)),
            lambda: _sign_in(world, f"{canary('mail')}@example.org"),
            tries,
        )
    )
    return clocks


async def _read(world: World, caller: Caller, path: str, thing: str) -> None:
    target = path.format(thing) if "{}" in path else path + thing
    told = await world.wire.ask(caller, "GET", PREFIX + target)
    if told.status != 404:
        raise AssertionError(f"GET {path} was answered {told.status}")


async def _sign_in(world: World, email: str) -> None:
    peer = ".".join(str(each) for each in (10, *secrets.token_bytes(3)))
    try:
        await world.platform.people.sign_in(email, PASSWORD + " not", peer=peer)
    except Unauthenticated:
        return
    raise AssertionError("A wrong password was let in.")


def clock_table(clocks: list[counts.Clocked]) -> Table:
    """One row per pair of questions."""
    columns = (
        "told apart by a clock",
        "pairs",
        "median of the first, µs",
        "of the second, µs",
        "area under the curve",
    )
    rows = tuple(
        (each.what, each.pairs, round(each.first_us), round(each.second_us), round(each.area, 3))
        for each in clocks
    )
    return Table(title="Clocks", columns=columns, rows=rows)


def route_table(found: list[Operation], verdict: judge.Verdict) -> Table:
    """One row per operation."""
    rows = tuple((each.name, each.needs, each.name in verdict.answered) for each in found)
    return Table(title="Routes", columns=("route", "needs", "used successfully"), rows=rows)
