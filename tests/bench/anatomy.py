"""Where the time of one request goes, load by load: what its CPU is spent on, and what it waits for.

Promises: it is the product's own process under the bench's own loads; CPU is the kernel's account of each thread, told
apart by `perf` (a sampling profiler of 499 samples a second) into interpreter, extension modules, C library and kernel;
waiting is a stopwatch around the pipeline's own methods (`stages`). `direct` of the same load stands beside it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench import load as loads
from tests.bench import meter
from tests.bench.load import Figures, Load
from tests.bench.peers.base import PRODUCT_PYTHON, Target
from tests.bench.peers.direct import Direct
from tests.bench.peers.penstock import Penstock
from tests.evidence.registry import Table

SECONDS = 5
SEEN = "stages.json"
CHOSEN = (loads.FULL_1, loads.FULL_4, loads.FULL_64, loads.PACED)
_DSO = re.compile(r"^\s*([\d.]+)%\s+(\S.*?)\s*$", re.MULTILINE)
KINDS = (
    ("kernel", ("[kernel",)),
    ("interpreter", ("libpython", "python3")),
    ("extension modules", (".cpython-", "uvloop", "httptools", "msgspec", "apsw")),
    ("C library", ("libc.", "libm.", "libpthread", "ld-linux", "libcrypto", "libssl", "[vdso]")),
)


class Watched(Penstock):
    """Penstock with a stopwatch."""

    name = "penstock_stages"

    def command(self) -> tuple[str, ...]:
        config = super().command()[-1]
        return (str(PRODUCT_PYTHON), "-m", "tests.bench.stages", config, str(self.folder / SEEN))


@dataclass(frozen=True, slots=True)
class Anatomy:
    """One load: the generator's figures, direct's, the stages, CPU by thread and shares by kind of code."""

    load: Load
    figures: Figures
    direct: Figures
    stages: dict[str, Any]
    loop_us: float
    others_us: float
    switches: float
    shares: dict[str, float]


def tables(upstream: Target) -> tuple[Table, ...]:
    """Measure every load; returns the CPU table and the waiting table."""
    direct: dict[str, Figures] = {}
    limit = Direct(upstream.port)
    with limit.running():
        for kind in CHOSEN:
            direct[kind.name] = loads.measure(limit, upstream.pid or 0, kind, SECONDS, 1)
    with Watched(upstream.port).running() as target:
        loads.warm(target, 2)
        found = [_one(target, upstream, kind, direct[kind.name]) for kind in CHOSEN]
    return _cpu_table(found), _waiting_table(found)


def _one(target: Target, upstream: Target, kind: Load, direct: Figures) -> Anatomy:
    assert target.pid is not None
    _stages(target)  # what the warming left behind
    perf = _sample(target)
    before, switched = meter.threads_ns(target.pid), _switches(target.pid)
    figures = loads.measure(target, upstream.pid or 0, kind, SECONDS, 1)
    after, switches = meter.threads_ns(target.pid), _switches(target.pid) - switched
    if perf is not None:
        perf.terminate()
        perf.wait()
    total_ns = meter.spent_ns(before, after)
    served = (
        total_ns / 1e3 / figures["cpu_us"]
    )  # streams that only warmed a connection are no answers, but work
    loop_ns = after[target.pid, target.pid] - before[target.pid, target.pid]
    return Anatomy(
        load=kind,
        figures=figures,
        direct=direct,
        stages=_stages(target),
        loop_us=loop_ns / 1e3 / served,
        others_us=(total_ns - loop_ns) / 1e3 / served,
        switches=switches / served,
        shares=_shares(target) if perf is not None else {},
    )


def _stages(target: Target) -> dict[str, Any]:
    """Ask the process for its stages since the last time."""
    file = target.folder / SEEN
    file.unlink(missing_ok=True)
    os.kill(target.pid or 0, 10)
    deadline = time.monotonic() + 10
    while not file.exists():
        assert time.monotonic() < deadline, "the process does not answer"
        time.sleep(0.05)
    return json.loads(file.read_text())


def _switches(pid: int) -> int:
    """Times that any thread of the process gave its core away to wait."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        for line in (task / "status").read_text().splitlines():
            if line.startswith("voluntary_ctxt_switches"):
                total += int(line.split()[1])
    return total


def _sample(target: Target) -> subprocess.Popen[bytes] | None:
    """Start the sampling profiler on the process, if this machine has it."""
    perf = shutil.which("perf")
    if perf is None:
        return None
    command = (
        perf,
        "record",
        "-q",
        "-F",
        "499",
        "-e",
        "cpu-clock",
        "-o",
        str(target.folder / "perf.data"),
        "-p",
    )
    return subprocess.Popen((*command, str(target.pid)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _shares(target: Target) -> dict[str, float]:
    """Return the share of samples by kind of code, in percent."""
    said = subprocess.run(
        ("perf", "report", "-i", str(target.folder / "perf.data"), "--stdio", "--sort", "dso", "-q"),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    ).stdout
    shares = dict.fromkeys([name for name, _ in KINDS], 0.0)
    for percent, dso in _DSO.findall(said):
        # The first kind that fits: an extension module's name holds "cpython" as the interpreter's holds "python".
        for name, marks in (KINDS[0], KINDS[2], KINDS[1], KINDS[3]):
            if any(mark in dso for mark in marks):
                shares[name] += float(percent)
                break
    return shares


def _cpu_table(found: list[Anatomy]) -> Table:
    kinds = [name for name, _ in KINDS]
    columns = ("load", "CPU µs a request", "event loop µs", "other threads µs", "waits a request",
               "ledger entries a commit", *(f"{name} %" for name in kinds))  # fmt: skip
    rows = tuple(
        (
            one.load.name,
            round(one.figures["cpu_us"], 1),
            round(one.loop_us, 1),
            round(one.others_us, 1),
            round(one.switches, 2),
            round(one.stages["entries"] / max(1, one.stages["groups"]), 1),
            *(round(one.shares[name], 1) if one.shares else None for name in kinds),
        )
        for one in found
    )
    title = "Anatomy: what the CPU of a request (of `paced`: of a stream of 64 events) is spent on"
    return Table(title=title, columns=columns, rows=rows)


def _waiting_table(found: list[Anatomy]) -> Table:
    columns = (
        "load",
        "added p50 µs",
        "to the handler µs",
        "ledger's commit µs",
        "rest of admission µs",
        "vendor's answer µs",
        "answer, direct µs",
        "relay µs",
        "loop's lag p50 µs",
        "loop's lag p99 µs",
    )
    rows: list[tuple[str | float, ...]] = []
    for one in found:
        seen, first = one.stages, "first_p50_us" if one.load.paced else "p50_us"
        hold = seen["hold"]["p50"]
        cells = (
            one.figures[first] - one.direct[first],
            seen["before"]["p50"],
            hold,
            seen["admit"]["p50"] - hold,
            seen["call"]["p50"],
            one.direct[first],
            0.0 if one.load.paced else seen["relay"]["p50"],
            seen["lag"]["p50"],
            seen["lag"]["p99"],
        )
        rows.append((one.load.name, *(round(cell) for cell in cells)))
    return Table(
        title="Anatomy: what a request waits for, median by stage", columns=columns, rows=tuple(rows)
    )
