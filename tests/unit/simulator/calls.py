"""Calling a simulated provider over real sockets, and reading its truth."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager

from penstock.dialects.openai_facts import StreamFacts
from penstock.kernel.errors import Unavailable
from penstock.net.client import HttpClient, Origin, Timers
from penstock.simulator.server import SimulatorOptions, run_simulator
from tests.support import run

MESSAGES = [{"role": "user", "content": "When does the sluice open?"}]
TIMERS = Timers(connect_s=2, first_byte_s=2, between_chunks_s=2, total_s=20)


class Caller:
    """A plain HTTP caller of one simulator."""

    def __init__(self, simulator):
        self.simulator = simulator
        self.client = HttpClient()
        self.origin, _ = Origin.parse(simulator.url)

    async def send(self, method, target, body=b"", headers=b""):
        response = await self.client.request(self.origin, method, target, headers, body, TIMERS)
        try:
            return response.status, response, await response.read(1 << 24)
        finally:
            response.close()

    async def begin(self, order="none", *, stream=True, usage=True, **members):
        body = {"model": "m", "messages": MESSAGES, "stream": stream, **members}
        if stream and usage:
            body["stream_options"] = {"include_usage": True}
        headers = b"x-request-id: op-1\r\nx-simulate: %b\r\n" % order.encode()
        return await self.client.request(
            self.origin, b"POST", b"/v1/chat/completions", headers, json.dumps(body).encode(), TIMERS
        )

    async def chat(self, order="none", **members):
        """Return status, what arrived, and the truth row."""
        got, status = b"", 0
        try:
            response = await self.begin(order, **members)
            status = response.status
            while data := await response.chunk():
                got += data
        except Unavailable:
            pass
        return status, got, await self.last_row()

    async def last_row(self):
        for _ in range(200):
            if self.simulator.truth.summary().in_flight == 0:
                break
            await asyncio.sleep(0.005)
        return self.simulator.truth.rows()[-1]


@asynccontextmanager
async def simulated(**options):
    simulator = await run_simulator(SimulatorOptions(**options))
    caller = Caller(simulator)
    try:
        yield caller
    finally:
        await caller.client.close()
        await simulator.close()


def with_simulator(work, **options):
    async def session():
        async with simulated(**options) as caller:
            return await work(caller)

    return run(session())


def facts_of(stream: bytes) -> StreamFacts:
    facts = StreamFacts()
    for block in stream.split(b"\n\n")[:-1]:
        facts.feed(block + b"\n\n")
    return facts
