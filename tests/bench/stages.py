"""The product serving with a stopwatch at each stage of a request: the process that `anatomy` puts under load.

Promise: it is the whole product on the embedded stores; the stopwatch wraps the pipeline's own methods (about 3 µs a
request) and changes none of them. On SIGUSR1 what was seen since the last one is written to the file as JSON.

    python -m tests.bench.stages CONFIG FILE
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import uvloop

from penstock.gateway.admission import Admission
from penstock.gateway.calling import Calling
from penstock.gateway.http import Chats
from penstock.gateway.pipeline import Pipeline
from penstock.gateway.relay import Relay
from penstock.wiring.app import start
from penstock.wiring.platform import Platform
from penstock.wiring.settings import environment, load

LAG_EVERY_S = 0.005
KEPT = 200_000
"""Readings of a stage that are kept; a longer load is judged by its beginning."""

Readings = dict[str, list[float]]


def _watch(readings: Readings, name: str, owner: type[Any], method: str) -> None:
    """Time a method of a class that is waited for, unless it is done at once (None), in µs."""
    inner: Callable[..., Awaitable[Any] | None] = getattr(owner, method)
    kept = readings.setdefault(name, [])

    async def timed(*given: Any, **named: Any) -> Any:
        began = time.perf_counter_ns()
        try:
            waiting = inner(*given, **named)
            return None if waiting is None else await waiting
        finally:
            if len(kept) < KEPT:
                kept.append((time.perf_counter_ns() - began) / 1e3)

    setattr(owner, method, timed)


def _watch_arrival(readings: Readings) -> None:
    """Time from the first byte of a request to the gateway's first line, in µs."""
    inner = Chats.chat
    kept = readings.setdefault("before", [])

    async def timed(
        self: Chats, face: Any, request: Any, responder: Any, principal: Any, client: Any = None
    ) -> None:
        if len(kept) < KEPT:
            kept.append((time.monotonic_ns() - request.received_ns) / 1e3)
        await inner(self, face, request, responder, principal, client)

    Chats.chat = timed


async def _lag(readings: Readings) -> None:
    """Note how much later than asked the event loop comes back, in µs."""
    kept = readings.setdefault("lag", [])
    while True:
        began = time.perf_counter_ns()
        await asyncio.sleep(LAG_EVERY_S)
        if len(kept) < KEPT:
            kept.append((time.perf_counter_ns() - began) / 1e3 - LAG_EVERY_S * 1e6)


def _cut(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    size = len(ordered)
    if not size:
        return {"p50": 0.0, "p99": 0.0, "count": 0}
    return {"p50": ordered[size // 2], "p99": ordered[min(size - 1, size * 99 // 100)], "count": size}


def _report(readings: Readings, platform: Platform, file: Path, before: dict[str, int]) -> None:
    """Write what was seen, and begin anew."""
    now = platform.stores.ledger.stats()
    told: dict[str, object] = {name: _cut(values) for name, values in readings.items()}
    told["groups"] = now["groups"] - before["groups"]
    told["entries"] = now["entries"] - before["entries"]
    before.update(now)
    for values in readings.values():
        values.clear()
    part = file.with_suffix(".part")
    part.write_text(json.dumps(told))
    part.replace(file)


async def serve(config: str, file: str) -> None:
    """Serve until killed."""
    readings: Readings = {}
    _watch_arrival(readings)
    _watch(readings, "serve", Pipeline, "serve")
    _watch(readings, "admit", Admission, "admit")
    _watch(readings, "call", Calling, "answer")
    _watch(readings, "relay", Relay, "answer")
    platform = await start(load(Path(config), environment()), environment())
    _watch(readings, "hold", type(platform.stores.ledger), "hold")
    before = platform.stores.ledger.stats()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(10, lambda: _report(readings, platform, Path(file), before))
    stopped = asyncio.Event()
    loop.add_signal_handler(15, stopped.set)
    lag = loop.create_task(_lag(readings))
    await stopped.wait()
    lag.cancel()
    await platform.close()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1], sys.argv[2]))
