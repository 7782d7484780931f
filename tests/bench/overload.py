"""Goodput past capacity: requests come by the clock, whatever was answered, at 1, 2 and 3 times the gateway's capacity.

The gateway is the product as a user runs it (`penstock serve`, everything on) on one core of its own; this generator
and the provider share the other. The peak is measured first, by callers that wait for their answers (a closed loop
cannot overload anybody). Then the load is open: a request is sent when it is due, on a free connection. An answer
counts when it is whole, a 200, and there within `PATIENCE_S`. What a refusal costs is what the gateway burnt at the
highest load beyond what its good answers cost at the peak, by the refusal.

    python -m tests.bench.overload [--quick]
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import cast

import uvloop

from tests.bench import meter, payload
from tests.bench.peers.penstock import Penstock
from tests.bench.peers.upstream import UpstreamProcess

PATIENCE_S = 1.0
CONNECTIONS = 2_000
CLOSED_CONNECTIONS = 48
STEP_S = 0.002
TIMES = (1, 2, 3)
MIX = ("critical", "high", "high", "normal", "normal", "normal", "low", "low", "low", "low")
CORES = tuple(sorted(os.sched_getaffinity(0)))
_LAST = b"0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Plan:
    """Seconds of a phase that counts, and of the one before it."""

    counted_s: float
    settle_s: float


FULL = Plan(5.0, 3.0)
QUICK = Plan(2.0, 1.5)


class Shedding(Penstock):
    """The product, with a key that may say how urgent it is."""

    overload = ""

    def stores(self) -> str:
        return f"\n[overload]\n{self.overload}\n" if self.overload else ""

    def key(self) -> Mapping[str, object]:
        return {"tier": "premium"}


class Helpless(Shedding):
    """The same, with nobody at the door."""

    name = "penstock-helpless"
    overload = "shed = false"


@dataclass(slots=True)
class Seen:
    """What came of the requests of one phase. Times in seconds."""

    asked_per_s: float
    seconds: float
    good: Counter[str] = field(default_factory=Counter[str])
    asked: Counter[str] = field(default_factory=Counter[str])
    refused: Counter[str] = field(default_factory=Counter[str])
    late: int = 0
    unsent: int = 0
    took_s: list[float] = field(default_factory=list[float])
    gateway_s: float = 0.0
    load_s: float = 0.0

    @property
    def good_per_s(self) -> float:
        return self.good.total() / self.seconds

    @property
    def refused_per_s(self) -> float:
        return self.refused.total() / self.seconds

    def took_ms(self, percent: int) -> float:
        took = sorted(self.took_s) or [0.0]
        return took[len(took) * percent // 100] * 1e3

    def served(self, priority: str) -> float:
        """Return the share of a class that was answered well."""
        return self.good[priority] / max(self.asked[priority], 1)


class Crowd:
    """All connections of one generator. `requests` are the bytes of one request by class."""

    def __init__(self, requests: Mapping[str, bytes]) -> None:
        self.requests = requests
        self.free: list[Caller] = []
        self.seen = Seen(0.0, 1.0)
        self.is_closed_loop = False


class Caller(asyncio.Protocol):
    """One connection; one request at a time."""

    __slots__ = ("_crowd", "_is_stream", "_priority", "_seen", "_sent_s", "_transport")

    def __init__(self, crowd: Crowd) -> None:
        self._crowd = crowd
        self._priority = ""
        self._is_stream = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Be ready."""
        self._transport = cast("asyncio.WriteTransport", transport)
        self._crowd.free.append(self)

    def ask(self, priority: str) -> None:
        """Send one request."""
        crowd = self._crowd
        self._priority, self._seen, self._sent_s = priority, crowd.seen, time.perf_counter()
        self._seen.asked[priority] += 1
        self._transport.write(crowd.requests[priority])

    def data_received(self, data: bytes) -> None:
        """Count the answer when it has ended: a whole one is small and comes in one piece."""
        if not self._is_stream:
            if data[9:12] == b"200" and b"transfer-encoding: chunked" in data[:800]:
                self._is_stream = True
            else:
                self._ended(is_good=data[9:12] == b"200")
                return
        if data.endswith(_LAST):
            self._is_stream = False
            self._ended(is_good=True)

    def _ended(self, *, is_good: bool) -> None:
        crowd, seen, priority = self._crowd, self._seen, self._priority
        took_s = time.perf_counter() - self._sent_s
        if not is_good:
            seen.refused[priority] += 1
        elif took_s > PATIENCE_S:
            seen.late += 1
        else:
            seen.good[priority] += 1
            seen.took_s.append(took_s)
        if crowd.is_closed_loop:
            self.ask(priority)
        else:
            crowd.free.append(self)


