"""P4: the spine's bench again with traces and console open: seeing costs a request at most 5 µs of CPU.

Ours runs twice in turns: with no trace store and nobody looking, and with traces kept and four live views open (two
pages of the console, two streams of the API). One round of every load is in the tables. Judged are the steps of the
rung table, measured both ways in turns, and a whole request at 64 connections over many short pairs, by their median
and its spread: one machine's runs differ by more than what is looked for.
"""

from __future__ import annotations

import math
import statistics
import sys
from collections.abc import Mapping

from tests.bench import load, report, run, steps
from tests.bench.peers.direct import Direct
from tests.bench.peers.penstock_seen import Seen, Unseen
from tests.bench.peers.upstream import UpstreamProcess
from tests.evidence.registry import Result, Scalar, Table

ID = "P4"
TITLE = "Traces and an open console cost a request at most 5 µs of CPU"
MOST_US = 5.0
REPEATS = 5
PAIRS = 8
ROUND = run.Plan(seconds=5, rounds=1, paced_rounds=2, warm_s=2, quiet_limit_s=30.0)
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
    result = run.run(run.QUICK if quick else ROUND, targets=(Direct, Unseen, Seen))
    measured = result["figures"]
    faults = [f"not measured: {why}" for why in result["not_runnable"].values()]
    rungs = in_turns(1 if quick else REPEATS)
    grown = pairs(2 if quick else PAIRS)
    grown_us = statistics.median(grown)
    spread_us = 1.4826 * statistics.median(abs(each - grown_us) for each in grown) / math.sqrt(len(grown))
    if not faults:
        faults = judge(measured, grown_us, spread_us, rungs)
    figures: dict[str, Scalar | dict[str, Scalar]] = {
        name: {key: round(row[key], 2) for key in SHOWN}
        for name, row in measured.items()
        if name != Direct.name
    }
    figures["pairs_us"] = {f"pair {number}": round(each, 1) for number, each in enumerate(grown, 1)}
    missed = [each for each in faults if "rung" in each or "not measured" in each]
    return Result(
        {"cpu_grown_us": round(grown_us, 2), "cpu_grown_error_us": round(spread_us, 2), **figures},
        "missed" if missed else "partly" if faults else "met",
        "; ".join(faults)
        or f"{grown_us:+.1f} ± {spread_us:.1f} µs a request with traces kept and four live views; "
        f"no rung grew by more than {max(seen - unseen for unseen, seen in rungs.values()):.1f} µs",
        (rung_table(rungs), *report.tables(result)),
    )


def judge(
    measured: Mapping[str, Mapping[str, float]],
    grown_us: float,
    spread_us: float,
    rungs: Mapping[str, tuple[float, float]],
) -> list[str]:
    """Return what is not as promised."""
    faults = [
        f"the rung {name} grew by {seen - unseen:.1f} µs"
        for name, (unseen, seen) in rungs.items()
        if seen - unseen > MOST_US
    ]
    if grown_us > MOST_US:
        faults.append(
            f"a whole request costs {grown_us:.1f} ± {spread_us:.1f} µs more, at most {MOST_US:g} wanted"
        )
    faults += [
        f"{name}: {measured[name]['errors']:.0f} errors"
        for name in (Unseen.name, Seen.name)
        if measured[name]["errors"]
    ]
    # Whoever looks on burns CPU of its own; without one, the machine must be idle.
    if measured[Unseen.name]["foreign_max_cores"] > run.QUIET_CORES:
        faults.append(f"others burnt up to {measured[Unseen.name]['foreign_max_cores']:.2f} cores")
    return faults


def pairs(count: int) -> list[float]:
    """Return by how many µs of CPU a full reply at 64 connections costs more when it is seen, of each pair of runs."""
    grown = []
    with UpstreamProcess().running() as upstream:
        for number in range(count):
            cost: dict[str, float] = {}
            for kind in (Unseen, Seen) if number % 2 else (Seen, Unseen):
                target = kind(upstream.port)
                with target.running():
                    load.warm(target, 1)
                    cost[kind.name] = load.measure(target, upstream.pid or 0, load.FULL_64, 3, 1)["cpu_us"]
            grown.append(cost[Seen.name] - cost[Unseen.name])
            print(f"pair {number + 1}: {grown[-1]:+.1f} µs", file=sys.stderr, flush=True)
    return grown


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
