"""A canary that fails is taken out by itself, through real sockets, and the alert says so."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from openai import APIError, AsyncOpenAI

from penstock.gateway import rollouts
from penstock.kernel.settings import RouteSettings, TargetSettings
from penstock.kernel.settings_routes import CanarySettings
from tests.stage import MODEL, stage, until
from tests.support import run

ROUTE = "gate"
BAD = "sim/server_error"
PATIENT = {"max_attempts": 1, "breaker_failures": 1_000}
"""No breaker before the judge: it would keep calls away from a back end that always fails."""
ROUTES = (
    RouteSettings(
        model=ROUTE,
        targets=(TargetSettings(provider="sim", model=MODEL),),
        canary=CanarySettings(targets=(TargetSettings(provider="sim", model=BAD),), percent=50.0),
    ),
)


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
