"""CPU that `net` spends per proxied request and per streamed chunk, beside a floor of the same kind.

The floor is a pair of bare uvloop Protocols with httptools and nothing else: no bounds, no timers, no tasks, no pool.
Three processes: an upstream, the proxy under test, and `wrk`. Run: `python tests/bench/net_floor.py [seconds]`.
Never a test: figures depend on the machine; the command prints them and leaves the verdict to the reader.
"""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httptools
import uvloop

from penstock.kernel.errors import PenstockError
from penstock.net.client import HttpClient, Origin, Timers
from penstock.net.server import Request, Responder, Server, ServerLimits

REPLY = b'{"id":"chatcmpl-1","object":"chat.completion","choices":[{"message":{"content":"%b"}}]}' % (
    b"x" * 530
)
EVENT = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","choices":[{"delta":{"content":"tok"}}]}\n\n'
)
EVENTS = 66
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
BODY = '{\\"model\\":\\"m\\",\\"messages\\":[{\\"role\\":\\"user\\",\\"content\\":\\"' + "y" * 900 + '\\"}]}'


class Upstream(asyncio.Protocol):
    """Answers every POST: `/stream` with chunks 5 ms apart, `/burst` with chunks at once, all else with JSON."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self.url = url

    def on_message_complete(self) -> None:
        if self.url.endswith(b"stream"):
            self.transport.write(STREAM_HEAD)
            self.step(EVENTS, 0.005)
        elif self.url.endswith(b"burst"):
            self.transport.write(STREAM_HEAD)
            self.step(EVENTS, 0)
        else:
            head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(
                REPLY
            )
            self.transport.write(head + REPLY)

    def step(self, left: int, pause_s: float) -> None:
        if self.transport.is_closing():
            return
        if not left:
            self.transport.write(b"0\r\n\r\n")
            return
        self.transport.write(b"%x\r\n%b\r\n" % (len(EVENT), EVENT))
        loop = asyncio.get_running_loop()
        if pause_s:
            loop.call_later(pause_s, self.step, left - 1, pause_s)
        else:  # a write of its own, as soon as the loop comes round
            loop.call_soon(self.step, left - 1, pause_s)


class FloorClientSide(asyncio.Protocol):
    """The bare proxy's accepted side."""

    def __init__(self, idle: deque[FloorUpstreamSide], port: int) -> None:
        self.idle, self.port = idle, port
        self.body = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self.url = url
        self.headers: list[tuple[bytes, bytes]] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        body, self.body = self.body, b""
        payload = b"POST %b HTTP/1.1\r\nhost: u\r\ncontent-length: %d\r\n\r\n%b" % (self.url, len(body), body)
        if self.idle:
            self.idle.pop().send(self, payload)
        else:
            self.dialling = asyncio.ensure_future(self.dial(payload))

    async def dial(self, payload: bytes) -> None:
        loop = asyncio.get_running_loop()
        _, side = await loop.create_connection(lambda: FloorUpstreamSide(self.idle), "127.0.0.1", self.port)
        side.send(self, payload)


class FloorUpstreamSide(asyncio.Protocol):
    """The bare proxy's dialled side: parses the reply and renders it anew."""

    def __init__(self, idle: deque[FloorUpstreamSide]) -> None:
        self.idle = idle

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.parser = httptools.HttpResponseParser(self)

    def send(self, client: FloorClientSide, payload: bytes) -> None:
        self.client = client
        self.body: list[bytes] = []
        self.headers: list[tuple[bytes, bytes]] = []
        self.transport.write(payload)

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.chunked = (b"transfer-encoding", b"chunked") in self.headers
        if self.chunked and not self.client.transport.is_closing():
            self.client.transport.write(STREAM_HEAD)

    def on_body(self, body: bytes) -> None:
        if self.client.transport.is_closing():
            return
        if self.chunked:
            self.client.transport.write(b"%x\r\n%b\r\n" % (len(body), body))
        else:
            self.body.append(body)

    def on_message_complete(self) -> None:
        if self.client.transport.is_closing():
            pass
        elif self.chunked:
            self.client.transport.write(b"0\r\n\r\n")
        else:
            body = b"".join(self.body)
            head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(
                body
            )
            self.client.transport.write(head + body)
        self.idle.append(self)


def plain_error(error: PenstockError, path: str) -> tuple[int, bytes, bytes]:
    """An error as text."""
    return error.status, b"content-type: text/plain\r\n", str(error).encode()


