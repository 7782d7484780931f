"""One client's connection: bytes in, one request at a time out to its handler, replies in order.

    IDLE --first byte--> HEAD --empty line--> BODY --last byte--> BUSY --reply complete--> IDLE
      any --refusal--> LINGER (reply sent, upload dropped for a while) --> closed

Promises: at most one request of a connection is handled at a time and replies leave in order; bytes that arrive early
(pipelining) wait raw, at most `pipeline_bytes` plus one read before the socket is no longer read. End of input while a
reply is owed counts as the client being gone, as in nginx: a half-closing client is served by nobody.
"""

from __future__ import annotations

import asyncio
import re
import time
from math import inf
from typing import cast

from penstock.kernel.errors import Overloaded, PenstockError
from penstock.net.cors import answer_preflight, is_preflight
from penstock.net.http1 import ChunkDecoder
from penstock.net.refusals import BodyTooLarge, HeadTooLarge, MalformedRequest, SlowRequest
from penstock.net.request import CHUNKED, Request
from penstock.net.responder import Responder
from penstock.net.site import Site

IDLE, HEAD, BODY, BUSY, LINGER, CLOSED = range(6)
_BARE_LF = re.compile(rb"(?<!\r)\n")
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Connection(asyncio.Protocol):
    """The server's protocol object. Its clock is the server's sweep, which calls `check` every second or less."""

    __slots__ = (
        "_body", "_chunks", "_connections", "_phase", "_raw", "_read_paused", "_request", "_responder", "_since",
        "_site", "_started_ns", "_transport", "_unsent", "_unsent_since", "_write_paused", "peer",
    )  # fmt: skip

    def __init__(self, site: Site, connections: set[Connection]) -> None:
        """`connections` is the server's set of open connections; this one adds and removes itself."""
        self._site = site
        self._connections = connections
        self._transport: asyncio.Transport
        self._phase = IDLE
        self._raw: bytearray | None = None
        self._request: Request | None = None
        self._body = bytearray()
        self._chunks: ChunkDecoder | None = None
        self._responder: Responder | None = None
        self._read_paused = False
        self._write_paused = False
        self._unsent = 0
        self._unsent_since = 0.0
        self._since = 0.0
        self._started_ns = 0
        self.peer = ""

    # -- the event loop calls these ------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client connected (after the TLS handshake, if any)."""
        site = self._site
        self._transport = transport = cast("asyncio.Transport", transport)  # uvloop's own class
        self._connections.add(self)
        self._since = site.loop.time()
        site.stats.accepted += 1
        site.stats.connections += 1
        high = site.limits.write_buffer_bytes
        transport.set_write_buffer_limits(high=high, low=high // 4)
        peer: tuple[str, int] | str | None = transport.get_extra_info("peername")
        self.peer = peer[0] if isinstance(peer, tuple) else ""
        if len(self._connections) > site.limits.connections:
            self._refuse(
                Overloaded("Too many connections.", limit=site.limits.connections, retry_after_s=1.0),
                lingering=False,
            )

    def data_received(self, data: bytes) -> None:
        """Bytes arrived; what they mean depends on the phase."""
        phase = self._phase
        if phase == IDLE:
            self._started_ns = time.monotonic_ns()
            self._take_head(data)
        elif phase == BODY:
            self._take_body(data)
        elif phase == HEAD:
            self._more_head(data)
        elif phase == BUSY:
            self._hold(data)

    def eof_received(self) -> bool | None:
        """The client will send no more: gone, if a reply is owed. The transport then closes itself."""
        self._client_gone()
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed, by either side."""
        self._phase = CLOSED
        self._client_gone()
        self._connections.discard(self)
        self._site.stats.connections -= 1
        self._forget_body()
        self._raw = None
        if self._site.draining:
            self._site.note_quiet()

    def pause_writing(self) -> None:
        """The client is more than the high-water mark behind."""
        self._write_paused = True
        self._unsent_since = self._site.loop.time()
        self._unsent = self._transport.get_write_buffer_size()
        if self._responder is not None:
            self._responder.pause()

    def resume_writing(self) -> None:
        """The client caught up."""
        self._write_paused = False
        if self._responder is not None:
            self._responder.resume()

    # -- a request arrives ---------------------------------------------------------------------------------------

    def _take_head(self, data: bytes) -> None:
        """`data` starts a request, and often is all of it."""
        while data[:2] == b"\r\n":
            data = data[2:]  # RFC 9112 section 2.2: empty lines before a request are forgiven
        end = data.find(b"\r\n\r\n") + 4
        limit = self._site.limits.header_bytes
        if end == 3:
            self._more_head(data)
            return
        if end > limit:
            self._refuse(HeadTooLarge(field="headers", value=end, limit=limit))
            return
        try:
            request = self._site.heads.parse(data if end == len(data) else data[:end])
        except PenstockError as refusal:
            self._refuse(refusal)
            return
        request.peer = self.peer
        request.received_ns = self._started_ns
        size = request.length
        have = len(data) - end
        if 0 <= size <= have:
            if size:
                request.body = data[end : end + size]
            if size < have:
                self._raw = bytearray(data[end + size :])
            self._dispatch(request)
        else:
            self._await_body(request, data[end:])

    def _more_head(self, data: bytes) -> None:
        """A head in pieces: keep them until the empty line, within the bound and the timer."""
        raw = self._raw
        if raw is None:
            raw = self._raw = bytearray()
            self._phase = HEAD
            self._since = self._site.loop.time()
        start = max(len(raw) - 3, 0)
        raw += data
        found = raw.find(b"\r\n\r\n", start)
        if found >= 0:
            self._raw = None
            self._phase = IDLE
            self._take_head(bytes(raw))
        elif len(raw) > self._site.limits.header_bytes:
            self._refuse(HeadTooLarge(field="headers", value=len(raw), limit=self._site.limits.header_bytes))
        elif _BARE_LF.search(raw, start):
            self._refuse(MalformedRequest("Malformed HTTP request: a line ends in LF without CR."))
        elif not raw:
            self._raw = None
            self._phase = IDLE

    def _await_body(self, request: Request, data: bytes) -> None:
        self._phase = BODY
        self._since = self._site.loop.time()
        self._request = request
        self._chunks = ChunkDecoder() if request.length == CHUNKED else None
        if request.expects_continue and not data:
            self._transport.write(_CONTINUE)
        if data:
            self._take_body(data)

    def _take_body(self, data: bytes) -> None:
        """More of the body; dispatch at its end and keep what follows it."""
        request = self._request
        if request is None:
            return
        body = self._body
        before = len(body)
        if self._chunks is None:
            need = request.length - before
            rest = data[need:]
            body += data[:need] if rest else data
            done = len(body) == request.length
        else:
            try:
                pieces, rest = self._chunks.feed(data)
            except PenstockError as refusal:
                self._refuse(refusal)
                return
            for piece in pieces:
                body += piece
            done = self._chunks.done
        stats, limits = self._site.stats, self._site.limits
        stats.buffered_body_bytes += len(body) - before
        if len(body) > limits.body_bytes:
            self._refuse(BodyTooLarge(field="body", limit=limits.body_bytes))
        elif stats.buffered_body_bytes > limits.buffered_body_bytes:
            self._refuse(Overloaded("Too many request bytes are in memory.", retry_after_s=1.0))
        elif done:
            request.body = bytes(body)
            if rest:
                self._raw = bytearray(rest)
            self._forget_body()
            self._dispatch(request)

    def _forget_body(self) -> None:
        self._site.stats.buffered_body_bytes -= len(self._body)
        self._body = bytearray()
        self._request = None
        self._chunks = None

    def _dispatch(self, request: Request) -> None:
        """The request is complete: answer it here if it is the browser's preflight or the door refuses it, else hand
        it on.
        """
        self._phase = BUSY
        site = self._site
        responder = self._responder = Responder(self._transport, site, self._reply_done, request)
        responder.paused = self._write_paused
        if (origin := request.header(b"origin")) is not None:
            if site.cors is not None:
                responder.add_headers(site.cors.reply_headers(origin))
            if is_preflight(request):
                self._preflight(request, responder)
                return
        if site.door is not None and (refusal := site.door(request)) is not None:
            site.stats.requests += 1
            site.stats.refused += 1
            responder.send(*refusal)
            return
        site.spawn(request, responder)

    def _preflight(self, request: Request, responder: Responder) -> None:
        site = self._site
        site.stats.requests += 1
        try:
            responder.send(204, answer_preflight(site.cors, request), b"")
        except PenstockError as refusal:
            site.stats.refused += 1
            responder.send(*site.render(refusal, request.path))

    # -- after the reply -----------------------------------------------------------------------------------------

    def _reply_done(self) -> None:
        """The reply is in the socket's buffer: next request, or the end."""
        responder, self._responder = self._responder, None
        self._since = self._site.loop.time()
        if responder is None or not responder.keep_alive:
            self._linger()
        elif self._raw is not None:
            # BUSY until then; a later turn of the loop, so that many pipelined requests never nest
            self._site.loop.call_soon(self._next)
        else:
            self._phase = IDLE

    def _next(self) -> None:
        """Serve what was read ahead."""
        if self._phase != BUSY or self._responder is not None:
            return
        raw, self._raw = self._raw, None
        self._phase = IDLE
        if self._read_paused:
            self._read_paused = False
            self._transport.resume_reading()
        if raw:
            self.data_received(bytes(raw))

    def _hold(self, data: bytes) -> None:
        """Keep bytes that came before their turn; past the bound, stop reading."""
        if self._raw is None:
            self._raw = bytearray(data)
        else:
            self._raw += data
        if len(self._raw) > self._site.limits.pipeline_bytes and not self._read_paused:
            self._read_paused = True
            self._transport.pause_reading()

    # -- ends ----------------------------------------------------------------------------------------------------

    def _refuse(self, error: PenstockError, *, lingering: bool = True) -> None:
        """Answer a request that never became one, then close: after it, the stream's framing is not to be trusted."""
        site = self._site
        site.stats.refused += 1
        path = self._request.path if self._request is not None else ""
        self._forget_body()
        self._raw = None
        status, headers, body = site.render(error, path)
        allow = b"allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n" if status == 405 else b""
        tail = b"content-length: %d\r\nconnection: close\r\n\r\n" % len(body)
        self._transport.write(b"".join((site.prefix(status), headers, allow, tail, body)))
        if lingering:
            self._linger()
        else:
            self._phase = CLOSED
            self._transport.close()

    def _linger(self) -> None:
        """Close our side, and drop what still arrives for a while: closing at once would reset the reply away."""
        self._phase = LINGER
        self._since = self._site.loop.time()
        self._raw = None
        if self._read_paused:
            self._read_paused = False
            self._transport.resume_reading()
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:
            self._transport.close()

    def _client_gone(self) -> None:
        responder, self._responder = self._responder, None
        if responder is not None and not responder.complete:
            self._site.stats.clients_gone += 1
            responder.client_gone()

    def close_idle(self, since: float = inf) -> None:
        """Close now if no request is under way and none was after `since` (loop time)."""
        if self._phase == IDLE and self._since <= since:
            self._phase = CLOSED
            self._transport.close()

    def cut(self) -> None:
        """Close at once, whatever is under way."""
        self._transport.abort()

    def check(self, now: float) -> None:
        """The sweep: end what has taken too long. `now` is the loop's time in seconds."""
        if self._write_paused:
            self._check_writing(now)
        phase = self._phase
        if phase == BUSY:
            return
        limits = self._site.limits
        waited = now - self._since
        if phase == IDLE:
            if waited > limits.idle_timeout_s:
                self._site.stats.timed_out += 1
                self.close_idle()
                self._since = now
        elif phase == HEAD:
            if waited > limits.header_timeout_s:
                self._time_out("headers", limits.header_timeout_s)
        elif phase == BODY:
            if waited > limits.body_timeout_s + len(self._body) / limits.body_rate_bytes_per_s:
                self._time_out("body", limits.body_timeout_s)
        elif waited > (
            limits.linger_s if not self._transport.get_write_buffer_size() else limits.write_idle_s
        ):
            self._transport.abort()

    def _time_out(self, what: str, limit_s: float) -> None:
        self._site.stats.timed_out += 1
        self._refuse(SlowRequest(field=what, limit=f"{limit_s:g} s"))

    def _check_writing(self, now: float) -> None:
        """Cut a client that has taken nothing for `write_idle_s`."""
        unsent = self._transport.get_write_buffer_size()
        if unsent < self._unsent:
            self._unsent_since = now
        self._unsent = unsent
        if now - self._unsent_since > self._site.limits.write_idle_s:
            self._site.stats.clients_cut += 1
            self._transport.abort()
