"""The drill of S2: many clients on one dollar, mixed costs, five nested budgets of which each is the tightest in turn.

Promise: "never over" is reckoned from the journal, where every hold and every settlement stands, so no moment escapes
between two samples; the samples taken through the management API meanwhile are counted beside it. "No refusal while
room remains" is checked on every refusal's own figures, and, when nothing is in flight any more, against the journal.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from penstock.kernel.context import LEVELS, Rate
from tests.fleet.books import Journal
from tests.fleet.caller import Caller, Reply
from tests.fleet.config import Engines, Made, Prices, Tenant, provision, write_config
from tests.fleet.load import chat_body
from tests.fleet.process import Child, node, provider
from tests.fleet.truth import Truth

DOLLAR_NANOS = 1_000_000_000
WIDER_NANOS = 3 * DOLLAR_NANOS
CLIENTS = 64
DEAR = Prices(input_cents=1500, output_cents=6000)
SPEEDS = (
    "--answer-tokens",
    "24",
    "--answer-sigma",
    "0.8",
    "--first-token-s",
    "0.002",
    "--tokens-per-s",
    "8000",
)
SMALLEST_WORDS = 1
TRIES_MAX = 200
GENEROUS = Rate(requests_per_minute=1_000_000, tokens_per_minute=1_000_000_000, concurrency=10_000)


@dataclass(slots=True)
class Tally:
    """What the rounds saw. Money in nano-dollars."""

    rounds: int = 0
    answered: int = 0
    answered_under_harm: int = 0
    refused: int = 0
    failed: int = 0
    failures: dict[str, int] = field(default_factory=dict)
    samples: int = 0
    over_samples: int = 0
    over_accounts: list[str] = field(default_factory=list)
    peak_nanos: int = 0
    least_used_nanos: int = DOLLAR_NANOS
    refused_with_room: int = 0
    left_room_nanos: list[int] = field(default_factory=list)
    journal_room_differs: int = 0
    unreconciled: int = 0
    problems: tuple[str, ...] = ()


class Floor:
    """A running deployment of one or more gateways with its provider, and what watches it."""

    def __init__(self, config: Path, children: Sequence[Child], truth: Truth) -> None:
        """Made by `deployed`."""
        self.config = config
        self.children = children
        self.truth = truth
        self.journal = Journal(config)

    @property
    def ports(self) -> list[int]:
        """The gateways' ports."""
        return [child.port for child in self.children]


async def spend(
    floor: Floor, token: str, clients: int, seed: int, tally: Tally, users: Sequence[str] = ()
) -> None:
    """Let `clients` callers, spread over the gateways, spend until each was refused for lack of money."""
    ports = floor.ports

    async def client(number: int) -> None:
        draw = random.Random(f"{seed}:{number}")
        user = users[number % len(users)] if users else ""
        caller = Caller(ports[number % len(ports)], token)
        for _ in range(TRIES_MAX):
            reply = await caller.chat(chat_body(draw, user=user, words=draw.randint(1, 60)))
            if note(reply, tally):
                break
        await caller.close()

    await asyncio.gather(*[client(number) for number in range(clients)])


def note(reply: Reply, tally: Tally) -> bool:
    """Count a reply; tells whether it was a refusal for lack of money."""
    if reply.good:
        tally.answered += 1
        return False
    error = reply.error
    if error.get("code") == "insufficient_quota":
        tally.refused += 1
        tally.refused_with_room += error["value"] <= error["limit"]
        return True
    tally.failed += 1
    what = reply.failure or f"{reply.status} {error.get('code', '')}"
    tally.failures[what] = tally.failures.get(what, 0) + 1
    return False


async def exhaust(floor: Floor, token: str, account: str, tally: Tally, user: str = "") -> None:
    """With nothing else in flight, ask for the smallest thing until it is refused: then, by the journal, there is no
    room for it, and the room that the refusal names is the room there is.
    """
    caller = Caller(floor.ports[0], token)
    draw = random.Random(account)
    smallest = msgspec.json.decode(chat_body(draw, stream=False, user=user, words=SMALLEST_WORDS))
    smallest["max_tokens"] = 1
    body = msgspec.json.encode(smallest)
    for _ in range(TRIES_MAX):
        reply = await caller.chat(body)
        if note(reply, tally):
            break
    await caller.close()
    await settled(floor)
    room_nanos = DOLLAR_NANOS - floor.journal.used.get(account, 0)
    error = reply.error
    named = error.get("limit")
    tally.left_room_nanos.append(room_nanos)
    tally.journal_room_differs += error.get("param") == account and named != room_nanos
    tally.refused_with_room += error.get("value", 0) <= room_nanos


async def settled(floor: Floor) -> None:
    """Wait until the journal holds nothing any more (5 s at most: what is held then is a finding)."""
    for _ in range(250):
        await floor.journal.read()
        if not floor.journal.held:
            return
        await asyncio.sleep(0.02)


async def sample(
    floor: Floor, owner: str, orgs: Callable[[], str], limits: dict[str, int], tally: Tally
) -> None:
    """Ask the gateways for every budget, one after the other, as fast as they answer, until cancelled."""
    callers = [Caller(port, owner) for port in floor.ports]
    with suppress(asyncio.CancelledError):
        while True:
            for caller in callers:
                reply = await caller.get(f"/api/v1/budgets?org={orgs()}")
                if reply.status != 200:
                    await asyncio.sleep(0.01)
                    continue
                for row in msgspec.json.decode(reply.body):
                    used = row["posted_nanos"] + row["held_nanos"]
                    tally.samples += 1
                    tally.over_samples += used > limits.get(row["account"], row["limit_nanos"])
    await asyncio.gather(*[caller.close() for caller in callers])


