"""A batcher on the double, and what tests ask of it."""

from __future__ import annotations

import asyncio

from penstock.embedding.serving.batcher import Batcher
from penstock.embedding.serving.line import LaneBounds
from penstock.kernel.clock import ManualClock
from tests.counting_encoder import CountingEncoder


def batcher(encoder: CountingEncoder, clock: ManualClock | None = None, **bounds) -> Batcher:
    chosen = LaneBounds(**{"batch_tokens": 100, "queue_tokens": 1_000, "places": 1, **bounds})
    return Batcher(encoder, {"query": chosen, "ingest": chosen}, clock or ManualClock())


def texts(count: int, length: int = 10, start: int = 1_000) -> list[tuple[int, ...]]:
    return [(start + number, *([7] * (length - 1))) for number in range(count)]


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def asked(it: Batcher, given, lane="query", tenant="a", **more) -> asyncio.Task[list[bytes]]:
    return asyncio.create_task(it.compute(given, lane=lane, tenant=tenant, **more))
