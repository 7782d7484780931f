"""A scene for journeys with collections: the whole platform with the real model and the embedded index, and a caller
that speaks HTTP to it.

    async with scene(tmp_path) as it:
        kim = await it.member()
        await kim.ok("POST", "/v1/collections", {"name": "guides"}, status=201)
        job = await kim.put("guides", {"id": "a", "text": "..."})
        assert (await kim.ended("guides", job))["status"] == "complete"
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from penstock.kernel.settings import EmbeddingModelSettings, RouteSettings, Settings
from penstock.kernel.settings_collections import CollectionSettings
from penstock.kernel.settings_routes import TargetSettings
from penstock.mechanisms.tenancy import KeyDoc
from penstock.net.client import HttpClient, Origin, Timers
from tests.stage import Caller, Stage, stage

OPEN = ("queued", "running")
TIMERS = Timers(connect_s=5.0, first_byte_s=60.0, between_chunks_s=60.0, total_s=60.0)
LOCAL = "local/all-MiniLM-L6-v2"
OTHER = "passages"
"""The model of this machine again, under a route's name and with a prefix before every text: another space."""


@dataclass
class Member:
    """A caller of one project."""

    it: Stage
    caller: Caller

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """Return the status and the JSON of an answer; `body` is JSON, or bytes as they are."""
        content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        told = {"authorization": f"Bearer {self.caller.token}", **headers}
        lines = "".join([f"{name}: {value}\r\n" for name, value in told.items()]).encode()
        client = HttpClient()
        try:
            origin = Origin("http", "127.0.0.1", self.it.platform.port)
            reply = await client.request(origin, method.encode(), path.encode(), lines, content, TIMERS)
            return reply.status, json.loads(await reply.read(8 << 20))
        finally:
            await client.close()

    async def ok(self, method: str, path: str, body: Any = None, status: int = 200, **headers: str) -> Any:
        """Return the JSON of an answer that must have this status."""
        found, told = await self.ask(method, path, body, **headers)
        assert found == status, (found, told)
        return told

    async def put(self, collection: str, *documents: dict[str, Any]) -> Any:
        """Send documents; returns the job."""
        body = {"documents": documents}
        return await self.ok("POST", f"/v1/collections/{collection}/documents", body, status=202)

    async def ended(self, collection: str, job: Any, within_s: float = 20.0) -> Any:
        """Wait for a job's end."""
        async with asyncio.timeout(within_s):
            while True:
                told = await self.ok("GET", f"/v1/collections/{collection}/jobs/{job['id']}")
                if told["status"] not in OPEN:
                    return told
                await asyncio.sleep(0.05)

    async def found(self, collection: str, query: str, **asked: Any) -> list[str]:
        """Return the documents found, best first."""
        body = {"query": query, **asked}
        told = await self.ok("POST", f"/v1/collections/{collection}/search", body)
        return list(dict.fromkeys([each["document"] for each in told["results"]]))


@dataclass
class Scene:
    """The platform."""

    it: Stage

    async def member(self, *, org: str = "acme", project: str = "web", **rights: Any) -> Member:
        """Make a key of a project."""
        doc = KeyDoc(id="", mac="", org=org, team="search", project=project, user="kim", **rights)
        made, token = await self.it.platform.tenancy.create_key(doc)
        return Member(self.it, Caller(made.id, token))


def with_other(settings: Settings, **collections: Any) -> Settings:
    """Return settings with the second model, and `collections` as the fields of their section say."""
    return msgspec.structs.replace(
        settings,
        routes=(RouteSettings(model=OTHER, targets=(TargetSettings(provider="local", model=LOCAL),)),),
        embedding_models=(
            EmbeddingModelSettings(
                name=OTHER,
                version="1",
                dimensions=384,
                max_tokens=256,
                query_prefix="passage: ",
                passage_prefix="passage: ",
            ),
        ),
        collections=CollectionSettings(**collections),
    )


@asynccontextmanager
async def scene(
    folder: Path,
    *,
    cache: Mapping[str, Any] | None = None,
    store: Mapping[str, Any] | None = None,
    **collections: Any,
) -> AsyncGenerator[Scene]:
    """Start a platform; `collections` are fields of that section, as `cache` and `store` are of theirs."""
    sections = {name: given for name, given in (("cache", cache), ("store", store)) if given is not None}
    async with stage(folder, altered=lambda settings: with_other(settings, **collections), **sections) as it:
        yield Scene(it)
