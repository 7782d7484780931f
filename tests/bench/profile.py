"""Where the time of our process goes: cProfile over a few seconds of full load, as a table of the dearest functions.

Promise: it is the product's own process under the same load as the bench; the profiler slows everything (about
2.5 times), so shares are told, never microseconds. Its process is one of its own: `python -m tests.bench.profile
CONFIG SECONDS` serves, profiles and prints JSON.
"""

from __future__ import annotations

import asyncio
import cProfile
import json
import os
import pstats
import subprocess
import sys
from pathlib import Path

import uvloop

from penstock.wiring.app import start
from penstock.wiring.settings import environment, load
from tests.bench import load as loads
from tests.bench.peers.base import PRODUCT_PYTHON, Target
from tests.bench.peers.penstock import Penstock
from tests.evidence.registry import Table

SECONDS = 4
ROWS = 25
DONE = "profile.json"


class Profiled(Penstock):
    """Penstock under the profiler."""

    name = "penstock_profiled"

    def command(self) -> tuple[str, ...]:
        config = super().command()[-1]
        return (str(PRODUCT_PYTHON), "-m", "tests.bench.profile", config, str(self.folder / DONE))


def table(upstream: Target) -> Table:
    """Run the load under the profiler; returns the functions by their own share of the time."""
    target = Profiled(upstream.port)
    with target.running():
        assert target.pid is not None
        loads.measure(target, upstream.pid or 0, loads.FULL_64, SECONDS, 1)
        os.kill(target.pid, 10)
        done = target.folder / DONE
        while not done.exists():
            subprocess.run(("sleep", "0.1"), check=True)
        rows = json.loads(done.read_text())
    return Table(
        title="Profile: share of our process's time, by function",
        columns=("function", "own %", "with callees %", "calls per request"),
        rows=tuple(tuple(row) for row in rows),
    )


def rows(stats: pstats.Stats) -> list[list[object]]:
    """Return the `ROWS` dearest functions: name, own share, cumulated share, calls per request."""
    entries: dict[tuple[str, int, str], tuple[int, int, float, float, object]] = stats.stats  # pyright: ignore[reportAttributeAccessIssue]  # pstats has no type for it
    total = sum(entry[2] for entry in entries.values())
    requests = max(entry[1] for key, entry in entries.items() if key[2] == "open_chat")
    dearest = sorted(entries.items(), key=lambda item: item[1][2], reverse=True)[:ROWS]
    return [
        [
            _name(key),
            round(100 * own / total, 1),
            round(100 * cumulated / total, 1),
            round(calls / requests, 2),
        ]
        for key, (_, calls, own, cumulated, _) in dearest
    ]


def _name(key: tuple[str, int, str]) -> str:
    file, _, function = key
    where = file.partition("src/penstock/")[2] or Path(file).name
    return function if file == "~" else f"{where}:{function}"


async def serve(config: str, done: str) -> None:
    """Serve under the profiler until SIGUSR1, then write the rows to `done` and go on."""
    profiler = cProfile.Profile()
    platform = await start(load(Path(config), environment()), environment())
    finished = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(10, finished.set)
    profiler.enable()
    await finished.wait()
    profiler.disable()
    Path(done).write_text(json.dumps(rows(pstats.Stats(profiler))))
    await asyncio.sleep(0.5)
    await platform.close()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1], sys.argv[2]))
