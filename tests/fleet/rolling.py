"""The drill of S10: two gateway processes on one listening socket are replaced, one after the other, again and again,
under requests on keep-alive connections and under long streams.

Promise: callers never try a request twice (tests/fleet/caller.py), so one that was refused, reset or cut is seen.
"""

from __future__ import annotations

import asyncio
import random
import signal
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import psutil

from tests.fleet.books import Journal
from tests.fleet.budgets import GENEROUS
from tests.fleet.caller import Caller, Reply
from tests.fleet.config import Engines, Tenant, provision, write_config
from tests.fleet.kills import Tally as Books
from tests.fleet.kills import compare
from tests.fleet.load import chat_body, until
from tests.fleet.process import PEPPER, Child, node, provider
from tests.fleet.truth import Truth

PER_S = 50
CALLERS = 25
STREAMS = 30
STREAM_TOKENS = 96
STREAM_TOKENS_PER_S = 32
WORKERS = 2
TURN_LIMIT_S = 45.0
BUDGET_NANOS = 10**15


class Fleet(Protocol):
    """Several gateway processes behind one port."""

    port: int

    async def start(self) -> None:
        """Start them all; returns when they serve."""
        ...

    async def roll(self) -> None:
        """Replace every process by a new one, in order; returns when the old ones have gone."""
        ...

    async def stop(self) -> None:
        """End them all in good order."""
        ...


class ByHand:
    """A supervisor in ten lines: the socket stays open, processes come and go."""

    def __init__(self, configs: Sequence[Path]) -> None:
        """One process for each configuration."""
        self._configs = configs
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self._children: list[Child] = []
        self.port = int(self._socket.getsockname()[1])

    async def start(self) -> None:
        """See `Fleet`."""
        self._children = [await self._begun(config) for config in self._configs]

    async def roll(self) -> None:
        """See `Fleet`."""
        for place, config in enumerate(self._configs):
            old = self._children[place]
            self._children[place] = await self._begun(config.with_stem(f"{config.stem}-next"))
            await old.close()

    async def stop(self) -> None:
        """See `Fleet`."""
        await asyncio.gather(*[child.close() for child in self._children])
        self._socket.close()

    async def _begun(self, config: Path) -> Child:
        """Start one; a replacement runs beside its predecessor, so the two take turns with two data folders."""
        fd = self._socket.fileno()
        child = node(config, "--fd", str(fd), fds=(fd,))
        await child.launch()
        await child.ready()
        return child


class Served:
    """The product's own: `penstock serve --workers 2`, replaced worker by worker at SIGHUP."""

    def __init__(self, config: Path, port: int) -> None:
        """Serve `config`, which names `port`."""
        command = [sys.executable, "-m", "penstock.cli", "serve", "--config", str(config)]
        self._child = Child([*command, "--workers", str(WORKERS)], env={"PENSTOCK_SECRET_PEPPER": PEPPER})
        self.port = port

    async def start(self) -> None:
        """See `Fleet`."""
        await self._child.launch()
        await until(self._is_ready, TURN_LIMIT_S)

    async def roll(self) -> None:
        """See `Fleet`."""
        before = self._workers()
        self._child.signal(signal.SIGHUP)

        async def replaced() -> bool:
            now = self._workers()
            return len(now) == WORKERS and not now & before

        await until(replaced, TURN_LIMIT_S, 0.05)
        await until(self._is_ready, TURN_LIMIT_S)

    async def stop(self) -> None:
        """See `Fleet`."""
        await self._child.close()

    async def _is_ready(self) -> bool:
        if not self._child.is_running:
            raise RuntimeError(f"penstock serve ended:\n{self._child.log}")
        caller = Caller(self.port)
        reply = await caller.get("/readyz")
        await caller.close()
        return reply.status == 200 and len(self._workers()) == WORKERS

    def _workers(self) -> set[int]:
        with suppress(psutil.NoSuchProcess):
            return {child.pid for child in psutil.Process(self._child.pid).children()}
        return set()


@dataclass(slots=True)
class Tally:
    """What the restarts did to whom. Times in seconds."""

    restarts: int = 0
    requests: int = 0
    failed: dict[str, int] = field(default_factory=dict)
    streams: int = 0
    cut: dict[str, int] = field(default_factory=dict)
    request_p99_s: float = 0.0
    request_max_s: float = 0.0
    restart_s: list[float] = field(default_factory=list)
    books: Books = field(default_factory=Books)
    seconds: float = 0.0


