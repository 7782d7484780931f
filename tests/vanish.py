"""Clients that vanish: at one of twelve points of a request, in one of three ways, over a raw socket.

    connected · half a head · head · half a body · asked · waiting      nothing of the reply was read
    headers · first · third · half · almost all · all                   so much of the reply was read
    ×  fin     the socket is closed in order, as when a browser's tab is closed
       rst     the socket is reset (SO_LINGER 0), as when a program is killed with bytes unread
       silent  nothing more is read or sent and no FIN ever comes, as when a laptop's lid is closed

Promise: `Vanishing.go` returns when the client has done all it will ever do; a silent one stays connected until `end`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import struct
from dataclasses import dataclass
from typing import Any

POINTS = (
    *("connected", "half a head", "head", "half a body", "asked", "waiting"),
    *("headers", "first", "third", "half", "almost all", "all"),
)
WAYS = ("fin", "rst", "silent")
BEFORE_THE_REQUEST = frozenset(POINTS[:4])
"""Points at which no whole request has been sent: there is nothing to settle."""

_RESET = struct.pack("ii", 1, 0)
_READ_S = 10.0
_WAIT_S = 0.15
_SHARES = {"first": 1, "third": 3}
_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


@dataclass(slots=True)
class Vanishing:
    """One client. `events` is how many SSE events the stream will have; `body` what it asks."""

    port: int
    token: str
    point: str
    way: str
    body: dict[str, Any]
    events: int
    _socket: socket.socket | None = None

    async def go(self) -> None:
        """Do the request up to the point, then vanish. TimeoutError when the gateway keeps it waiting too long."""
        loop = asyncio.get_running_loop()
        self._socket = sock = socket.socket()
        sock.setblocking(False)
        # A small window, so that a gateway with much to send meets a client that takes none of it.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await loop.sock_connect(sock, ("127.0.0.1", self.port))
        await loop.sock_sendall(sock, self._sent())
        async with asyncio.timeout(_READ_S):
            await self._read(loop, sock)
        if self.way == "rst":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        if self.way == "fin":
            self._take_what_is_there(sock)
        if self.way != "silent":
            self.end()

    def end(self) -> None:
        """Close the socket, if it is still open."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _sent(self) -> bytes:
        body = json.dumps(self.body).encode()
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {self.token}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        ).encode()
        cut = {"connected": 0, "half a head": len(head) // 2, "head": len(head)}
        cut["half a body"] = len(head) + len(body) // 2
        return (head + body)[: cut.get(self.point, len(head) + len(body))]

    async def _read(self, loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
        if self.point in BEFORE_THE_REQUEST or self.point == "asked":
            await asyncio.sleep(0.02)
            return
        if self.point == "waiting":
            await asyncio.sleep(_WAIT_S)
            return
        got = bytearray()
        while not self._enough(got):
            piece = await loop.sock_recv(sock, 512)
            if not piece:
                return
            got += piece

    def _enough(self, got: bytearray) -> bool:
        """Tell whether as much of the reply was read as the point says."""
        head = got.find(b"\r\n\r\n")
        if head < 0 or self.point == "headers":
            return head >= 0
        if self.body.get("stream"):
            if self.point == "all":
                return got.endswith(b"\r\n0\r\n\r\n")
            wanted = {**_SHARES, "half": self.events // 2, "almost all": self.events - 3}[self.point]
            return got.count(b"\n\n", head) >= wanted
        length = int(found[1]) if (found := _LENGTH.search(got, 0, head)) else 0
        share = {
            "first": 1,
            "third": length // 4,
            "half": length // 2,
            "almost all": length - 1,
            "all": length,
        }
        return len(got) - head - 4 >= share[self.point]

    @staticmethod
    def _take_what_is_there(sock: socket.socket) -> None:
        """Read what arrived: closing with unread bytes would reset instead of ending in order."""
        with contextlib.suppress(BlockingIOError, ConnectionError):
            while sock.recv(65536):
                pass
