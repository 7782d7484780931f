"""Hostile providers against a gateway process: how each answer ended, what was posted, how far memory rose.

Promise: the gateway's peak memory is the kernel's own figure (VmHWM, reset before each provider); the books are read
from the journal file.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from tests.books import Books, Operation
from tests.fleet.caller import Caller, Reply
from tests.fleet.config import CHEAP, Engines, Made, Tenant, provision, write_config
from tests.fleet.process import Child, node
from tests.hostile import MIB, Scenario, model_of, scenarios, script_table
from tests.raw_upstream import RawUpstream
from tests.stage import until

GROWTH_KIB_MAX = 8 * 1024
MAX_TOKENS = 50


@dataclass(frozen=True)
class Judged:
    """What became of one scenario; `fault` is what was wrong, "" for nothing."""

    name: str
    ended: str
    posted_nanos: int
    estimated: bool
    growth_kib: int
    fault: str


async def hostile_providers(folder: Path, flood_mib: int, comments: int) -> list[Judged]:
    """Meet every hostile provider, one after the other, with one gateway process."""
    found = scenarios(flood_mib * MIB, comments)
    async with RawUpstream(script_table(found)) as upstream:
        extra = {"server": {"write_idle_s": 30.0}, "provider": {"total_s": 60.0}}
        config = write_config(folder, upstream.url, Engines(), extra=extra)
        models = json.dumps([model_of(scenario) for scenario in found])
        text = config.read_text().replace('models = ["sim/model"]', f"models = {models}")
        config.write_text(text + "\n[resilience]\nmax_attempts = 1\nbreaker_failures = 1000\n")
        (key,) = await provision(config, [Tenant()])
        async with node(config) as gateway:
            for scenario in found[:8]:  # memory for its usual work, before any growth is measured
                await _ask(gateway, key, scenario)
            return [
                await _meet(gateway, key, scenario, folder / "data" / "ledger.sqlite") for scenario in found
            ]


async def _ask(gateway: Child, key: Made, scenario: Scenario) -> Reply:
    """Ask for a stream and read it to its end."""
    caller = Caller(gateway.port, key.token, timeout_s=60)
    asked = {
        "model": model_of(scenario),
        "messages": [{"role": "user", "content": "How much water passed the gate today?"}],
        "stream": True,
        "max_tokens": MAX_TOKENS,
    }
    reply = await caller.chat(json.dumps(asked).encode())
    await caller.close()
    return reply


async def _meet(gateway: Child, key: Made, scenario: Scenario, books: Path) -> Judged:
    before = _peak_kib(gateway.pid, reset=True)
    reply = await _ask(gateway, key, scenario)
    growth = _peak_kib(gateway.pid) - before
    operation: Operation | None = None

    async def settled() -> bool:
        nonlocal operation
        operation = Books(books).operations.get(reply.operation)
        return operation is not None and bool(operation.settlements)

    try:
        await until(settled, 3)
    except TimeoutError:
        return Judged(
            scenario.name, _ended(reply), 0, estimated=False, growth_kib=growth, fault="not settled"
        )
    assert operation is not None
    posted = operation.settlements[0]
    fault = _fault(scenario, reply, operation, growth)
    return Judged(scenario.name, _ended(reply), posted.amount_nanos, posted.estimated, growth, fault)


def _ended(reply: Reply) -> str:
    """Say how an answer ended, in the words of `Scenario.ends`."""
    if reply.failure:
        return f"failed: {reply.failure}"
    if reply.status != 200:
        return "refused" if reply.status == 502 and reply.error.get("message") else f"status {reply.status}"
    if reply.whole:
        return "whole"
    return "in-band" if reply.error.get("message") else "ended without a word"


def _fault(scenario: Scenario, reply: Reply, operation: Operation, growth_kib: int) -> str:
    ended, posted = _ended(reply), operation.settlements[0]
    if ended != scenario.ends:
        return f"it ended {ended}, not {scenario.ends}"
    if len(operation.settlements) != 1:
        return f"{len(operation.settlements)} settlements"
    if growth_kib > GROWTH_KIB_MAX:
        return f"memory rose by {growth_kib} KiB"
    if scenario.billed is None:
        bounded = posted.estimated and posted.amount_nanos <= operation.held_nanos
        return "" if bounded else f"posted {posted} of {operation.held_nanos} held without a flag or a bound"
    wanted = CHEAP.cost_nanos(*scenario.billed)
    exact = posted.amount_nanos == wanted and not posted.estimated
    return "" if exact else f"posted {posted}, usage was {wanted}"


def _peak_kib(pid: int, *, reset: bool = False) -> int:
    """Return the peak of resident memory since it was last reset (`reset`: and the present memory from now on)."""
    if reset:
        Path(f"/proc/{pid}/clear_refs").write_text("5")
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    raise RuntimeError(f"process {pid} is gone")