def tenant_of(round_number: int, *, first_seen: bool) -> Tenant:
    """Return the tenant of a round: the round's level has a dollar, the others more; a user's default the dollar when
    users are first seen by name.
    """
    tight = LEVELS[round_number % len(LEVELS)]
    caps = {level: DOLLAR_NANOS if level == tight else WIDER_NANOS for level in LEVELS}
    if first_seen:
        caps = {level: 8 * DOLLAR_NANOS for level in LEVELS if level != "user"}
    return Tenant(
        org=f"org{round_number}{'u' if first_seen else ''}",
        caps=caps,
        rate=GENEROUS,
        end_users=first_seen,
        user_default_nanos=DOLLAR_NANOS if first_seen else 0,
    )


async def run_rounds(
    folder: Path,
    engines: Engines,
    *,
    rounds: int,
    first_seen_rounds: int = 0,
    gateways: int = 1,
    harm: Callable[[int], Awaitable[None]] | None = None,
    heal: Callable[[int], Awaitable[None]] | None = None,
    clients: int = CLIENTS,
) -> Tally:
    """Run the rounds; `harm(round)` is awaited beside each round's spending, `heal(round)` after it."""
    tally = Tally()
    tenants = [tenant_of(number, first_seen=False) for number in range(rounds)]
    tenants += [tenant_of(number, first_seen=True) for number in range(first_seen_rounds)]
    async with AsyncExitStack() as opened:
        upstream = await opened.enter_async_context(provider(*SPEEDS))
        config = write_config(folder, upstream.facts["url"], engines, prices=DEAR)
        keys = await provision(config, [Tenant(org="house", role="owner"), *tenants])
        children = [
            await opened.enter_async_context(node(_own_folder(config, number))) for number in range(gateways)
        ]
        floor = Floor(config, children, Truth(upstream.port, DEAR))
        opened.push_async_callback(floor.truth.close)
        now = [tenants[0].org]
        sampler = asyncio.create_task(sample(floor, keys[0].token, lambda: now[0], {}, tally))
        for number, (tenant, key) in enumerate(zip(tenants, keys[1:], strict=True)):
            now[0] = tenant.org
            users = [f"{tenant.org}-u{n}" for n in range(4)] if tenant.end_users else []
            work = [spend(floor, key.token, clients, number, tally, users)]
            before = [tally.answered]
            if harm is not None:
                work.append(_harmed(harm(number), tally, before))
            await asyncio.gather(*work)
            tally.answered_under_harm += tally.answered - before[0] if harm is not None else 0
            await _end_of_round(floor, tenant, key, users, tally)
            if heal is not None:
                await heal(number)
        sampler.cancel()
        await sampler
        await judge(floor, tenants, keys[1:], tally)
    tally.problems = (await floor.journal.verify()).problems
    return tally


def _own_folder(config: Path, number: int) -> Path:
    """Give each gateway beyond the first a data folder of its own."""
    if number == 0:
        return config
    text = config.read_text().replace(
        f'data = "{config.parent}/data"', f'data = "{config.parent}/data{number}"'
    )
    path = config.with_name(f"penstock{number}.toml")
    path.write_text(text)
    return path


async def _harmed(harm: Awaitable[None], tally: Tally, before: list[int]) -> None:
    """Do the harm, and note how many requests were answered until then."""
    await harm
    before[0] = tally.answered


async def _end_of_round(floor: Floor, tenant: Tenant, key: Made, users: Sequence[str], tally: Tally) -> None:
    """Spend what is left, alone."""
    for user in users:
        await exhaust(floor, key.token, f"org:{tenant.org}/user:{user}@total", tally, user)
    if not users:
        await exhaust(floor, key.token, _tight(tenant, key), tally)
    tally.rounds += 1


def _tight(tenant: Tenant, key: Made) -> str:
    level = next(level for level, limit in tenant.caps.items() if limit == DOLLAR_NANOS)
    return tenant.account(level, key.id)


async def judge(floor: Floor, tenants: Sequence[Tenant], keys: Sequence[Made], tally: Tally) -> None:
    """Compare the journal's peaks with every limit, and its settlements with the provider's truth."""
    await floor.truth.quiet()
    await settled(floor)
    journal = Journal(floor.config)  # read anew, once: in the order of effects
    await journal.read()
    limits: dict[str, int] = {}
    for tenant, key in zip(tenants, keys, strict=True):
        limits |= {tenant.account(level, key.id): limit for level, limit in tenant.caps.items()}
        if tenant.end_users:
            limits |= {f"org:{tenant.org}/user:{tenant.org}-u{n}@total": DOLLAR_NANOS for n in range(4)}
    tally.over_accounts = [name for name, limit in limits.items() if journal.peaks.get(name, 0) > limit]
    tight = [name for name, limit in limits.items() if limit == DOLLAR_NANOS]
    tally.peak_nanos = max(journal.peaks.get(name, 0) for name in tight)
    tally.least_used_nanos = min(journal.used.get(name, 0) for name in tight)
    truth = await floor.truth.read()
    tally.unreconciled = sum(
        journal.ended.get(operation) is None or journal.ended[operation].amount_nanos != entry.cost_nanos
        for operation, entry in truth.items()
    )
