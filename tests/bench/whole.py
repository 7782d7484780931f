"""A whole request inside the process, without sockets: what the steps of the rung table cost once joined together.

Promise: it is the running platform's own handler, from the edge to the settlement, with every step on; only the vendor
is replaced by a reply that is there at once, and the client by one that takes it. What it costs beyond the sum of the
rungs is the price of joining them: coroutines, their frames and awaits, the context, the story, the audit event.

`cost_us` tells it in µs of the machine as it is today. `calls` tells it in calls of Python's own functions (a coroutine
that goes on counts as one more), which no other load on the machine changes: what it was at one commit it is at that
commit for ever.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from typing import Any
from unittest import mock

import msgspec
import uvloop

from penstock.adapters.providers.openai import OpenAIProvider
from penstock.kernel.settings import PriceSettings, ProviderSettings, ServerSettings, Settings, StoreSettings
from penstock.mechanisms.scopes import scope_paths
from penstock.mechanisms.tenancy import KeyDoc, ScopeDoc
from penstock.net.request import Request
from penstock.wiring.app import start
from penstock.wiring.platform import Platform
from tests.bench import payload
from tests.bench.steps import PLENTY, REPLY, RICH

CONCURRENT = 64
BATCHES = 200
REPEATS = 5
COUNTED = 20
SPINE_CALLS = 176
"""`calls` of the spine, at the commit of its record (626d3bb)."""
MODEL = payload.UPSTREAM_MODEL


class _Reply:
    """A vendor's reply that is there after one turn of the loop."""

    status = 200
    streamed = False

    async def read(self, _limit: int) -> bytes:
        await asyncio.sleep(0)
        return REPLY

    def close(self) -> None:
        """Nothing is held."""


class _Caller:
    """A client that takes what it is given."""

    gone = paused = started = complete = False
    task = None

    def on_gone(self, _tell: object) -> None:
        """Never gone."""

    def send(self, *_reply: object) -> None:
        """Take it."""


async def _reply(_provider: object, _call: object) -> Any:
    return _Reply()


def cost_us() -> float:
    """Return the CPU of the process for one request, in µs: the best of `REPEATS`, as for the rungs."""
    return _on_a_platform(_measured)


def calls() -> float:
    """Return how many calls of Python's functions one request makes, what is done later on the loop included."""
    return _on_a_platform(_counted)


def _on_a_platform(look: Callable[[Platform, bytes], Awaitable[float]]) -> float:
    async def run(data: str) -> float:
        platform = await start(_settings(data), {})
        try:
            return await look(platform, await _caller(platform))
        finally:
            await platform.close()

    with (
        mock.patch.object(OpenAIProvider, "chat", _reply),
        tempfile.TemporaryDirectory(prefix="bench-whole-") as data,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        return runner.run(run(data))


async def _measured(platform: Platform, token: bytes) -> float:
    await _batches(platform, token, BATCHES)
    gc.collect()
    gc.freeze()
    try:
        costs: list[float] = []
        for _ in range(REPEATS):
            began = time.process_time_ns()
            await _batches(platform, token, BATCHES)
            costs.append((time.process_time_ns() - began) / 1e3 / BATCHES / CONCURRENT)
        return min(costs)
    finally:
        gc.unfreeze()


async def _counted(platform: Platform, token: bytes) -> float:
    await _batches(platform, token, COUNTED)
    count = 0

    def note(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event == "call"

    former = sys.getprofile()
    sys.setprofile(note)
    try:
        await _batches(platform, token, COUNTED)
    finally:
        sys.setprofile(former)
    return count / COUNTED / CONCURRENT


def _settings(data: str) -> Settings:
    provider = ProviderSettings(
        name="bench", kind="openai", base_url="http://127.0.0.1:1/v1", models=(MODEL,)
    )
    price = PriceSettings(provider="bench", model=MODEL, input="0.15", cached_input="0.075", output="0.60",
                          context_window=128_000, max_output=16_384)  # fmt: skip
    return Settings(
        server=ServerSettings(port=0),
        store=StoreSettings(data=data),
        discover=False,
        providers=(provider,),
        prices=(price,),
    )


async def _caller(platform: Platform) -> bytes:
    """Make the bench's caller: limits and budgets at every level."""
    tenancy = platform.tenancy
    for level, path in scope_paths("default", "default", "default", "default", "")[:4]:
        rate = PLENTY if level in ("org", "team") else None
        doc = ScopeDoc(path=path, level=level, caps=RICH)
        await tenancy.put_scope("default", doc if rate is None else msgspec.structs.replace(doc, rate=rate))
    limited = msgspec.structs.replace(PLENTY, concurrency=100_000)
    draft = KeyDoc(id="", mac="", org="default", team="default", project="default", user="default",
                   rate=limited, caps=RICH)  # fmt: skip
    return (await tenancy.create_key(draft))[1].encode()


async def _batches(platform: Platform, token: bytes, count: int) -> None:
    handle = platform.server._site.handler
    body = payload.request_body(MODEL, stream=False)
    fields = {b"authorization": b"Bearer " + token, b"host": b"bench", b"content-type": b"application/json"}

    async def one() -> None:
        request = Request("POST", payload.CHAT_PATH, b"", list(fields.items()), fields)
        request.body = body
        request.received_ns = time.monotonic_ns()
        caller: Any = _Caller()
        await handle(request, caller)

    for _ in range(count):
        await asyncio.gather(*[one() for _ in range(CONCURRENT)])
