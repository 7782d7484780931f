"""One call to an upstream, from its first sent byte to its last received one. It owns the connection meanwhile.

Promises: whatever happens, one place (`close`, or the end of the body) returns the connection or drops it; unread
bytes are bounded by the high-water mark plus one read; a body that ends early raises, it never looks complete.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from penstock.kernel.errors import Broken
from penstock.net.failures import CallError, CallFailed, CallTimedOut
from penstock.net.http1 import Headers, header
from penstock.net.wire import Wire

HIGH_WATER_BYTES = 32 * 1024
"""With the one read that passes it, at most 64 KiB wait unread."""
_PIECE_OVERHEAD_BYTES = 64  # what a tiny piece costs in memory besides its bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Timers:
    """The four timers of a call, in seconds. Looked at every 100 ms: that late at most."""

    connect_s: float = 5.0
    """To a connection, from the pool or new."""
    first_byte_s: float = 60.0
    """From sending the request to a complete reply head."""
    between_chunks_s: float = 30.0
    """Silence while a reader waits for the body."""
    total_s: float = 600.0
    """The whole call."""


class Response:
    """An upstream's reply. `status` and `headers` are set when `HttpClient.request` returns it."""

    __slots__ = (
        "_complete", "_deadline", "_error", "_high", "_loop", "_mark", "_on_end", "_parts", "_paused", "_size",
        "_timers", "_waiter", "_wire", "headers", "status",
    )  # fmt: skip

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        timers: Timers,
        deadline: float,
        on_end: Callable[[Response], None],
    ) -> None:
        """Made by the client; `deadline` in loop time, `on_end` called once when nothing more can arrive."""
        self._loop = loop
        self._timers = timers
        self._deadline = deadline
        self._on_end = on_end
        self._wire: Wire | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._parts: list[bytes] = []
        self._size = 0
        self._high = HIGH_WATER_BYTES
        self._mark = 0.0
        self._paused = False
        self._complete = False
        self._error: CallError | None = None
        self.status = 0
        self.headers: Headers = []

    def header(self, name: bytes) -> bytes | None:
        """The first value of `name` (lower-case bytes), or None."""
        return header(self.headers, name)

    @property
    def buffered_bytes(self) -> int:
        """Received and not yet read, with the pieces' own overhead."""
        return self._size

    @property
    def complete(self) -> bool:
        """The whole body has been received (not necessarily read)."""
        return self._complete

    # -- reading ---------------------------------------------------------------------------------------------------

    async def chunk(self) -> bytes:
        """What has been received since the last call, in one piece; b"" at the end of the body.

        Raises `upstream_cut`, `upstream_stalled`, `upstream_total_timeout` (see `net.failures`), after the bytes that
        came before the trouble have been read.
        """
        while True:
            parts = self._parts
            if parts:
                data = parts[0] if len(parts) == 1 else b"".join(parts)
                parts.clear()
                self._size = 0
                if self._paused:
                    self._resume()
                return data
            if self._complete:
                return b""
            if self._error is not None:
                raise self._error
            await self._wait()

    async def read(self, max_bytes: int) -> bytes:
        """The whole body. Raises CallFailed (`reply_too_large`) and drops the connection past `max_bytes`."""
        if not self._complete:
            announced = self.header(b"content-length")
            if announced is not None and announced.isdigit() and int(announced) > max_bytes:
                raise self._too_large(max_bytes)
            self._high = max_bytes + HIGH_WATER_BYTES
            if self._paused:
                self._resume()
        while not self._complete:
            if self._error is not None:
                raise self._error
            if self._size > max_bytes and sum(map(len, self._parts)) > max_bytes:
                raise self._too_large(max_bytes)
            await self._wait()
        parts = self._parts
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        self._parts.clear()
        self._size = 0
        if len(data) > max_bytes:
            raise self._too_large(max_bytes)
        return data

    def close(self) -> None:
        """Be done with the reply. A connection whose body was not received to its end is closed. Idempotent."""
        self._parts.clear()
        self._size = 0
        if self._wire is not None:
            self._end(CallFailed("The reply was closed by its reader.", code="closed"))

    def _too_large(self, limit: int) -> CallFailed:
        self.close()
        return CallFailed(
            "The upstream's reply is larger than accepted.", code="reply_too_large", limit=limit
        )

    def _resume(self) -> None:
        self._paused = False
        self._mark = self._loop.time()  # the silence until now was ours
        if self._wire is not None:
            self._wire.resume()

    async def _wait(self) -> None:
        if self._waiter is not None:
            raise Broken("Two tasks read one reply.")
        self._waiter = waiter = self._loop.create_future()
        try:
            await waiter
        finally:
            self._waiter = None

    # -- used by the client ----------------------------------------------------------------------------------------

    def sent_on(self, wire: Wire, now: float) -> asyncio.Future[None]:
        """The request goes out on `wire` at loop time `now`; await the result, then `check_head`."""
        self._wire = wire
        self._mark = now
        self._error = None
        self._waiter = waiter = self._loop.create_future()
        return waiter

    @property
    def is_reset(self) -> bool:
        """The connection was closed before any byte of a reply."""
        return self._error is not None and self._error.reason == "connection_reset"

    def check_head(self) -> None:
        """After `sent_on`: return when the head is here, raise why it will never be."""
        self._waiter = None
        if not self.status:
            raise self._error or Broken("A reply's head was announced but is not there.")

    def check(self, now: float) -> None:
        """The client's sweep: end the call when a timer ran out."""
        timers = self._timers
        if now > self._deadline:
            self._time_out("The call took too long.", "upstream_total_timeout", timers.total_s)
        elif not self.status:
            if now - self._mark > timers.first_byte_s:
                self._time_out(
                    "The upstream did not answer in time.", "first_byte_timeout", timers.first_byte_s
                )
        elif self._waiter is not None and now - self._mark > timers.between_chunks_s:
            self._time_out("The upstream went silent.", "upstream_stalled", timers.between_chunks_s)

    def _time_out(self, message: str, code: str, limit_s: float) -> None:
        self._end(CallTimedOut(message, code=code, limit=f"{limit_s:g} s"))

    # -- the wire calls these --------------------------------------------------------------------------------------

    def body(self, data: bytes) -> None:
        """A piece of the body."""
        self._parts.append(data)
        self._size += len(data) + _PIECE_OVERHEAD_BYTES
        if self._size > self._high and not self._paused and self._wire is not None:
            self._paused = True
            self._wire.pause()

    def received(self) -> None:
        """Wake the reader once per read, however many pieces it brought."""
        self._mark = self._loop.time()
        waiter = self._waiter
        if waiter is not None and self.status and not waiter.done():
            waiter.set_result(None)

    def ended(self, error: CallError | None) -> None:
        """The reply is complete, or will never be; the wire has seen to its connection."""
        self._wire = None
        self._complete = error is None
        self._error = error
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        self._on_end(self)

    def _end(self, error: CallError) -> None:
        """End it from our side."""
        wire = self._wire
        self.ended(error)
        if wire is not None:
            wire.drop()
