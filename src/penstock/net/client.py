"""The pooled HTTP/1.1 client for upstreams.

    response = await client.request(origin, b"POST", b"/v1/chat/completions", headers, body, timers)
    try:
        while piece := await response.chunk(): ...
    finally:
        response.close()

Promises: connections are bounded per origin and reused newest first; a reused connection that turns out closed before
any byte of a reply is replaced by a fresh one once, unseen by the caller; a fresh one is never retried; all timers of
all calls cost one handle of the loop. Errors are those of `net.failures`, each with `dispatched`.
"""

from __future__ import annotations

import asyncio
import ssl as tls

from penstock.kernel.errors import Invalid
from penstock.net.dial import HttpProxy, dial
from penstock.net.failures import CallError, CallFailed, CallRefused, CallTimedOut
from penstock.net.pool import Origin, Pool
from penstock.net.response import Response, Timers
from penstock.net.tls import client_context
from penstock.net.wire import READ_BYTES, Wire

__all__ = [
    "CallError", "CallFailed", "CallRefused", "CallTimedOut", "HttpClient", "Origin", "Response", "Timers",
]  # fmt: skip

_SWEEP_S = 0.1
_IDLE_SWEEP_S = 1.0
_BODILESS = frozenset((b"GET", b"HEAD", b"DELETE", b"OPTIONS"))


