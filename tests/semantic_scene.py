"""A whole platform over real sockets whose semantic cache uses the real model in this machine, and those who ask it.

Promise: each question is a request of its own, at temperature 0; whether the provider was asked is read from its own
books, what the cache did from the reply's headers.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import msgspec

from penstock.kernel.settings_cache import SemanticSettings
from penstock.mechanisms.tenancy import KeyDoc
from penstock.sdk.client import Client
from penstock.sdk.replies import SemanticFigures
from tests.stage import MODEL, Stage, stage

CACHE = {"url": "memory:"}
OWN = ("acme", "search")
PATIENT = {"wait_s": 5.0}
"""A busy machine is never taken for a model that does not answer."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back: the mark of the cache ("" for a fresh answer), the words, and whether the provider was asked."""

    mark: str
    text: str
    asked: bool
    cost_nanos: int

    @property
    def is_near(self) -> bool:
        """Whether it is the answer to a question that means the same."""
        return self.mark.startswith("near; similarity=")

    @property
    def key(self) -> str:
        """The name it can be purged by."""
        return self.mark.rpartition("key=")[2]


@dataclass(slots=True)
class Scene:
    """The platform, and the keys of those who ask."""

    it: Stage
    http: httpx.AsyncClient
    keys: dict[tuple[str, str], str] = field(default_factory=dict)

    async def key(self, tenant: tuple[str, str]) -> str:
        """Return a tenant's key, made when it is first needed."""
        if tenant not in self.keys:
            doc = KeyDoc(id="", mac="", org=tenant[0], team=tenant[1], project="", user="kim", role="admin")
            self.keys[tenant] = (await self.it.platform.tenancy.create_key(doc))[1]
        return self.keys[tenant]

    async def ask(
        self,
        question: str,
        tenant: tuple[str, str] = OWN,
        *,
        before: tuple[dict[str, str], ...] = (),
        headers: dict[str, str] | None = None,
        **members: Any,
    ) -> Reply:
        """Ask a question."""
        messages = [*before, {"role": "user", "content": question}]
        body = {"model": MODEL, "temperature": 0, "max_tokens": 8, "messages": messages, **members}
        told = {"authorization": f"Bearer {await self.key(tenant)}", **(headers or {})}
        known = self.it.simulator.truth.summary().requests
        reply = await self.http.post("/chat/completions", json=body, headers=told)
        reply.raise_for_status()
        return Reply(
            reply.headers.get("x-penstock-cache", ""),
            reply.json()["choices"][0]["message"]["content"],
            self.it.simulator.truth.summary().requests > known,
            int(reply.headers["x-penstock-cost-nanos"]),
        )

    async def figures(self, tenant: tuple[str, str] = OWN) -> dict[str, SemanticFigures]:
        """Return what the management API says of a tenant's organisation, by team."""
        async with self.client(await self.key(tenant)) as client:
            return {each.team: each for each in (await client.cache.status()).semantic}

    def client(self, token: str) -> Client:
        """Return a client of the management API."""
        return Client(self.it.url.removesuffix("/v1"), token)

    def metrics(self, name: str) -> list[str]:
        """Return the lines of a metric."""
        text = self.it.platform.metrics.render().decode()
        return [line for line in text.splitlines() if line.startswith(name)]


@asynccontextmanager
async def semantic_scene(
    folder: Path, teams: tuple[str, ...] = ("acme",), **semantic: Any
) -> AsyncIterator[Scene]:
    """Put it up, with the model warm."""
    chosen = SemanticSettings(teams=teams, **{**PATIENT, **semantic})
    async with (
        stage(
            folder, cache=CACHE, altered=lambda known: msgspec.structs.replace(known, semantic=chosen)
        ) as it,
        httpx.AsyncClient(base_url=it.url, timeout=30) as http,
    ):
        await it.platform.embedding.warm()
        yield Scene(it, http)
