"""What the tests of the SDK share: a scripted transport, and both real ways to a handler.

Scripted      answers from a list and remembers what it was asked
reaching      a handler behind a real socket, or in this process, and the transport to it
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from penstock.edge.errors import render
from penstock.net.limits import ServerLimits
from penstock.net.server import Handler, Server
from penstock.net.site import Stats
from penstock.sdk.in_process import InProcessTransport
from penstock.sdk.transport import HttpTransport, Reply, Transport

KEY = "pen-canaryId0001-canarysecretcanarysecretcanary"
WAYS = ("http", "in-process")
JSON = b"content-type: application/json\r\n"
EVENTS = b"content-type: text/event-stream\r\n"


class Pieces:
    """A reply that comes in the pieces it is made of; a piece that is an error is raised."""

    def __init__(self, *pieces: Any, headers: Any = ()) -> None:
        self.status = 200
        self.headers = list(headers)
        self.pieces = list(pieces)
        self.closed = 0

    async def chunk(self) -> bytes:
        piece = self.pieces.pop(0) if self.pieces else b""
        if isinstance(piece, BaseException):
            raise piece
        return piece

    def close(self) -> None:
        self.closed += 1


class Scripted:
    """A transport that answers from a list and remembers `(method, target, body)`; `headers` beside."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.calls: list[tuple[str, str, bytes]] = []
        self.headers: list[bytes] = []
        self.closed = False

    def _next(self, method, target, body, headers):
        self.calls.append((method, target, body))
        self.headers.append(headers)
        return self.answers.pop(0)

    async def call(self, method, target, body=b"", *, headers=b"", timers=None):
        answer = self._next(method, target, body, headers)
        if isinstance(answer, Reply):
            return answer
        return Reply(200, [], answer if isinstance(answer, bytes) else msgspec.json.encode(answer))

    async def stream(self, method, target, body=b"", *, headers=b"", timers=None):
        return self._next(method, target, body, headers)

    def under(self, key, *, peer=""):
        return Scripted(*self.answers, (key, peer))

    async def close(self):
        self.closed = True


@asynccontextmanager
async def reaching(
    way: str, handler: Handler, *, key: str = KEY, **limits: Any
) -> AsyncIterator[tuple[Transport, Stats]]:
    """Give a transport to `handler` and the counters of the server it goes to."""
    bounds = ServerLimits(**limits)
    if way == "in-process":
        inside = InProcessTransport(handler, key, render=render, limits=bounds)
        try:
            yield inside, inside.stats
        finally:
            await inside.close()
        return
    server = Server(handler, bounds, allowed_hosts=None, cors=None, error_renderer=render)
    await server.start("127.0.0.1", 0)
    over = HttpTransport(f"http://127.0.0.1:{server.port}", key)
    try:
        yield over, server.stats
    finally:
        await over.close()
        await server.close()
