"""A live page's stream to the browser: what the platform tells, as HTML in server-sent events.

    platform (sdk Live) → what came since the last look → one fragment → `event: paint` → live.js

Promises: the stream has a client of its own, closed with it; a browser that leaves ends it at once; it says something
at least every 10 s; it ends after 10 minutes, and when the platform drains, so that whoever was signed out meanwhile
learns it by coming back; an error on the way is told as `event: problem`. It paints at most every `PAINT_S` seconds,
and seldomer when all pages together would take more of the event loop than they are allowed: requests go first. How
often it paints then, and how much that came was never shown, is told as `event: pace`.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from starlette.responses import Response, StreamingResponse

from penstock.console import security
from penstock.console.visits import Visit
from penstock.kernel.errors import PenstockError
from penstock.sdk.client import Client
from penstock.sdk.streams import Live

LIFE_S: Final = 600.0
LOOK_S: Final = 1.0
"""How often a silent stream looks whether it should end."""
SILENCES: Final = 10
"""After so many silent looks the stream says that it is still there."""
PAINT_S: Final = 0.25
SLOW_S: Final = 1.0
"""From this on it is told how seldom a page is painted."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Show(Generic[T]):
    """What a page shows: what it listens to, how the latest that came (at most `most`, oldest first) becomes HTML, and
    whether what is not among them is missing on the page, or was only an earlier state of it.
    """

    listen: Callable[[Client], Live[T]]
    draw: Callable[[Sequence[T]], str]
    most: int = 1
    misses: bool = False


def stream(visit: Visit, show: Show[T]) -> Response:
    """Answer with what `show` is about, drawn as HTML."""
    return StreamingResponse(
        _events(visit, show),
        media_type="text/event-stream",
        headers={"x-accel-buffering": "no", "cache-control": "no-store"},
    )


async def _events(visit: Visit, show: Show[T]) -> AsyncIterator[str]:
    token = security.session_token(visit.request, secure=visit.console.secure)
    yield "retry: 1000\n\n"
    async with visit.console.connect(token, visit.peer) as client:
        try:
            async with show.listen(client) as live, aclosing(_Painter(visit, show, live).events()) as events:
                async for each in events:
                    yield each
        except PenstockError as error:
            yield event("problem", visit.fragment("parts/problem.html", problem=error))


class _Painter(Generic[T]):
    """One page's stream: hears all that comes, and paints when it is time."""

    def __init__(self, visit: Visit, show: Show[T], live: Live[T]) -> None:
        self._visit = visit
        self._clock = visit.console.clock
        self._show = show
        self._live = live
        self._came: deque[T] = deque(maxlen=show.most)
        self._pushed_out = 0
        self._paints_s = 0.0
        """When the next fragment may be drawn."""
        self._told = (0, 0)
        """How often it paints and how much is missing, as last told."""

    async def events(self) -> AsyncGenerator[str, None]:
        """Yield events until either side ends."""
        ends_s = self._clock.monotonic_s() + LIFE_S
        waiting: asyncio.Task[T] | None = None
        silences = 0
        try:
            while self._clock.monotonic_s() < ends_s and not self._visit.console.draining():
                waiting = waiting or asyncio.ensure_future(anext(self._live))
                await asyncio.wait((waiting,), timeout=self._patience_s())
                has_come = waiting.done()
                if waiting.done():
                    done, waiting = waiting, None
                    try:
                        self._hear(done.result())
                    except StopAsyncIteration:
                        break
                if self._came and self._patience_s() <= 0:
                    yield self._paint()
                silences = 0 if has_come or self._came else silences + 1
                if silences >= SILENCES:
                    silences = 0
                    yield ": still here\n\n"
            if self._came:
                yield self._paint()
        finally:
            if waiting is not None:
                waiting.cancel()
                with suppress(asyncio.CancelledError, StopAsyncIteration, PenstockError):
                    await waiting

    def _patience_s(self) -> float:
        """Return how long to wait for more."""
        if not self._came:
            return LOOK_S
        return min(LOOK_S, max(0.0, self._paints_s - self._clock.monotonic_s()))

    def _hear(self, value: T) -> None:
        self._pushed_out += len(self._came) == self._show.most
        self._came.append(value)

    def _paint(self) -> str:
        """Draw what came, and pay for it."""
        began_s = self._clock.monotonic_s()
        html = self._show.draw(tuple(self._came))
        self._came.clear()
        now_s = self._clock.monotonic_s()
        rest_s = max(PAINT_S, self._visit.console.drawing.rest_s(now_s - began_s))
        self._paints_s = now_s + rest_s
        return event("paint", html) + self._pace(rest_s)

    def _pace(self, rest_s: float) -> str:
        """Say how often the page is painted and how much it misses, when that is news."""
        missing = self._live.skipped + self._pushed_out if self._show.misses else 0
        pace = (round(rest_s) if rest_s >= SLOW_S else 0, missing)
        if pace == self._told:
            return ""
        self._told = pace
        return event("pace", json.dumps({"every_s": pace[0], "missing": pace[1]}))


def event(name: str, html: str) -> str:
    """Return one event; a fragment of several lines is several lines of data."""
    lines = "".join(f"data: {line}\n" for line in html.splitlines())
    return f"event: {name}\n{lines}\n"
