"""S1: a gateway under 32 requests is killed at random points, on each engine; then the books are laid beside what the
provider billed. The control, whose spend is logged after the call, goes through the same and must fail.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from tests.evidence.registry import Result, Scalar, Table
from tests.fleet.config import Engines
from tests.fleet.kills import IN_FLIGHT, Tally, drill
from tests.services import PostgresServer

ID = "S1"
TITLE = "200 × kill -9 under 32 in flight: nothing lost, nothing billed twice; the control fails"
KILLS, QUICK_KILLS = 200, 10
CONTROL_KILLS, QUICK_CONTROL_KILLS = 60, 6
RESOLVE_LIMIT_S = 5.0
CONTROL_LEAST_PERCENT = 5.0


async def produce(quick: bool) -> Result:
    """Run the drill on SQLite, on PostgreSQL, and the control on SQLite."""
    kills, control_kills = (QUICK_KILLS, QUICK_CONTROL_KILLS) if quick else (KILLS, CONTROL_KILLS)
    with tempfile.TemporaryDirectory(prefix="penstock-s1-") as folder, PostgresServer() as postgres:
        place = Path(folder)
        dsn = await fresh(postgres)
        seen = {
            "SQLite": await drill(place / "sqlite", Engines(), kills),
            "PostgreSQL": await drill(place / "postgres", Engines(ledger=dsn, records=dsn), kills),
            "control": await drill(place / "control", Engines(), control_kills, books="posthoc"),
        }
    found = [f"{name}: {what}" for name in ("SQLite", "PostgreSQL") for what in faults(seen[name])]
    if control_is_good(seen["control"]):
        found.append("the control, which logs spend after the call, was not told apart")
    return Result(
        {name: figures(tally) for name, tally in seen.items()},
        "missed" if found else "met",
        "; ".join(found) or reason(seen),
        (table(seen),),
    )


async def fresh(postgres: PostgresServer) -> str:
    """Return the DSN of an empty database, made on a thread because `fresh` runs a loop of its own."""
    return await asyncio.to_thread(postgres.fresh)


def faults(tally: Tally) -> list[str]:
    """Return every promise that a drill saw broken; empty when the books are right."""
    checks = {
        "operations billed and not in the books": tally.missing,
        "operations settled twice": tally.settled_twice,
        "operations whose exact amount is not the provider's": tally.unequal,
        "operations charged as exact and never billed": tally.charged_unbilled,
        "kills that left more in doubt than was in flight": sum(n > IN_FLIGHT for n in tally.in_doubt),
        "restarts that took longer than 5 s to resolve": sum(s > RESOLVE_LIMIT_S for s in tally.resolve_s),
        "problems in the journal": len(tally.problems),
    }
    found = [f"{count} {what}" for what, count in checks.items() if count]
    verdict = tally.verdict
    if verdict is None or verdict.problems or verdict.pending or verdict.held_nanos:
        found.append(f"verify says {verdict}")
    elif verdict.posted_nanos != tally.posted_nanos:
        found.append("the journal's total is not the sum of its settlements")
    return found


def lost_percent(tally: Tally) -> float:
    """Return the share of billed money that the books do not know."""
    return round(100 * tally.missing_nanos / max(tally.billed_nanos, 1), 2)


def control_is_good(tally: Tally) -> bool:
    """Tell whether the control passed, which would say that the drill cannot tell good from bad."""
    return lost_percent(tally) < CONTROL_LEAST_PERCENT


def figures(tally: Tally) -> dict[str, Scalar]:
    """Return a drill's figures by name."""
    difference = tally.estimated_over_nanos - tally.estimated_under_nanos
    return {
        "kills": tally.kills,
        "operations_billed": tally.billed,
        "operations_answered_whole": tally.answered,
        "missing": tally.missing,
        "missing_money_percent": lost_percent(tally),
        "billed_twice": tally.settled_twice,
        "exact_but_unequal": tally.unequal,
        "in_doubt_max_per_kill": max(tally.in_doubt, default=0),
        "in_doubt_total": sum(tally.in_doubt),
        "in_doubt_never_billed_charged_by_estimate": tally.charged_in_doubt,
        "resolve_max_s": round(max(tally.resolve_s, default=0.0), 3),
        "start_max_s": round(max(tally.start_s, default=0.0), 3),
        "estimated_operations": tally.estimated,
        "estimated_over_truth_nanos": tally.estimated_over_nanos,
        "estimated_under_truth_nanos": tally.estimated_under_nanos,
        "estimated_truth_nanos": tally.estimated_truth_nanos,
        "estimated_from_a_checkpoint": tally.checkpointed,
        "checkpoint_over_truth_nanos": tally.checkpoint_over_nanos,
        "checkpoint_under_truth_nanos": tally.checkpoint_under_nanos,
        "estimate_minus_truth_percent_of_all_billed": round(100 * difference / max(tally.billed_nanos, 1), 2),
        "journal_entries": tally.verdict.entries if tally.verdict else 0,
        "seconds": round(tally.seconds, 1),
    }


def reason(seen: dict[str, Tally]) -> str:
    """Say in a sentence what was seen."""
    billed = sum(seen[name].billed for name in ("SQLite", "PostgreSQL"))
    kills = sum(seen[name].kills for name in ("SQLite", "PostgreSQL"))
    worst = max(max(seen[name].resolve_s) for name in ("SQLite", "PostgreSQL"))
    return (
        f"{kills} kills, {billed} operations billed by the provider: none missing, none twice, all in doubt resolved "
        f"within {worst:.2f} s of the restart; the control lost {lost_percent(seen['control'])} % of the money"
    )


def table(seen: dict[str, Tally]) -> Table:
    """Lay the drills side by side."""
    columns = {name: figures(tally) for name, tally in seen.items()}
    names = list(next(iter(columns.values())))
    rows = tuple((name.replace("_", " "), *[columns[each][name] for each in columns]) for name in names)
    return Table(title="By engine", columns=("figure", *columns), rows=rows)
