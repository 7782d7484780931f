"""The five loads, each a closed loop by a generator of its own: full replies from 64, 4 and 1 connections (wrk),
streams in bursts from 64 (wrk), and 64 paced readers (`paced.py`).

Promise: every load comes back as figures with what it cost, or raises `LoadFailed`; an answer that is not 200, a
broken socket or a short stream is counted under `errors`, never averaged away.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench import meter
from tests.bench.peers.base import ROOT, Target

Figures = dict[str, float]
_SCRIPT = Path(__file__).with_name("wrk.lua")
_GRACE_S = 60.0
_SETTLE_LIMIT_S = 30.0
READERS = 64


class LoadFailed(Exception):
    """The generator itself failed. The message is its output; is `wrk` installed (apt package `wrk`)?"""


@dataclass(slots=True, frozen=True)
class Load:
    """One kind of load: how many connections, streamed or not, paced or not."""

    name: str
    connections: int
    stream: bool = False
    paced: bool = False


FULL_64 = Load("c64", 64)
FULL_4 = Load("c4", 4)
FULL_1 = Load("c1", 1)
BURST = Load("burst", 64, stream=True)
PACED = Load("paced", READERS, stream=True, paced=True)
LOADS = (FULL_1, FULL_4, FULL_64, BURST, PACED)


def install() -> None:
    """Make sure that the generator and the peers are installed; nothing to do on a repeat. Source: `install.sh`."""
    script = Path(__file__).with_name("install.sh")
    done = subprocess.run((str(script),), env={**os.environ, "PYTHON": sys.executable}, check=False)
    if done.returncode != 0:
        raise LoadFailed(f"{script.name} ended with {done.returncode}; its last words are above")


def warm(target: Target, seconds: int) -> None:
    """A short load that is not measured: connections, caches, compilers."""
    _wrk(target, FULL_64, seconds)
    _wrk(target, BURST, seconds)


def measure(target: Target, upstream_pid: int, load: Load, seconds: int, rounds: int) -> Figures:
    """Run one load and give its figures: rates, latencies in µs, CPU per request in µs, cores, errors."""
    settled_s = 0.0 if target.pid is None else meter.settle(target.pid, _SETTLE_LIMIT_S)
    with meter.Window(target.pid, upstream_pid, target.engine_pids) as window:
        figures, served = _paced(target, rounds) if load.paced else _wrk(target, load, seconds)
    cost = window.cost
    if served == 0:
        raise LoadFailed(f"{target.name} {load.name}: not one answer: {figures}")
    return figures | {
        "cpu_us": cost.target_ns / served / 1e3,
        "engines_cpu_us": cost.engines_ns / served / 1e3,
        "cores": cost.target_ns / 1e9 / cost.wall_s,
        "upstream_cpu_us": cost.upstream_ns / served / 1e3,
        "load_cpu_us": cost.load_ns / served / 1e3,
        "foreign_cores": cost.foreign_cores,
        "stolen_cores": cost.stolen_cores,
        "settled_s": settled_s,
    }


def _wrk(target: Target, load: Load, seconds: int) -> tuple[Figures, int]:
    body = _body_file(target, load)
    threads = 2 if load.connections > 4 else 1
    flags = (f"-t{threads}", f"-c{load.connections}", f"-d{seconds}s", "--timeout", "30s", "-s", str(_SCRIPT))
    url = f"http://127.0.0.1:{target.port}{target.path}"
    said = _run(("wrk", *flags, url, "--", str(body), *_lines(target.headers())), seconds + _GRACE_S)
    marked = [line for line in said.splitlines() if line.startswith("WRK ")]
    if not marked:
        raise LoadFailed(f"wrk on {target.name}: {said}")
    raw = json.loads(marked[0][4:])
    good = raw["requests"] - raw["status"]
    seconds_run = raw["duration_us"] / 1e6
    return {
        "per_s": good / seconds_run,
        "answers": good,
        "p50_us": raw["p50_us"],
        "p99_us": raw["p99_us"],
        "max_us": raw["max_us"],
        "bytes_per_answer": raw["bytes"] / max(1, raw["requests"]),
        "errors": sum(raw[kind] for kind in ("status", "connect", "read", "write", "timeout")),
    }, good


def _paced(target: Target, rounds: int) -> tuple[Figures, int]:
    body = _body_file(target, PACED)
    headers = [part for line in _lines(target.headers()) for part in ("--header", line)]
    place = ("--port", str(target.port), "--path", target.path, "--body", str(body))
    size = ("--readers", str(READERS), "--rounds", str(rounds))
    said = _run((sys.executable, "-m", "tests.bench.paced", *place, *size, *headers), rounds * 30 + _GRACE_S)
    raw = json.loads(said)
    if raw["first_us"] is None:
        raise LoadFailed(f"paced streams on {target.name}: {raw}")
    figures: Figures = {"answers": raw["streams"], "errors": raw["broken"]}
    for what, unit in (("first", "us"), ("late", "us"), ("total", "ms")):
        figures |= {f"{what}_{cut}_{unit}": raw[f"{what}_{unit}"][cut] for cut in ("p50", "p99", "max")}
    return figures, raw["served"]


def _body_file(target: Target, load: Load) -> Path:
    path = target.folder / f"{target.name}-{load.name}.json"
    path.write_bytes(target.body(stream=load.stream, paced=load.paced))
    return path


def _lines(headers: Mapping[str, str]) -> list[str]:
    return [f"{name}: {value}" for name, value in headers.items()]


def _run(command: Sequence[str], limit_s: float) -> str:
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=limit_s,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LoadFailed(f"{command[0]}: {error}") from error
    if done.returncode != 0:
        raise LoadFailed(f"{' '.join(command)}: {done.returncode}: {done.stderr[-1000:]}")
    return done.stdout