async def drill(folder: Path, engines: Engines, *, restarts: int, kind: str, pause_s: float = 1.0) -> Tally:
    """Replace both processes `restarts` times; `kind` is "served" or "by hand"."""
    tally = Tally()
    began = time.monotonic()
    async with AsyncExitStack() as opened:
        speed = ("--first-token-s", "0.01", "--tokens-per-s", str(STREAM_TOKENS_PER_S))
        slow = await opened.enter_async_context(provider("--answer-tokens", str(STREAM_TOKENS), *speed))
        config, fleet = await _fleet(folder, slow.facts["url"], engines, kind)
        levels = dict.fromkeys(("org", "key"), BUDGET_NANOS)
        (key,) = await provision(config, [Tenant(caps=levels, rate=GENEROUS)])
        await fleet.start()
        opened.push_async_callback(fleet.stop)
        load = Load(fleet.port, key.token)
        load.start()
        for _ in range(restarts):
            await asyncio.sleep(pause_s)
            turn = time.monotonic()
            await fleet.roll()
            tally.restart_s.append(time.monotonic() - turn)
            tally.restarts += 1
        await load.stop()
        await fleet.stop()
        count(tally, load)
        truth, journal = Truth(slow.port), Journal(config)
        await truth.quiet()
        await journal.read()
        compare(tally.books, await truth.read(), journal)
        tally.books.verdict = await journal.verify()
        await truth.close()
    tally.seconds = time.monotonic() - began
    return tally


async def _fleet(folder: Path, url: str, engines: Engines, kind: str) -> tuple[Path, Fleet]:
    if kind == "served":
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = int(probe.getsockname()[1])
        config = write_config(folder, url, engines, port=port)
        return config, Served(config, port)
    configs = [write_config(folder / str(place), url, engines) for place in range(WORKERS)]
    for config in configs:
        other = config.with_stem(f"{config.stem}-next")
        other.write_text(config.read_text().replace('/data"', '/data-next"'))
    return configs[0], ByHand(configs)


class Load:
    """Fifty requests a second over keep-alive connections, and thirty streams at any time."""

    def __init__(self, port: int, token: str) -> None:
        """Prepare the callers."""
        self._callers = [Caller(port, token) for _ in range(CALLERS)]
        self._streamers = [Caller(port, token) for _ in range(STREAMS)]
        self._tasks: list[asyncio.Task[Any]] = []
        self._stopping = False
        self.replies: list[Reply] = []
        self.streams: list[Reply] = []

    def start(self) -> None:
        """Begin."""
        self._tasks = [
            asyncio.create_task(self._ask(caller, random.Random(number)))
            for number, caller in enumerate(self._callers)
        ]
        self._tasks += [
            asyncio.create_task(self._listen(caller, random.Random(1000 + number)))
            for number, caller in enumerate(self._streamers)
        ]

    async def stop(self) -> None:
        """Let everything under way end."""
        self._stopping = True
        await asyncio.gather(*self._tasks)
        await asyncio.gather(*[caller.close() for caller in (*self._callers, *self._streamers)])

    async def _ask(self, caller: Caller, draw: random.Random) -> None:
        every_s = CALLERS / PER_S
        await asyncio.sleep(draw.uniform(0, every_s))
        due = time.monotonic()
        while not self._stopping:
            # An answer of one or two tokens: these callers are quick, the streams are slow.
            body = chat_body(draw, stream=False, most_tokens=2)
            self.replies.append(await caller.chat(body))
            due += every_s
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def _listen(self, caller: Caller, draw: random.Random) -> None:
        await asyncio.sleep(draw.uniform(0, STREAM_TOKENS / STREAM_TOKENS_PER_S))
        while not self._stopping:
            body = chat_body(draw, stream=True, most_tokens=STREAM_TOKENS)
            self.streams.append(await caller.chat(body))


def count(tally: Tally, load: Load) -> None:
    """Count what was not good."""
    tally.requests, tally.streams = len(load.replies), len(load.streams)
    for replies, into in ((load.replies, tally.failed), (load.streams, tally.cut)):
        for reply in replies:
            if not reply.good:
                what = reply.failure or f"{reply.status} {reply.error.get('code', 'cut')}"
                into[what] = into.get(what, 0) + 1
    times = sorted(reply.seconds for reply in load.replies)
    tally.request_p99_s = times[int(0.99 * (len(times) - 1))] if times else 0.0
    tally.request_max_s = times[-1] if times else 0.0
