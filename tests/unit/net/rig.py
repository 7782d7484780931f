"""What the net tests share: a server with a known handler, raw sockets to speak to it, and an upstream that obeys."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from penstock.kernel.errors import PenstockError
from penstock.net.client import HttpClient, Origin, Response, Timers
from penstock.net.server import Cors, Handler, Request, Responder, Server, ServerLimits

TEXT = b"content-type: text/plain\r\n"


def plain(error: PenstockError, path: str) -> tuple[int, bytes, bytes]:
    """An error as `reason: text`."""
    return error.status, TEXT, f"{error.reason}: {error}".encode()


async def echo(request: Request, responder: Responder) -> None:
    """Say what was received."""
    words = [request.method.encode(), request.path.encode(), request.query, request.body]
    responder.send(200, TEXT, b" ".join(words))


H = b"Host: a.example\r\n"


def post(body: bytes, path: bytes = b"/x", lines: bytes = b"") -> bytes:
    """A POST with its length."""
    return b"POST %b HTTP/1.1\r\n%b%bContent-Length: %d\r\n\r\n%b" % (path, H, lines, len(body), body)


@asynccontextmanager
async def serving(
    handler: Handler = echo,
    *,
    hosts: frozenset[str] | None = None,
    cors: Cors | None = None,
    ssl: Any = None,
    **limits: Any,
) -> AsyncIterator[Server]:
    """A server on a free port, closed at the end."""
    server = Server(handler, ServerLimits(**limits), allowed_hosts=hosts, cors=cors, error_renderer=plain)
    await server.start("127.0.0.1", 0, ssl=ssl)
    try:
        yield server
    finally:
        await server.close()


@dataclass
class Wire:
    """A raw client."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def send(self, data: bytes) -> None:
        """Write without waiting."""
        self.writer.write(data)

    async def reply(self) -> tuple[int, dict[bytes, bytes], bytes]:
        """One reply: status, fields, body (chunks joined)."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        line, *lines = head[:-4].split(b"\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (text.partition(b":") for text in lines)}
        status = int(line.split(b" ")[1])
        if b"content-length" in fields:
            return status, fields, await self.reader.readexactly(int(fields[b"content-length"]))
        if fields.get(b"transfer-encoding") == b"chunked":
            return status, fields, b"".join([chunk async for chunk in self.chunks()])
        if status == 100 or status in (204, 304):
            return status, fields, b""
        return status, fields, await self.reader.read()

    async def chunks(self) -> AsyncIterator[bytes]:
        """The chunks of a body, one by one."""
        while size := int((await self.reader.readuntil(b"\r\n"))[:-2], 16):
            yield (await self.reader.readexactly(size + 2))[:-2]
        assert await self.reader.readexactly(2) == b"\r\n"

    async def ended(self) -> bool:
        """The server sends no more."""
        return await self.reader.read() == b""

    def close(self) -> None:
        """Send FIN."""
        self.writer.close()

    def reset(self) -> None:
        """Send RST."""
        self.writer.transport.abort()


async def dial(port: int) -> Wire:
    """Connect to this machine."""
    return Wire(*await asyncio.open_connection("127.0.0.1", port))


async def ask(port: int, raw: bytes) -> tuple[int, dict[bytes, bytes], bytes]:
    """One raw request on a connection of its own."""
    wire = await dial(port)
    wire.send(raw)
    try:
        return await wire.reply()
    finally:
        wire.close()


async def until(true: Callable[[], bool]) -> None:
    """Wait until a condition holds; the test's ceiling ends a wait in vain."""
    while not true():
        await asyncio.sleep(0.005)


Script = Callable[["Call"], Awaitable[None]]


@dataclass
class Call:
    """One connection to the scripted upstream."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    number: int

    async def request(self) -> bytes:
        """Read one request, head and body."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = 0
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        return head + await self.reader.readexactly(length)

    def send(self, data: bytes) -> None:
        """Write without waiting."""
        self.writer.write(data)

    def reset(self) -> None:
        """Send RST."""
        self.writer.transport.abort()


@dataclass
class Upstream:
    """A server that does on each connection what its script says, and counts them."""

    script: Script
    connections: int = 0
    lost: int = 0
    port: int = 0
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        try:
            await self.script(Call(reader, writer, self.connections))
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self.lost += 1
            self.tasks.discard(task)
            writer.close()


@asynccontextmanager
async def upstream(script: Script) -> AsyncIterator[tuple[Upstream, Origin]]:
    """A scripted upstream on a free port."""
    up = Upstream(script)
    server = await asyncio.start_server(up.serve, "127.0.0.1", 0)
    up.port = server.sockets[0].getsockname()[1]
    try:
        yield up, Origin("http", "127.0.0.1", up.port)
    finally:
        server.close()
        for task in tuple(up.tasks):
            task.cancel()
        await until(lambda: not up.tasks)


@asynccontextmanager
async def calling(**options: Any) -> AsyncIterator[HttpClient]:
    """A client, closed at the end."""
    client = HttpClient(**options)
    try:
        yield client
    finally:
        await client.close()


def ok(body: bytes, *lines: bytes) -> bytes:
    """A whole reply."""
    head = b"".join(line + b"\r\n" for line in lines)
    return b"HTTP/1.1 200 OK\r\n%bcontent-length: %d\r\n\r\n%b" % (head, len(body), body)


CHUNKED = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
PATIENT = Timers(connect_s=5, first_byte_s=10, between_chunks_s=10, total_s=20)
SOON = 0.05
"""Seconds until a timer that is tested goes off."""


def chunk(data: bytes) -> bytes:
    """One chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


async def send_post(
    client: HttpClient, origin: Origin, body: bytes = b"hello", timers: Timers = PATIENT
) -> Response:
    """One POST."""
    return await client.request(origin, b"POST", b"/x", b"x-a: b\r\n", body, timers)


async def whole(response: Response) -> bytes:
    """The body by chunks."""
    pieces = []
    while piece := await response.chunk():
        pieces.append(piece)
    return b"".join(pieces)


def saying(*replies: bytes, pause_s: float = 0.0) -> Script:
    """Answer every request of a connection with the same bytes, in these pieces."""

    async def script(call: Call) -> None:
        while True:
            await call.request()
            for reply in replies:
                call.send(reply)
                await asyncio.sleep(pause_s)

    return script


async def silent(call: Call) -> None:
    """Take the request and say nothing."""
    await call.request()
    await call.reader.read()


async def stalling(call: Call) -> None:
    """Begin a stream and stop."""
    await call.request()
    call.send(CHUNKED + chunk(b"hello"))
    await call.reader.read()
