"""The floor: the least a Python gateway can do. Parse the JSON, check one bearer key, forward, copy the answer back.

It has no limits, no accounting, no retries, no bounds: nobody should run it. Promise: what a target costs above
this is the price of its features and of its framework; what this costs above `direct` is the price of Python.
"""

from __future__ import annotations

import argparse
import asyncio
from collections import deque
from functools import partial

import httptools
import msgspec
import uvloop

from tests.bench.payload import CHAT_PATH

BEARER = "sk-bench-floor-key"
_REFUSED = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"
_HEAD = (
    "POST {path} HTTP/1.1\r\nHost: upstream\r\nAuthorization: Bearer sk-upstream\r\n"
    "Content-Type: application/json\r\nContent-Length: "
)


class Upstreams:
    """Kept-alive connections to the one upstream; `take` makes a new one when none is free."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._free: deque[Upstream] = deque()
        self._dialling: set[asyncio.Task[None]] = set()

    def put(self, upstream: Upstream) -> None:
        """Give a connection back after its reply has ended."""
        self._free.append(upstream)

    def take(self, request: bytes, caller: Caller) -> None:
        """Send `request` on a free connection, its answer going to `caller`."""
        while self._free:
            upstream = self._free.popleft()
            if upstream.send(request, caller):
                return
        dialling = asyncio.create_task(self._connect(request, caller))
        self._dialling.add(dialling)
        dialling.add_done_callback(self._dialling.discard)

    async def _connect(self, request: bytes, caller: Caller) -> None:
        loop = asyncio.get_running_loop()
        _, upstream = await loop.create_connection(partial(Upstream, self), "127.0.0.1", self._port)
        upstream.send(request, caller)


class Upstream(asyncio.Protocol):
    """One connection to the upstream: bytes are copied to the caller as they come, the parser finds the end."""

    def __init__(self, pool: Upstreams) -> None:
        self._pool = pool
        self._caller: Caller | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._parser = httptools.HttpResponseParser(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._caller is not None:
            self._caller.close()

    def send(self, request: bytes, caller: Caller) -> bool:
        """Write the request; False when the connection has died meanwhile."""
        if self._transport.is_closing():
            return False
        self._caller = caller
        self._transport.write(request)
        return True

    def data_received(self, data: bytes) -> None:
        if self._caller is not None:
            self._caller.write(data)
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        self._caller = None
        self._pool.put(self)


class Caller(asyncio.Protocol):
    """One client connection."""

    def __init__(self, pool: Upstreams) -> None:
        self._pool = pool
        self._body: list[bytes] = []
        self._bearer = b""
        self._head = _HEAD.format(path=CHAT_PATH).encode()
        self._expected = f"Bearer {BEARER}".encode()

    def connection_made(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"authorization":
            self._bearer = value

    def on_body(self, data: bytes) -> None:
        self._body.append(data)

    def on_message_complete(self) -> None:
        body = b"".join(self._body)
        self._body.clear()
        if self._bearer != self._expected or "model" not in msgspec.json.decode(body):
            self._transport.write(_REFUSED)
            return
        self._pool.take(b"%s%d\r\n\r\n%s" % (self._head, len(body), body), self)

    def write(self, data: bytes) -> None:
        """Copy a piece of the upstream's answer."""
        self._transport.write(data)

    def close(self) -> None:
        """The upstream went away in the middle of an answer."""
        self._transport.close()


async def serve(port: int, upstream_port: int) -> None:
    """Listen on loopback until killed."""
    pool = Upstreams(upstream_port)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(partial(Caller, pool), "127.0.0.1", port, backlog=1024)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--port", type=int, required=True)
    options.add_argument("--upstream-port", type=int, required=True)
    chosen = options.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(chosen.port, chosen.upstream_port))
