"""How a client reaches the platform: one request, one reply, whole or as it comes; here over HTTP.

    Transport                 the promise
    ├── HttpTransport         a server at a URL                    (this file)
    └── InProcessTransport    the handler of a server in here      (in_process.py)

Promises, of both: the key goes into the header and nowhere else, no error shows it; every call is bounded in time and
size, unread bytes of a stream by 64 KiB; a reply with a status of 400 or more is raised as the error it stands for; a
reply that was cut never looks whole; `close` of a stream lets the server know at once; only a GET is ever sent twice,
and only when its kept connection turned out closed before any byte of a reply.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple, Protocol

from penstock.kernel.errors import Invalid, Overloaded, PenstockError, TimedOut, Unavailable
from penstock.net.client import CallFailed, CallRefused, CallTimedOut, HttpClient, Origin, Response, Timers
from penstock.net.http1 import Headers, header
from penstock.sdk.failures import error_of

JSON_LINE: Final = b"content-type: application/json\r\n"
REPLY_BYTES_MAX: Final = 16 * 1024 * 1024
CALL: Final = Timers(connect_s=3.0, first_byte_s=60.0, between_chunks_s=30.0, total_s=120.0)
"""The first byte may take long: `ledger verify` walks the whole journal before it answers."""
LIVE: Final = Timers(connect_s=3.0, first_byte_s=30.0, between_chunks_s=30.0, total_s=math.inf)
"""A live stream says at least a comment every 10 s and has no end of its own."""


class Reply(NamedTuple):
    """A whole reply; names of headers are lower-case."""

    status: int
    headers: Headers
    body: bytes


class Incoming(Protocol):
    """A reply that is coming: its head is here."""

    @property
    def status(self) -> int:
        """The HTTP status."""
        ...

    @property
    def headers(self) -> Headers:
        """The header fields, names in lower case."""
        ...

    async def chunk(self) -> bytes:
        """Return the next piece, b"" at the end. Raises Unavailable or TimedOut when there will be no end."""
        ...

    def close(self) -> None:
        """Be done with it: a reply that was not read to its end is cut. Idempotent."""
        ...


class Transport(Protocol):
    """Carries calls to the platform under one key."""

    async def call(
        self, method: str, target: str, body: bytes = b"", *, headers: bytes = b"", timers: Timers = CALL
    ) -> Reply:
        """Return the whole reply; raises the PenstockError that an error reply stands for.

        `headers` are further `name: value` lines, each with its CRLF.
        """
        ...

    async def stream(
        self, method: str, target: str, body: bytes = b"", *, headers: bytes = b"", timers: Timers = CALL
    ) -> Incoming:
        """Return the reply once its head is here, to be read and closed by the caller; raises as `call`."""
        ...

    def under(self, key: str, *, peer: str = "") -> Transport:
        """Return the way to the same platform under another key; it lives as long as this one.

        `peer` is the address of whoever is acted for; it is believed only inside the process.
        """
        ...

    async def close(self) -> None:
        """Let everything go that is this one's own."""
        ...


async def whole(incoming: Incoming, limit_bytes: int = REPLY_BYTES_MAX) -> Reply:
    """Read a reply to its end and close it. Raises Unavailable past `limit_bytes`."""
    parts: list[bytes] = []
    size = 0
    try:
        while piece := await incoming.chunk():
            size += len(piece)
            if size > limit_bytes:
                raise Unavailable("The reply is too large.", code="reply_too_large", limit=limit_bytes)
            parts.append(piece)
    finally:
        incoming.close()
    return Reply(incoming.status, incoming.headers, b"".join(parts))


async def refused(incoming: Incoming) -> PenstockError:
    """Return the error that a reply with a status of 400 or more stands for."""
    reply = await whole(incoming)
    return error_of(reply.status, reply.body, reply.headers)


