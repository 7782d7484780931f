"""The one object that owns the client's side of a request: the whole reply, or a stream of chunks.

Promises: nothing here blocks; a reply that has begun ends with its terminal chunk or with a cut connection, never with
a silent end that looks complete; `on_gone` callbacks run at most once, as soon as the client is known to be gone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from penstock.kernel.errors import Broken, Cancelled
from penstock.net.request import Request

_log = logging.getLogger("penstock.net")

_NEW, _STREAMING, _DONE = range(3)
_SEPARATE_WRITE_BYTES = 32 * 1024  # past this, joining head and body costs more than a second buffer
_NO_BODY = frozenset((204, 304))


class Heads(Protocol):
    """Where the head's first lines come from: status line and date."""

    draining: bool

    def prefix(self, status: int) -> bytes:
        """Status line and date line."""
        ...


class Responder:
    """Answers one request. Use either `send`, or `begin` + `write`* + `finish`; `abort` cuts at any time."""

    __slots__ = (
        "_callbacks", "_chunked", "_extra", "_heads", "_minor", "_no_body", "_on_done", "_state", "_transport",
        "_waiter", "bytes_sent", "gone", "keep_alive", "paused", "started", "task",
    )  # fmt: skip

    def __init__(
        self,
        transport: asyncio.Transport,
        heads: Heads,
        on_done: Callable[[], None],
        request: Request,
    ) -> None:
        """Made by the connection, which calls back `on_done()` when the reply is complete."""
        self._transport = transport
        self._heads = heads
        self._on_done = on_done
        self.keep_alive = request.keep_alive
        """Whether the connection stays after this reply."""
        self._minor = request.minor
        self._no_body = request.method == "HEAD"
        self._chunked = False
        self._extra = b""
        self._state = _NEW
        self._callbacks: list[Callable[[], None]] | None = None
        self._waiter: asyncio.Future[None] | None = None
        self.task: asyncio.Task[None] | None = None
        self.started = False
        """Bytes of the reply have left: from here on an error must change form."""
        self.gone = False
        """The client went away before the reply was complete."""
        self.paused = False
        """More than the high-water mark is waiting for the client: `await drain()` before writing more."""
        self.bytes_sent = 0
        """Body bytes handed to the socket."""

    @property
    def complete(self) -> bool:
        """The reply has ended, whole or cut."""
        return self._state == _DONE

    def add_headers(self, lines: bytes) -> None:
        """Add pre-rendered header lines to the reply to come (CORS)."""
        self._extra += lines

    def send(self, status: int, headers: bytes, body: bytes) -> None:
        """The whole reply at once.

        `headers` are `name: value` lines, each with its CRLF, without content-length, connection and date.
        """
        if self._state != _NEW:
            raise Broken("A request was answered twice.")
        self.started = True
        self._state = _DONE
        if self.gone:
            return
        heads = self._heads
        keep = self.keep_alive = self.keep_alive and not heads.draining
        length = b"" if status in _NO_BODY else b"content-length: %d\r\n" % len(body)
        if self._no_body or not length:
            body = b""
        self.bytes_sent = len(body)
        connection = b"" if keep and self._minor else self._connection()
        head = b"%b%b%b%b%b\r\n" % (heads.prefix(status), headers, self._extra, length, connection)
        if len(body) <= _SEPARATE_WRITE_BYTES:
            self._transport.write(head + body)
        else:
            self._transport.write(head)
            self._transport.write(body)
        self._on_done()

    def begin(self, status: int, headers: bytes) -> None:
        """Start a streamed reply: chunked, or until close for an HTTP/1.0 client."""
        if self._state != _NEW:
            raise Broken("A request was answered twice.")
        self.started = True
        self._state = _STREAMING
        if self.gone:
            return
        self._chunked = self._minor == 1 and status not in _NO_BODY
        if not self._chunked:
            self.keep_alive = self.keep_alive and (self._no_body or status in _NO_BODY)
        self._no_body = self._no_body or status in _NO_BODY
        coding = b"transfer-encoding: chunked\r\n" if self._chunked else b""
        self.keep_alive = self.keep_alive and not self._heads.draining
        head = (self._heads.prefix(status), headers, self._extra, coding, self._connection(), b"\r\n")
        self._transport.write(b"".join(head))

    def write(self, data: bytes) -> None:
        """One chunk. Never blocks; empty data is nothing. Dropped when the client is gone."""
        if self._state != _STREAMING:
            raise Broken("A reply was written to before it began or after it ended.")
        if self.gone or self._no_body or not data:
            return
        self.bytes_sent += len(data)
        self._transport.write(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)

    def finish(self, tail: bytes = b"") -> None:
        """End the stream, with `tail` as its last data, in one write."""
        if self._state != _STREAMING:
            raise Broken("A reply was finished before it began or after it ended.")
        self._state = _DONE
        if self.gone:
            return
        if not self._no_body:
            self.bytes_sent += len(tail)
            if self._chunked:
                tail = b"%x\r\n%b\r\n0\r\n\r\n" % (len(tail), tail) if tail else b"0\r\n\r\n"
            if tail:
                self._transport.write(tail)
        self._on_done()

    async def drain(self) -> None:
        """Wait while the client is too far behind. Raises Cancelled (`client_gone`) when it vanished or was cut."""
        if self.gone:
            raise Cancelled(code="client_gone")
        if not self.paused or self._state == _DONE:
            return
        if self._waiter is None:
            self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
        if self.gone:
            raise Cancelled(code="client_gone")

    def abort(self) -> None:
        """Cut the connection: the only honest end of a reply that cannot be completed."""
        if self._state != _DONE:
            self._state = _DONE
            self._wake()
        self._transport.abort()

    def on_gone(self, callback: Callable[[], None]) -> None:
        """Call `callback` once when the client disconnects before the reply is complete; now if it already has."""
        if self.gone:
            callback()
        elif self._callbacks is None:
            self._callbacks = [callback]
        else:
            self._callbacks.append(callback)

    def pause(self) -> None:
        """The connection's buffer rose over its high-water mark."""
        self.paused = True

    def resume(self) -> None:
        """The connection's buffer fell under its low-water mark."""
        self.paused = False
        self._wake()

    def client_gone(self) -> None:
        """The connection is lost; tell whoever asked, unless the reply was complete."""
        if self._state == _DONE or self.gone:
            return
        self.gone = True
        self._wake()
        callbacks, self._callbacks = self._callbacks, None
        for callback in callbacks or ():
            try:
                callback()
            except Exception as error:  # because one listener's fault must not keep the others from hearing
                _log.error("an on_gone callback failed: %s", type(error).__name__)

    def _connection(self) -> bytes:
        """The `connection` line, where the version's own default does not say it."""
        if not self.keep_alive:
            return b"connection: close\r\n"
        return b"" if self._minor == 1 else b"connection: keep-alive\r\n"

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
