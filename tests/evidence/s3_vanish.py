"""S3: a client vanishes at 12 points of its request, in three ways, streamed or not: one settlement, nothing left open.

Twelve clients with a key each vanish at once, each at its own point; then the ledger's journal, the provider's own
books and the process are looked at. Promise: nothing is read from the code under test but its counters of sockets; the
provider is paced so that it never runs ahead of what was sent, and then its truth is known to the token.
"""

from __future__ import annotations

import asyncio
import functools
import socket
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from penstock.net.limits import ServerLimits
from penstock.simulator.behaviour import Speeds
from penstock.simulator.server import SimulatorOptions
from penstock.simulator.truth import TruthRow
from penstock.wiring import app
from tests.books import Books, Operation
from tests.evidence.registry import Result, Table
from tests.stage import Caller, Stage, stage, until
from tests.support import run
from tests.vanish import BEFORE_THE_REQUEST, POINTS, WAYS, Vanishing

ID = "S3"
TITLE = "A client vanishes at 12 points, in 3 ways: one settlement, exact or a flagged bounded estimate"

POLICIES = ("stop", "drain")
TOKENS = 24
FLOOD_TOKENS, FLOOD_WHOLE_TOKENS = 2_000, 60_000
SETTLED_S, BASELINE_S = 2.0, 1.0
SHORT_S = 0.4
PLAIN, SLOW = "sim/model", "sim/slow_first_byte;seconds=0.4"
FLOOD, FLOOD_WHOLE = f"sim/none;tokens={FLOOD_TOKENS}", f"sim/none;tokens={FLOOD_WHOLE_TOKENS}"


@dataclass(frozen=True)
class Footprint:
    """What the process holds: sockets and files beyond the idle upstream connections, tasks, clients, calls."""

    files: int
    tasks: int
    clients: int
    calls: int


@dataclass(slots=True)
class Seen:
    """What came of one round of twelve clients."""

    policy: str
    way: str
    stream: bool
    settled: int = 0
    exact: int = 0
    estimated: int = 0
    slowest_s: float = 0.0
    baseline_s: float = 0.0
    faults: list[str] = field(default_factory=list[str])


def footprint(it: Stage, ours: int) -> Footprint:
    """Measure; `ours` is how many sockets of this file's own clients are open."""
    # Both ends of a pooled, idle upstream connection are in this process; how many there are is the pool's choice.
    upstream = 2 * it.simulator.connections
    files = sum(1 for _ in Path("/proc/self/fd").iterdir()) - upstream - ours
    provider: Any = it.platform.catalogue.providers()["sim"].provider
    calls = it.simulator.truth.summary().in_flight + provider._client.active
    return Footprint(files, len(asyncio.all_tasks()), it.platform.server.stats.connections, calls)


def is_within(now: Footprint, base: Footprint) -> bool:
    """Tell whether nothing is held that was not held before."""
    return (
        now.files <= base.files and now.tasks <= base.tasks and now.clients <= base.clients and now.calls == 0
    )


@asynccontextmanager
async def scene(folder: Path, policy: str, way: str) -> AsyncIterator[Stage]:
    """Put up a platform whose timers are short enough to be waited for and whose sockets are small enough to fill."""
    paced = SimulatorOptions(speeds=Speeds(tokens_per_s=100, answer_tokens=TOKENS))
    flood = SimulatorOptions(speeds=Speeds(answer_tokens=TOKENS))
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)  # inherited by every accepted connection
    sock.bind(("127.0.0.1", 0))
    quick = functools.partial(
        ServerLimits, header_timeout_s=SHORT_S, body_timeout_s=SHORT_S, linger_s=SHORT_S
    )
    with mock.patch.object(app, "ServerLimits", quick):
        async with stage(
            folder,
            simulator=flood if way == "silent" else paced,
            sock=sock,
            server={"on_vanished_client": policy, "write_idle_s": SHORT_S, "idle_s": SHORT_S},
            provider={"models": (PLAIN, SLOW, FLOOD, FLOOD_WHOLE)},
            admission={"max_output_tokens": FLOOD_WHOLE_TOKENS},
        ) as it:
            await _warm(it, policy, way)
            yield it


