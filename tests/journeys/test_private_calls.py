"""What a tenant does not let out, it does not let out of calls beside chat either.

Promise: on the real sockets of every provider wire, personal data in what is embedded, judged or ordered is masked,
replaced or refused before a byte leaves, guards are asked, and the request's record says what was found; answers tell
the caller its own documents, and another tenant's calls are left alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import cohere
import msgspec
import pytest
from google import genai
from google.genai import errors
from msgspec.structs import replace
from openai import AsyncOpenAI, BadRequestError, PermissionDeniedError

from penstock.kernel.events import FLAGGED, RequestEvent
from penstock.kernel.settings import GuardSettings, PriceSettings, PrivacySettings, ProviderSettings, Settings
from penstock.mechanisms.tenancy import KeyDoc
from penstock.simulator.server import Simulator
from tests.journeys.three_wires import root
from tests.stage import Stage, stage
from tests.support import run

EMAIL, CARD = "mia@example.org", "4111 1111 1111 1111"
TEXTS = [f"Write to {EMAIL}.", "How full is the lake?"]
RULES = PrivacySettings(
    org="acme", requests={"EMAIL": "replace", "CARD": "refuse", "PHONE": "mask"}, budget_ms=5_000
)
GUARD = GuardSettings(org="acme", never=("dam breach",))


class World(NamedTuple):
    """A stage, the bytes its provider was sent, and a client of each SDK."""

    it: Stage
    sent: list[bytes]
    openai: AsyncOpenAI
    google: Any
    cohere: Any

    async def flags(self, calls: int) -> list[tuple[str, ...]]:
        """Return what the records of so many calls are flagged with, oldest first."""
        while len(rows := await self.it.platform.stores.stream.read("audit", 0, calls)) < calls:
            await asyncio.sleep(0.01)
        return [msgspec.json.decode(row.value, type=RequestEvent).flags for row in rows]


def _providers(url: str) -> tuple[ProviderSettings, ...]:
    google = f"{url.removesuffix('/v1')}/v1beta"
    return (
        ProviderSettings(name="gemini", kind="gemini", vendor="sim", base_url=google, models=("g",)),
        ProviderSettings(name="tei", kind="openai", base_url=url, models=("t",)),
    )


def _ruled(settings: Settings) -> Settings:
    free = PriceSettings(provider="tei", model="*", free=True)
    return replace(settings, privacy=(RULES,), guards=(GUARD,), prices=(free, *settings.prices))


def journey(folder: Path, monkeypatch: pytest.MonkeyPatch, steps: Callable[[World], Awaitable[None]]) -> None:
    """Take `steps` in a world whose provider keeps every byte that it is sent."""
    sent: list[bytes] = []
    handle = Simulator.handle

    async def kept(self: Simulator, request: Any, responder: Any) -> None:
        sent.append(request.body)
        await handle(self, request, responder)

    monkeypatch.setattr(Simulator, "handle", kept)

    async def whole() -> None:
        async with stage(folder, others=_providers, altered=_ruled) as it:
            token = (await it.caller()).token
            google = genai.Client(api_key=token, http_options={"base_url": root(it)})
            async with (
                AsyncOpenAI(base_url=it.url, api_key=token, max_retries=0) as client,
                cohere.AsyncClientV2(token, base_url=root(it), max_retries=0) as ranker,
            ):
                await steps(World(it, sent, client, google.aio.models, ranker))
            await google.aio.aclose()
            google.close()

    run(whole())


def test_personal_data_leaves_no_call_and_is_in_its_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def steps(world: World) -> None:
        embedded = await world.openai.embeddings.create(model="sim/model", input=TEXTS, user=EMAIL)
        await world.openai.embeddings.create(model="g", input=TEXTS)
        await world.google.embed_content(model="g", contents=TEXTS)
        await world.openai.moderations.create(model="sim/model", input=TEXTS)
        ranked = await world.openai.post(
            "/rerank",
            body={"model": "sim/model", "query": EMAIL, "documents": TEXTS, "return_documents": True},
            cast_to=object,
        )
        await world.cohere.rerank(model="tei/t", query="lake", documents=TEXTS)
        assert len(embedded.data) == 2
        assert len(world.sent) == 6
        for body in world.sent:
            assert EMAIL.encode() not in body and b"How full is the lake?" in body
        told: Any = ranked
        assert {each["document"]["text"] for each in told["results"]} == set(TEXTS)
        flags = await world.flags(6)
        assert all("pii:EMAIL" in each for each in flags)
        assert [each[0] for each in flags] == ["embeddings"] * 3 + ["moderations"] + ["rerank"] * 2

    journey(tmp_path, monkeypatch, steps)


def test_what_must_not_leave_and_what_guards_refuse_reaches_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def steps(world: World) -> None:
        client = world.openai
        for text, code in (
            (f"My card is {CARD}.", "personal_data_refused"),
            ("A dam breach?", "guard_refused"),
        ):
            refusals: list[Any] = []
            for call in (
                client.embeddings.create(model="sim/model", input=["a", text]),
                client.moderations.create(model="sim/model", input=text),
                client.post(
                    "/rerank", body={"model": "sim/model", "query": text, "documents": ["a"]}, cast_to=object
                ),
                client.post(
                    "/rerank", body={"model": "sim/model", "query": "a", "documents": [text]}, cast_to=object
                ),
            ):
                with pytest.raises((BadRequestError, PermissionDeniedError)) as refused:
                    await call
                refusals.append(refused.value.code)
            assert refusals == [code] * 4
        assert world.sent == []
        flags = await world.flags(8)
        assert all(FLAGGED in each and "guard:topics" in each for each in flags[4:])

    journey(tmp_path, monkeypatch, steps)


def test_what_nobody_could_read_is_said_and_another_tenant_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def steps(world: World) -> None:
        await world.openai.embeddings.create(model="sim/model", input=[1, 2, 3])
        picture: Any = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}
        await world.openai.moderations.create(model="sim/model", input=[picture])
        doc = KeyDoc(id="", mac="", org="globex", team="t", project="p", user="u")
        _, stranger = await world.it.platform.tenancy.create_key(doc)
        await world.openai.with_options(api_key=stranger).embeddings.create(model="sim/model", input=TEXTS)
        assert EMAIL.encode() in world.sent[-1]
        flags = await world.flags(3)
        assert ["pii_unscanned" in each for each in flags] == [True, True, False]
        assert not any(each.startswith("pii:") for each in flags[2])

    journey(tmp_path, monkeypatch, steps)


def test_a_question_for_a_count_tells_a_vendor_no_more_than_a_chat_would(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def steps(world: World) -> None:
        assert (await world.google.count_tokens(model="g", contents=TEXTS)).total_tokens > 0
        (body,) = world.sent
        assert EMAIL.encode() not in body and b"How full is the lake?" in body
        for text in (f"My card is {CARD}.", "A dam breach?"):
            with pytest.raises(errors.ClientError):
                await world.google.count_tokens(model="g", contents=text)
        assert len(world.sent) == 1
        assert "pii:EMAIL" in (await world.flags(3))[0]

    journey(tmp_path, monkeypatch, steps)
