"""The side-by-side bench: everything in one run on one machine, one target at a time, round after round.

Promises: every target gets the same bytes from the same upstream and the same five loads; a round visits every target
before the next begins, so that a drift of the machine falls on all; a figure is the median of its rounds, and an
added latency is taken against `direct` of the *same* round; what others burnt meanwhile is written beside every
figure; a target that cannot run is in the result with its reason.

    python -m tests.bench run [--quick] [--only penstock,floor] [--json FILE]
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from tests.bench import load, meter, report
from tests.bench.load import Figures
from tests.bench.payload import EVENTS
from tests.bench.peers.base import ROOT, NotRunnable, Target
from tests.bench.peers.catalogue import TARGETS
from tests.bench.peers.upstream import UpstreamProcess
from tests.evidence import registry

OUTPUT = ROOT / "var" / "bench"
QUIET_CORES = 0.2  # what a machine that is called idle may burn by itself
Round = dict[str, Figures]


@dataclass(slots=True, frozen=True)
class Plan:
    """How long and how often: seconds of a wrk load, rounds over all targets, streams of each paced reader."""

    seconds: int
    rounds: int
    paced_rounds: int
    warm_s: int
    quiet_limit_s: float


FULL = Plan(seconds=5, rounds=3, paced_rounds=3, warm_s=2, quiet_limit_s=60.0)
QUICK = Plan(seconds=2, rounds=1, paced_rounds=1, warm_s=1, quiet_limit_s=0.0)


def run(plan: Plan, only: Sequence[str] = (), targets: Sequence[type[Target]] = TARGETS) -> dict[str, Any]:
    """Measure, sum up, and return everything as plain data (see `report` for the tables)."""
    chosen = [target for target in targets if not only or target.name in only or target.name == "direct"]
    raw: dict[str, list[Round]] = {target.name: [] for target in chosen}
    failed: dict[str, str] = {}
    with UpstreamProcess().running() as upstream:
        for number in range(plan.rounds):
            for kind in chosen:
                if kind.name in failed:
                    continue
                try:
                    raw[kind.name].append(_visit(kind(upstream.port), _pid(upstream), plan, number))
                except (NotRunnable, load.LoadFailed) as error:
                    failed[kind.name] = str(error)
                    print(f"{kind.name}: {error}", file=sys.stderr, flush=True)
    summary = {
        name: _summary(rounds, raw["direct"]) for name, rounds in raw.items() if rounds and name not in failed
    }
    return {
        "machine": machine(),
        "plan": {
            "seconds": plan.seconds,
            "rounds": plan.rounds,
            "paced_streams": load.READERS * plan.paced_rounds,
        },
        "targets": {kind.name: {"title": kind.title, "does": kind.does} for kind in chosen},
        "figures": summary,
        "ours_against": report.against(summary),
        "not_runnable": failed,
        "rounds": raw,
    }


def _visit(target: Target, upstream_pid: int, plan: Plan, number: int) -> Round:
    """One target, once: start, warm, the five loads, stop."""
    quiet = _wait_for_quiet(plan.quiet_limit_s)
    with target.running():
        idle_mb = _rss_mb(target)
        load.warm(target, plan.warm_s)
        found: Round = {}
        for kind in load.LOADS:
            found[kind.name] = load.measure(target, upstream_pid, kind, plan.seconds, plan.paced_rounds)
            print(report.line(number, target.name, kind.name, found[kind.name]), file=sys.stderr, flush=True)
        found["memory"] = {"idle_mb": idle_mb, "after_mb": _rss_mb(target), "foreign_before_cores": quiet}
    return found


def _wait_for_quiet(limit_s: float) -> float:
    """Wait until others leave the machine alone, at most `limit_s`; how many cores they burn now."""
    deadline = time.monotonic() + limit_s
    while (foreign := meter.foreign_cores(over_s=1.0)) > QUIET_CORES and time.monotonic() < deadline:
        time.sleep(1.0)
    return foreign


def _summary(rounds: Sequence[Round], direct: Sequence[Round]) -> Figures:
    """The figures people compare, each the median over the rounds."""

    def median(cell: str, figure: str) -> float:
        return statistics.median(one[cell][figure] for one in rounds)

    def added(cell: str, figure: str) -> float:
        pairs = zip(rounds, direct, strict=False)
        return statistics.median(one[cell][figure] - least[cell][figure] for one, least in pairs)

    cells = [kind.name for kind in load.LOADS]
    return {
        "per_s": median("c64", "per_s"),
        "c64_p50_us": median("c64", "p50_us"),
        "c64_p99_us": median("c64", "p99_us"),
        "cpu_us": median("c64", "cpu_us"),
        "engines_cpu_us": median("c64", "engines_cpu_us"),
        "cores": median("c64", "cores"),
        "c1_p50_us": median("c1", "p50_us"),
        "c1_added_p50_us": added("c1", "p50_us"),
        "c4_per_s": median("c4", "per_s"),
        "c4_added_p50_us": added("c4", "p50_us"),
        "c4_added_p99_us": added("c4", "p99_us"),
        "streams_per_s": median("burst", "per_s"),
        "stream_cpu_us": median("burst", "cpu_us"),
        "chunk_cpu_us": median("burst", "cpu_us") / EVENTS,
        "first_p50_us": median("paced", "first_p50_us"),
        "first_added_p50_us": added("paced", "first_p50_us"),
        "first_added_p99_us": added("paced", "first_p99_us"),
        "late_added_p50_us": added("paced", "late_p50_us"),
        "late_added_p99_us": added("paced", "late_p99_us"),
        "paced_cpu_us": median("paced", "cpu_us"),
        "paced_chunk_cpu_us": median("paced", "cpu_us") / EVENTS,
        "rss_idle_mb": median("memory", "idle_mb"),
        "rss_after_mb": median("memory", "after_mb"),
        "errors": sum(one[cell]["errors"] for one in rounds for cell in cells),
        "foreign_max_cores": max(one[cell]["foreign_cores"] for one in rounds for cell in cells),
    }


def machine() -> dict[str, object]:
    """What it ran on, the load generator included."""
    wrk = subprocess.run(("wrk", "-v"), capture_output=True, text=True, check=False).stdout.split(
        " Copyright"
    )[0]
    return {**msgspec.to_builtins(registry.machine()), "load_generator": wrk}


def _pid(upstream: Target) -> int:
    if upstream.pid is None:
        raise NotRunnable("the upstream has ended")
    return upstream.pid


def _rss_mb(target: Target) -> float:
    return 0.0 if target.pid is None else meter.rss_mb(target.pid)


def main(quick: bool, only: Sequence[str], path: Path | None) -> dict[str, Any]:
    """Install what is missing, run, print the tables, write the result with every round of it."""
    load.install()
    result = run(QUICK if quick else FULL, only)
    print(report.text(result))
    OUTPUT.mkdir(parents=True, exist_ok=True)
    (path or OUTPUT / "result.json").write_text(json.dumps(result, indent=1))
    return result
