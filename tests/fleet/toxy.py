"""A TCP proxy that is ill on order, after Shopify's toxiproxy: it stands between a gateway and an engine.

    async with Toxy(target_port) as toxy:
        toxy.ill = Ill(latency_s=0.2)      every piece of data is this late, either way
        toxy.ill = Ill(blackhole=True)     data goes in and nothing comes out; connections stay open
        toxy.ill = Ill(refuse=True)        new connections are closed at once
        toxy.ill = Ill(slice_bytes=1)      data arrives in pieces of this size
        toxy.reset()                       every connection is cut with RST, once

Promise: an illness holds for all connections, those already open included, from the moment it is set; data that was
held up in a black hole is delivered when the hole closes, as TCP would; nothing is reordered or lost otherwise.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress
from typing import Self

import msgspec

READ_BYTES = 65_536
POLL_S = 0.02
_RST = struct.pack("ii", 1, 0)  # SO_LINGER: on, 0 seconds


class Ill(msgspec.Struct, frozen=True, kw_only=True):
    """What ails the proxy. The default is nothing."""

    latency_s: float = 0.0
    blackhole: bool = False
    refuse: bool = False
    slice_bytes: int = 0


WELL = Ill()


class Toxy:
    """One proxy to one loopback port."""

    def __init__(self, target_port: int) -> None:
        """Forward to 127.0.0.1:`target_port`."""
        self._target_port = target_port
        self._server: asyncio.Server | None = None
        self._links: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self.ill = WELL
        self.port = 0

    async def __aenter__(self) -> Self:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._link, "127.0.0.1", 0)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, *_: object) -> None:
        """Cut everything."""
        assert self._server is not None
        self._server.close()
        self.reset()
        for link in tuple(self._links):
            link.cancel()
        await asyncio.gather(*self._links, return_exceptions=True)

    def reset(self) -> None:
        """Cut every connection with RST."""
        for writer in tuple(self._writers):
            sock = writer.get_extra_info("socket")
            if sock is not None:
                with suppress(OSError):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST)
            writer.transport.abort()

    async def _link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        task = asyncio.current_task()
        assert task is not None
        self._links.add(task)
        self._writers.add(writer)
        onward: asyncio.StreamWriter | None = None
        try:
            if self.ill.refuse:
                return
            back, onward = await asyncio.open_connection("127.0.0.1", self._target_port)
            self._writers.add(onward)
            await asyncio.gather(self._pump(reader, onward), self._pump(back, writer))
        except (OSError, RuntimeError, asyncio.CancelledError):
            pass  # one side went away (RuntimeError is uvloop's word for a socket that just closed)
        finally:
            self._links.discard(task)
            for each in (writer, onward):
                if each is not None:
                    self._writers.discard(each)
                    each.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one direction; reading goes on while earlier pieces are late."""
        late: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(maxsize=1_000)
        loop = asyncio.get_running_loop()

        async def deliver() -> None:
            while True:
                due, data = await late.get()
                await asyncio.sleep(max(0.0, due - loop.time()))
                while self.ill.blackhole:
                    await asyncio.sleep(POLL_S)
                if not data:
                    if not writer.is_closing():
                        writer.write_eof()
                    return
                await self._write(writer, data)

        delivery = asyncio.create_task(deliver())
        try:
            data = b"first"
            while data:
                data = await reader.read(READ_BYTES)
                await late.put((loop.time() + self.ill.latency_s, data))
            await delivery
        finally:
            delivery.cancel()

    async def _write(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        step = self.ill.slice_bytes or len(data)
        for start in range(0, len(data), step):
            writer.write(data[start : start + step])
            await writer.drain()
            if self.ill.slice_bytes:
                await asyncio.sleep(0)