async def closed(crowd: Crowd, connections: int, seconds: float) -> Seen:
    """Have so many callers ask again and again."""
    crowd.seen = seen = Seen(0.0, seconds)
    crowd.is_closed_loop = True
    callers = [crowd.free.pop() for _ in range(connections)]
    for number, caller in enumerate(callers):
        caller.ask(MIX[number % len(MIX)])
    await asyncio.sleep(seconds)
    crowd.seen = Seen(0.0, 1.0)
    crowd.is_closed_loop = False
    await _idle(crowd)
    return seen


async def opened(crowd: Crowd, per_s: float, seconds: float) -> Seen:
    """Send `per_s` requests a second, each when it is due."""
    crowd.seen = seen = Seen(per_s, seconds)
    start_s, sent = time.perf_counter(), 0
    while (passed_s := time.perf_counter() - start_s) < seconds:
        while sent < passed_s * per_s:
            sent += 1
            if crowd.free:
                crowd.free.pop().ask(MIX[sent % len(MIX)])
            else:
                seen.unsent += 1
        await asyncio.sleep(STEP_S)
    return seen


async def _idle(crowd: Crowd) -> None:
    """Wait until everybody is answered."""
    async with asyncio.timeout(30):
        while len(crowd.free) < CONNECTIONS:
            await asyncio.sleep(0.05)


def requests(target: Penstock, *, stream: bool) -> dict[str, bytes]:
    """Return the bytes of one request by class."""
    body = payload.request_body(target.model, stream=stream)
    lines = "".join(f"{name}: {value}\r\n" for name, value in target.headers().items())
    return {
        name: (
            f"POST {target.path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{lines}x-penstock-priority: {name}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        ).encode()
        + body
        for name in dict.fromkeys(MIX)
    }


@contextmanager
def pinned(cores: Sequence[int]) -> Iterator[None]:
    """Have what is started meanwhile run on `cores` only."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


async def _measure(target: Penstock, *, stream: bool, times: Sequence[float], plan: Plan) -> list[Seen]:
    """Return the peak, then one phase for each of `times` the peak."""
    crowd = Crowd(requests(target, stream=stream))
    loop = asyncio.get_running_loop()
    for _ in range(CONNECTIONS):
        await loop.create_connection(lambda: Caller(crowd), "127.0.0.1", target.port)
    assert target.pid is not None

    async def counted(phase: object) -> Seen:
        before, own_s = meter.threads_ns(target.pid or 0), time.process_time()
        seen = await cast("asyncio.Future[Seen]", phase)
        seen.gateway_s = meter.spent_ns(before, meter.threads_ns(target.pid or 0)) / 1e9
        seen.load_s = time.process_time() - own_s
        return seen

    await closed(crowd, CLOSED_CONNECTIONS, plan.settle_s)
    found = [await counted(closed(crowd, CLOSED_CONNECTIONS, plan.counted_s))]
    for each in times:
        per_s = found[0].good_per_s * each
        await opened(crowd, per_s, plan.settle_s)
        found.append(await counted(opened(crowd, per_s, plan.counted_s)))
        await _idle(crowd)
    return found


def measure(
    kind: type[Penstock], *, stream: bool, times: Sequence[float] = TIMES, plan: Plan = FULL
) -> list[Seen]:
    """Start the gateway and put it under load; see `_measure`."""
    with pinned(CORES[1:]), UpstreamProcess().running() as upstream:
        target = kind(upstream.port)
        with pinned(CORES[:1]):
            running = target.running()
            running.__enter__()
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                return runner.run(_measure(target, stream=stream, times=times, plan=plan))
        finally:
            running.__exit__(None, None, None)


def refusal_us(peak: Seen, flood: Seen) -> float:
    """Return what one refusal cost the gateway."""
    good_s = peak.gateway_s / peak.good.total()
    return (flood.gateway_s - flood.good.total() * good_s) / max(flood.refused.total(), 1) * 1e6


def told(seen: Seen) -> str:
    """One line of figures."""
    shares = ", ".join(f"{name} {seen.served(name):.0%}" for name in dict.fromkeys(MIX))
    lost = f"refused {seen.refused_per_s:.0f}/s, late {seen.late}, unsent {seen.unsent}"
    took = f"p50 {seen.took_ms(50):.1f} ms, p99 {seen.took_ms(99):.1f} ms"
    cores = f"gateway {seen.gateway_s / seen.seconds:.2f} cores, load {seen.load_s / seen.seconds:.2f}"
    return (
        f"{seen.asked_per_s:6.0f}/s asked: {seen.good_per_s:6.0f}/s good ({shares}); {lost}; {took}; {cores}"
    )


if __name__ == "__main__":
    chosen = QUICK if "--quick" in sys.argv else FULL
    for one in (Shedding, Helpless):
        for streamed in (True, False):
            print(one.__name__, "streams" if streamed else "whole answers", flush=True)
            phases = measure(one, stream=streamed, plan=chosen)
            for phase in phases:
                print(told(phase), flush=True)
            print(f"a refusal: {refusal_us(phases[0], phases[-1]):.1f} µs", flush=True)
