"""P4: the spine's bench again with traces and console open: seeing costs a request at most 5 µs of CPU.

Ours runs twice in turns, on the same machine in the same rounds: with no trace store and nobody looking, and with
traces kept and four live views open (two pages of the console, two streams of the API). The steps of the rung table
are measured both ways too, in turns. Judged by the difference; every figure of both is in the record.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from tests.bench import load, report, run, steps
from tests.bench.peers.direct import Direct
from tests.bench.peers.penstock_seen import Seen, Unseen
from tests.evidence.registry import Result, Scalar, Table

ID = "P4"
TITLE = "Traces and an open console cost a request at most 5 µs of CPU"
MOST_US = 5.0
REPEATS = 5
SHOWN = (
    "cpu_us",
    "per_s",
    "c64_p50_us",
    "c64_p99_us",
    "c4_added_p50_us",
    "c4_added_p99_us",
    "chunk_cpu_us",
    "first_added_p50_us",
    "rss_after_mb",
    "errors",
    "foreign_max_cores",
)


def produce(quick: bool) -> Result:
    """Run both in turns, and the rungs; judge."""
    load.install()
    plan = run.QUICK if quick else run.Plan(seconds=5, rounds=3, paced_rounds=3, warm_s=2, quiet_limit_s=60.0)
    result = run.run(plan, targets=(Direct, Unseen, Seen))
    measured = result["figures"]
    faults = [f"not measured: {why}" for why in result["not_runnable"].values()]
    rungs = in_turns(1 if quick else REPEATS)
    grown_us = 0.0
    if not faults:
        grown_us = paired(result["rounds"], "cpu_us")
        faults = judge(measured, grown_us, rungs)
    figures: dict[str, Scalar | dict[str, Scalar]] = {
        name: {key: round(row[key], 2) for key in SHOWN}
        for name, row in measured.items()
        if name != Direct.name
    }
    return Result(
        {"cpu_grown_us": round(grown_us, 2), **figures},
        "missed" if faults else "met",
        "; ".join(faults)
        or f"{grown_us:+.1f} µs a request with traces kept and four live views; "
        f"no step grew by more than {MOST_US:g} µs",
        (rung_table(rungs), *report.tables(result)),
    )


def judge(
    measured: Mapping[str, Mapping[str, float]], grown_us: float, rungs: Mapping[str, tuple[float, float]]
) -> list[str]:
    """Return what is not as promised."""
    faults = (
        [f"a request costs {grown_us:.1f} µs more, at most {MOST_US:g} wanted"] if grown_us > MOST_US else []
    )
    faults += [
        f"{name}: {seen - unseen:+.1f} µs"
        for name, (unseen, seen) in rungs.items()
        if seen - unseen > MOST_US
    ]
    for name in (Unseen.name, Seen.name):
        row = measured[name]
        if row["errors"]:
            faults.append(f"{name}: {row['errors']:.0f} errors")
        # Whoever looks on burns CPU of its own; without one, the machine must be idle.
        if name == Unseen.name and row["foreign_max_cores"] > run.QUIET_CORES:
            faults.append(f"{name}: others burnt up to {row['foreign_max_cores']:.2f} cores")
    return faults


def paired(rounds: Mapping[str, Sequence[Mapping[str, Any]]], figure: str) -> float:
    """Return the median over the rounds of what a full reply at 64 connections costs more when it is seen."""
    pairs = zip(rounds[Seen.name], rounds[Unseen.name], strict=True)
    return statistics.median(seen["c64"][figure] - unseen["c64"][figure] for seen, unseen in pairs)


def in_turns(repeats: int) -> dict[str, tuple[float, float]]:
    """Measure the steps unseen and seen, in turns; the least of each, since noise only adds."""
    found: dict[str, tuple[float, float]] = {}
    for _ in range(repeats):
        for unseen, seen in zip(steps.rungs(), steps.rungs(seen=True), strict=True):
            least = found.get(unseen.name, (unseen.us, seen.us))
            found[unseen.name] = (min(least[0], unseen.us), min(least[1], seen.us))
    return found


def rung_table(rungs: Mapping[str, tuple[float, float]]) -> Table:
    """One row per step: its cost both ways, and the budget of the spine."""
    rows = tuple(
        (name, round(unseen, 2), round(seen, 2), round(seen - unseen, 2), steps.BUDGET_US.get(name))
        for name, (unseen, seen) in rungs.items()
    )
    columns = ("rung", "unseen, µs", "traces kept, µs", "difference, µs", "budget, µs")
    return Table(title="The rungs, without and with traces", columns=columns, rows=rows)
