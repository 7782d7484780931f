"""Replies that come event by event.

    EventStream      async with … as stream: async for value in stream
    ├── Live         what happens, for as long as one looks
    └── ChatStream   an answer as it is written        (nouns/chat.py)

Promises: nothing is sent before the stream is entered; what came is handed over before the error that ended it; at its
end, at an error, when the reader is cancelled or leaves, the reply is closed and the server knows at once; no more is
read ahead than one piece, so a slow reader slows the server.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Generic, Self, TypeVar

import msgspec

from penstock.kernel.errors import Invalid, Unavailable, Upstream
from penstock.net.sse import SseEvent, SseParser
from penstock.sdk.failures import error_within
from penstock.sdk.transport import Incoming

Query = Mapping[str, str | float | None]
T = TypeVar("T")


class EventStream(Generic[T]):
    """The values of a reply of server-sent events, each as it comes. Read by one task."""

    def __init__(self, begin: Callable[[], Awaitable[Incoming]]) -> None:
        """`begin` sends the request; it is called when the stream is entered."""
        self._begin = begin
        self._incoming: Incoming | None = None
        self._parser = SseParser()
        self._events: deque[SseEvent] = deque()
        self._closed = False

    async def __aenter__(self) -> Self:
        """Send the request and wait for the head of its reply. Raises PenstockError."""
        if self._incoming is not None or self._closed:
            raise Invalid("A stream is read once.", code="stream_used", remedy="Ask for a new one.")
        self._incoming = await self._begin()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def __aiter__(self) -> Self:
        """Iterate over what comes."""
        return self

    async def __anext__(self) -> T:
        """Return the next value. Raises PenstockError when there will be no proper end."""
        if self._incoming is None:
            raise Invalid(
                "This stream is not open.",
                code="stream_not_open",
                remedy="`async with … as stream`, then read.",
            )
        try:
            while True:
                while self._events:
                    value = self._read(self._events.popleft())
                    if value is not None:
                        return value
                if self._closed or not await self._more(self._incoming):
                    raise StopAsyncIteration
        except (
            BaseException
        ):  # because a reader that is cancelled, or reads nonsense, must not leave the server writing
            self.close()
            raise

    def close(self) -> None:
        """Be done with it: a reply that was not read to its end is cut. Idempotent."""
        self._closed = True
        self._events.clear()
        if self._incoming is not None:
            self._incoming.close()

    async def _more(self, incoming: Incoming) -> bool:
        """Take one more piece; False at the reply's end."""
        data = await incoming.chunk()
        self._events.extend(self._parser.feed(data))
        return bool(data)

    def _read(self, event: SseEvent) -> T | None:
        """Return an event's value, None when it has none for the reader. Raises what an event of an error says."""
        raise error_within(event.data or b"") or Upstream(
            "An event without a meaning came.", code="malformed_event"
        )


class Live(EventStream[T]):
    """What happens, as it happens. It has no end of its own; it ends when the server drains."""

    def __init__(self, begin: Callable[[], Awaitable[Incoming]], event: bytes, kind: type[T]) -> None:
        """Read the events called `event` as a `kind`; other names are for newer clients."""
        super().__init__(begin)
        self._event = event
        self._decoder = msgspec.json.Decoder(kind)
        self._skipped = 0

    @property
    def skipped(self) -> int:
        """How many the server left out, because more came than it tells."""
        return self._skipped

    def _read(self, event: SseEvent) -> T | None:
        """Return the value of an event."""
        data = event.data or b""
        if event.event == b"error":
            raise error_within(data) or Unavailable("The server ended its stream.", code="stream_cut")
        try:
            if event.event == b"skipped":
                self._skipped += msgspec.json.decode(data, type=_Skipped).count
            elif event.event == self._event:
                return self._decoder.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Upstream(f"An event was not understood: {error}.", code="malformed_event") from None
        return None


class _Skipped(msgspec.Struct, frozen=True):
    count: int
