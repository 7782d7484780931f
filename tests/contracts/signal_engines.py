"""Harnesses for the engines of signals: the one in the process, and a real Redis whose pub/sub can be lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from urllib.parse import urlsplit

from penstock.adapters.signals.embedded import EmbeddedSignals
from penstock.adapters.signals.redis import RedisSignals
from penstock.contracts.signals import SignalsHarness
from tests.contracts.engines import Relay

SOCKET_S = 5.0
"""Generous, so that a busy machine is never taken for a broken store; the tests of timeouts choose their own."""


async def let_time_be(seconds: float) -> None:
    """Stand in for `advance`: no promise of the signals port is about a clock."""
    raise AssertionError(f"a case waited {seconds} s")


@asynccontextmanager
async def embedded_signals(adapter: type[EmbeddedSignals] = EmbeddedSignals) -> AsyncIterator[SignalsHarness]:
    """Give the in-process signals."""

    async def reopen() -> EmbeddedSignals:
        harness.port = adapter()
        return harness.port

    async def peer() -> EmbeddedSignals:
        return harness.port

    async def cut_off() -> EmbeddedSignals:
        closed = adapter()
        await closed.close()
        return closed

    harness = SignalsHarness(adapter(), let_time_be, reopen, peer, True, cut_off=cut_off)
    yield harness
    await harness.port.close()


@asynccontextmanager
async def redis_signals(
    url: str, adapter: type[RedisSignals] = RedisSignals
) -> AsyncIterator[SignalsHarness]:
    """Give the signals on a real Redis; to deafen a handle is to end its listener, as if every message were lost."""
    opened: list[RedisSignals] = []
    relays = AsyncExitStack()

    async def start(address: str = url, timeout_s: float = SOCKET_S) -> RedisSignals:
        opened.append(await adapter.open(address, timeout_s=timeout_s))
        return opened[-1]

    async def reopen() -> RedisSignals:
        harness.port = await start()
        return harness.port

    async def deafen() -> None:
        listener = harness.port._tasks[0]
        listener.cancel()
        await asyncio.wait((listener,))

    async def undeafen() -> None:
        harness.port._listening.clear()
        harness.port._tasks[0] = asyncio.create_task(harness.port._listen())
        await harness.port._listening.wait()

    async def cut_off() -> RedisSignals:
        port = urlsplit(url).port
        relay = await relays.enter_async_context(Relay(port))
        lost = await start(url.replace(f":{port}", f":{relay.port}"), timeout_s=0.3)
        relay.cut()
        return lost

    harness = SignalsHarness(
        await start(), let_time_be, reopen, start, deafen=deafen, undeafen=undeafen, cut_off=cut_off
    )
    try:
        yield harness
    finally:
        for signals in opened:
            await signals.close()
        await relays.aclose()
