"""S4: 200 readers at ten bytes a second cost little memory, hold the provider back, and make nobody else
wait.

The gateway is a process of its own, its memory read from /proc; the provider wants to send each reader 20
MB. Blocks with and without the readers alternate, so that whatever else the machine does meets both alike.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.books import Books
from tests.evidence.registry import Bars, Result, Table
from tests.fleet.caller import Caller
from tests.fleet.config import Engines, Made, Tenant, provision, write_config
from tests.fleet.process import Child, node
from tests.raw_upstream import RawUpstream, Wire
from tests.slow_readers import ANSWER_BYTES, MODEL, Flood, SlowReaders
from tests.stage import until
from tests.support import run

ID = "S4"
TITLE = "200 readers at 10 B/s: at most 256 KiB each, the provider held back, neighbours undisturbed"

READER_KIB_MAX = 256
P99_RATIO_MAX = 1.3
NEIGHBOURS = 4
NEIGHBOUR_PAUSE_S = 0.002
STALLED, CUT_S = 20, 2.0


@dataclass(frozen=True)
class Scene:
    """A gateway process between a provider that floods and its callers."""

    gateway: Child
    upstream: RawUpstream
    flood: Flood
    key: Made
    books: Path


@asynccontextmanager
async def scene(folder: Path, write_idle_s: float = 30.0) -> AsyncIterator[Scene]:
    """Start the provider here and the gateway in a process of its own."""
    flood = Flood()

    async def short(wire: Wire) -> None:
        await wire.whole()

    async with RawUpstream({MODEL: flood, "short": short}, send_buffer_bytes=65_536) as upstream:
        config = write_config(
            folder, upstream.url, Engines(), extra={"server": {"write_idle_s": write_idle_s}}
        )
        config.write_text(
            config.read_text().replace('models = ["sim/model"]', f'models = ["{MODEL}", "short"]')
        )
        (key,) = await provision(config, [Tenant()])
        async with node(config) as gateway:
            yield Scene(gateway, upstream, flood, key, folder / "data" / "ledger.sqlite")


def resident_kib(pid: int) -> int:
    """Return the resident memory of a process, in KiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise RuntimeError(f"process {pid} is gone")


async def neighbours_ms(it: Scene, seconds: float) -> list[float]:
    """Let neighbours ask for `seconds`; returns what each of their requests took, in milliseconds."""
    body = json.dumps({"model": "short", "messages": [{"role": "user", "content": "Hello?"}]}).encode()
    ends = time.monotonic() + seconds
    took: list[float] = []

    async def ask() -> None:
        caller = Caller(it.gateway.port, it.key.token)
        while time.monotonic() < ends:
            reply = await caller.chat(body)
            if not reply.good:
                raise RuntimeError(f"a neighbour got {reply.status}: {reply.body[:200]!r} {reply.failure}")
            took.append(reply.seconds * 1000)
            await asyncio.sleep(NEIGHBOUR_PAUSE_S)
        await caller.close()

    await asyncio.gather(*[ask() for _ in range(NEIGHBOURS)])
    return took


def p99(values: list[float]) -> float:
    """Return the 99th percentile."""
    return statistics.quantiles(values, n=100)[98]


@dataclass(slots=True)
class Slow:
    """What 200 slow readers did to the gateway."""

    kib_each: float = 0.0
    most_bytes: int = 0
    without_ms: list[float] = field(default_factory=list[float])
    with_ms: list[float] = field(default_factory=list[float])


async def slow_readers(folder: Path, readers: int, block_s: float, blocks: int) -> Slow:
    """Alternate blocks without and with the readers."""
    seen = Slow()
    async with scene(folder) as it:
        await neighbours_ms(it, block_s)
        for _ in range(blocks):
            seen.without_ms.append(p99(await neighbours_ms(it, block_s)))
            before = resident_kib(it.gateway.pid)
            async with SlowReaders(it.gateway.port, it.key.token, readers, rate=10):
                await _full(it.upstream)
                seen.with_ms.append(p99(await neighbours_ms(it, block_s)))
                seen.kib_each = max(seen.kib_each, (resident_kib(it.gateway.pid) - before) / readers)
                seen.most_bytes = max(seen.most_bytes, it.flood.most_bytes)
            await asyncio.sleep(0.5)
        seen.without_ms.append(p99(await neighbours_ms(it, block_s)))
    return seen


