"""A stream as one JSON array instead of events: what Gemini sends to a caller who did not ask for ``alt=sse``."""

from __future__ import annotations

from penstock.dialects.gemini import JsonArray
from penstock.gateway.client import Client
from penstock.gateway.faces import JSON_TYPE
from penstock.gateway.relay import STREAM_TYPE


class ArrayClient:
    """Stands between the relay and the client and turns events into elements of an array."""

    __slots__ = ("_array", "_client")

    def __init__(self, client: Client) -> None:
        """Write to `client`."""
        self._client = client
        self._array = JsonArray()

    @property
    def gone(self) -> bool:
        """The client has left."""
        return self._client.gone

    @property
    def paused(self) -> bool:
        """The client is behind."""
        return self._client.paused

    @property
    def started(self) -> bool:
        """Bytes have left."""
        return self._client.started

    @property
    def complete(self) -> bool:
        """The reply has ended."""
        return self._client.complete

    def send(self, status: int, headers: bytes, body: bytes) -> None:
        """Send a whole reply: an error is an object, an answer that came whole an array of one."""
        self._client.send(status, headers, body if status >= 400 else b"[%b]" % body)

    def begin(self, status: int, headers: bytes) -> None:
        """Begin the array."""
        self._client.begin(status, JSON_TYPE + headers.removeprefix(STREAM_TYPE))

    def write(self, data: bytes) -> None:
        """Send whole events as elements."""
        elements = self._array.add(data)
        if elements:
            self._client.write(elements)

    def finish(self, tail: bytes = b"") -> None:
        """Send the last events and close the array."""
        self._client.finish(self._array.add(tail) + self._array.end())

    async def drain(self) -> None:
        """Wait until the client has caught up."""
        await self._client.drain()
