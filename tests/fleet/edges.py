"""The drill of S2 at the edge of a window: the clock passes midnight while 64 clients spend a dollar a window.

Promise: both windows are spent to their end and neither is exceeded at any moment the journal knows of; a request that
was admitted before the edge is charged before the edge.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.fleet.books import Journal
from tests.fleet.budgets import CLIENTS, DEAR, DOLLAR_NANOS, SPEEDS
from tests.fleet.caller import Caller
from tests.fleet.config import Engines, Tenant, provision, write_config
from tests.fleet.load import chat_body
from tests.fleet.process import node, provider

BEFORE_S = 2
AFTER_S = 2.5
SPENT_NANOS = DOLLAR_NANOS * 9 // 10


@dataclass(slots=True)
class Edge:
    """What an edge saw. Money in nano-dollars."""

    window: str
    answered: int = 0
    refused: int = 0
    failed: int = 0
    windows_spent: int = 0
    peak_nanos: int = 0
    over: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


async def run_edge(folder: Path, window: str, clients: int = CLIENTS) -> Edge:
    """Spend a dollar a `window` ("day" or "month") from two seconds before its end to two after it."""
    edge = Edge(window)
    async with AsyncExitStack() as opened:
        upstream = await opened.enter_async_context(provider(*SPEEDS))
        config = write_config(folder, upstream.facts["url"], Engines(), prices=DEAR)
        tenant = Tenant(caps={"org": DOLLAR_NANOS}, window=window)
        (key,) = await provision(config, [tenant])
        at = _end_of(window) - timedelta(seconds=BEFORE_S)
        gateway = node(config, "--at", at.replace(tzinfo=None).isoformat(timespec="seconds"))
        await opened.enter_async_context(gateway)
        ends_s = asyncio.get_running_loop().time() + BEFORE_S + AFTER_S
        await asyncio.gather(*[_spend(gateway.port, key.token, n, ends_s, edge) for n in range(clients)])
    journal = Journal(config)
    await journal.read()
    stem = f"org:{tenant.org}@"
    windows = {name: peak for name, peak in journal.peaks.items() if name.startswith(stem)}
    if window == "month":
        windows = {name: peak for name, peak in windows.items() if len(name) == len(stem) + len("2026-11")}
    edge.peak_nanos = max(windows.values(), default=0)
    edge.over = tuple(name for name, peak in windows.items() if peak > DOLLAR_NANOS)
    edge.windows_spent = sum(journal.used[name] >= SPENT_NANOS for name in windows)
    edge.problems = (await journal.verify()).problems
    return edge


async def _spend(port: int, token: str, number: int, ends_s: float, edge: Edge) -> None:
    """Ask until the end, refused or not: the next window must admit at once."""
    loop = asyncio.get_running_loop()
    draw = random.Random(f"edge:{number}")
    caller = Caller(port, token)
    while loop.time() < ends_s:
        reply = await caller.chat(chat_body(draw, words=draw.randint(1, 60)))
        if reply.good:
            edge.answered += 1
        elif reply.error.get("code") == "insufficient_quota":
            edge.refused += 1
            await asyncio.sleep(0.05)
        else:
            edge.failed += 1
    await caller.close()


def _end_of(window: str) -> datetime:
    """Return the end of this day or this month, UTC."""
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if window == "day":
        return today + timedelta(days=1)
    return (today.replace(day=28) + timedelta(days=4)).replace(day=1)
