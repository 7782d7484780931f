"""Load: requests of mixed kinds and sizes drawn by seed, from many callers at once.

Promise: the same seed draws the same requests; every reply is handed on, none is averaged away.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable

from tests.fleet.caller import Caller, Reply
from tests.fleet.config import MODEL

WORDS = (
    "gate",
    "turbine",
    "water",
    "intake",
    "meter",
    "valve",
    "race",
    "weir",
    "sluice",
    "head",
    "flow",
    "rotor",
)


def chat_body(
    draw: random.Random, *, stream: bool | None = None, user: str = "", words: int = 0, most_tokens: int = 96
) -> bytes:
    """Return a request: a prompt of 1 to 300 words (or `words`), an answer of 1 to `most_tokens` tokens, streamed half
    the time unless `stream` says.
    """
    text = " ".join(draw.choices(WORDS, k=words or round(draw.lognormvariate(3, 1.2)) % 300 + 1))
    messages = [{"role": "user", "content": text}]
    asked = {"model": MODEL, "messages": messages, "max_tokens": draw.randint(1, most_tokens)}
    if draw.random() < 0.5 if stream is None else stream:
        asked |= {"stream": True, "stream_options": {"include_usage": draw.random() < 0.5}}
    if user:
        asked["user"] = user
    return json.dumps(asked).encode()


class Swarm:
    """Callers that go on until stopped, each sending its next request when the last one ended."""

    def __init__(self, port: int, token: str, callers: int, seed: int, *, timeout_s: float = 60.0) -> None:
        """Prepare `callers` callers."""
        self._callers = [Caller(port, token, timeout_s=timeout_s) for _ in range(callers)]
        self._draws = [random.Random(f"{seed}:{number}") for number in range(callers)]
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False
        self.replies: list[Reply] = []

    def start(self, pause_s: float = 0.0, stream: bool | None = None) -> None:
        """Begin; each caller rests `pause_s` between its requests."""
        self._tasks = [
            asyncio.create_task(self._go_on(caller, draw, pause_s, stream))
            for caller, draw in zip(self._callers, self._draws, strict=True)
        ]

    async def stop(self) -> list[Reply]:
        """Let every caller finish its request; returns all replies so far."""
        self._stopping = True
        await asyncio.gather(*self._tasks)
        await asyncio.gather(*[caller.close() for caller in self._callers])
        return self.replies

    async def abandon(self) -> list[Reply]:
        """Drop everything under way."""
        self._stopping = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*[caller.close() for caller in self._callers])
        return self.replies

    async def _go_on(self, caller: Caller, draw: random.Random, pause_s: float, stream: bool | None) -> None:
        while not self._stopping:
            reply = await caller.chat(chat_body(draw, stream=stream))
            self.replies.append(reply)
            if reply.failure:
                await asyncio.sleep(0.01)
            elif pause_s:
                await asyncio.sleep(pause_s)


async def until(true: Callable[[], Awaitable[bool]], limit_s: float, every_s: float = 0.02) -> float:
    """Wait until `true()`; returns the seconds it took, and raises TimeoutError past `limit_s`."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while not await true():
        if loop.time() - began > limit_s:
            raise TimeoutError(f"not within {limit_s:g} s")
        await asyncio.sleep(every_s)
    return loop.time() - began
