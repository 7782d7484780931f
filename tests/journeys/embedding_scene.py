"""The scene of the embedding journeys: a whole platform with the real model in this machine, or with a double that
notes what it computes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from openai import AsyncOpenAI

from penstock.kernel.settings import EmbeddingSettings, PriceSettings, ProviderSettings, Settings
from penstock.mechanisms.tenancy import KeyDoc
from penstock.wiring import adapters
from tests.counting_encoder import CountingEncoder
from tests.stage import Caller, Stage, stage
from tests.stage import until as stage_until

MINILM = "local/all-MiniLM-L6-v2"
COUNTING = "local/counting"


@dataclass
class Scene:
    """A platform, a key of it, and OpenAI's own SDK with that key."""

    it: Stage
    caller: Caller
    client: AsyncOpenAI
    others: AsyncExitStack

    async def other(self, team: str, **rights: Any) -> AsyncOpenAI:
        """Return the SDK of another tenant."""
        doc = KeyDoc(id="", mac="", org="acme", team=team, project="web", user="ann", **rights)
        _, token = await self.it.platform.tenancy.create_key(doc)
        client = AsyncOpenAI(base_url=self.it.url, api_key=token, max_retries=0)
        return await self.others.enter_async_context(client)


@asynccontextmanager
async def embedding_scene(
    folder: Path,
    *,
    priced: str = "",
    altered: Callable[[Settings], Settings] = lambda settings: settings,
    rights: dict[str, Any] | None = None,
    **embedding: Any,
) -> AsyncIterator[Scene]:
    """Put it up; `priced` is what a million tokens cost (dollars), `embedding` are settings of that name."""

    def set_up(settings: Settings) -> Settings:
        chosen = replace(settings, embedding=EmbeddingSettings(**embedding))
        if priced:
            price = PriceSettings(provider="local", model="*", input=priced)
            local = ProviderSettings(name="local", kind="local")
            chosen = replace(chosen, prices=(*chosen.prices, price), providers=(*chosen.providers, local))
        return altered(chosen)

    async with stage(folder, altered=set_up) as it:
        caller = await it.caller(**(rights or {}))
        async with (
            AsyncOpenAI(base_url=it.url, api_key=caller.token, max_retries=0) as client,
            AsyncExitStack() as others,
        ):
            yield Scene(it, caller, client, others)


def counted(monkeypatch: pytest.MonkeyPatch, **fields: Any) -> CountingEncoder:
    """Have the platforms of a test compute with a double, and return it. Call it where its event loop runs."""
    encoder = CountingEncoder(**fields)
    monkeypatch.setattr(adapters, "encoder", lambda _settings: encoder)
    return encoder


async def until(holds: Callable[[], bool], within_s: float = 5.0) -> None:
    """Wait until `holds()`, as `tests.stage.until` does."""

    async def held() -> bool:
        return holds()

    await stage_until(held, within_s)
