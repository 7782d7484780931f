"""What the tests share: running a coroutine to its end under a ceiling, so that no test can hang."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

import uvloop

T = TypeVar("T")


def run(work: Coroutine[object, object, T], ceiling_s: float = 120.0) -> T:
    """Run `work` on a fresh uvloop; raise TimeoutError past `ceiling_s` seconds rather than hang."""

    async def bounded() -> T:
        async with asyncio.timeout(ceiling_s):
            return await work

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(bounded())
