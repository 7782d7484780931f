"""How a client reaches a server: one request, one whole reply, over HTTP.

Promises: every call is bounded in time and size; the key goes into the header and nowhere else, no error shows it; a
server that is not there is one sentence with its remedy.
"""

from __future__ import annotations

from typing import Final, Protocol

from penstock.kernel.errors import Invalid, Unavailable
from penstock.net.client import CallFailed, CallRefused, CallTimedOut, HttpClient, Origin, Timers
from penstock.sdk.failures import error_of

REPLY_BYTES_MAX: Final = 16 * 1024 * 1024
TIMERS: Final = Timers(connect_s=3.0, first_byte_s=60.0, between_chunks_s=30.0, total_s=120.0)
"""The first byte may take long: `ledger verify` walks the whole journal before it answers."""


class Transport(Protocol):
    """Carries one call to the platform and brings its reply."""

    async def call(self, method: str, target: str, body: bytes = b"") -> bytes:
        """Return the body of a good reply; raises the PenstockError that an error reply stands for."""
        ...

    async def close(self) -> None:
        """Let every connection go."""
        ...


class HttpTransport:
    """Reaches a server at a base URL, under a key."""

    def __init__(self, base_url: str, key: str, *, timers: Timers = TIMERS) -> None:
        """Raises Invalid for a URL or a key that cannot be one."""
        self._origin, self._path = Origin.parse(base_url)
        if not key.isascii() or not key.isprintable() or " " in key:
            raise Invalid("The key holds characters that no key has.", field="key", remedy="Copy it again.")
        self._url = base_url
        self._headers = b"accept: application/json\r\ncontent-type: application/json\r\n"
        if key:
            self._headers += b"authorization: Bearer %b\r\n" % key.encode()
        self._timers = timers
        self._client = HttpClient(connections_per_origin=4, idle_max=1)

    async def call(self, method: str, target: str, body: bytes = b"") -> bytes:
        """Return the body of a good reply. Raises PenstockError."""
        try:
            reply = await self._client.request(
                self._origin,
                method.encode(),
                (self._path + target).encode(),
                self._headers,
                body,
                self._timers,
            )
            try:
                data = await reply.read(REPLY_BYTES_MAX)
            finally:
                reply.close()
        except (CallFailed, CallRefused, CallTimedOut) as error:
            raise self._unreachable(error) from None
        if reply.status >= 400:
            raise error_of(reply.status, data)
        return data

    def _unreachable(self, error: CallFailed | CallRefused | CallTimedOut) -> Unavailable:
        if error.dispatched:
            return Unavailable(
                f"{error.message} ({self._url})",
                code=error.reason,
                limit=error.limit,
                remedy="Look at its log.",
            )
        return Unavailable(
            "No Penstock answers there.",
            code="server_down",
            field="url",
            value=self._url,
            remedy="Start it with `penstock up` or `penstock serve`, or name another address with --url.",
        )

    async def close(self) -> None:
        """Let every connection go."""
        await self._client.close()
