"""Wiring of the models in this machine: every figure that a page or a scaler names is on the metrics page."""

from __future__ import annotations

import re
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from penstock.kernel.clock import ManualClock
from penstock.kernel.errors import Unavailable
from penstock.kernel.settings import (
    EmbeddingModelSettings,
    EmbeddingSettings,
    ProviderSettings,
    Settings,
)
from penstock.mechanisms.telemetry import Metrics
from penstock.wiring import adapters
from penstock.wiring.embedding import _declare_caches, _declare_lanes, open_embedding
from tests.counting_encoder import CountingEncoder
from tests.support import run

DOCS = Path(__file__).parents[3] / "docs"
NAME = re.compile(r"penstock_embedding_\w+")
SHORT = re.compile(r"`…_(\w+)`")


def shown() -> str:
    """Return the metrics page of a platform with one model that has computed and kept something."""

    async def whole() -> str:
        metrics = Metrics()
        async with AsyncExitStack() as opening:
            it = (await open_embedding(Settings(), ManualClock(), opening)).service
            await it.embed(["a b"], model="counting", tenant="t")
            _declare_lanes(metrics, it.pools)
            _declare_caches(metrics, it.pools)
            return metrics.render().decode()

    return run(whole())


@pytest.fixture(autouse=True)
def encoder(monkeypatch: pytest.MonkeyPatch) -> CountingEncoder:
    made: CountingEncoder = run(_made())
    monkeypatch.setattr(adapters, "encoder", lambda _settings: made)
    return made


async def _made() -> CountingEncoder:
    return CountingEncoder()


@pytest.mark.parametrize(
    "page", ["how-to/embedding-scaler.yaml", "how-to/reading-metrics.md", "embeddings.md"]
)
def test_every_figure_that_a_page_names_exists(page: str) -> None:
    on_page = set(NAME.findall(shown()))
    told = (DOCS / page).read_text()
    named = set(NAME.findall(told))
    assert named
    assert named <= on_page, named - on_page


def test_the_page_of_embeddings_names_every_figure_there_is() -> None:
    told = (DOCS / "embeddings.md").read_text()
    named = set(NAME.findall(told))
    for short in SHORT.findall(told):
        named |= {f"penstock_embedding_{short}", f"penstock_embedding_cache_{short}"}
    assert set(re.findall(r"^(penstock_embedding_\w+)\{", shown(), re.MULTILINE)) <= named


def test_the_scaler_scales_on_queued_tokens_of_each_lane() -> None:
    scaler = (DOCS / "how-to/embedding-scaler.yaml").read_text()
    assert re.findall(r'sum\(penstock_embedding_queue_tokens\{lane="(\w+)"\}\)', scaler) == [
        "query",
        "ingest",
    ]


def test_the_alarm_of_the_cache_is_on_the_page() -> None:
    assert 'penstock_embedding_cache_alarm{model="counting"} 0.0' in shown()
    assert 'penstock_embedding_cache_vectors{model="counting"} 1.0' in shown()


def test_a_platform_that_is_to_be_warm_has_computed_before_it_serves_and_does_not_start_if_it_cannot(
    encoder: CountingEncoder,
) -> None:
    async def opened(*, warm: bool) -> None:
        async with AsyncExitStack() as opening:
            settings = Settings(embedding=EmbeddingSettings(warm=warm))
            await open_embedding(settings, ManualClock(), opening)

    run(opened(warm=False))
    assert not encoder.tokenized
    run(opened(warm=True))
    assert [lane for lane, _ in encoder.batches] == ["query", "ingest"]
    encoder.fail_next = [Unavailable("It does not start.", retry_after_s=60.0)]
    with pytest.raises(Exception, match="does not start"):
        run(opened(warm=True))


def test_a_model_that_is_switched_off_says_so(encoder: CountingEncoder) -> None:
    async def opened() -> None:
        async with AsyncExitStack() as opening:
            settings = Settings(
                embedding=EmbeddingSettings(local=False),
                embedding_models=(EmbeddingModelSettings(name="e5", version="1", dimensions=4),),
            )
            embedding = await open_embedding(settings, ManualClock(), opening)
            assert embedding.service.pools == {}
            local = embedding.beside(await _chats())
            assert local.missing == {
                "local/all-MiniLM-L6-v2": "It is switched off here: embedding.local = false."
            }

    run(opened())
    assert encoder.closed == 0


async def _chats() -> Any:
    nothing: Any = None
    return await adapters.provider(ProviderSettings(name="local", kind="local"), nothing, ManualClock())
