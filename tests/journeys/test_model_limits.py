"""Limits of a model: an organisation's callers share them, whatever key they come with and whatever they ask of it.

Promise: the limit of the public name holds beside those of the key; a refusal says so in the caller's dialect and when
to come back; another organisation, another model and the back end under its own name are not touched.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import openai
import pytest
from anthropic import AsyncAnthropic, RateLimitError
from openai import AsyncOpenAI

from penstock.kernel.context import Rate
from penstock.kernel.settings import RouteSettings, TargetSettings
from penstock.kernel.settings_routes import ModelRateSettings
from penstock.mechanisms.tenancy import KeyDoc
from tests.stage import MODEL, Stage, stage
from tests.support import run

QUESTION = "How much water?"
HOUSE = "house"


def journey(folder: Path, steps: Callable[[Stage], Awaitable[None]], **rate: int) -> None:
    """Take `steps` where the model `HOUSE` is limited to `rate`."""
    route = RouteSettings(
        model=HOUSE,
        targets=(
            TargetSettings(provider="sim", model=MODEL),
            TargetSettings(provider="sim", model="gpt-4o-mini"),
        ),
        rate=ModelRateSettings(**rate),
    )

    async def whole() -> None:
        async with stage(folder, routes=(route,)) as it:
            await steps(it)

    run(whole())


async def asked(it: Stage, token: str, model: str = HOUSE, tokens: int = 5) -> openai.APIStatusError | None:
    """Ask once; returns the refusal."""
    async with AsyncOpenAI(base_url=it.url, api_key=token, max_retries=0) as client:
        try:
            await client.chat.completions.create(
                model=model, messages=[{"role": "user", "content": QUESTION}], max_tokens=tokens
            )
        except openai.APIStatusError as refusal:
            return refusal
    return None


def test_the_callers_of_an_organisation_share_the_limit_of_a_model_and_no_other_organisation_does(
    tmp_path: Path,
) -> None:
    async def steps(it: Stage) -> None:
        first, second = await it.caller(), await it.caller(rate=Rate(requests_per_minute=100))
        doc = KeyDoc(id="", mac="", org="other", team="t", project="p", user="u")
        _, elsewhere = await it.platform.tenancy.create_key(doc)
        assert await asked(it, first.token) is None
        assert await asked(it, second.token) is None
        refused = await asked(it, second.token)
        assert isinstance(refused, openai.RateLimitError)
        assert (refused.code, refused.param) == ("rate_limit_exceeded", "model requests per minute")
        assert 0 < int(refused.response.headers["retry-after-ms"]) <= 30_000
        assert refused.response.headers["x-ratelimit-limit-requests"] == "2"
        assert refused.response.headers["x-ratelimit-remaining-requests"] == "0"
        assert await asked(it, first.token, MODEL) is None
        assert await asked(it, elsewhere) is None

    journey(tmp_path, steps, requests_per_minute=2)


def test_tokens_of_a_model_are_counted_too_and_what_was_not_used_comes_back(tmp_path: Path) -> None:
    async def steps(it: Stage) -> None:
        caller = await it.caller()
        assert await asked(it, caller.token, tokens=4_000) is None
        await it.settled(caller)
        assert await asked(it, caller.token, tokens=5) is None
        refused = await asked(it, caller.token, tokens=5_000)
        assert refused is not None
        assert refused.param == "model tokens per minute"

    journey(tmp_path, steps, tokens_per_minute=5_000)


def test_a_model_asked_for_by_its_provider_and_name_is_under_the_limit_of_its_name(tmp_path: Path) -> None:
    """Given a route that limits gpt-4o-mini, then sim/gpt-4o-mini, which nobody defined, is no way around it."""

    async def whole() -> None:
        route = RouteSettings(
            model="gpt-4o-mini",
            targets=(TargetSettings(provider="sim", model="gpt-4o-mini"),),
            rate=ModelRateSettings(requests_per_minute=2),
        )
        async with stage(tmp_path, routes=(route,)) as it:
            caller = await it.caller()
            assert await asked(it, caller.token, "gpt-4o-mini") is None
            assert await asked(it, caller.token, "sim/gpt-4o-mini") is None
            for name in ("gpt-4o-mini", "sim/gpt-4o-mini"):
                refused = await asked(it, caller.token, name)
                assert isinstance(refused, openai.RateLimitError)
                assert refused.param == "model requests per minute"

    run(whole())


@pytest.mark.parametrize("limit", ["requests_per_minute", "concurrency"])
def test_every_face_asks_under_the_limit_of_the_model(tmp_path: Path, limit: str) -> None:
    """Given a model with room for one, then the second call is refused in Anthropic's words, counted or not."""

    async def steps(it: Stage) -> None:
        caller = await it.caller()
        async with AsyncAnthropic(base_url=it.url[:-3], api_key=caller.token, max_retries=0) as client:
            counted = client.messages.count_tokens
            await counted(model=HOUSE, messages=[{"role": "user", "content": QUESTION}])
            if limit == "concurrency":  # the place is given back
                assert await asked(it, caller.token) is None
                return
            with pytest.raises(RateLimitError) as refused:
                await counted(model=HOUSE, messages=[{"role": "user", "content": QUESTION}])
            assert refused.value.response.headers["anthropic-ratelimit-requests-limit"] == "1"
        async with AsyncOpenAI(base_url=it.url, api_key=caller.token, max_retries=0) as client:
            with pytest.raises(openai.RateLimitError):
                await client.embeddings.create(model=HOUSE, input=QUESTION)
            with pytest.raises(openai.RateLimitError):
                await client.responses.create(model=HOUSE, input=QUESTION)

    journey(tmp_path, steps, **{limit: 1})
