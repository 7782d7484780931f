"""One HTTP exchange without a socket: a request as the server would hand it over, a responder that remembers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from penstock.kernel.errors import Broken, Cancelled
from penstock.net.request import Request


def request(
    method: str = "GET", path: str = "/", *, query: str = "", body: bytes = b"", **headers: str
) -> Request:
    """Return a parsed request; underscores in header names become hyphens."""
    fields = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    made = Request(method, path, query.encode(), list(fields.items()), fields)
    made.body = body
    made.peer = "192.0.2.1"
    return made


class Replies:
    """A responder that keeps what it is told, as strict about the order of calls as the real one."""

    def __init__(self) -> None:
        self.gone = False
        self.paused = False
        self.started = False
        self.complete = False
        self.aborted = False
        self.status = 0
        self.headers = b""
        self.body = b""
        self.pieces: list[bytes] = []
        self.resumed = asyncio.Event()
        self._callbacks: list[Callable[[], None]] = []

    def send(self, status: int, headers: bytes, body: bytes) -> None:
        if self.started:
            raise Broken("A request was answered twice.")
        self.status, self.headers, self.body = status, headers, body
        self.started = self.complete = True

    def begin(self, status: int, headers: bytes) -> None:
        if self.started:
            raise Broken("A request was answered twice.")
        self.status, self.headers, self.started = status, headers, True

    def write(self, data: bytes) -> None:
        if not self.started or self.complete:
            raise Broken("A reply was written to before it began or after it ended.")
        self.pieces.append(data)
        self.body += data

    def finish(self, tail: bytes = b"") -> None:
        self.write(tail)
        self.complete = True

    def abort(self) -> None:
        self.aborted = self.complete = True

    async def drain(self) -> None:
        await self.resumed.wait()
        if self.gone:
            raise Cancelled(code="client_gone")
        self.paused = False

    def on_gone(self, callback: Callable[[], None]) -> None:
        self._callbacks.append(callback)

    def vanish(self) -> None:
        """Leave, as the server tells it."""
        self.gone = True
        self.resumed.set()
        for callback in self._callbacks:
            callback()

    def header(self, name: str) -> list[str]:
        """Return every value of a header."""
        lines = self.headers.decode().split("\r\n")
        return [line.partition(": ")[2] for line in lines if line.partition(": ")[0] == name]
