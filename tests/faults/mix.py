"""One healthy back end of three under load: how many requests succeed, and how many calls that takes.

Promise: counted from the ledger's file (attempts by operation) and the callers' own statuses, with the resilience
settings a platform has by default, from a cold start.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from penstock.kernel.settings import ProviderSettings, RouteSettings, TargetSettings
from penstock.net.client import CallFailed, HttpClient, Origin
from penstock.simulator.behaviour import Speeds
from penstock.simulator.server import RunningSimulator, SimulatorOptions, run_simulator
from tests.books import Books
from tests.faults.asking import TIMERS
from tests.stage import Stage, stage, until

SUCCESS_LEAST = 0.995
AMPLIFICATION_MOST = 1.2
AT_ONCE = 16
HEALTHY = SimulatorOptions(speeds=Speeds(answer_tokens=8))


@dataclass(frozen=True)
class Mix:
    """What the two sick back ends do: shares of misbehaviours, or nobody listens (`weights` empty)."""

    name: str
    weights: Mapping[str, float] = field(default_factory=dict[str, float])
    is_free: bool = True
    """Whether what goes wrong costs nothing, so that the books must be exact."""


MIXES = (
    Mix("two answer 500", {"server_error": 1.0}),
    Mix("two refuse connections"),
    Mix("two overloaded", {"overloaded": 1.0}),
    Mix("two out of credit", {"quota": 1.0}),
    Mix("two fail every third call", {"server_error": 0.33}),
    Mix("two reset connections", {"reset": 1.0}, is_free=False),
    Mix("two do everything wrong",
        {"server_error": 0.3, "overloaded": 0.2, "reset": 0.2, "malformed_line": 0.1, "error_mid_stream": 0.2},
        is_free=False),
)  # fmt: skip


@dataclass(frozen=True)
class Mixed:
    """What a mix came to."""

    requests: int
    answered: int
    calls: int
    posted_nanos: int
    billed_nanos: int
    problems: tuple[str, ...]
    held_nanos: int

    @property
    def success(self) -> float:
        """Return the share of requests that were answered."""
        return self.answered / self.requests

    @property
    def amplification(self) -> float:
        """Return calls to vendors for each request."""
        return self.calls / self.requests


async def mixed(folder: Path, mix: Mix, requests: int) -> Mixed:
    """Send so many whole chats to a route of two sick back ends and a healthy one."""
    sick = [
        await run_simulator(SimulatorOptions(seed=seed, weights=mix.weights, speeds=HEALTHY.speeds))
        for seed in (1, 2)
    ]
    addresses = [each.url if mix.weights else "http://127.0.0.1:1/v1" for each in sick]
    others = tuple(
        ProviderSettings(name=f"sick-{index}", kind="openai", vendor="sim", base_url=url, models=("m",))
        for index, url in enumerate(addresses)
    )
    targets = (*[TargetSettings(provider=each.name, model="m") for each in others],
               TargetSettings(provider="sim", model="sim/model"))  # fmt: skip
    route = RouteSettings(model="mixed", targets=targets)
    try:
        async with stage(folder, simulator=HEALTHY, others=lambda _url: others, routes=(route,)) as it:
            return await _loaded(it, folder / "data" / "ledger.sqlite", requests, sick)
    finally:
        for each in sick:
            await each.close()


async def _loaded(it: Stage, ledger: Path, requests: int, sick: list[RunningSimulator]) -> Mixed:
    answered = await _load(it, requests)
    found = it.platform.stores.ledger

    async def settled() -> bool:
        return (await found.verify()).pending == 0

    await until(settled, 10.0)
    verdict = await found.verify()
    settlements = [one for each in Books(ledger).operations.values() for one in each.settlements]
    billed = sum(each.truth.summary().cost_nanos for each in (it.simulator, *sick))
    return Mixed(
        requests,
        answered,
        sum(len(one.attempts) for one in settlements),
        verdict.posted_nanos,
        billed,
        verdict.problems,
        verdict.held_nanos,
    )


async def _load(it: Stage, requests: int) -> int:
    """Send the requests, `AT_ONCE` at a time; returns how many were answered."""
    caller = await it.caller()
    origin, _ = Origin.parse(it.url)
    lines = f"authorization: Bearer {caller.token}\r\ncontent-type: application/json\r\n".encode()
    body = json.dumps(
        {"model": "mixed", "messages": [{"role": "user", "content": "How full is it?"}]}
    ).encode()
    client = HttpClient()
    left, answered = requests, 0

    async def one() -> None:
        nonlocal left, answered
        while left:
            left -= 1
            try:
                response = await client.request(origin, b"POST", b"/v1/chat/completions", lines, body, TIMERS)
                reply = await response.read(1 << 20)
                answered += response.status == 200 and b'"choices"' in reply
            except CallFailed:
                continue  # not answered

    try:
        await asyncio.gather(*(one() for _ in range(AT_ONCE)))
    finally:
        await client.close()
    return answered


def shortfalls(mix: Mix, seen: Mixed) -> list[str]:
    """Return what falls short of the promise."""
    found: list[str] = []
    if seen.success < SUCCESS_LEAST:
        found.append(f"{mix.name}: {seen.requests - seen.answered} of {seen.requests} requests failed")
    if seen.amplification > AMPLIFICATION_MOST:
        found.append(f"{mix.name}: {seen.amplification:.3f} calls for each request")
    if seen.problems or seen.held_nanos:
        found.append(f"{mix.name}: {seen.problems}, {seen.held_nanos} nano-dollars held")
    if seen.posted_nanos < seen.billed_nanos or (mix.is_free and seen.posted_nanos != seen.billed_nanos):
        found.append(f"{mix.name}: posted {seen.posted_nanos}, billed {seen.billed_nanos}")
    return found
