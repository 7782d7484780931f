"""The audit with its sink down: a platform under load whose stream takes nothing for a while, and then again.

Promise: the sums are looked at all the time, not at the end only; what was delivered is counted in the stream itself,
record by record, and what was answered by the callers.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from penstock.kernel.errors import Unavailable
from penstock.sdk.client import Client
from penstock.simulator.behaviour import Speeds
from penstock.simulator.server import SimulatorOptions
from tests.stage import MODEL, Stage, stage, until

BUFFER: Final = 4_000
CALLERS: Final = 8
PAUSE_S: Final = 0.04
LOOK_S: Final = 0.05
ASKED: Final = [{"role": "user", "content": "How full is it?"}]


@dataclass
class Balance:
    """What became of the records of `answered` requests; `unequal` of `looks` found the sums not to add up."""

    down_s: float = 0.0
    answered: int = 0
    produced: int = 0
    delivered: int = 0
    dropped: int = 0
    queued: int = 0
    in_stream: int = 0
    in_stream_twice: int = 0
    looks: int = 0
    unequal: int = 0
    queued_most: int = 0
    slowest_s: float = 0.0
    """The slowest request while the sink was down."""
    told: bool = False
    """Whether the metrics said the same."""


class Shutter:
    """A stream that can be shut: then it takes nothing, as one whose disk is gone."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.is_shut = False

    async def append(self, topic: str, values: Sequence[bytes]) -> int:
        """Append, unless shut."""
        if self.is_shut:
            raise Unavailable("The sink is down.")
        return await self._stream.append(topic, values)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


async def sink_down(folder: Path, down_s: float, *, before_s: float = 1.0) -> Balance:
    """Ask for `before_s` seconds, for `down_s` without a sink, and for as long as before with one again."""
    simulator = SimulatorOptions(speeds=Speeds(tokens_per_s=0, answer_tokens=12))
    async with stage(folder, simulator=simulator, audit={"buffer_records": BUFFER}) as it:
        shutter = Shutter(it.platform.stores.stream)
        it.platform.audit._stream = shutter
        seen, stop = Balance(), asyncio.Event()
        async with Client(it.url.removesuffix("/v1"), (await it.caller()).token) as client:
            asking = [asyncio.create_task(_ask(client, seen, shutter, stop)) for _ in range(CALLERS)]
            looking = asyncio.create_task(_look(it, seen, stop))
            await asyncio.sleep(before_s)
            shutter.is_shut, began_s = True, time.monotonic()
            await asyncio.sleep(down_s)
            shutter.is_shut, seen.down_s = False, time.monotonic() - began_s
            await asyncio.sleep(before_s)
            stop.set()
            await asyncio.gather(*asking, looking)
        await _settled(it, seen)
        return seen


async def _ask(client: Client, seen: Balance, shutter: Shutter, stop: asyncio.Event) -> None:
    while not stop.is_set():
        began_s = time.monotonic()
        await client.chat.create(model=MODEL, messages=ASKED)
        seen.answered += 1
        if shutter.is_shut:
            seen.slowest_s = max(seen.slowest_s, time.monotonic() - began_s)
        await asyncio.sleep(PAUSE_S)


async def _look(it: Stage, seen: Balance, stop: asyncio.Event) -> None:
    audit = it.platform.audit
    while not stop.is_set():
        seen.looks += 1
        seen.unequal += audit.produced != audit.delivered + audit.dropped + audit.queued
        seen.queued_most = max(seen.queued_most, audit.queued)
        await asyncio.sleep(LOOK_S)


async def _settled(it: Stage, seen: Balance) -> None:
    """Wait until nothing is queued, and count what the stream has."""
    audit = it.platform.audit

    async def delivered() -> bool:
        return not audit.queued

    await until(delivered, 15.0)
    ids: list[str] = []
    while messages := await it.platform.stores.stream.read("audit", len(ids)):
        ids += [json.loads(message.value)["request_id"] for message in messages]
    seen.produced, seen.delivered = audit.produced, audit.delivered
    seen.dropped, seen.queued = audit.dropped, audit.queued
    seen.in_stream, seen.in_stream_twice = len(set(ids)), len(ids) - len(set(ids))
    page = it.platform.metrics.render().decode()
    told = {
        line.split()[0]: float(line.split()[1])
        for line in page.splitlines()
        if line.startswith("penstock_audit_")
    }
    seen.told = all(
        told[f"penstock_audit_{name}_total"] == getattr(seen, name)
        for name in ("produced", "delivered", "dropped")
    )