async def serve_ours(port: int) -> int:
    """The proxy under test; everything on."""
    client = HttpClient()
    origin, _ = Origin.parse(f"http://127.0.0.1:{port}")
    timers = Timers()
    headers = b"content-type: application/json\r\n"

    async def handler(request: Request, responder: Responder) -> None:
        response = await client.request(origin, b"POST", request.path.encode(), headers, request.body, timers)
        try:
            kind = response.header(b"content-type") or b""
            lines = b"content-type: %b\r\n" % kind
            if kind.startswith(b"text/event-stream"):
                responder.begin(response.status, lines)
                while piece := await response.chunk():
                    responder.write(piece)
                    if responder.paused:
                        await responder.drain()
                responder.finish()
            else:
                responder.send(response.status, lines, await response.read(1 << 20))
        finally:
            response.close()

    server = Server(handler, ServerLimits(), allowed_hosts=None, cors=None, error_renderer=plain_error)
    await server.start("127.0.0.1", 0)
    return server.port


async def serve_protocol(factory: Callable[[], asyncio.Protocol]) -> int:
    """Listen with a bare protocol."""
    server = await asyncio.get_running_loop().create_server(factory, "127.0.0.1", 0)
    return int(server.sockets[0].getsockname()[1])


async def role(name: str, upstream: int) -> None:
    """A child process: print the port, then serve until killed."""
    idle: deque[FloorUpstreamSide] = deque()
    if name == "upstream":
        port = await serve_protocol(Upstream)
    elif name == "floor":
        port = await serve_protocol(lambda: FloorClientSide(idle, upstream))
    else:
        port = await serve_ours(upstream)
    print(port, flush=True)
    await asyncio.Event().wait()


def spawn(name: str, upstream: int = 0) -> tuple[subprocess.Popen[str], int]:
    """Start a child and learn its port."""
    command = [sys.executable, __file__, "--role", name, str(upstream)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    return child, int(child.stdout.readline())


def cpu_ns(pid: int) -> int:
    """CPU time of every thread of a process, from the scheduler's own account."""
    return sum(
        int(Path(task, "schedstat").read_text().split()[0]) for task in Path(f"/proc/{pid}/task").iterdir()
    )


def load(port: int, path: str, pid: int, seconds: int, connections: int) -> tuple[int, float, int]:
    """Run wrk; return (requests, seconds, CPU ns of `pid`)."""
    script = f'wrk.method="POST"; wrk.body="{BODY}"; wrk.headers["content-type"]="application/json"; '
    script += 'wrk.headers["authorization"]="Bearer sk-0123456789"\n'
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as lua:
        lua.write(script)
        lua.flush()
        base = ["wrk", "-t1", f"-c{connections}", "-s", lua.name, f"http://127.0.0.1:{port}{path}"]
        subprocess.run([*base, "-d1s"], check=True, capture_output=True)
        before, started = cpu_ns(pid), time.perf_counter()
        output = subprocess.run([*base, f"-d{seconds}s"], check=True, capture_output=True, text=True).stdout
        spent, took = cpu_ns(pid) - before, time.perf_counter() - started
    if "Non-2xx" in output or "Socket errors" in output:
        print(output)
    found = re.search(r"(\d+) requests in", output)
    return (int(found[1]) if found else 0), took, spent


def main(seconds: int) -> None:
    """Measure the floor and ours, one after the other, each with a fresh upstream."""
    for path, connections in (("/v1/chat/completions", 64), ("/v1/burst", 64), ("/v1/stream", 256)):
        for name in ("floor", "ours", "floor", "ours"):
            upstream, upstream_port = spawn("upstream")
            proxy, port = spawn(name, upstream_port)
            try:
                requests, took, spent = load(port, path, proxy.pid, seconds, connections)
            finally:
                for child in (proxy, upstream):
                    child.send_signal(signal.SIGKILL)
                    child.wait()
            per = spent / 1000 / max(requests, 1)
            chunk = f"  {per / EVENTS:5.2f} us/chunk" if not path.endswith("completions") else ""
            print(
                f"{path:22} {name:6} {requests / took:9.0f} req/s  {per:8.2f} us CPU/request{chunk}",
                flush=True,
            )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--role"]:
        uvloop.run(role(sys.argv[2], int(sys.argv[3])))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
