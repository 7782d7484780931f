"""The drill of S1: a gateway under load is killed again and again, and after each kill the books are compared with
what the provider billed.

Promise: what is compared is the provider's own truth and the journal on disk; the gateway is asked nothing. A drill of
the control (`books="posthoc"`) runs the same steps and the same comparison.
"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass, field
from pathlib import Path

from penstock.ports.ledger import Verdict
from tests.fleet.books import Journal
from tests.fleet.config import Engines, Tenant, provision, write_config
from tests.fleet.load import Swarm, until
from tests.fleet.process import Child, node, provider
from tests.fleet.truth import Billed, Truth

IN_FLIGHT = 32
KILL_WITHIN_S = 0.3
RESOLVE_LIMIT_S = 30.0
SPEEDS = (
    *(
        "--answer-tokens",
        "40",
        "--answer-sigma",
        "0.8",
        "--first-token-s",
        "0.008",
        "--first-token-sigma",
        "0.6",
    ),
    *("--tokens-per-s", "1500", "--tokens-per-s-sigma", "0.5"),
)
BUDGET_NANOS = 10**15


@dataclass(slots=True)
class Tally:
    """What a drill saw. Money in nano-dollars, times in seconds."""

    kills: int = 0
    answered: int = 0
    in_doubt: list[int] = field(default_factory=list)
    resolve_s: list[float] = field(default_factory=list)
    start_s: list[float] = field(default_factory=list)
    billed: int = 0
    billed_nanos: int = 0
    missing: int = 0
    missing_nanos: int = 0
    settled_twice: int = 0
    posted: int = 0
    posted_nanos: int = 0
    unequal: int = 0
    """Operations settled as exact whose amount is not the provider's."""
    estimated: int = 0
    estimated_over_nanos: int = 0
    estimated_under_nanos: int = 0
    estimated_truth_nanos: int = 0
    checkpointed: int = 0
    checkpoint_over_nanos: int = 0
    checkpoint_under_nanos: int = 0
    """Of the estimated: those whose stream had left a checkpoint."""
    charged_unbilled: int = 0
    """Operations charged as exact that the provider never billed."""
    charged_in_doubt: int = 0
    """Operations in doubt that were charged although the provider never billed them (by estimate, flagged)."""
    problems: list[str] = field(default_factory=list)
    verdict: Verdict | None = None
    seconds: float = 0.0


async def drill(
    folder: Path,
    engines: Engines,
    kills: int,
    *,
    seed: int = 1,
    books: str = "held",
    in_flight: int = IN_FLIGHT,
) -> Tally:
    """Kill a gateway `kills` times under `in_flight` requests; returns what was found."""
    tally = Tally()
    began = time.monotonic()
    draw = random.Random(seed)
    async with provider(*SPEEDS, "--seed", str(seed)) as upstream:
        config = write_config(folder, upstream.facts["url"], engines)
        levels = dict.fromkeys(("org", "team", "project", "user", "key"), BUDGET_NANOS)
        (key,) = await provision(config, [Tenant(caps=levels)])
        truth, journal = Truth(upstream.port), Journal(config)
        spare = await _spare(config, books)
        for number in range(kills):
            current = spare
            await _revive(current, journal, tally)
            spare = await _spare(
                config, books
            )  # before the load, which would else share its cores with imports
            swarm = Swarm(current.port, key.token, in_flight, seed * 10_000 + number)
            swarm.start()
            await asyncio.sleep(draw.uniform(0, KILL_WITHIN_S))
            await current.kill()
            tally.answered += sum(reply.good for reply in await swarm.abandon())
            await current.close()
            await truth.quiet()
            await journal.read()
            tally.kills += 1
            tally.in_doubt.append(len(journal.held))
        await _revive(spare, journal, tally)
        await spare.close()
        await journal.read()
        compare(tally, await truth.read(), journal)
        tally.verdict = await journal.verify()
        await truth.close()
    tally.seconds = time.monotonic() - began
    return tally


async def _spare(config: Path, books: str) -> Child:
    """Return a gateway that has imported everything and waits."""
    child = node(config, "--wait", "--books", books)
    await child.launch()
    await child.warm()
    return child


async def _revive(child: Child, journal: Journal, tally: Tally) -> None:
    """Start a gateway and wait until nothing is in doubt any more."""
    began = time.monotonic()
    child.go()
    ready = await child.ready()
    tally.start_s.append(ready["start_s"])

    async def nothing_in_doubt() -> bool:
        await journal.read()
        return not journal.held

    await until(nothing_in_doubt, RESOLVE_LIMIT_S)
    tally.resolve_s.append(time.monotonic() - began)


def compare(tally: Tally, billed: dict[str, Billed], journal: Journal) -> None:
    """Lay the provider's truth beside the books, operation by operation."""
    tally.billed = len(billed)
    tally.billed_nanos = sum(entry.cost_nanos for entry in billed.values())
    tally.problems = list(journal.problems)
    for operation, entry in billed.items():
        ended = journal.ended.get(operation)
        if ended is None or ended.outcome == "voided":
            tally.missing += 1
            tally.missing_nanos += entry.cost_nanos
        elif ended.estimated:
            over_nanos = ended.amount_nanos - entry.cost_nanos
            tally.estimated += 1
            tally.estimated_truth_nanos += entry.cost_nanos
            tally.estimated_over_nanos += max(over_nanos, 0)
            tally.estimated_under_nanos += max(-over_nanos, 0)
            if ended.checkpointed:
                tally.checkpointed += 1
                tally.checkpoint_over_nanos += max(over_nanos, 0)
                tally.checkpoint_under_nanos += max(-over_nanos, 0)
        elif ended.amount_nanos != entry.cost_nanos:
            tally.unequal += 1
    for operation, ended in journal.ended.items():
        tally.settled_twice += ended.times > 1
        tally.posted += ended.outcome != "voided"
        tally.posted_nanos += ended.amount_nanos
        if operation not in billed and ended.amount_nanos:
            tally.charged_in_doubt += ended.estimated
            tally.charged_unbilled += not ended.estimated
