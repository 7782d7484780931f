"""S11: ours with everything on beside the limit, the floor and its peers, in one run on an idle machine.

Promise: the verdict is taken from the figures of this run alone; a peer that could not be measured, an error under
load, or a machine that was not idle is said in the reason and keeps the line from being met.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.bench import anatomy, profile, report, run, rungs, steps, whole
from tests.bench.peers.upstream import UpstreamProcess
from tests.evidence.registry import Result, Scalar, Table

ID = "S11"
TITLE = "One paid request costs at most 70 µs of CPU, beside its peers and the floor"

# figure of ours: (at most or at least, bound)
GOALS: dict[str, tuple[str, float]] = {
    "cpu_us": ("at most", 70.0),
    "per_s": ("at least", 12_000.0),
    "c4_added_p50_us": ("at most", 250.0),
    "c4_added_p99_us": ("at most", 2_000.0),
    "chunk_cpu_us": ("at most", 8.0),
    "first_added_p50_us": ("at most", 300.0),
    "rss_after_mb": ("at most", 80.0),
    "errors": ("at most", 0.0),
}


def produce(quick: bool) -> Result:
    """Run the bench and judge it."""
    result = run.main(quick, only=(), path=None)
    tables = (*report.tables(result), _rungs(result), *_where_it_goes())
    missed, blurred = judge(result)
    verdict = "met" if not missed and not blurred else "missed" if len(missed) == len(GOALS) else "partly"
    reason = "; ".join([*missed, *blurred]) or "every goal met, every peer measured, the machine idle"
    return Result(_figures(result), verdict, reason, tables, report.charts(result))


def _rungs(result: Mapping[str, Any]) -> Table:
    """The rung table: `net` as measured alone in this run, every other step on the product's own functions, and as
    slack what a whole request under load costs beyond their sum. Below it, what the slack is made of: joining the
    steps is measured (a whole request without sockets, less its rungs), the rest is what is left.
    """
    found = steps.rungs()
    net, ours = result["figures"].get("net"), result["figures"].get(report.OURS)
    if net is None or ours is None:
        return rungs.table(found)
    inside_us = sum(rung.us for rung in found)
    whole_us = whole.cost_us()
    found.insert(0, rungs.Rung("net, both sides", net["cpu_us"], rungs.BUDGET_US["net, both sides"]))
    slack_us = ours["cpu_us"] - net["cpu_us"] - inside_us
    found.append(rungs.Rung("slack", slack_us, rungs.BUDGET_US["slack"]))
    found.append(rungs.Rung("slack: joining the steps (coroutines, context, story)", whole_us - inside_us))
    found.append(rungs.Rung("slack: sockets and steps together", slack_us - (whole_us - inside_us)))
    return rungs.table(found)


def _where_it_goes() -> tuple[Table, ...]:
    """The anatomy of a request at 1, 4 and 64 connections and on paced streams, then the dearest functions."""
    with UpstreamProcess().running() as upstream:
        return *anatomy.tables(upstream), profile.table(upstream)


def judge(result: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Return the goals that were missed, and what makes the run less than a fair and full one."""
    ours = result["figures"].get(report.OURS)
    if ours is None:
        missed = [f"{figure} not measured" for figure in GOALS]
    else:
        missed = [
            f"{figure} {ours[figure]:,.1f}, wanted {way} {bound:,.0f}"
            for figure, (way, bound) in GOALS.items()
            if (ours[figure] > bound if way == "at most" else ours[figure] < bound)
        ]
    blurred = [f"not measured: {why}" for why in result["not_runnable"].values()]
    blurred += [
        f"{name}: others burnt up to {row['foreign_max_cores']:.2f} cores, idle is {run.QUIET_CORES}"
        for name, row in result["figures"].items()
        if row["foreign_max_cores"] > run.QUIET_CORES
    ]
    blurred += [
        f"{name}: {row['errors']:.0f} errors"
        for name, row in result["figures"].items()
        if row["errors"] and name != report.OURS
    ]
    return missed, blurred


def _figures(result: Mapping[str, Any]) -> dict[str, Scalar | dict[str, Scalar]]:
    """Everything measured, by target, and the ratios."""
    by_target = {name: {k: round(v, 3) for k, v in row.items()} for name, row in result["figures"].items()}
    ratios = {f"times better than {name}": dict(row) for name, row in result["ours_against"].items()}
    return {"load_generator": result["machine"]["load_generator"], **by_target, **ratios}
