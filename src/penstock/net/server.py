"""The HTTP/1.1 server: listens, hands complete requests to one handler, and drains without losing any.

    handler(request, responder)     one task per request, never one per chunk
    Request                         bytes of a checked request (`net.request`)
    Responder                       the client's side of it (`net.responder`)

Promises: every bound of `ServerLimits` holds; every request gets a reply or a cut connection; a client's departure is
told through `Responder.on_gone` and never cancels a handler; `drain` answers what arrives on open connections with
`connection: close` and cancels handlers only at its deadline.

For a restart that loses nothing, pass the next process the listening socket (`sock=`): with `reuse_port` the kernel
may have queued a connection on the socket that is about to close.
"""

from __future__ import annotations

import asyncio
import socket
import ssl as tls
from contextlib import suppress

from penstock.net.connection import Connection
from penstock.net.cors import Cors
from penstock.net.http1 import Headers, header
from penstock.net.limits import ServerLimits
from penstock.net.request import Request
from penstock.net.responder import Responder
from penstock.net.site import Door, ErrorRenderer, Handler, Site, Stats

__all__ = [
    "Cors", "Door", "ErrorRenderer", "Handler", "Headers", "Request", "Responder", "Server", "ServerLimits", "Stats",
    "header",
]  # fmt: skip

_KEEPALIVE_IDLE_S, _KEEPALIVE_EVERY_S, _KEEPALIVE_PROBES = 10, 5, 3
_TLS_HANDSHAKE_S = 10.0
_CANCEL_GRACE_S = 2.0  # for handlers to send their in-band errors after a drain's deadline
_SWEEP_S = 1.0


class Server:
    """One listening HTTP/1.1 server on the running loop."""

    def __init__(
        self,
        handler: Handler,
        limits: ServerLimits | None = None,
        *,
        allowed_hosts: frozenset[str] | None,
        cors: Cors | None,
        error_renderer: ErrorRenderer,
        named_below: tuple[str, ...] = (),
    ) -> None:
        """`allowed_hosts` None serves any Host; `cors` None refuses every preflight; what is read below `named_below`
        has a name that may hold escaped slashes.
        """
        self._limits = limits or ServerLimits()
        self._site = Site(
            handler,
            self._limits,
            allowed_hosts=allowed_hosts,
            cors=cors,
            error_renderer=error_renderer,
            named_below=named_below,
        )
        self._connections: set[Connection] = set()
        self._listener: asyncio.Server | None = None
        self._sweep_handle: asyncio.TimerHandle | None = None
        self._port = 0

    @property
    def port(self) -> int:
        """The port listened on (useful when 0 was asked for)."""
        return self._port

    @property
    def stats(self) -> Stats:
        """Live counters and gauges."""
        return self._site.stats

    def guard(self, door: Door | None) -> None:
        """Have every request from now on looked at by `door` first; None lets all in, and costs nothing."""
        self._site.door = door

    async def start(
        self,
        host: str,
        port: int,
        *,
        sock: socket.socket | None = None,
        ssl: tls.SSLContext | None = None,
        reuse_port: bool = False,
    ) -> None:
        """Listen on `host:port` (port 0: any free one), or on a bound `sock`. Raises OSError when it cannot."""
        loop = asyncio.get_running_loop()
        self._site.loop = loop

        def protocol() -> Connection:
            return Connection(self._site, self._connections)

        handshake_s = _TLS_HANDSHAKE_S if ssl is not None else None
        backlog = self._limits.backlog
        if sock is not None:
            listener = await loop.create_server(
                protocol, sock=sock, ssl=ssl, ssl_handshake_timeout=handshake_s, backlog=backlog
            )
        else:
            listener = await loop.create_server(
                protocol,
                host,
                port,
                ssl=ssl,
                reuse_port=reuse_port,
                ssl_handshake_timeout=handshake_s,
                backlog=backlog,
            )
        self._listener = listener
        for listening in listener.sockets:
            self._inherited_options(listening)
        self._port = int(listener.sockets[0].getsockname()[1])
        self._sweep()

    def _inherited_options(self, listening: socket.socket) -> None:
        """Accepted sockets inherit these on Linux: dead peers are found without a byte from them."""
        if listening.family not in (socket.AF_INET, socket.AF_INET6):
            return
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_IDLE_S)
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _KEEPALIVE_EVERY_S)
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _KEEPALIVE_PROBES)
        # The kernel would take megabytes for a client that reads nothing; back-pressure begins here instead.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, self._limits.write_buffer_bytes)
        unacknowledged_ms = int(self._limits.write_idle_s * 1000)
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, unacknowledged_ms)

    def _sweep(self) -> None:
        """Once a second (faster under small test limits): the date line, and every connection's timers."""
        limits = self._limits
        site = self._site
        site.renew_date()
        now = site.loop.time()
        for connection in tuple(self._connections):
            connection.check(now)
        shortest = min(
            limits.header_timeout_s,
            limits.body_timeout_s,
            limits.idle_timeout_s,
            limits.write_idle_s,
            limits.linger_s,
        )
        self._sweep_handle = site.loop.call_later(min(_SWEEP_S, shortest / 4), self._sweep)

    async def drain(self, timeout_s: float) -> None:
        """Stop accepting, finish what is under way, close. Handlers still running after `timeout_s` are cancelled."""
        site = self._site
        site.draining = True
        now = site.loop.time()
        deadline = now + timeout_s
        await asyncio.sleep(0)  # accept what the kernel has already queued
        if self._listener is not None:
            self._listener.close()
        await self._grace(now, deadline)
        for task in tuple(site.tasks):
            task.cancel()
        await self._until_closed(site.loop.time() + _CANCEL_GRACE_S)
        await self.close()

    async def _grace(self, began: float, deadline: float) -> None:
        """Wait as `_until_closed` does, and close each connection once it was idle for the whole grace.

        Each for itself: one whose answer ended a moment ago may have its next request on the way.
        """
        grace_s = self._limits.drain_grace_s
        loop = self._site.loop
        due = began + grace_s
        while due < deadline:
            await self._until_closed(due)
            if not self._connections:
                break
            for connection in tuple(self._connections):
                connection.close_idle(since=due - grace_s)
            due = max(loop.time(), due) + grace_s / 8
        await self._until_closed(deadline)

    async def _until_closed(self, deadline: float) -> None:
        """Wait until every connection is closed and every handler has ended, or until `deadline` (loop time)."""
        site = self._site
        site.quiet.clear()
        site.note_quiet()
        with suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                await site.quiet.wait()

    async def close(self) -> None:
        """Close everything now. Idempotent."""
        self._site.draining = True
        if self._sweep_handle is not None:
            self._sweep_handle.cancel()
            self._sweep_handle = None
        if self._listener is None:
            return
        listener, self._listener = self._listener, None
        listener.close()
        for task in tuple(self._site.tasks):
            task.cancel()
        for connection in tuple(self._connections):
            connection.cut()
        await self._until_closed(self._site.loop.time() + _CANCEL_GRACE_S)
        with suppress(TimeoutError):
            async with asyncio.timeout(_CANCEL_GRACE_S):
                await listener.wait_closed()
