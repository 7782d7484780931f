"""Clients that read a stream at ten bytes a second, or not at all, while the provider wants to send them megabytes.

Promise: each reads exactly so much and never more, and stays connected until the end.
"""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self

from tests.raw_upstream import FIRST, Wire, text

MODEL = "flood"
ANSWER_BYTES = 20 * 1024 * 1024
PIECE = text("water " * 20)
BATCH = PIECE * 16


@dataclass(slots=True)
class Flood:
    """The provider's script: an answer of 20 MB. `sent` holds the bytes written so far, stream by stream."""

    sent: list[Wire] = field(default_factory=list[Wire])

    async def __call__(self, wire: Wire) -> None:
        """Write as fast as the gateway reads."""
        self.sent.append(wire)
        await wire.stream()
        await wire.send(FIRST)
        while wire.sent_bytes < ANSWER_BYTES:
            await wire.send(BATCH)

    @property
    def most_bytes(self) -> int:
        """The most that was written into one stream."""
        return max((wire.sent_bytes for wire in self.sent), default=0)


class SlowReaders:
    """So many clients on one gateway; `rate` bytes a second each (0: nothing at all)."""

    def __init__(self, port: int, token: str, readers: int, rate: int) -> None:
        """Prepare them."""
        body = json.dumps(
            {"model": MODEL, "stream": True, "messages": [{"role": "user", "content": "Tell me everything."}]}
        )
        self._request = (
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {token}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n{body}"
        ).encode()
        self._port = port
        self._rate = rate
        self._readers = readers
        self._tasks: list[asyncio.Task[None]] = []
        self.reading = 0
        """Clients whose stream has begun; a client that reads nothing never hears that it was cut."""

    async def __aenter__(self) -> Self:
        """Connect them all; returns when every stream has begun."""
        self._tasks = [asyncio.create_task(self._read()) for _ in range(self._readers)]
        async with asyncio.timeout(30):
            while self.reading < self._readers:
                await asyncio.sleep(0.02)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Disconnect."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        with socket.socket() as sock:
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            await loop.sock_connect(sock, ("127.0.0.1", self._port))
            await loop.sock_sendall(sock, self._request)
            await loop.sock_recv(sock, 12)
            self.reading += 1
            with suppress(ConnectionError):
                while not self._rate or await loop.sock_recv(sock, self._rate):
                    await asyncio.sleep(1)