class _Lane:
    """One origin's pool, as its connections see their owner."""

    __slots__ = ("_empty", "_loop", "pool", "wires")

    def __init__(self, pool: Pool[Wire], loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.pool = pool
        self.wires: set[Wire] = set()
        self._empty: asyncio.Event | None = None

    def give_back(self, wire: Wire) -> None:
        """A complete reply: the connection may serve another request."""
        wire.idle_since = self._loop.time()
        self.pool.give(wire)

    def wire_lost(self, wire: Wire) -> None:
        """Closed, by either side. One that was never handed out is its dialler's to account for."""
        if wire in self.wires:
            self.wires.remove(wire)
            self.pool.lost(wire)
        if self._empty is not None and not self.wires:
            self._empty.set()

    async def emptied(self) -> None:
        """Wait until every connection, all of them dropped already, is closed."""
        if self.wires:
            self._empty = asyncio.Event()
            await self._empty.wait()


class HttpClient:
    """Calls upstreams from one event loop."""

    def __init__(
        self,
        *,
        connections_per_origin: int = 256,
        idle_s: float = 60.0,
        idle_max: int = 64,
        ssl_context: tls.SSLContext | None = None,
        proxy: str | None = None,
        max_waiting: int = 1024,
    ) -> None:
        """`idle_s` and `idle_max` bound kept connections, `max_waiting` the queue for one, all per origin.

        `ssl_context` None trusts the system's authorities; `proxy` is `http://[user:password@]host:port`.
        """
        self._limit = connections_per_origin
        self._idle_s = idle_s
        self._idle_max = idle_max
        self._max_waiting = max_waiting
        self._context = ssl_context
        self._proxy = None if proxy is None else HttpProxy.parse(proxy)
        self._lanes: dict[Origin, _Lane] = {}
        self._active: set[Response] = set()
        self._sweep_handle: asyncio.TimerHandle | None = None
        self._sweeping = False
        self._buffer = bytearray(READ_BYTES)
        self._closed = False

    async def request(
        self,
        origin: Origin,
        method: bytes,
        target: bytes,
        headers: bytes,
        body: bytes,
        timers: Timers,
        *,
        again: bool = True,
    ) -> Response:
        """Send a request and wait for the reply's head.

        `headers` are rendered `name: value` lines, each with its CRLF, without host and content-length. The caller
        must `close()` the response, or read it to its end. `again` False sends nothing twice, stale connection or not.
        """
        if b"\r" in target or b"\n" in target or b" " in target:
            raise Invalid("A request target may not hold blanks or line ends.", field="target")
        if self._closed:
            raise CallRefused("This client is closed.", code="client_closed")
        loop = asyncio.get_running_loop()
        started = loop.time()
        lane = self._lanes.get(origin) or self._lane(origin, loop)
        head = self._head(origin, method, target, headers, body)
        now = started
        wire = lane.pool.take()
        if wire is None:
            wire = await self._connection(lane, origin, timers.connect_s)
            now = loop.time()
        response = Response(loop, timers, started + timers.total_s, self._active.discard)
        self._watch(response, loop)
        head_only = method == b"HEAD"
        try:
            reused = wire.used
            waiter = response.sent_on(wire, now)
            wire.start(response, head, body, head_only=head_only)
            await waiter
            if not response.status and reused and again and response.is_reset:
                wire = await self._fresh(lane, origin, timers.connect_s)
                self._watch(response, loop)
                waiter = response.sent_on(wire, loop.time())
                wire.start(response, head, body, head_only=head_only)
                await waiter
            response.check_head()
        except BaseException:  # because a caller that is cancelled here must not leave a connection behind
            response.close()
            self._active.discard(response)
            raise
        return response

    async def close(self) -> None:
        """Drop every connection and end every call with `closed`."""
        self._closed = True
        if self._sweep_handle is not None:
            self._sweep_handle.cancel()
            self._sweep_handle = None
        for response in tuple(self._active):
            response.close()
        for lane in self._lanes.values():
            for wire in tuple(lane.wires):
                wire.drop()
        for lane in self._lanes.values():
            await lane.emptied()

    def connections(self, origin: Origin) -> tuple[int, int]:
        """(open, idle) connections to `origin`."""
        lane = self._lanes.get(origin)
        return (0, 0) if lane is None else (lane.pool.open, lane.pool.idle)

    @property
    def active(self) -> int:
        """Calls whose reply has not been received to its end."""
        return len(self._active)

    def _head(self, origin: Origin, method: bytes, target: bytes, headers: bytes, body: bytes) -> bytes:
        if self._proxy is not None and origin.scheme == "http":
            target = b"http://%b%b" % (origin.host_header, target)
            headers += self._proxy.authorization
        if not body and method in _BODILESS:
            return b"%b %b HTTP/1.1\r\nhost: %b\r\n%b\r\n" % (method, target, origin.host_header, headers)
        return b"%b %b HTTP/1.1\r\nhost: %b\r\n%bcontent-length: %d\r\n\r\n" % (
            method, target, origin.host_header, headers, len(body),
        )  # fmt: skip

    def _lane(self, origin: Origin, loop: asyncio.AbstractEventLoop) -> _Lane:
        pool: Pool[Wire] = Pool(limit=self._limit, idle_max=self._idle_max, max_waiting=self._max_waiting)
        lane = self._lanes[origin] = _Lane(pool, loop)
        return lane

    async def _connection(self, lane: _Lane, origin: Origin, connect_s: float) -> Wire:
        """A connection when none is idle: one that becomes free, or a new one."""
        while True:
            wire = await lane.pool.slot(connect_s)
            if wire is None:
                return await self._dial(lane, origin, connect_s)
            if wire.usable():  # else it closed between being given and being taken; its place is free again
                return wire

    async def _fresh(self, lane: _Lane, origin: Origin, connect_s: float) -> Wire:
        """A new connection, for the one retry after a stale one: a kept one could be as stale."""
        lane.pool.make_room()
        while (wire := await lane.pool.slot(connect_s)) is not None:
            wire.drop()
        return await self._dial(lane, origin, connect_s)

    async def _dial(self, lane: _Lane, origin: Origin, connect_s: float) -> Wire:
        """Connect, with the permission of `slot`, which is given back when it fails."""
        context = None
        if origin.scheme == "https":
            context = self._context = self._context or client_context()
        try:
            wire = await dial(
                origin,
                lambda: Wire(lane, self._buffer),
                connect_s=connect_s,
                context=context,
                proxy=self._proxy,
            )
        except BaseException:  # because the permission goes back even when the caller is cancelled
            lane.pool.forget()
            raise
        if not wire.usable():
            lane.pool.forget()
            raise CallFailed(
                "The upstream closed the new connection.", code="connect_failed", dispatched=False
            )
        lane.wires.add(wire)
        return wire

    # -- timers ----------------------------------------------------------------------------------------------------

    def _watch(self, response: Response, loop: asyncio.AbstractEventLoop) -> None:
        self._active.add(response)
        if self._sweeping:
            return
        if self._sweep_handle is not None:  # the slow sweep of an idle client
            self._sweep_handle.cancel()
        self._sweeping = True
        self._sweep_handle = loop.call_later(_SWEEP_S, self._sweep, loop)

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        """Look at every call's timers and every pool's oldest connections; stop when there is nothing to watch."""
        now = loop.time()
        for response in tuple(self._active):
            response.check(now)
        kept = False
        for lane in self._lanes.values():
            lane.pool.expire(now - self._idle_s)
            kept = kept or lane.pool.idle > 0
        self._sweeping = bool(self._active)
        self._sweep_handle = None
        if self._active or kept:
            self._sweep_handle = loop.call_later(
                _SWEEP_S if self._active else _IDLE_SWEEP_S, self._sweep, loop
            )
