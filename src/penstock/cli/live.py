"""What is looked at until Ctrl-C: a stream that is taken up again when the server restarts, and a picture of it.

    follow   hands over every value, says when the server is gone, and connects again, ever more slowly
    paint    draws the latest picture over the last one, at most four times a second

Promises: a server that was never there is an error at once, one that goes away is waited for; what was refused (a key,
a role) is never asked for again; the delay between attempts is bounded; a screen of any size is never drawn over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Final, NoReturn, TypeVar

from rich.console import Console, RenderableType
from rich.live import Live as Picture

from penstock.kernel.errors import Unavailable
from penstock.sdk.streams import Live

REPAINT_S: Final = 0.25
LOOK_S: Final = 1.0
"""A picture is looked at so often, in case the terminal has another size now."""
FIRST_DELAY_S: Final = 0.5
LONGEST_DELAY_S: Final = 5.0
STEADY_S: Final = 10.0
"""A stream that lasted so long was a good one: the next delay is the first again."""
RESTARTING: Final = "The server stops or restarts."
T = TypeVar("T")


async def follow(
    opened: Callable[[], Live[T]],
    seen: Callable[[T, int], None],
    lost: Callable[[str], None],
    *,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> NoReturn:
    """Hand each value to `seen`, with how many the server has skipped on this stream, until cancelled.

    `lost` is told in a sentence that the stream broke off, and "" when there is another. Raises what the first attempt
    meets, and whatever is not Unavailable.
    """
    clock = asyncio.get_running_loop().time
    delay_s, began_s = FIRST_DELAY_S, None
    while True:
        try:
            async with opened() as live:
                if began_s is not None:
                    lost("")
                began_s = clock()
                async for value in live:
                    seen(value, live.skipped)
            reason = RESTARTING
        except Unavailable as error:
            if began_s is None:
                raise
            reason = error.message
        delay_s = FIRST_DELAY_S if clock() - began_s > STEADY_S else delay_s
        began_s = clock()
        lost(f"{reason} Trying again in {delay_s:g} s.")
        await sleep(delay_s)
        delay_s = min(delay_s * 2, LONGEST_DELAY_S)


async def paint(
    page: Console,
    draw: Callable[[], RenderableType],
    changed: asyncio.Event,
    *,
    alternate: bool = False,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> NoReturn:
    """Draw whenever `changed` is set or the terminal has another size, at most every `REPAINT_S`, until cancelled.

    The cursor is hidden meanwhile, and shown again whatever happens. `alternate` draws on the terminal's second screen.
    """
    # auto_refresh would be a thread; what others print is none of ours.
    with Picture(
        console=page,
        auto_refresh=False,
        screen=alternate,
        redirect_stdout=False,
        redirect_stderr=False,
        vertical_overflow="crop",
    ) as picture:
        size = None
        while True:
            try:
                async with asyncio.timeout(LOOK_S):
                    await changed.wait()
            except TimeoutError:
                if page.size == size:
                    continue
            changed.clear()
            size = page.size
            picture.update(draw(), refresh=True)
            await sleep(REPAINT_S)


async def together(*works: Coroutine[object, object, None]) -> None:
    """Run `works` until the first of them ends, end the others, and raise what it raised."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
