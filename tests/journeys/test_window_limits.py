"""Limits counted over any minute: where a bucket has let a caller through again, a window has not.

Promise: at its bound a window admits and one over it refuses, until the first of its minute is a minute old and not a
moment less; tokens count as asked for; what the reply headers and the refusal say is what then happens.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI

from penstock.adapters.state.embedded import EmbeddedState
from penstock.kernel.clock import ManualClock
from penstock.kernel.context import Rate
from penstock.kernel.settings import RouteSettings, TargetSettings
from penstock.kernel.settings_routes import ModelRateSettings
from penstock.mechanisms.scopes import ScopeDoc
from tests.stage import MODEL, Stage, stage
from tests.support import run

BOTH = pytest.mark.parametrize("window", [False, True], ids=["bucket", "window"])
AT_MOST = 4
HOUSE = "house"


def journey(folder: Path, steps: Callable[[Stage, ManualClock], Awaitable[None]], **sections: Any) -> None:
    """Take `steps` on a stage whose limits see time pass only when told to."""

    async def whole() -> None:
        async with stage(folder, **sections) as it:
            clock, state = ManualClock(), it.platform.stores.state
            assert isinstance(state, EmbeddedState)
            state._now_s = clock.monotonic_s
            await steps(it, clock)

    run(whole())


async def asked(
    it: Stage, token: str, model: str = MODEL, tokens: int = 5, **more: Any
) -> openai.RateLimitError | dict[str, str]:
    """Ask once; returns the refusal, or the headers of the answer."""
    async with AsyncOpenAI(base_url=it.url, api_key=token, max_retries=0) as client:
        try:
            reply = await client.chat.completions.with_raw_response.create(
                model=model, messages=[{"role": "user", "content": "How much?"}], max_tokens=tokens, **more
            )
        except openai.RateLimitError as refusal:
            return refusal
    return dict(reply.headers)


def admitted(told: openai.RateLimitError | dict[str, str]) -> dict[str, str]:
    """Return the headers of an answer."""
    assert isinstance(told, dict), told
    return told


def refused(told: openai.RateLimitError | dict[str, str]) -> dict[str, str]:
    """Return the headers of a refusal."""
    assert isinstance(told, openai.RateLimitError), told
    return dict(told.response.headers)


@BOTH
def test_half_a_minute_after_all_was_used_a_bucket_has_some_again_and_a_window_has_none(
    tmp_path: Path, window: bool
) -> None:
    async def steps(it: Stage, clock: ManualClock) -> None:
        token = (await it.caller(rate=Rate(requests_per_minute=AT_MOST, window=window))).token
        told = [admitted(await asked(it, token)) for _ in range(AT_MOST)]
        assert {headers["x-ratelimit-limit-requests"] for headers in told} == {str(AT_MOST)}
        assert [headers["x-ratelimit-remaining-requests"] for headers in told] == ["3", "2", "1", "0"]
        assert told[-1]["x-ratelimit-reset-requests"] == "1m0s"
        over = refused(await asked(it, token))
        assert over["x-ratelimit-remaining-requests"] == "0"
        assert int(over["retry-after-ms"]) == (60_000 if window else 60_000 / AT_MOST)
        clock.advance(30)
        if not window:
            admitted(await asked(it, token))
            admitted(await asked(it, token))
            refused(await asked(it, token))
            return
        over = refused(await asked(it, token))
        assert (over["retry-after-ms"], over["x-ratelimit-reset-requests"]) == ("30000", "30s")
        clock.advance(29.999)
        refused(await asked(it, token))
        clock.advance(0.001)
        assert admitted(await asked(it, token))["x-ratelimit-remaining-requests"] == str(AT_MOST - 1)

    journey(tmp_path, steps)


@BOTH
def test_tokens_that_were_not_used_come_back_to_a_bucket_and_count_in_a_window(
    tmp_path: Path, window: bool
) -> None:
    async def steps(it: Stage, clock: ManualClock) -> None:
        caller = await it.caller(rate=Rate(tokens_per_minute=5_000, window=window))
        headers = admitted(await asked(it, caller.token, tokens=4_000))
        await it.settled(caller)
        clock.advance(1)
        if not window:
            admitted(await asked(it, caller.token, tokens=4_000))
            return
        left = int(headers["x-ratelimit-remaining-tokens"])
        assert 0 < left < 1_000
        over = refused(await asked(it, caller.token, tokens=4_000))
        assert over["retry-after-ms"] == "59000"
        assert over["x-ratelimit-remaining-tokens"] == str(left)
        clock.advance(59)
        admitted(await asked(it, caller.token, tokens=4_000))

    journey(tmp_path, steps)


def test_users_first_seen_and_the_callers_of_a_model_are_counted_over_any_minute_too(tmp_path: Path) -> None:
    async def steps(it: Stage, clock: ManualClock) -> None:
        each = ScopeDoc(
            path="org:acme/team:search", level="team", user_rate=Rate(requests_per_minute=1, window=True)
        )
        await it.platform.tenancy.put_scope("acme", each)
        token = (await it.caller(end_users=True)).token
        admitted(await asked(it, token, user="ada"))
        clock.advance(59)
        refused(await asked(it, token, user="ada"))
        for user in ("b", "c"):
            admitted(await asked(it, token, HOUSE, user=user))
        clock.advance(59)
        over = await asked(it, token, HOUSE, user="d")
        assert isinstance(over, openai.RateLimitError)
        assert over.param == "model requests per minute"
        assert refused(over)["retry-after-ms"] == "1000"

    route = RouteSettings(
        model=HOUSE,
        targets=(TargetSettings(provider="sim", model=MODEL),),
        rate=ModelRateSettings(requests_per_minute=2, window=True),
    )
    journey(tmp_path, steps, routes=(route,))
