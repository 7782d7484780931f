"""The way to the platform from inside its process: the edge's own handler, driven as the server drives it.

    call ──► HeadParser ──► Site.spawn ──► handler(Request, Responder) ──► _Pipe ──► reader

Promises: a customer in here passes the same checks, policies, limits and audit as one on the wire, because request
parser, error rendering, bounds, counters and `Responder` are the server's; a reader that falls behind pauses the writer
(at most 32 KiB and one write wait), one that takes nothing for `write_idle_s` is cut; a reader that leaves is `gone` to
the handler at once; a handler that fails is answered for, or its reply cut.
"""

from __future__ import annotations

import asyncio
import math
import time
from typing import Final, NamedTuple

from penstock.kernel.errors import Broken, Invalid, PenstockError, TimedOut, Unavailable
from penstock.net.client import Timers
from penstock.net.http1 import Headers
from penstock.net.limits import ServerLimits
from penstock.net.refusals import HeadTooLarge
from penstock.net.request import Request
from penstock.net.responder import Responder
from penstock.net.site import ErrorRenderer, Handler, Site, Stats
from penstock.sdk.failures import error_of
from penstock.sdk.transport import (
    CALL,
    REPLY_BYTES_MAX,
    Incoming,
    Reply,
    head_lines,
    key_lines,
    refused,
    whole,
)

HIGH_WATER_BYTES: Final = 32 * 1024
HERE: Final = "in-process"
_PIECE_OVERHEAD_BYTES = 64  # what a tiny piece costs in memory besides its bytes
_CANCEL_GRACE_S = 2.0  # for handlers to let go of what they hold when the transport is closed
# HTTP/1.0 in name only: it is how a `Responder` is told to write a body as it is, without framing it in chunks.
_HEAD = b"%b %b HTTP/1.0\r\nhost: %b\r\n%bcontent-length: %d\r\n\r\n"
_OF_THE_WIRE = frozenset({b"date", b"connection"})


class _Desk(NamedTuple):
    """What transports to one handler share: the server's own state, and the replies under way."""

    site: Site
    pipes: set[_Pipe]


class InProcessTransport:
    """Reaches a handler in this process and on this event loop, under a key."""

    def __init__(
        self,
        handle: Handler,
        key: str,
        *,
        render: ErrorRenderer,
        limits: ServerLimits | None = None,
        peer: str = HERE,
        beside: _Desk | None = None,
    ) -> None:
        """`render` renders errors as the server of `handle` does; `peer` is where requests say they come from.

        `beside` is the desk of another transport to share its bounds; see `under`.
        """
        self._desk = beside or _Desk(
            Site(handle, limits or ServerLimits(), allowed_hosts=None, cors=None, error_renderer=render),
            set(),
        )
        self._is_own = beside is None
        self._headers = key_lines(key)
        self._peer = peer

    @property
    def stats(self) -> Stats:
        """Counters, as a server's."""
        return self._desk.site.stats

    def under(self, key: str, *, peer: str = "") -> InProcessTransport:
        """Return the way to the same handler, within the same bounds, under another key and for another peer."""
        site = self._desk.site
        return InProcessTransport(
            site.handler, key, render=site.error_renderer, peer=peer or self._peer, beside=self._desk
        )

    async def call(
        self, method: str, target: str, body: bytes = b"", *, headers: bytes = b"", timers: Timers = CALL
    ) -> Reply:
        """Return the whole reply. Raises PenstockError."""
        return await whole(await self.stream(method, target, body, headers=headers, timers=timers))

    async def stream(
        self, method: str, target: str, body: bytes = b"", *, headers: bytes = b"", timers: Timers = CALL
    ) -> Incoming:
        """Return the reply once its head is here. Raises PenstockError."""
        site, pipes = self._desk
        if site.draining:
            raise Unavailable("This client is closed.", code="client_closed")
        site.loop = asyncio.get_running_loop()
        try:
            request = self._request(method, target, headers, body)
        except PenstockError as refusal:
            site.stats.refused += 1
            status, _, told = site.render(refusal, "")
            raise error_of(status, told) from None
        pipe = _Pipe(site, timers, pipes)
        responder = pipe.responder = Responder(pipe, site, pipe.done, request)
        site.spawn(request, responder)
        try:
            await pipe.head()
            if pipe.status >= 400:
                raise await refused(pipe)
        except BaseException:  # because a caller that is cancelled here must not leave a handler behind
            pipe.close()
            raise
        return pipe

    def _request(self, method: str, target: str, headers: bytes, body: bytes) -> Request:
        """Return the request as the server would have parsed it. Raises the refusals of `net`."""
        if " " in target or not target.isascii() or not target.isprintable():
            raise Invalid("A request target may not hold blanks or line ends.", field="target")
        words = (
            method.encode(),
            target.encode(),
            HERE.encode(),
            head_lines(self._headers, headers),
            len(body),
        )
        head = _HEAD % words
        limit = self._desk.site.limits.header_bytes
        if len(head) > limit:
            raise HeadTooLarge(field="headers", value=len(head), limit=limit)
        request = self._desk.site.heads.parse(head)
        request.body = body
        request.peer = self._peer
        request.received_ns = time.monotonic_ns()
        return request

    async def close(self) -> None:
        """Leave every reply and cancel every handler that is still at work."""
        if not self._is_own:
            return
        site, pipes = self._desk
        site.draining = True
        await asyncio.sleep(0)  # a handler that is cancelled before its first step would never be counted out
        for pipe in tuple(pipes):
            pipe.close()
        for task in (tasks := tuple(site.tasks)):
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_CANCEL_GRACE_S)


