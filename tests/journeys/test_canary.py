"""A canary that fails is taken out by itself, through real sockets, and the alert says so."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from openai import APIError, AsyncOpenAI

from penstock.gateway import rollouts
from penstock.kernel.errors import Conflict, NotFound
from penstock.kernel.settings import RouteSettings, TargetSettings
from penstock.kernel.settings_routes import CanarySettings
from penstock.sdk.client import Client
from tests.stage import MODEL, stage, until
from tests.support import run

ROUTE = "gate"
BAD = "sim/server_error"
WORSE = "gpt-4o-mini"
ASKED = [{"role": "user", "content": "How full is it?"}]
PATIENT = {"max_attempts": 1, "breaker_failures": 1_000}
"""No breaker before the judge: it would keep calls away from a back end that always fails."""
ROUTES = (
    RouteSettings(
        model=ROUTE,
        targets=(TargetSettings(provider="sim", model=MODEL),),
        canary=CanarySettings(targets=(TargetSettings(provider="sim", model=BAD),), percent=50.0),
    ),
)


NEVER_SURE = {"alpha": 1e-300}
"""Rules the statistics out: no evidence is enough for them."""


def test_a_canary_that_its_breaker_keeps_from_calls_is_taken_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It always fails and nobody notices: production answers. Its breaker leaves no calls that could be evidence."""
    monkeypatch.setattr(rollouts, "LOOK_S", 0.1)

    async def whole() -> None:
        asked: dict[str, Any] = {"model": ROUTE, "messages": [{"role": "user", "content": "How full is it?"}]}
        async with stage(
            tmp_path,
            routes=ROUTES,
            provider={"models": (MODEL, BAD)},
            resilience={"breaker_open_s": 0.2},
            rollouts=NEVER_SURE,
        ) as it:
            caller = await it.caller()
            async with AsyncOpenAI(base_url=it.url, api_key=caller.token, max_retries=0) as client:

                async def taken_out() -> bool:
                    await client.chat.completions.create(**asked)
                    return not it.platform.routing.versions.document.routes[0].canary.percent

                await until(taken_out, 20.0)
            assert it.platform.routing.versions.current.why.startswith("breaker: canary ")

    run(whole())


def test_a_canary_that_fails_is_taken_out_and_an_alert_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollouts, "LOOK_S", 0.1)

    async def whole() -> None:
        asked: dict[str, Any] = {"model": ROUTE, "messages": [{"role": "user", "content": "How full is it?"}]}
        async with stage(
            tmp_path, routes=ROUTES, provider={"models": (MODEL, BAD)}, resilience=PATIENT
        ) as it:
            caller = await it.caller()
            async with AsyncOpenAI(base_url=it.url, api_key=caller.token, max_retries=0) as client:

                async def ask() -> bool:
                    try:
                        await client.chat.completions.create(**asked)
                    except APIError:
                        return False
                    return True

                async def taken_out() -> bool:
                    await asyncio.gather(*[ask() for _ in range(8)])
                    return not it.platform.routing.versions.document.routes[0].canary.percent

                await until(taken_out, 20.0)
                assert all(await asyncio.gather(*[ask() for _ in range(20)]))
            oversight = it.platform.oversight
            assert oversight is not None

            async def alerted() -> bool:
                return any(alert.rule == "canary-rolled-back" for alert in await oversight.alerts.standing())

            await until(alerted, 10.0)

    run(whole())


def test_a_canary_of_bad_answers_is_taken_out_by_what_its_callers_say_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both arms answer alike fast and without an error: only the scores tell them apart."""
    monkeypatch.setattr(rollouts, "LOOK_S", 0.1)
    canary = CanarySettings(targets=(TargetSettings(provider="sim", model=WORSE),), percent=50.0)
    routes = (msgspec.structs.replace(ROUTES[0], canary=canary),)

    async def whole() -> None:
        async with stage(tmp_path, routes=routes, provider={"models": (MODEL, WORSE)}) as it:
            caller = await it.caller()
            owner = await it.caller(role="owner")
            scored: list[str] = []
            async with Client(it.url.removesuffix("/v1"), caller.token) as client:

                async def ask() -> tuple[str, float]:
                    answer = await client.chat.create(model=ROUTE, messages=ASKED)
                    return answer.request_id, 0.2 if WORSE in answer.route else 0.8

                async def said(request_id: str, score: float) -> bool:
                    try:  # a request is known a moment after its end
                        await client.requests.score(request_id, score)
                    except NotFound:
                        return False
                    return True

                async def taken_out() -> bool:
                    for request_id, score in await asyncio.gather(*[ask() for _ in range(8)]):
                        scored.append(request_id)
                        await until(partial(said, request_id, score), 5.0)
                    return not it.platform.routing.versions.document.routes[0].canary.percent

                await until(taken_out, 20.0)
                with pytest.raises(Conflict, match="scored before"):
                    await client.requests.score(scored[0], 1.0)
                for _ in range(10):
                    assert (await ask())[1] == 0.8
                async with Client(it.url.removesuffix("/v1"), owner.token) as admin:
                    assert (await admin.requests.get(scored[0])).score in (0.2, 0.8)
                    assert "quality" in (await admin.routing.history())[0].why

    run(whole())
