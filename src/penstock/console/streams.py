"""A live page's stream to the browser: what the platform tells, as HTML in server-sent events.

    platform (sdk Live) → a fragment for each value → `event: paint` → live.js

Promises: the stream has a client of its own, closed with it; a browser that leaves ends it at once; it says something
at least every 10 s; it ends after 10 minutes, and when the platform drains, so that whoever was signed out meanwhile
learns it by coming back; an error on the way is told as `event: problem`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, suppress
from typing import Final, TypeVar

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
T = TypeVar("T")


def stream(visit: Visit, listen: Callable[[Client], Live[T]], draw: Callable[[T], str]) -> Response:
    """Answer with what `listen` hears, each value drawn as HTML."""
    return StreamingResponse(
        _events(visit, listen, draw),
        media_type="text/event-stream",
        headers={"x-accel-buffering": "no", "cache-control": "no-store"},
    )


async def _events(
    visit: Visit, listen: Callable[[Client], Live[T]], draw: Callable[[T], str]
) -> AsyncIterator[str]:
    token = security.session_token(visit.request, secure=visit.console.secure)
    yield "retry: 1000\n\n"
    async with visit.console.connect(token, visit.peer) as client:
        try:
            async with listen(client) as live, aclosing(_until_over(visit, live)) as values:
                async for value in values:
                    yield ": still here\n\n" if value is None else event("paint", draw(value))
        except PenstockError as error:
            yield event("problem", visit.fragment("parts/problem.html", problem=error))


async def _until_over(visit: Visit, live: Live[T]) -> AsyncGenerator[T | None, None]:
    """Yield what comes, None when nothing came for a while; end at the end of either side."""
    clock = visit.console.clock
    ends_s = clock.monotonic_s() + LIFE_S
    waiting: asyncio.Task[T] | None = None
    silences = 0
    try:
        while clock.monotonic_s() < ends_s and not visit.console.draining():
            waiting = waiting or asyncio.ensure_future(anext(live))
            await asyncio.wait((waiting,), timeout=LOOK_S)
            if waiting.done():
                done, waiting, silences = waiting, None, 0
                try:
                    value = done.result()
                except StopAsyncIteration:
                    return
                yield value
            elif (silences := silences + 1) >= SILENCES:
                silences = 0
                yield None
    finally:
        if waiting is not None:
            waiting.cancel()
            with suppress(asyncio.CancelledError, StopAsyncIteration, PenstockError):
                await waiting


def event(name: str, html: str) -> str:
    """Return one event; a fragment of several lines is several lines of data."""
    lines = "".join(f"data: {line}\n" for line in html.splitlines())
    return f"event: {name}\n{lines}\n"
