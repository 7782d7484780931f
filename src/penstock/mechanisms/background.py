"""Work in the background: how it waits for something to do, and how it ends with the process."""

from __future__ import annotations

import asyncio
from collections.abc import Collection


async def woken(wake: asyncio.Event, within_s: float) -> None:
    """Return once `wake` is set, and clear it; return after `within_s` seconds in any case."""
    try:
        async with asyncio.timeout(within_s):
            await wake.wait()
    except TimeoutError:
        pass
    wake.clear()


async def let_end(tasks: Collection[asyncio.Task[None]], within_s: float) -> None:
    """Leave tasks `within_s` seconds to end by themselves, then cancel them; return when all have ended.

    What they raise is theirs to tell: none of it is raised here.
    """
    if tasks:
        await asyncio.wait(tasks, timeout=within_s)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
