"""Opens the cache of answers, where the settings name one.

Promise: a deployment without one opens nothing and pays one attribute test per request.
"""

from __future__ import annotations

import asyncio
import hmac
from contextlib import AsyncExitStack
from hashlib import sha256

from penstock.dialects.codecs import CODECS
from penstock.gateway.cached_answers import CachedAnswers
from penstock.kernel.clock import Clock
from penstock.kernel.settings import CacheSettings, Settings
from penstock.mechanisms.answer_cache import AnswerCache
from penstock.ports.secrets import Secrets
from penstock.ports.signals import Signals
from penstock.wiring import adapters
from penstock.wiring.pepper import load_pepper


async def open_answers(
    settings: Settings, signals: Signals, kept: Secrets, clock: Clock, opening: AsyncExitStack
) -> CachedAnswers | None:
    """Open the cache and have it hear what other nodes forget; `opening` closes both. Raises Unavailable, Invalid."""
    if not settings.cache.url:
        return None
    cache = await open_cache(settings.cache, await load_pepper(kept, settings), signals, clock, opening)
    return CachedAnswers(cache, CODECS, settings.cache)


async def open_cache(
    chosen: CacheSettings, pepper: bytes, signals: Signals, clock: Clock, opening: AsyncExitStack
) -> AnswerCache:
    """Open what `chosen` names; keys are made with the `pepper` of the deployment. Raises Unavailable, Invalid."""
    store = await adapters.cache(chosen, clock)
    opening.push_async_callback(store.close)
    cache = AnswerCache(
        store,
        signals,
        clock,
        secret=hmac.digest(pepper, b"answers", sha256().name),
        shared=chosen.url != "memory:",
        stale_s=chosen.stale_s,
    )
    hearing = asyncio.create_task(cache.watch(), name="answers")
    opening.push_async_callback(_ended, hearing)
    return cache


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait((task,))
