"""A whole request inside the process, without sockets: what the steps of the rung table cost once joined together.

Promise: it is the running platform's own handler, from the edge to the settlement, with every step on; only the vendor
is replaced by a reply that is there at once, and the client by one that takes it. What it costs beyond the sum of the
rungs is the price of joining them: coroutines, their frames and awaits, the context, the story, the audit event.
"""

from __future__ import annotations

import asyncio
import gc
import tempfile
import time
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
    with (
        mock.patch.object(OpenAIProvider, "chat", _reply),
        tempfile.TemporaryDirectory(prefix="bench-whole-") as data,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        return runner.run(_measured(data))


async def _measured(data: str) -> float:
    platform = await start(_settings(data), {})
    try:
        token = await _caller(platform)
        await _batches(platform, token, BATCHES)
        gc.collect()
        gc.freeze()
        costs: list[float] = []
        for _ in range(REPEATS):
            began = time.process_time_ns()
            await _batches(platform, token, BATCHES)
            costs.append((time.process_time_ns() - began) / 1e3 / BATCHES / CONCURRENT)
        return min(costs)
    finally:
        gc.unfreeze()
        await platform.close()


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
