"""S2: 64 clients on one dollar, whichever of five nested budgets is the tightest, users first seen, window edges; then
two gateways on Redis and PostgreSQL with Redis frozen and killed in the middle of it.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from tests.evidence.registry import Result, Scalar, Table
from tests.fleet.budgets import DOLLAR_NANOS, Tally, run_rounds
from tests.fleet.config import Engines
from tests.fleet.edges import Edge, run_edge
from tests.services import PostgresServer, RedisServer

ID = "S2"
TITLE = "64 clients on $1.00: never a nano-dollar over, and no refusal while room remains"
ROUNDS, QUICK_ROUNDS = 20, 5
HARM_AFTER_S = 0.25


async def produce(quick: bool) -> Result:
    """Run the rounds on one gateway, on two with Redis harmed, and across the edges of a day and a month."""
    rounds = QUICK_ROUNDS if quick else ROUNDS
    with tempfile.TemporaryDirectory(prefix="penstock-s2-") as folder:
        place = Path(folder)
        seen = {
            "one gateway, SQLite": await run_rounds(
                place / "one", Engines(), rounds=rounds, first_seen_rounds=2
            )
        }
        seen["two gateways, Redis harmed"] = await shared(place / "two", rounds)
        edges = [await run_edge(place / f"edge-{window}", window) for window in ("day", "month")]
    found = [f"{name}: {what}" for name, tally in seen.items() for what in faults(tally)]
    found += [f"edge of a {edge.window}: {what}" for edge in edges for what in edge_faults(edge)]
    answered = sum(tally.answered for tally in seen.values())
    return Result(
        {name: figures(tally) for name, tally in seen.items()}
        | {f"edge of a {edge.window}": edge_figures(edge) for edge in edges},
        "missed" if found else "met",
        "; ".join(found)
        or f"{answered} requests in {sum(t.rounds for t in seen.values())} rounds: the highest posted + held was "
        f"${max(t.peak_nanos for t in seen.values()) / DOLLAR_NANOS:.6f} of $1, every refusal had no room",
        (table(seen),),
    )


async def shared(folder: Path, rounds: int) -> Tally:
    """Two gateways; Redis is frozen in the middle of odd rounds and killed in that of even ones."""
    with RedisServer() as redis, PostgresServer() as postgres:
        dsn = await asyncio.to_thread(postgres.fresh)

        async def harm(number: int) -> None:
            await asyncio.sleep(HARM_AFTER_S)
            if number % 2:
                redis.pause()
            else:
                await asyncio.to_thread(redis.kill)

        async def heal(number: int) -> None:
            if number % 2:
                redis.resume()
            await asyncio.to_thread(redis.start)

        engines = Engines(ledger=dsn, records=dsn, state=redis.url)
        return await run_rounds(
            folder, engines, rounds=rounds, first_seen_rounds=1, gateways=2, harm=harm, heal=heal
        )


def faults(tally: Tally) -> list[str]:
    """Return what is broken."""
    checks = {
        "accounts that went over": len(tally.over_accounts),
        "samples over": tally.over_samples,
        "refusals while room remained": tally.refused_with_room,
        "refusals that named another room than there was": tally.journal_room_differs,
        "requests that failed otherwise": tally.failed,
        "operations that differ from the provider's truth": tally.unreconciled,
        "problems of the ledger": len(tally.problems),
    }
    found = [f"{count} {what}" for what, count in checks.items() if count]
    if not tally.refused or tally.least_used_nanos < DOLLAR_NANOS * 9 // 10:
        found.append(f"a budget was not spent: ${tally.least_used_nanos / DOLLAR_NANOS:.4f}")
    if not tally.samples:
        found.append("no sample was taken")
    return found


def figures(tally: Tally) -> dict[str, Scalar]:
    """Return the rounds' figures by name."""
    return {
        "rounds": tally.rounds,
        "requests_answered": tally.answered,
        "answered_while_redis_was_ill": tally.answered_under_harm,
        "requests_refused": tally.refused,
        "failed_otherwise": tally.failed,
        "samples_through_the_api": tally.samples,
        "samples_over": tally.over_samples,
        "accounts_over": len(tally.over_accounts),
        "highest_posted_and_held_nanos": tally.peak_nanos,
        "least_spent_of_a_dollar_nanos": tally.least_used_nanos,
        "refusals_with_room": tally.refused_with_room,
        "most_room_left_at_the_end_nanos": max(tally.left_room_nanos, default=0),
        "unreconciled": tally.unreconciled,
    }


def edge_faults(edge: Edge) -> list[str]:
    """Return what is broken at an edge."""
    found = [f"{name} went over" for name in edge.over]
    if edge.windows_spent < 2:
        found.append(f"only {edge.windows_spent} windows were spent")
    if edge.failed:
        found.append(f"{edge.failed} requests failed otherwise")
    return found + list(edge.problems)


def edge_figures(edge: Edge) -> dict[str, Scalar]:
    """Return an edge's figures by name."""
    return {
        "requests_answered": edge.answered,
        "requests_refused": edge.refused,
        "windows_spent": edge.windows_spent,
        "highest_posted_and_held_nanos": edge.peak_nanos,
    }


def table(seen: dict[str, Tally]) -> Table:
    """Lay the runs side by side."""
    columns = {name: figures(tally) for name, tally in seen.items()}
    names = list(next(iter(columns.values())))
    rows = tuple((name.replace("_", " "), *[columns[each][name] for each in columns]) for name in names)
    return Table(title="By deployment", columns=("figure", *columns), rows=rows)