async def _full(upstream: RawUpstream) -> None:
    """Wait until every buffer on the way is full, and the provider held back."""
    async with asyncio.timeout(30):
        before = -1
        while before != upstream.sent_bytes:
            before = upstream.sent_bytes
            await asyncio.sleep(0.5)


@dataclass(frozen=True)
class Cut:
    """What became of clients that read nothing: providers let go, operations settled once, still held."""

    let_go: int
    settled: int
    held: int


async def stalled_readers(folder: Path, readers: int, write_idle_s: float) -> Cut:
    """Let clients stop reading; the gateway must cut and settle them."""
    async with scene(folder, write_idle_s) as it:
        async with SlowReaders(it.gateway.port, it.key.token, readers, rate=0):

            async def all_cut() -> bool:
                return it.upstream.open == 0

            with suppress(TimeoutError):
                await until(all_cut, write_idle_s * 2 + 2)
            let_go = readers - it.upstream.open
            await asyncio.sleep(0.2)
            operations = Books(it.books).of(it.key.id)
        once = sum(len(operation.settlements) == 1 for operation in operations)
        return Cut(let_go, once, len(operations) - once)


def produce(quick: bool) -> Result:
    """Measure with 200 readers (quick: 60)."""
    readers, block_s, blocks = (60, 1.5, 1) if quick else (200, 6.0, 3)
    with tempfile.TemporaryDirectory(prefix="penstock-s4-") as folder:
        slow = run(slow_readers(Path(folder) / "slow", readers, block_s, blocks), ceiling_s=300)
        cut = run(stalled_readers(Path(folder) / "stalled", STALLED, CUT_S), ceiling_s=60)
    without_ms, with_ms = statistics.median(slow.without_ms), statistics.median(slow.with_ms)
    ratio = with_ms / without_ms
    checks = {
        f"memory {slow.kib_each:.0f} KiB a reader": slow.kib_each <= READER_KIB_MAX,
        f"provider wrote {slow.most_bytes:,} of {ANSWER_BYTES:,} bytes": slow.most_bytes < ANSWER_BYTES / 4,
        f"neighbours' p99 ×{ratio:.2f}": ratio <= P99_RATIO_MAX,
        f"{cut.settled} of {STALLED} stalled readers cut and settled": cut == Cut(STALLED, STALLED, 0),
    }
    missed = [what for what, met in checks.items() if not met]
    rows = tuple(
        (f"block {number + 1}", *pair)
        for number, pair in enumerate(
            zip(map(_round, slow.without_ms), map(_round, slow.with_ms), strict=False)
        )
    )
    return Result(
        {
            "readers": readers,
            "answer_bytes_wanted": ANSWER_BYTES,
            "provider_wrote_at_most_bytes": slow.most_bytes,
            "resident_per_reader_kib": round(slow.kib_each, 1),
            "neighbours_p99_without_ms": _round(without_ms),
            "neighbours_p99_with_ms": _round(with_ms),
            "neighbours_p99_ratio": round(ratio, 3),
            "stalled_readers_cut": cut.let_go,
            "stalled_readers_settled": cut.settled,
            "write_idle_s": CUT_S,
        },
        "missed" if missed else "met",
        "missed: " + "; ".join(missed) if missed else "; ".join(checks),
        tables=(Table(title="Neighbours' p99_ms", columns=("block", "without", "with"), rows=rows),),
        charts=(
            Bars(
                title="Neighbours' p99 beside slow readers",
                unit="ms",
                bars={"no slow reader": _round(without_ms), f"{readers} slow readers": _round(with_ms)},
                ours=(f"{readers} slow readers",),
            ),
        ),
    )


def _round(value_ms: float) -> float:
    return round(value_ms, 3)