class _Pipe(asyncio.Transport):
    """One reply on its way: to the responder it is the socket, to the reader the reply that is coming."""

    def __init__(self, site: Site, timers: Timers, open_pipes: set[_Pipe]) -> None:
        super().__init__()
        self.status = 0
        self.headers: Headers = []
        self.responder: Responder
        self._site = site
        self._timers = timers
        self._deadline = site.loop.time() + timers.total_s
        self._open_pipes = open_pipes
        self._parts: list[bytes] = []
        self._size = 0
        self._is_over = False
        self._error: PenstockError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._cutter: asyncio.TimerHandle | None = None
        open_pipes.add(self)

    # --- the responder's side --------------------------------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Take the head, then pieces of the body. Never blocks."""
        if self._is_over:
            return
        piece = bytes(data)
        if not self.status:
            piece = self._take_head(piece)
        if piece:
            self._parts.append(piece)
            self._size += len(piece) + _PIECE_OVERHEAD_BYTES
            if self._size > HIGH_WATER_BYTES and self._cutter is None:
                self.responder.pause()
                self._cutter = self._site.loop.call_later(self._site.limits.write_idle_s, self._cut_idle)
        self._wake()

    def done(self) -> None:
        """The reply is whole."""
        self._end(None)

    def abort(self) -> None:
        """The reply will never be whole."""
        if self.status:
            self._end(
                Unavailable("The server cut its reply.", code="upstream_cut", remedy="Look at its log.")
            )
        else:
            self._end(Unavailable("The server gave no reply.", code="connection_reset"))

    def _take_head(self, data: bytes) -> bytes:
        """Read status and header fields as `Responder` writes them: always in one piece. Returns what follows."""
        head, _, rest = data.partition(b"\r\n\r\n")
        first, *lines = head.split(b"\r\n")
        fields = [line.partition(b": ") for line in lines]
        self.headers = [
            (name.lower(), value) for name, _, value in fields if name.lower() not in _OF_THE_WIRE
        ]
        self.status = int(first.split(b" ", 2)[1])
        return rest

    # --- the reader's side -----------------------------------------------------------------------------------------

    async def head(self) -> None:
        """Wait until the head is here."""
        while not self.status:
            if self._error is not None:
                raise self._error
            await self._wait(self._timers.first_byte_s, "first_byte_timeout")

    async def chunk(self) -> bytes:
        """Return what has come, b"" at the end."""
        while not self._parts:
            if self._error is not None:
                raise self._error
            if self._is_over:
                return b""
            await self._wait(self._timers.between_chunks_s, "upstream_stalled")
        data = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        if len(data) > REPLY_BYTES_MAX:
            self.close()
            raise Unavailable("The reply is too large.", code="reply_too_large", limit=REPLY_BYTES_MAX)
        self._parts.clear()
        self._size = 0
        if self._cutter is not None:
            self._cutter.cancel()
            self._cutter = None
            self.responder.resume()
        return data

    def close(self) -> None:
        """Be done with it: to a handler that is still writing, its client is gone. Idempotent."""
        if self._parts or not self._is_over:
            self._error = Unavailable("The reply was closed by its reader.", code="closed")
        self._parts.clear()
        if not self._is_over:
            self._end(self._error)
            self._leave()

    async def _wait(self, timeout_s: float, reason: str) -> None:
        """Wait for the other side, at most `timeout_s` and until the deadline."""
        if self._waiter is not None:
            raise Broken("Two tasks read one reply.")
        now = self._site.loop.time()
        if self._deadline < now + timeout_s:
            timeout_s, reason = max(self._deadline - now, 0.0), "upstream_total_timeout"
        self._waiter = self._site.loop.create_future()
        try:
            async with asyncio.timeout(None if timeout_s == math.inf else timeout_s):
                await self._waiter
        except TimeoutError:
            self.close()
            raise TimedOut(
                "The server did not answer in time.", code=reason, limit=f"{timeout_s:g} s"
            ) from None
        finally:
            self._waiter = None

    # --- ends ------------------------------------------------------------------------------------------------------

    def _end(self, error: PenstockError | None) -> None:
        if self._is_over:
            return
        self._is_over = True
        self._error = error
        self._open_pipes.discard(self)
        if self._cutter is not None:
            self._cutter.cancel()
            self._cutter = None
        self._wake()

    def _leave(self) -> None:
        if not self.responder.complete:
            self._site.stats.clients_gone += 1
            self.responder.client_gone()

    def _cut_idle(self) -> None:
        """Nothing was taken for `write_idle_s`: leave, as a server cuts a client that does not read."""
        limit_s = self._site.limits.write_idle_s
        self._site.stats.clients_cut += 1
        self._parts.clear()
        slow = "The reply was read too slowly and was cut."
        self._end(Unavailable(slow, code="upstream_cut", limit=f"{limit_s:g} s"))
        self._leave()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
