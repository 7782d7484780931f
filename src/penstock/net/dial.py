"""Opening a connection to an upstream: DNS, TCP, TLS, and an HTTP proxy in between when one is configured.

Promise: within `connect_s` in all, or a CallTimedOut (`connect_timeout`); every other trouble is a CallFailed
(`connect_failed`). Both say `dispatched=False`: no byte of the request has been sent.
"""

from __future__ import annotations

import asyncio
import base64
import socket
import ssl as tls
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast
from urllib.parse import unquote, urlsplit

from penstock.kernel.errors import Invalid
from penstock.net.failures import CallFailed, CallTimedOut
from penstock.net.pool import Origin
from penstock.net.wire import Wire

_PROXY_HEAD_BYTES = 8 * 1024


@dataclass(frozen=True, slots=True)
class HttpProxy:
    """A forward proxy: absolute targets for http origins, a CONNECT tunnel for https ones."""

    host: str
    port: int
    authorization: bytes
    """A `proxy-authorization` line with its CRLF, or nothing."""

    @classmethod
    def parse(cls, url: str) -> HttpProxy:
        """From `http://[user:password@]host:port`. Raises Invalid."""
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            raise Invalid("A proxy must be given as http://[user:password@]host:port.", field="proxy")
        line = b""
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
            line = b"proxy-authorization: Basic %b\r\n" % base64.b64encode(pair)
        return cls(parts.hostname, parts.port or 80, line)


class _TunnelReply(asyncio.Protocol):
    """Reads a proxy's answer to CONNECT, up to its empty line and no further."""

    def __init__(self) -> None:
        self._raw = b""
        self.status: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        """Collect the head."""
        self._raw += data
        if self.status.done():
            return
        if b"\r\n\r\n" in self._raw:
            words = self._raw.split(b" ", 2)
            self.status.set_result(int(words[1]) if len(words) > 1 and words[1].isdigit() else 0)
        elif len(self._raw) > _PROXY_HEAD_BYTES:
            self.status.set_result(0)

    def connection_lost(self, exc: Exception | None) -> None:
        """The proxy hung up."""
        if not self.status.done():
            self.status.set_result(0)


async def dial(
    origin: Origin,
    protocol: Callable[[], Wire],
    *,
    connect_s: float,
    context: tls.SSLContext | None,
    proxy: HttpProxy | None,
) -> Wire:
    """Connect to `origin`; `context` is required for https."""
    try:
        async with asyncio.timeout(connect_s):
            if proxy is not None and context is not None:
                return await _through_tunnel(origin, protocol(), context, proxy)
            host, port = (origin.host, origin.port) if proxy is None else (proxy.host, proxy.port)
            loop = asyncio.get_running_loop()
            server_hostname = origin.host if context is not None else None
            transport, wire = await loop.create_connection(
                protocol, host, port, ssl=context, server_hostname=server_hostname
            )
            _keep_alive(transport)
            return wire
    except TimeoutError:
        raise CallTimedOut(
            f"No connection to {origin} in time.",
            code="connect_timeout",
            dispatched=False,
            limit=f"{connect_s:g} s",
        ) from None
    except (OSError, tls.SSLError, tls.CertificateError, UnicodeError) as error:
        raise CallFailed(
            f"Cannot connect to {origin}: {error}.", code="connect_failed", dispatched=False
        ) from None


async def _through_tunnel(origin: Origin, wire: Wire, context: tls.SSLContext, proxy: HttpProxy) -> Wire:
    loop = asyncio.get_running_loop()
    transport, reply = await loop.create_connection(_TunnelReply, proxy.host, proxy.port)
    try:
        authority = f"[{origin.host}]" if ":" in origin.host else origin.host
        target = f"{authority}:{origin.port}".encode("ascii")
        transport.write(b"CONNECT %b HTTP/1.1\r\nhost: %b\r\n%b\r\n" % (target, target, proxy.authorization))
        status = await reply.status
        if not 200 <= status < 300:
            raise ConnectionError(f"the proxy answered CONNECT with {status or 'nonsense'}")
        _keep_alive(transport)
        secured = await loop.start_tls(transport, wire, context, server_hostname=origin.host)
    except BaseException:  # because a half-made tunnel must not outlive its caller, cancelled ones included
        transport.abort()
        raise
    wire.connection_made(cast("asyncio.BaseTransport", secured))
    return wire


def _keep_alive(transport: asyncio.BaseTransport) -> None:
    """Find dead upstreams without traffic: 10 s idle, then three probes 5 s apart."""
    sock = transport.get_extra_info("socket")
    if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 10)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
