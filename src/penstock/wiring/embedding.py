"""The embedding models in this machine, joined: encoder, queue, cache; the provider `local`; tokens; their figures.

Promises: without the extra `local` everything else works, and whoever asks for the model by name is told the extra; the
encoder starts with the first text, or with the platform where it is to be warm, and ends with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from operator import attrgetter
from typing import Final, NamedTuple, cast

from penstock.edge.routes import Policy
from penstock.embedding.search.late_interaction import LateInteraction, LocalReranker
from penstock.embedding.serving.batcher import LANES, Batcher
from penstock.embedding.serving.http import Tokenizer
from penstock.embedding.serving.provider import LocalModels
from penstock.embedding.serving.service import PREFIX, EmbeddingService, Pool
from penstock.embedding.serving.vectors_cache import VectorsCache
from penstock.kernel.clock import Clock
from penstock.kernel.errors import Invalid
from penstock.kernel.settings import Settings
from penstock.mechanisms.telemetry import Metrics
from penstock.ports.encoder import Encoder, Lane
from penstock.ports.providers import ChatProvider
from penstock.wiring import adapters
from penstock.wiring.faces import served
from penstock.wiring.meaning import LocalMeaning, Quoting
from penstock.wiring.platform import Platform
from penstock.wiring.tokenizing import TOKENS, Tokenizing

DEFAULT_MODEL: Final = f"{PREFIX}all-MiniLM-L6-v2"
TOKENIZE_PATH: Final = "/v1/tokenize"
Shown = dict[tuple[str, ...], float]


class Embedding(NamedTuple):
    """The service, and what puts it beside the provider of kind `local`."""

    service: EmbeddingService
    late: LateInteraction | None
    beside: Callable[[ChatProvider], LocalModels]


async def open_embedding(settings: Settings, clock: Clock, opening: AsyncExitStack) -> Embedding:
    """Return the models in this machine, warm if they are to be. Raises Unavailable where they cannot be warmed."""
    encoders: list[Encoder] = []
    missing: dict[str, str] = {}
    if not settings.embedding.local:
        missing[DEFAULT_MODEL] = "It is switched off here: embedding.local = false."
    else:
        try:
            encoders.append(adapters.encoder(settings.embedding))
        except Invalid as error:
            missing[DEFAULT_MODEL] = error.remedy
    service = EmbeddingService(encoders, settings.embedding, clock)
    opening.push_async_callback(service.close)
    if settings.embedding.warm:
        await service.warm()
    shorter = {each.name: each.shorter for each in settings.embedding_models}
    late, reranker = None, None
    if encoders:
        matcher = adapters.matcher()
        opening.push_async_callback(matcher.close)
        late, reranker = LateInteraction(matcher), LocalReranker(service, matcher)

    def beside(chats: ChatProvider) -> LocalModels:
        if encoders and hasattr(chats, "meaning"):
            cast("Quoting", chats).meaning = LocalMeaning(service, encoders[0].spec.name)
        return LocalModels(chats, service, reranker=reranker, shorter=shorter, missing=missing)

    return Embedding(service, late, beside)


def declare_embedding(platform: Platform) -> None:
    """Declare the route of tokens, and the figures of the models in this machine."""
    tokenizing = Tokenizing(Tokenizer(platform.embedding), platform.admission, platform.audit)
    platform.routes.add("POST", TOKENIZE_PATH, Policy.CALLER, served(platform, tokenizing).speaking(TOKENS))
    pools = platform.embedding.pools
    if pools:
        _declare_lanes(platform.metrics, pools)
        _declare_caches(platform.metrics, pools)


# ------------------------------------------------------------------------------------------------------------ figures

LANE_GAUGES: Final[dict[str, tuple[str, Callable[[Batcher, Lane], float]]]] = {
    "queue_tokens": ("Tokens that wait to be computed: what to scale on.", Batcher.waiting_tokens),
    "oldest_wait_seconds": ("How long the oldest text has waited.", Batcher.oldest_wait_s),
    "tokens_per_second": ("Measured speed while something was under way.", Batcher.tokens_per_s),
}
TALLY_COUNTERS: Final = {
    "batches": "Batches computed.",
    "texts": "Texts computed, the same in one batch once.",
    "tokens": "Tokens computed, without padding.",
    "padded_tokens": "Tokens computed with their padding; by `tokens`: the pad ratio.",
    "room_tokens": "Tokens the batches had room for; `padded_tokens` by this: how full they were.",
    "dropped": "Texts whose callers gave up before they were computed.",
    "refused": "Texts there was no room for in the queue.",
    "failed": "Texts that could not be computed.",
    "retried": "Batches computed again after a failure.",
}
CACHE_GAUGES: Final[dict[str, tuple[str, Callable[[VectorsCache], float]]]] = {
    "bytes": ("Bytes of vectors kept.", lambda cache: cache.bytes),
    "max_bytes": ("Bytes of vectors that may be kept.", lambda cache: cache.max_bytes),
    "vectors": ("Vectors kept.", len),
    "alarm": ("1 while the cache is at 80 % of its bound or more.", lambda cache: cache.is_alarming),
}
CACHE_COUNTERS: Final = {
    "hits": "Texts whose vector was kept.",
    "misses": "Texts whose vector was not.",
    "evicted": "Vectors let go for want of room.",
}


def _declare_lanes(metrics: Metrics, pools: Mapping[str, Pool]) -> None:
    labels = ("model", "lane")
    for name, (text, read) in LANE_GAUGES.items():
        metrics.gauge(f"penstock_embedding_{name}", text, partial(_by_lane, pools, read), labels)
    for field, text in TALLY_COUNTERS.items():
        metrics.counter(f"penstock_embedding_{field}", text, partial(_tallied, pools, field), labels)


def _declare_caches(metrics: Metrics, pools: Mapping[str, Pool]) -> None:
    for name, (text, read) in CACHE_GAUGES.items():
        metrics.gauge(f"penstock_embedding_cache_{name}", text, partial(_by_model, pools, read), ("model",))
    for field, text in CACHE_COUNTERS.items():
        metrics.counter(
            f"penstock_embedding_cache_{field}",
            text,
            partial(_by_model, pools, attrgetter(field)),
            ("model",),
        )


def _by_lane(pools: Mapping[str, Pool], read: Callable[[Batcher, Lane], float]) -> Shown:
    return {(name, lane): read(pool.batcher, lane) for name, pool in pools.items() for lane in LANES}


def _tallied(pools: Mapping[str, Pool], field: str) -> Shown:
    return {
        (name, lane): getattr(tally, field)
        for name, pool in pools.items()
        for lane, tally in pool.batcher.tallies().items()
    }


def _by_model(pools: Mapping[str, Pool], read: Callable[[VectorsCache], float]) -> Shown:
    return {(name,): read(pool.cache) for name, pool in pools.items()}
