"""`python -m tests.fleet.node CONFIG`: one gateway as a process that a drill can start fast, freeze and kill.

    --wait            import everything, say {"warm": pid}, then hold until a line arrives on standard input (a warm
                      spare: a start then costs what the platform costs, not what Python's imports cost)
    --fd N            serve on this inherited listening socket
    --at TIME         let the wall clock stand there, in UTC, when the platform begins (2026-11-30T23:59:57)
    --books posthoc   the control: spend is logged after the call (tests/fleet/posthoc.py)

Promise: it is the product's own `wiring.app.start` on uvloop, with nothing changed but what an option says; the next
line on standard output is one JSON object {"port", "pid", "start_s"}, written once it serves; SIGTERM drains.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import uvloop

from penstock.kernel.clock import Clock, SystemClock
from penstock.wiring import adapters, app
from penstock.wiring.settings import environment, load
from tests.fleet.posthoc import logged_after
from tests.fleet.warm import import_adapters


class ShiftedClock(SystemClock):
    """The system's clock with its wall moved; intervals stay true."""

    def __init__(self, ahead_s: float) -> None:
        self._ahead_s = ahead_s

    def wall_s(self) -> float:
        return time.time() + self._ahead_s


def clock_at(text: str) -> Clock:
    """Return a clock whose wall stands at `text` (ISO 8601 without a zone, UTC) now."""
    return ShiftedClock(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() - time.time())


def say(facts: Mapping[str, object]) -> None:
    """Tell whoever started us, in one line of JSON."""
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


async def serve(config: Path, sock: socket.socket | None) -> None:
    """Serve until SIGTERM, then drain."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    began = time.monotonic()
    env = environment()
    platform = await app.start(load(config, env), env, sock=sock)
    say({"port": platform.port, "pid": os.getpid(), "start_s": round(time.monotonic() - began, 4)})
    await stop.wait()
    await platform.drain()


def main() -> int:
    """Parse, wait if asked, run."""
    parser = argparse.ArgumentParser(prog="python -m tests.fleet.node", description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("--wait", action="store_true")
    parser.add_argument("--fd", type=int)
    parser.add_argument("--at")
    parser.add_argument("--books", choices=("held", "posthoc"), default="held")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    if given.wait:
        import_adapters()
        say({"warm": os.getpid()})
        sys.stdin.readline()
    if given.at:
        clock = clock_at(given.at)
        app.SystemClock = lambda: clock
    if given.books == "posthoc":
        adapters.ledger = logged_after(adapters.ledger)
    sock = None if given.fd is None else socket.socket(fileno=given.fd)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(given.config, sock))
    return 0


if __name__ == "__main__":
    sys.exit(main())
