"""One connection to an upstream: its socket, its parser, and the exchange that is using it.

Promises: bytes are read through one 32 KiB buffer shared by all connections of a client, straight into the parser;
a connection is offered for reuse only after a complete reply, with nothing unsent and nothing received beyond it.
"""

from __future__ import annotations

import asyncio
from typing import Protocol, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from penstock.net.failures import CallError, CallFailed
from penstock.net.http1 import Headers, header

READ_BYTES = 32 * 1024
_HEAD_BYTES = (
    64 * 1024
)  # of a reply's head, and of framing (chunk extensions, trailers) without any body between
_HEAD_COUNT = 256


class Exchange(Protocol):
    """Who is told about the reply."""

    status: int
    """Set when the reply's head is complete."""
    headers: Headers

    def body(self, data: bytes) -> None:
        """A piece of the body."""
        ...

    def received(self) -> None:
        """All of one read has been told, and more is to come: wake whoever waits."""
        ...

    def ended(self, error: CallError | None) -> None:
        """The reply is complete (None), or will never be."""
        ...


class Owner(Protocol):
    """Whose connection it is."""

    def give_back(self, wire: Wire) -> None:
        """The connection may serve another request."""
        ...

    def wire_lost(self, wire: Wire) -> None:
        """The connection is closed."""
        ...


class Wire(asyncio.BufferedProtocol):
    """The client's protocol object."""

    __slots__ = (
        "_buffer", "_closed", "_exchange", "_framing_bytes", "_head_done", "_head_only", "_headers", "_keep", "_lost",
        "_owner", "_parser", "_reading", "_started", "_transport", "_view", "idle_since", "used",
    )  # fmt: skip

    def __init__(self, owner: Owner, buffer: bytearray) -> None:
        """`buffer` of READ_BYTES may be shared: it is emptied before the next read of any connection."""
        self._owner = owner
        self._buffer = buffer
        self._view = memoryview(buffer)
        self._transport: asyncio.Transport
        self._parser = HttpResponseParser(self)
        self._exchange: Exchange | None = None
        self._headers: Headers = []
        self._framing_bytes = 0
        self._head_done = self._head_only = self._keep = self._started = self._lost = False
        self._closed = False
        self._reading = True
        self.used = False
        """It has served a request before: a close now may only mean that it was kept too long."""
        self.idle_since = 0.0

    # -- used by the client ---------------------------------------------------------------------------------------

    def start(self, exchange: Exchange, head: bytes, body: bytes, *, head_only: bool) -> None:
        """Send a request. The caller has exclusive use until `Owner.give_back` or `wire_lost`."""
        self._exchange = exchange
        self._headers = []
        self._framing_bytes = 0
        self._head_done = self._started = False
        self._head_only = head_only
        transport = self._transport
        if len(body) <= READ_BYTES:
            transport.write(head + body)
        else:
            transport.write(head)
            transport.write(body)

    def usable(self) -> bool:
        """Open, as far as is known, and free."""
        return not self._lost and self._exchange is None

    def drop(self) -> None:
        """Close at once."""
        self._exchange = None
        self._lost = True
        if not self._closed:
            self._closed = True
            self._transport.abort()

    def pause(self) -> None:
        """Stop reading: the reader is behind."""
        if self._reading and not self._closed:
            self._reading = False
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if not self._reading and not self._closed:
            self._reading = True
            self._transport.resume_reading()

    # -- the event loop calls these -------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected (after TLS, if any)."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own class

    def get_buffer(self, sizehint: int) -> bytearray:
        """Where to read into."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """`nbytes` arrived."""
        exchange = self._exchange
        if exchange is None:  # nobody asked: the upstream is out of step
            self.drop()
            return
        self._started = True
        self._framing_bytes += nbytes
        try:
            self._parser.feed_data(self._view[:nbytes])
        except (HttpParserError, HttpParserUpgrade) as error:
            if self._exchange is not None:
                self._fail(CallFailed(f"The upstream's reply is malformed: {error}.", code="malformed_reply"))
                return
            self._keep = False  # complete, but followed by bytes nobody asked for
        if self._framing_bytes > _HEAD_BYTES and self._exchange is not None:
            self._fail(
                CallFailed(
                    "The upstream's reply has an endless head.", code="malformed_reply", limit=_HEAD_BYTES
                )
            )
            return
        if self._exchange is None:
            self._finish(exchange)
        else:
            exchange.received()

    def eof_received(self) -> bool | None:
        """The upstream closed its side, which ends a body that has no other end. The transport closes itself."""
        self._lost = True
        exchange = self._exchange
        if exchange is not None and self._head_done and _ends_at_close(exchange.status, exchange.headers):
            self._exchange = None
            exchange.ended(None)
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed."""
        self._lost = self._closed = True
        self._fail(None)
        self._owner.wire_lost(self)

    # -- llhttp calls these ---------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """A reply begins. One that nobody asked for must never be taken for the next request's."""
        if self._exchange is None:
            raise ValueError("bytes beyond the reply")

    def on_header(self, name: bytes, value: bytes) -> None:
        """One field, or a trailer, which is dropped."""
        if not self._head_done:
            self._headers.append((name.lower(), value.rstrip()))

    def on_headers_complete(self) -> None:
        """A head is complete: the reply's, or an interim one (1xx) to skip."""
        status = self._parser.get_status_code()
        exchange = self._exchange
        if exchange is None or self._head_done:
            raise ValueError("a second reply")
        headers = self._headers
        if status < 200:
            self._headers = []
            return
        if len(headers) > _HEAD_COUNT:
            raise ValueError("too many header fields")
        self._head_done = True
        exchange.headers = headers
        exchange.status = status
        if self._head_only:
            self._exchange = None
            self._keep = header(headers, b"connection") is None
            self._parser = HttpResponseParser(self)  # the old one still waits for the body HEAD does not have

    def on_body(self, data: bytes) -> None:
        """A piece of the body, without its framing."""
        self._framing_bytes = 0
        if self._exchange is not None:
            self._exchange.body(data)

    def on_message_complete(self) -> None:
        """The reply's last byte (or an interim reply's)."""
        if self._head_done and self._exchange is not None:
            self._exchange = None
            self._keep = self._parser.should_keep_alive()

    # -- ends ------------------------------------------------------------------------------------------------------

    def _finish(self, exchange: Exchange) -> None:
        """After the read that completed the reply: reuse the connection or close it, then tell."""
        self.used = True
        if self._keep and not self._transport.get_write_buffer_size():
            if not self._reading:
                self.resume()
            self._owner.give_back(self)
        else:
            self.drop()
        exchange.ended(None)

    def _fail(self, error: CallError | None) -> None:
        """Tell the exchange that no more will come, and close."""
        exchange = self._exchange
        started = self._started
        head_done = self._head_done
        self.drop()
        if exchange is None:
            return
        if error is None:
            error = (
                CallFailed(
                    "The upstream closed the connection in the middle of its reply.", code="upstream_cut"
                )
                if head_done or started
                else CallFailed(
                    "The upstream closed the connection without a reply.", code="connection_reset"
                )
            )
        exchange.ended(error)


def _ends_at_close(status: int, headers: Headers) -> bool:
    """Whether only the end of the connection ends this body (RFC 9112 section 6.3, rule 8)."""
    if status in (204, 304) or header(headers, b"content-length") is not None:
        return False
    coding = header(headers, b"transfer-encoding")
    return coding is None or not coding.lower().endswith(b"chunked")
