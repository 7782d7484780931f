"""What a run cost: CPU of a whole tree of processes to the nanosecond, its resident memory, and what others burnt.

Source: `/proc/<pid>/task/<tid>/schedstat` (first field: nanoseconds on a CPU; the kernel's sched-stats page), summed
over every thread of every descendant. Promise: a thread that ends between two readings takes only its own share
of the window with it; it never makes a difference negative. Time in soft interrupts on loopback is billed by the
kernel to whoever was running, for every target alike.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_PROC = Path("/proc")
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_IDLE, _IOWAIT, _STEAL = 3, 4, 7  # fields of the first line of /proc/stat
_SETTLE_S, _SETTLED_CORES = 0.2, 0.05

Threads = dict[tuple[int, int], int]


def tree(root_pid: int) -> list[int]:
    """`root_pid` and all its living descendants; empty when it has gone."""
    children: dict[int, list[int]] = {}
    for entry in _PROC.iterdir():
        if entry.name.isdigit():
            parent = _parent(entry)
            if parent is not None:
                children.setdefault(parent, []).append(int(entry.name))
    found = [root_pid] if (_PROC / str(root_pid)).exists() else []
    for pid in found:  # grows while it is walked
        found.extend(children.get(pid, ()))
    return found


def rss_mb(root_pid: int) -> float:
    """Resident memory of the tree in MB (10^6 bytes); pages shared between its processes count in each."""
    total_kib = 0
    for pid in tree(root_pid):
        for line in _read(_PROC / str(pid) / "status").splitlines():
            if line.startswith("VmRSS:"):
                total_kib += int(line.split()[1])
    return total_kib * 1024 / 1e6


def threads_ns(root_pid: int) -> Threads:
    """Nanoseconds on a CPU of every thread of the tree."""
    reading: Threads = {}
    for pid in tree(root_pid):
        tasks = _PROC / str(pid) / "task"
        for tid in _names(tasks):
            fields = _read(tasks / tid / "schedstat").split()
            if fields:
                reading[pid, int(tid)] = int(fields[0])
    return reading


def spent_ns(before: Threads, after: Threads) -> int:
    """CPU between two readings of one tree."""
    return sum(ns - before.get(thread, 0) for thread, ns in after.items())


@dataclass(slots=True, frozen=True)
class Cost:
    """One measured window: CPU in nanoseconds, wall time in seconds, cores burnt by processes that are not ours."""

    wall_s: float
    target_ns: int
    engines_ns: int
    upstream_ns: int
    load_ns: int
    foreign_cores: float
    stolen_cores: float


class Window:
    """Measures the block between `with` and its end; `cost` is there afterwards."""

    def __init__(self, target_pid: int | None, upstream_pid: int, engine_pids: Sequence[int] = ()) -> None:
        """`engine_pids` are the roots of the engines that the target keeps its state in."""
        self._pids = (target_pid, upstream_pid, *engine_pids)

    def __enter__(self) -> Self:
        self._start = self._readings()
        return self

    def __exit__(self, *_: object) -> None:
        end = self._readings()
        wall_s = end.at_s - self._start.at_s
        target, upstream, *engines = (
            spent_ns(before, after) for before, after in zip(self._start.trees, end.trees, strict=True)
        )
        load_ns = round((end.load_s - self._start.load_s) * 1e9)
        busy_s, stolen_s = (
            after - before for before, after in zip(self._start.machine_s, end.machine_s, strict=True)
        )
        self.cost = Cost(
            wall_s=wall_s,
            target_ns=target,
            engines_ns=sum(engines),
            upstream_ns=upstream,
            load_ns=load_ns,
            foreign_cores=max(0.0, busy_s - (target + sum(engines) + upstream + load_ns) / 1e9) / wall_s,
            stolen_cores=stolen_s / wall_s,
        )

    def _readings(self) -> _Readings:
        own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
        return _Readings(
            at_s=time.monotonic(),
            trees=tuple({} if pid is None else threads_ns(pid) for pid in self._pids),
            # The load generator is our child and has been waited for when the window closes.
            load_s=own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime,
            machine_s=machine_s(),
        )


@dataclass(slots=True, frozen=True)
class _Readings:
    at_s: float
    trees: tuple[Threads, ...]
    load_s: float
    machine_s: tuple[float, float]


def machine_s() -> tuple[float, float]:
    """Seconds of CPU the whole machine has worked, and seconds the hypervisor took away, since boot."""
    fields = [int(field) for field in _read(_PROC / "stat").split("\n", 1)[0].split()[1:9]]
    busy = sum(fields) - fields[_IDLE] - fields[_IOWAIT] - fields[_STEAL]
    return busy * _TICK_S, fields[_STEAL] * _TICK_S


def settle(root_pid: int, limit_s: float) -> float:
    """Wait until the tree burns next to nothing, at most `limit_s`; seconds waited.

    A load that ends leaves callers that hung up, and some targets go on serving them: the next window must not pay.
    """
    start = time.monotonic()
    while time.monotonic() - start < limit_s:
        before = threads_ns(root_pid)
        time.sleep(_SETTLE_S)
        if spent_ns(before, threads_ns(root_pid)) < _SETTLED_CORES * _SETTLE_S * 1e9:
            break
    return time.monotonic() - start


def foreign_cores(over_s: float) -> float:
    """Cores busy during `over_s` seconds in which we do nothing: what a run that starts now would share with."""
    before, _ = machine_s()
    time.sleep(over_s)
    after, _ = machine_s()
    return (after - before) / over_s


def _parent(process: Path) -> int | None:
    stat = _read(process / "stat")
    return (
        int(stat.rpartition(")")[2].split()[1]) if stat else None
    )  # the name in parentheses may hold anything


def _names(folder: Path) -> list[str]:
    try:
        return [entry.name for entry in folder.iterdir()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def _read(path: Path) -> str:
    """The text of a file under /proc; empty when its process has gone meanwhile."""
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
