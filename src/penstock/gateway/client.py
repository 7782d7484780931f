"""The caller's side of a reply as the gateway sees it.

Promise: what stands here is all the pipeline may do to a client; `net.responder.Responder` is the real one.
"""

from __future__ import annotations

from typing import Protocol


class Client(Protocol):
    """Takes one reply: whole (`send`) or streamed (`begin`, `write`…, `finish`)."""

    @property
    def gone(self) -> bool:
        """The client has left."""
        ...

    @property
    def paused(self) -> bool:
        """The client is behind: `drain` before writing more."""
        ...

    @property
    def started(self) -> bool:
        """Bytes have left: errors must go in-band."""
        ...

    @property
    def complete(self) -> bool:
        """The reply has ended, whole or cut."""
        ...

    def send(self, status: int, headers: bytes, body: bytes) -> None:
        """Send a whole reply."""
        ...

    def begin(self, status: int, headers: bytes) -> None:
        """Begin a stream."""
        ...

    def write(self, data: bytes) -> None:
        """Send one piece; never blocks."""
        ...

    def finish(self, tail: bytes = b"") -> None:
        """Send the last piece and end the stream."""
        ...

    async def drain(self) -> None:
        """Wait until the client has caught up; raises Cancelled if it has left."""
        ...


class Before:
    """What stands before a client and is, but for what it does with a reply, whatever that client is."""

    __slots__ = ("_client",)

    def __init__(self, client: Client) -> None:
        """Stand before `client`."""
        self._client = client

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

    async def drain(self) -> None:
        """Wait until the client has caught up; raises Cancelled if it has left."""
        await self._client.drain()
