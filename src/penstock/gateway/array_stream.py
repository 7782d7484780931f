"""A stream as one JSON array instead of events: what Gemini sends to a caller who did not ask for ``alt=sse``."""

from __future__ import annotations

from penstock.dialects.gemini import JsonArray
from penstock.gateway.client import Before, Client
from penstock.gateway.faces import JSON_TYPE
from penstock.gateway.relay import STREAM_TYPE


class ArrayClient(Before):
    """Stands between the relay and the client and turns events into elements of an array."""

    __slots__ = ("_array",)

    def __init__(self, client: Client) -> None:
        """Write to `client`."""
        super().__init__(client)
        self._array = JsonArray()

    def send(self, status: int, headers: bytes, body: bytes) -> None:
        """Send a whole reply: an error is an object, an answer that came whole an array of one."""
        self._client.send(status, headers, body if status >= 400 else b"[%b]" % body)

    def begin(self, status: int, headers: bytes) -> None:
        """Begin the array."""
        self._client.begin(status, JSON_TYPE + headers.removeprefix(STREAM_TYPE))

    def write(self, data: bytes) -> None:
        """Send whole events as elements, and blanks as such."""
        elements = self._array.add(data) if not data.isspace() else data
        if elements:
            self._client.write(elements)

    def finish(self, tail: bytes = b"") -> None:
        """Send the last events and close the array."""
        self._client.finish(self._array.add(tail) + self._array.end())