async def _warm(it: Stage, policy: str, way: str) -> None:
    """Have the stores open the files they open at first use: a round whose findings do not count."""
    callers = {point: await it.caller() for point in POINTS[-3:]}
    await asyncio.gather(
        *[client(it, callers[point], point, "fin", stream=True).go() for point in POINTS[-3:]]
    )
    await asyncio.sleep(SHORT_S)
    await _check(it, Seen(policy, way, stream=True), callers)


def client(it: Stage, caller: Caller, point: str, way: str, *, stream: bool) -> Vanishing:
    """Return one client; a silent one asks for more than sockets hold wherever it stops early."""
    model = SLOW if point in ("asked", "waiting") else PLAIN
    if way == "silent" and point in ("asked", "headers", "first", "third"):
        model = FLOOD if stream else FLOOD_WHOLE
    asked = {"model": model, "messages": [{"role": "user", "content": "How much?"}], "stream": stream}
    limit = FLOOD_WHOLE_TOKENS if model == FLOOD_WHOLE else FLOOD_TOKENS
    return Vanishing(it.platform.port, caller.token, point, way, {**asked, "max_tokens": limit}, TOKENS + 2)


async def drill(it: Stage, policy: str, way: str, *, stream: bool, points: tuple[str, ...] = POINTS) -> Seen:
    """Let a client vanish at each of `points`, all at once, and look at what is left."""
    seen = Seen(policy, way, stream)
    callers = {point: await it.caller() for point in points}
    await asyncio.sleep(SHORT_S * 2)  # what an earlier round left idle is closed before the baseline is taken
    base = footprint(it, 0)
    clients = [client(it, callers[point], point, way, stream=stream) for point in points]
    try:
        await asyncio.gather(*[_vanish(it, each, callers[each.point], seen) for each in clients])
        began = time.monotonic()
        still = len(points) if way == "silent" else 0

        async def back() -> bool:
            return is_within(footprint(it, still), base)

        try:
            await until(back, BASELINE_S)
        except TimeoutError:
            seen.faults.append(f"not back to {base} in {BASELINE_S:g} s: {footprint(it, still)}")
        seen.baseline_s = time.monotonic() - began
    finally:
        for each in clients:
            each.end()
    await _check(it, seen, callers)
    return seen


async def _vanish(it: Stage, each: Vanishing, caller: Caller, seen: Seen) -> None:
    """Let one client go, then wait until nothing of it is held."""
    where = f"{seen.policy}, {seen.way}, {'stream' if seen.stream else 'whole'}, {each.point}"
    try:
        await each.go()
    except TimeoutError:
        seen.faults.append(f"{where}: the reply did not come")
        return
    began = time.monotonic()

    async def done() -> bool:
        spent = await it.spent(caller)
        idle = not it.simulator.truth.summary().in_flight
        return not spent.held_nanos and (spent.postings == 1 or (idle and time.monotonic() - began > SHORT_S))

    try:
        await until(done, SETTLED_S)
    except TimeoutError:
        seen.faults.append(f"{where}: not settled in {SETTLED_S:g} s: {await it.spent(caller)}")
    if (await it.spent(caller)).postings:
        seen.slowest_s = max(seen.slowest_s, time.monotonic() - began)


