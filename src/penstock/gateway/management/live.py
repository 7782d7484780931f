"""Live views: server-sent events (WHATWG HTML §9.2) that are bounded, and end when whoever looks on may no more.

    a source ──(frames, within a second)──▶ `EventStream` ──▶ the client, with its back-pressure

Promises: as many views are open as there are seats, and one caller holds at most so many of them; what waits for a slow
reader is bounded by its source, a frame is made only when the last one was taken; a view that has nothing to say says
so every `KEEP_ALIVE_S` seconds; it ends when the client leaves, within a second when the server drains, and within
`CHECK_S` seconds and one more when its caller's session or key ended or reaches elsewhere; an error after the first
byte is an event called `error`.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import AbstractAsyncContextManager, aclosing, contextmanager
from dataclasses import dataclass
from itertools import repeat
from typing import Any, Final, Protocol

from fastapi.responses import Response
from starlette.types import Receive, Scope, Send

from penstock.dialects.openai_errors import render_error
from penstock.kernel.clock import Clock
from penstock.kernel.context import Principal
from penstock.kernel.errors import Broken, Overloaded, PenstockError, Unauthenticated

SEATS: Final = 64
SEATS_PER_CALLER: Final = 8
KEEP_ALIVE_S: Final = 10.0
CHECK_S: Final = 2.0
WAIT_S: Final = 1.0
"""A source is asked at least so often, so that a drain and a revocation are noticed without it."""
RETRY_S: Final = 5.0
_BEGIN: Final = b"retry: 2000\n: live\n\n"
_ALIVE: Final = b": live\n\n"
_HEADERS: Final = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # nginx would hold events back
]


def frame(event: str, data: bytes) -> bytes:
    """Return one event; `data` is JSON on one line."""
    return b"event: %b\ndata: %b\n\n" % (event.encode(), data)


class Source(Protocol):
    """What a live view shows."""

    async def next(self, within_s: float) -> list[bytes]:
        """Return the frames that are due, waiting at most `within_s` seconds for one; [] when there is none."""
        ...

    def last(self) -> list[bytes]:
        """Return what is still to be said when the view ends."""
        ...

    @property
    def ended(self) -> bool:
        """Whether nothing will come any more."""
        ...


class Seats:
    """Who looks on. There is one of these per process."""

    def __init__(self, most: int = SEATS, per_caller: int = SEATS_PER_CALLER) -> None:
        """Let at most `most` views be open, of one caller at most `per_caller`."""
        self._most = most
        self._per_caller = per_caller
        self._taken: Counter[tuple[str, ...]] = Counter()

    @property
    def taken(self) -> int:
        """How many views are open."""
        return self._taken.total()

    @contextmanager
    def take(self, who: Principal) -> Generator[None]:
        """Hold a seat. Raises Overloaded when there is none."""
        name = (who.org, who.team, who.user)
        if self._taken[name] >= self._per_caller:
            raise _too_many(self._per_caller, "You have too many live views open.", "Close one of them.")
        if self.taken >= self._most:
            raise _too_many(
                self._most, "Too many live views are open.", "Read the lists instead, or try again soon."
            )
        self._taken[name] += 1
        try:
            yield
        finally:
            self._taken[name] -= 1
            if not self._taken[name]:
                del self._taken[name]


class Pace:
    """Admits at most `most` in any `period_s` seconds."""

    __slots__ = ("_most", "_period_s", "_times")

    def __init__(self, most: int, period_s: float = 1.0) -> None:
        """Begin with everything admitted."""
        self._most = most
        self._period_s = period_s
        self._times: deque[float] = deque(maxlen=most)

    def admits(self, wanted: int, now_s: float) -> int:
        """Return how many of `wanted` may pass now (monotonic seconds); they have passed."""
        times = self._times
        while times and now_s - times[0] >= self._period_s:
            times.popleft()
        passing = min(wanted, self._most - len(times))
        times.extend(repeat(now_s, passing))
        return passing


@dataclass(frozen=True, slots=True)
class View:
    """One live view: who looks on, whether they still may, what is shown, and when everything ends."""

    who: Principal
    seats: Seats
    clock: Clock
    opened: Callable[[], AbstractAsyncContextManager[Source]]
    still_may: Callable[[], Awaitable[bool]]
    draining: Callable[[], bool]

    async def frames(self) -> AsyncGenerator[bytes]:
        """Yield what is to be sent until the view ends, beginning with something, so that the head leaves."""
        async with self.opened() as source:
            yield _BEGIN
            checked_s = said_s = self.clock.monotonic_s()
            while not self.draining() and not source.ended:
                due = await source.next(WAIT_S)
                now_s = self.clock.monotonic_s()
                if now_s - checked_s >= CHECK_S:
                    # What was due meanwhile is not shown to somebody who may no more.
                    if not await self.still_may():
                        yield told(Unauthenticated("This view has ended.", code="signed_out"))
                        return
                    checked_s = now_s
                if due:
                    said_s = now_s
                    yield b"".join(due)
                elif now_s - said_s >= KEEP_ALIVE_S:
                    said_s = now_s
                    yield _ALIVE
            if rest := source.last():
                yield b"".join(rest)


class EventStream(Response):
    """The reply of a live view. The seat and the source are taken before its first byte, and given back at its end."""

    media_type = "text/event-stream"

    def __init__(self, view: View) -> None:
        """Show `view`."""
        super().__init__()
        self._view = view

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve until the view ends or the client leaves."""
        with self._view.seats.take(self._view.who):
            tasks = (asyncio.create_task(self._send(send)), asyncio.create_task(_gone(receive)))
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
                results = await asyncio.gather(*tasks, return_exceptions=True)
            failure = results[0]
            if isinstance(failure, Exception):
                raise failure

    async def _send(self, send: Send) -> None:
        begun = False
        async with aclosing(self._told(self._view.frames())) as frames:
            async for data in frames:
                if not begun:
                    begun = True
                    await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
                await send({"type": "http.response.body", "body": data, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _told(self, frames: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
        """Yield the frames; an error after the first one is the last of them."""
        begun = False
        try:
            async with aclosing(frames) as each:
                async for data in each:
                    yield data
                    begun = True
        except PenstockError as error:
            if not begun:
                raise
            yield told(error)
        except Exception:  # because once bytes have left, whatever went wrong must be told in their form
            if not begun:
                raise
            yield told(Broken("A live view failed."))


def told(error: PenstockError) -> bytes:
    """Return an error as an event."""
    return frame("error", render_error(error)[1])


async def _gone(receive: Receive) -> None:
    """Return when the client has left."""
    message: Any = await receive()
    while message["type"] != "http.disconnect":
        message = await receive()


def _too_many(limit: int, message: str, remedy: str) -> Overloaded:
    return Overloaded(message, code="too_many_watchers", limit=limit, remedy=remedy, retry_after_s=RETRY_S)
