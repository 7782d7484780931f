"""Goodput past capacity: requests come by the clock, whatever was answered, at 1, 2 and 3 times what the server can do.

The server is the real one (`net.Server`) with the real load shedder at its door; behind the door each request burns a
fixed time of CPU, so that what is measured is the door and the HTTP around it. The load is open: a request is sent when
it is due, on a free connection (a closed loop waits for answers and so cannot overload anybody). An answer counts when
it is a 200 within `PATIENCE_S`.

    python -m tests.bench.overload            both, with the shedder and without
    python -m tests.bench.overload serve shed the server alone; prints its port, ends with its standard input
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections import Counter
from typing import cast

import uvloop

from penstock.kernel.clock import SystemClock
from penstock.kernel.errors import Overloaded
from penstock.mechanisms.concurrency import LoadShedder
from penstock.mechanisms.priorities import priority_of
from penstock.net.limits import ServerLimits
from penstock.net.request import Request
from penstock.net.responder import Responder
from penstock.net.server import Server

BURN_S = 450e-6
PATIENCE_S = 1.0
CONNECTIONS = 1_500
PHASE_S = 4.0
SETTLE_S = 2.0
STEP_S = 0.004
MIX = ("critical", "high", "high", "normal", "normal", "normal", "low", "low", "low", "low")
REQUESTS = {
    name: f"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nx-penstock-priority: {name}\r\n".encode()
    + b"Content-Length: 400\r\n\r\n"
    + b"x" * 400
    for name in MIX
}


async def serve(*, shed: bool) -> None:
    """Serve until standard input ends."""
    shedder = LoadShedder(SystemClock())
    shedder.watch()

    async def handler(request: Request, responder: Responder) -> None:
        if shed:
            try:
                shedder.admit(priority_of(request.header(b"x-penstock-priority"), "premium"))
            except Overloaded:
                responder.send(503, b"retry-after: 1\r\n", b'{"error":{"code":"overloaded"}}')
                return
        end_s = time.perf_counter() + BURN_S
        while time.perf_counter() < end_s:
            pass
        responder.send(200, b"content-type: application/json\r\n", b"{}")

    server = Server(
        handler,
        ServerLimits(in_flight=2 * CONNECTIONS),
        allowed_hosts=None,
        cors=None,
        error_renderer=lambda _error, _path: (503, b"", b""),
    )
    await server.start("127.0.0.1", 0)
    print(server.port, flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    shedder.close()
    await server.close()


class Crowd:
    """All connections, and what came of the requests of one phase."""

    def __init__(self) -> None:
        self.free: list[Caller] = []
        self.begin()

    def begin(self) -> None:
        """Forget the phase before."""
        self.good: Counter[str] = Counter()
        self.refused = self.late = self.unsent = 0
        self.took_s: list[float] = []


class Caller(asyncio.Protocol):
    """One connection; one request at a time."""

    def __init__(self, crowd: Crowd) -> None:
        self._crowd = crowd
        self._transport: asyncio.WriteTransport | None = None
        self._priority = ""
        self._sent_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Be ready."""
        self._transport = cast("asyncio.WriteTransport", transport)
        self._crowd.free.append(self)

    def ask(self, priority: str) -> None:
        """Send one request."""
        assert self._transport is not None
        self._priority, self._sent_s = priority, time.perf_counter()
        self._transport.write(REQUESTS[priority])

    def data_received(self, data: bytes) -> None:
        """Count the answer (it is small: one piece)."""
        crowd, took_s = self._crowd, time.perf_counter() - self._sent_s
        if not data.startswith(b"HTTP/1.1 200"):
            crowd.refused += 1
        elif took_s > PATIENCE_S:
            crowd.late += 1
        else:
            crowd.good[self._priority] += 1
            crowd.took_s.append(took_s)
        crowd.free.append(self)


async def phase(crowd: Crowd, per_s: float, seconds: float) -> None:
    """Send `per_s` requests a second, each when it is due."""
    crowd.begin()
    start_s, sent = time.perf_counter(), 0
    while (passed_s := time.perf_counter() - start_s) < seconds:
        while sent < passed_s * per_s:
            sent += 1
            if crowd.free:
                crowd.free.pop().ask(MIX[sent % len(MIX)])
            else:
                crowd.unsent += 1
        await asyncio.sleep(STEP_S)


def told(crowd: Crowd, per_s: float) -> str:
    """One line of figures."""
    took = sorted(crowd.took_s) or [0.0]
    cut = [f"p{at} {took[len(took) * at // 100] * 1e3:.1f} ms" for at in (50, 99)]
    shares = ", ".join(f"{name} {crowd.good[name] / PHASE_S:.0f}" for name in dict.fromkeys(MIX))
    lost = f"refused {crowd.refused / PHASE_S:.0f}/s, late {crowd.late}, unsent {crowd.unsent}"
    return f"{per_s:6.0f}/s asked: {crowd.good.total() / PHASE_S:6.0f}/s good ({shares}); {lost}; {', '.join(cut)}"


async def load(port: int) -> None:
    """Find the capacity by asking for more and more, then ask for 1, 2 and 3 times that."""
    crowd = Crowd()
    loop = asyncio.get_running_loop()
    for _ in range(CONNECTIONS):
        await loop.create_connection(lambda: Caller(crowd), "127.0.0.1", port)
    await phase(crowd, 0.9 / BURN_S, SETTLE_S)
    await phase(crowd, 1.1 / BURN_S, PHASE_S)
    peak_per_s = crowd.good.total() / PHASE_S
    print(f"peak {peak_per_s:.0f}/s")
    for times in (1, 2, 3):
        await asyncio.sleep(1)
        await phase(crowd, times * peak_per_s, SETTLE_S)
        await phase(crowd, times * peak_per_s, PHASE_S)
        print(told(crowd, times * peak_per_s), flush=True)


def measure(mode: str) -> None:
    """Start a server and put it under load."""
    print(mode)
    command = (sys.executable, "-m", "tests.bench.overload", "serve", mode)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(load(int(server.stdout.readline())))


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as server_runner:
            server_runner.run(serve(shed=sys.argv[2] == "shed"))
    else:
        for each in ("open", "shed"):
            measure(each)