async def _check(it: Stage, seen: Seen, callers: dict[str, Caller]) -> None:
    """Compare the journal with the provider's books."""
    await asyncio.sleep(0.05)  # settlements are journalled with the group after they count
    books = Books(Path(it.platform.settings.store.data) / "ledger.sqlite")
    truth = {row.operation: row for row in it.simulator.truth.rows()}
    for point, caller in callers.items():
        operations = books.of(caller.id)
        where = f"{seen.policy}, {seen.way}, {'stream' if seen.stream else 'whole'}, {point}"
        # A reset may overtake the request it follows: then nobody ever saw the request.
        least = 0 if point in BEFORE_THE_REQUEST or (point == "asked" and seen.way == "rst") else 1
        if not least <= len(operations) <= (0 if point in BEFORE_THE_REQUEST else 1):
            seen.faults.append(f"{where}: {len(operations)} operations in the journal")
        for operation in operations:
            fault = _judge(seen, operation, truth.get(operation.id))
            if fault:
                seen.faults.append(f"{where}: {fault}")


def _judge(seen: Seen, operation: Operation, truth: TruthRow | None) -> str:
    """Return what is wrong with an operation's settlement, "" when it is right."""
    if len(operation.settlements) != 1:
        return f"{len(operation.settlements)} settlements"
    settled = operation.settlements[0]
    seen.settled += 1
    cost = truth.cost_nanos if truth is not None else 0
    if not settled.estimated:
        seen.exact += 1
        return (
            "" if settled.amount_nanos == cost else f"posted {settled.amount_nanos} as exact, truth is {cost}"
        )
    seen.estimated += 1
    if seen.policy == "drain":
        return "estimated although the provider was read to its end"
    if settled.amount_nanos > operation.held_nanos:
        return f"estimate {settled.amount_nanos} above the hold {operation.held_nanos}"
    # A flooding provider has generated what sockets between us still hold: nobody but itself knows how much.
    if seen.way != "silent" and settled.amount_nanos < cost:
        return f"estimate {settled.amount_nanos} below the truth {cost}"
    return ""


async def rounds(folder: Path, times: int) -> list[Seen]:
    """Run every combination `times` times, on one platform per policy and way."""
    found: list[Seen] = []
    for policy in POLICIES:
        for way in WAYS:
            async with scene(folder / f"{policy}-{way}", policy, way) as it:
                for _ in range(times):
                    for stream in (True, False):
                        found.append(await drill(it, policy, way, stream=stream))  # noqa: PERF401 - one after another
    return found


def produce(quick: bool) -> Result:
    """Run 12 points × 3 ways × {stream, whole} × 2 policies, once or five times."""
    times = 1 if quick else 5
    with tempfile.TemporaryDirectory(prefix="penstock-s3-") as folder:
        found = run(rounds(Path(folder), times), ceiling_s=600)
    faults = [fault for seen in found for fault in seen.faults]
    rows = tuple(
        (
            f"{policy}, {way}, {'stream' if stream else 'whole'}",
            sum(s.settled for s in group),
            sum(s.exact for s in group),
            sum(s.estimated for s in group),
            round(max(s.slowest_s for s in group) * 1000),
            round(max(s.baseline_s for s in group) * 1000),
            sum(len(s.faults) for s in group),
        )
        for policy in POLICIES
        for way in WAYS
        for stream in (True, False)
        if (group := [s for s in found if (s.policy, s.way, s.stream) == (policy, way, stream)])
    )
    columns = (
        "round",
        "settled",
        "exact",
        "estimated",
        "slowest settled_ms",
        "slowest baseline_ms",
        "faults",
    )
    settled = sum(seen.settled for seen in found)
    return Result(
        {
            "clients": len(found) * len(POINTS),
            "operations": settled,
            "settled_once": settled - sum("settlements" in fault for fault in faults),
            "exact": sum(seen.exact for seen in found),
            "flagged_estimates": sum(seen.estimated for seen in found),
            "slowest_settlement_ms": round(max(seen.slowest_s for seen in found) * 1000),
            "slowest_baseline_ms": round(max(seen.baseline_s for seen in found) * 1000),
            "faults": len(faults),
        },
        "missed" if faults else "met",
        "; ".join(faults[:5]) or f"{settled} operations, each settled once; sockets, tasks and calls back",
        tables=(Table(title="By policy, way and kind of reply", columns=columns, rows=rows),),
    )