def key_lines(key: str) -> bytes:
    """Return the header lines of every request under a key ("" for none); Invalid for what cannot be a key."""
    if not key.isascii() or not key.isprintable() or " " in key:
        raise Invalid("The key holds characters that no key has.", field="key", remedy="Copy it again.")
    lines = b"accept: application/json, text/event-stream\r\n" + JSON_LINE
    return lines + b"authorization: Bearer %b\r\n" % key.encode() if key else lines


def head_lines(always: bytes, further: bytes) -> bytes:
    """Return the header lines of one request; a `content-type` among the further ones stands for JSON's."""
    return (always.replace(JSON_LINE, b"") if b"content-type:" in further else always) + further


class HttpTransport:
    """Reaches a server at a base URL, under a key."""

    def __init__(
        self, base_url: str, key: str, *, connections: int = 64, over: HttpClient | None = None
    ) -> None:
        """At most `connections` at a time, or those of `over`, which stays its owner's. Raises Invalid."""
        self._origin, self._path = Origin.parse(base_url)
        self._headers = key_lines(key)
        self._url = base_url
        self._is_own = over is None
        self._client = over or HttpClient(connections_per_origin=connections, idle_max=8)

    def under(self, key: str, *, peer: str = "") -> HttpTransport:
        """Return the way to the same server, over the same connections, under another key."""
        return HttpTransport(self._url, key, over=self._client)

    async def call(
        self, method: str, target: str, body: bytes = b"", *, headers: bytes = b"", timers: Timers = CALL
    ) -> Reply:
        """Return the whole reply. Raises PenstockError."""
        return await whole(await self.stream(method, target, body, headers=headers, timers=timers))

    async def stream(
        self, method: str, target: str, body: bytes = b"", *, headers: bytes = b"", timers: Timers = CALL
    ) -> Incoming:
        """Return the reply once its head is here. Raises PenstockError."""
        try:
            response = await self._client.request(
                self._origin,
                method.encode(),
                (self._path + target).encode(),
                head_lines(self._headers, headers),
                body,
                timers,
                again=method == "GET",
            )
        except (CallFailed, CallRefused, CallTimedOut) as error:
            raise _explained(error, self._url) from None
        incoming = _Received(response, self._url)
        if incoming.status >= 400:
            raise await refused(incoming)
        return incoming

    async def close(self) -> None:
        """Let every connection go."""
        if self._is_own:
            await self._client.close()


class _Received:
    """A reply over HTTP, its failures told as the SDK tells them."""

    __slots__ = ("_response", "_url")

    def __init__(self, response: Response, url: str) -> None:
        self._response = response
        self._url = url

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self._response.status

    @property
    def headers(self) -> Headers:
        """The header fields."""
        return self._response.headers

    async def chunk(self) -> bytes:
        """Return the next piece, b"" at the end."""
        try:
            return await self._response.chunk()
        except (CallFailed, CallTimedOut) as error:
            raise _explained(error, self._url) from None

    def close(self) -> None:
        """Be done with it."""
        self._response.close()


def _explained(error: CallFailed | CallRefused | CallTimedOut, url: str) -> Unavailable:
    """Return a failure of the connection as one of the platform's; what was an upstream is the server here."""
    if error.reason in ("connect_failed", "connect_timeout"):
        return Unavailable(
            "No Penstock answers there.",
            code="server_down",
            field="url",
            value=url,
            remedy="Start it with `penstock up` or `penstock serve`, or name another address with --url.",
        )
    said = f"{error.message.replace('upstream', 'server')} ({url})"
    kind: type[Unavailable] = Unavailable
    if isinstance(error, CallTimedOut):
        kind = TimedOut
    elif isinstance(error, CallRefused):
        kind = Overloaded
    remedy = "Look at the server's log." if error.dispatched else "Make fewer calls at a time."
    return kind(said, code=error.reason, limit=error.limit, remedy=remedy)


def told(headers: Headers, name: bytes) -> str:
    """Return a header's value as text, "" when it is absent."""
    return (header(headers, name) or b"").decode("latin-1")
