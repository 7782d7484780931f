"""Harnesses for the engines of state, records and signals: who moves time, what a crash is, how a store is cut off.

Each `…_on_…` is an async context manager that gives a harness and closes every handle it opened. Adapters come in as
classes, so that a seeded bug is one more class.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any, Self
from urllib.parse import urlsplit

from penstock.adapters.state.embedded import EmbeddedState
from penstock.adapters.state.redis import RedisState
from penstock.contracts.case import Case, Contract, Harness, NotTried
from penstock.contracts.state_limits import StateHarness
from penstock.kernel.clock import ManualClock
from tests.support import run

SOCKET_S = 1.0
"""Generous, so that a busy machine is never taken for a broken store; the tests of timeouts choose their own."""


class Relay:
    """A TCP relay on a free loopback port that can turn into a black hole: it accepts, and nothing ever comes back."""

    def __init__(self, port: int) -> None:
        self.target = port
        self.port = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []
        self._is_cut = False

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self._writers:
            writer.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Let nothing through any more, on connections old and new."""
        self._is_cut = True

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        self._tasks.add(asyncio.current_task())
        if self._is_cut:
            return
        there, back = await asyncio.open_connection("127.0.0.1", self.target)
        self._writers.append(back)
        await asyncio.gather(self._pump(reader, back), self._pump(there, writer))

    async def _pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(1 << 16):
            if not self._is_cut:
                target.write(data)
        target.close()


@asynccontextmanager
async def embedded_state(
    adapter: Callable[[ManualClock], EmbeddedState] = EmbeddedState,
) -> AsyncIterator[StateHarness]:
    """Give the in-process state on a manual clock."""
    clock = ManualClock()

    async def advance(seconds: float) -> None:
        clock.advance(seconds)

    async def set_back(seconds: float) -> None:
        clock.jump_wall(-seconds)

    async def reopen() -> EmbeddedState:
        await harness.port.close()
        harness.port = adapter(clock)
        return harness.port

    async def peer() -> EmbeddedState:
        return harness.port

    async def cut_off() -> EmbeddedState:
        closed = adapter(clock)
        await closed.close()
        return closed

    harness = StateHarness(adapter(clock), advance, reopen, peer, True, set_back=set_back, cut_off=cut_off)
    yield harness
    await harness.port.close()


@asynccontextmanager
async def redis_state(url: str, adapter: type[RedisState] = RedisState) -> AsyncIterator[StateHarness]:
    """Give the state on a real Redis, whose clock moves by the adapter's offset."""
    opened: list[RedisState] = []
    relays = AsyncExitStack()

    async def start(address: str = url, timeout_s: float = SOCKET_S) -> RedisState:
        state = await adapter.open(address, timeout_s=timeout_s)
        state.clock_offset_s = opened[0].clock_offset_s if opened else 0.0
        opened.append(state)
        return state

    async def advance(seconds: float) -> None:
        for state in opened:
            state.clock_offset_s += seconds

    async def set_back(seconds: float) -> None:
        await advance(-seconds)

    async def reopen() -> RedisState:
        harness.port = await start()
        return harness.port

    async def cut_off() -> RedisState:
        server = urlsplit(url)
        relay = await relays.enter_async_context(Relay(server.port))
        lost = await start(url.replace(f":{server.port}", f":{relay.port}"), timeout_s=0.2)
        relay.cut()
        return lost

    harness = StateHarness(await start(), advance, reopen, start, set_back=set_back, cut_off=cut_off)
    try:
        yield harness
    finally:
        for state in opened:
            await state.close()
        await relays.aclose()


async def kept(case: Case, side: AbstractAsyncContextManager[Harness]) -> None:
    """Run one case on a fresh harness."""
    async with side as harness:
        await case(harness)


def first_broken(contract: Contract, fresh_side: Callable[[], AbstractAsyncContextManager[Harness]]) -> str:
    """Run a contract's cases until one fails; return its name and the failure, or "" when every promise is kept."""
    for name, _, case in contract.cases:
        try:
            run(kept(case, fresh_side()), ceiling_s=10.0)
        except NotTried:
            continue  # it looked at nothing, so it caught nothing
        except Exception as error:  # because a seeded bug may show itself in any way
            return f"{name}: {error!r}"
    return ""


def edited(text: str, *changes: tuple[str, str]) -> str:
    """Return `text` with each passage replaced; one that is not there any more is an error of the test."""
    for passage, other in changes:
        assert passage in text, passage
        text = text.replace(passage, other)
    return text


def with_sql(adapter: type[Any], name: str, passage: str, other: str) -> type[Any]:
    """Return an adapter of PostgreSQL that differs in one passage of one statement."""
    statements = type(
        "Statements", (adapter.sql,), {name: edited(getattr(adapter.sql, name), (passage, other))}
    )
    return type("Mutant", (adapter,), {"sql": statements})
