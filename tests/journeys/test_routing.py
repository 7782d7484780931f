"""Routes changed, explained and taken back while the platform serves, as an operator does it.

Promise: callers change nothing; what is applied is what the next request gets; a bad file changes nothing and is told
whole; only the owner may.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from openai import AsyncOpenAI, PermissionDeniedError

from penstock.kernel.errors import Forbidden, Invalid, NotFound
from penstock.kernel.settings import ProviderSettings, RouteSettings, TargetSettings
from penstock.sdk.client import Client
from penstock.sdk.replies import KeyRequest
from penstock.sdk.routing import RouteQuestion
from tests.stage import MODEL, stage
from tests.support import run

QUESTION = [{"role": "user", "content": "How much water?"}]

TARGET = {"provider": "sim", "model": MODEL}


def document(*models: str) -> dict[str, object]:
    """Return a routing document with these public names."""
    return {"routes": [{"model": model, "targets": [TARGET]} for model in models]}


def test_an_operator_applies_explains_and_takes_back_while_callers_change_nothing(tmp_path: Path) -> None:
    async def journey() -> None:
        async with stage(tmp_path) as it:
            owner = await it.caller(role="owner")
            async with Client(it.url.removesuffix("/v1"), owner.token) as client:
                app = client.under((await client.keys.create(KeyRequest(name="app"))).token)
                with pytest.raises(NotFound):
                    await app.chat.create(model="house", messages=QUESTION)
                first = await client.routing.apply(document("house"), why="a name of our own", based_on=0)
                answer = await app.chat.create(model="house", messages=QUESTION, max_tokens=5)
                assert answer.route.endswith(MODEL)
                explained = await client.routing.explain(RouteQuestion(model="house", user="anna"))
                assert (explained.version, [each.model for each in explained.targets]) == (
                    first.number,
                    [MODEL],
                )
                with pytest.raises(Invalid) as refused:
                    await client.routing.apply(
                        {
                            "routes": [
                                {
                                    "model": "house",
                                    "targets": [{"provider": "x", "model": "y"}],
                                    "fallbacks": ["z"],
                                }
                            ]
                        }
                    )
                assert "'z'" in refused.value.message
                assert "x" in str(refused.value)
                assert (await client.routing.get()).version.number == 1
                back = await client.routing.rollback(why="enough")
                assert back.again == 0
                with pytest.raises(NotFound):
                    await app.chat.create(model="house", messages=QUESTION)
                assert [each.why for each in await client.routing.history()] == [
                    "enough",
                    "a name of our own",
                    "",
                ]
                admin = client.under((await client.keys.create(KeyRequest(name="a", role="admin"))).token)
                with pytest.raises(Forbidden):
                    await admin.routing.get()

    run(journey())


def _two_regions(url: str) -> tuple[ProviderSettings, ...]:
    common = {"kind": "openai", "vendor": "sim", "base_url": url, "models": (MODEL,)}
    return tuple(ProviderSettings(name=name, region=name, **common) for name in ("eu", "us"))


ASKED: dict[str, Callable[[AsyncOpenAI], Awaitable[object]]] = {
    "chat": lambda to: to.chat.completions.create(model="house", messages=QUESTION, max_tokens=5),
    "embeddings": lambda to: to.embeddings.create(model="house", input="How much water?"),
    "moderations": lambda to: to.moderations.create(model="house", input="How much water?"),
    "rerank": lambda to: to.post(
        "/rerank", body={"model": "house", "query": "q", "documents": ["d"]}, cast_to=object
    ),
    "count": lambda to: to.post(
        "/messages/count_tokens", body={"model": "house", "messages": QUESTION}, cast_to=object
    ),
}


@pytest.mark.parametrize("kind", ASKED)
def test_a_region_that_a_request_asks_for_holds_for_calls_of_every_kind(tmp_path: Path, kind: str) -> None:
    async def journey() -> None:
        route = RouteSettings(
            model="house", targets=tuple(TargetSettings(provider=name, model=MODEL) for name in ("us", "eu"))
        )
        async with (
            stage(tmp_path, others=_two_regions, routes=(route,)) as it,
            AsyncOpenAI(base_url=it.url, api_key=(await it.caller()).token, max_retries=0) as plain,
        ):
            await ASKED[kind](plain.with_options(default_headers={"x-penstock-region": "eu"}))
            with pytest.raises(PermissionDeniedError) as refused:
                await ASKED[kind](plain.with_options(default_headers={"x-penstock-region": "moon"}))
            assert "region" in refused.value.message

    run(journey())
