"""The official OpenAI SDK has texts and pictures judged, one at a time and by the batch.

Promise: it gets what OpenAI would send; what OpenAI gives away costs nothing here and is counted and limited all the
same; a busy vendor is asked again; what cannot be judged is refused before anybody is asked.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI

from penstock.kernel.context import Rate
from penstock.kernel.settings import ProviderSettings
from tests.journeys.test_sdk_batches import begun, ended, line, told
from tests.stage import Caller, Stage, stage
from tests.support import run

MODEL = "omni-moderation-latest"
Steps = Callable[[Stage, Caller, AsyncOpenAI], Awaitable[None]]


def _openai(url: str) -> tuple[ProviderSettings, ...]:
    """OpenAI itself, so that the shipped price table says what moderation costs."""
    return (ProviderSettings(name="openai", kind="openai", base_url=url, models=(MODEL,)),)


def journey(folder: Path, steps: Steps, **rights: Any) -> None:
    """Take `steps` with a client of its own key."""

    async def whole() -> None:
        async with stage(folder, others=_openai, resilience={"max_attempts": 2}) as it:
            caller = await it.caller(**rights)
            async with AsyncOpenAI(base_url=it.url, api_key=caller.token, max_retries=0) as client:
                await steps(it, caller, client)

    run(whole())


def test_texts_are_judged_one_verdict_each_and_it_costs_nothing(tmp_path: Path) -> None:
    async def steps(it: Stage, caller: Caller, client: AsyncOpenAI) -> None:
        raw = await client.moderations.with_raw_response.create(
            model=MODEL, input=["a quiet lake", "sheer violence"]
        )
        reply = raw.parse()
        assert [each.flagged for each in reply.results] == [False, True]
        assert reply.results[1].categories.violence and reply.results[1].category_scores.violence == 0.9
        assert raw.headers["x-penstock-cost-nanos"] == "0"
        spent = await it.settled(caller)
        assert (spent.postings, spent.posted_nanos) == (1, 0)
        [row] = await it.truth()
        assert (row.model, row.outcome, row.cost_nanos) == (MODEL, "ok", 0)

    journey(tmp_path, steps)


def test_a_caller_that_names_no_model_gets_openais_own(tmp_path: Path) -> None:
    async def steps(it: Stage, _caller: Caller, client: AsyncOpenAI) -> None:
        assert not (await client.moderations.create(input="a quiet lake")).results[0].flagged
        assert [row.model for row in await it.truth()] == [MODEL]

    journey(tmp_path, steps)


def test_a_text_and_a_picture_are_one_input_and_the_picture_is_no_prompt(tmp_path: Path) -> None:
    """Given pictures of a megabyte and 200,000 tokens a minute, then two are judged: they are no such prompts."""

    async def steps(_it: Stage, _caller: Caller, client: AsyncOpenAI) -> None:
        picture = "data:image/gif;base64," + "A" * 1_000_000
        parts: Any = [
            {"type": "text", "text": "violence"},
            {"type": "image_url", "image_url": {"url": picture}},
        ]
        for _ in range(2):
            reply = await client.moderations.create(model=MODEL, input=parts)
            assert [each.flagged for each in reply.results] == [True]
        with pytest.raises(openai.RateLimitError):
            await client.moderations.create(model=MODEL, input="word " * 40_000)

    journey(tmp_path, steps, rate=Rate(tokens_per_minute=200_000))


def test_a_busy_vendor_is_asked_again_and_one_key_is_answered_once(tmp_path: Path) -> None:
    async def steps(it: Stage, caller: Caller, client: AsyncOpenAI) -> None:
        it.simulator.order("overloaded")
        once = {"Idempotency-Key": "k1"}
        first = await client.moderations.create(model=MODEL, input="violence", extra_headers=once)
        again = await client.moderations.create(model=MODEL, input="violence", extra_headers=once)
        assert first.results == again.results
        assert [row.outcome for row in await it.truth(2)] == ["overloaded", "ok"]
        assert (await it.settled(caller)).postings == 1

    journey(tmp_path, steps)


def test_a_batch_is_judged_line_by_line(tmp_path: Path) -> None:
    async def steps(it: Stage, caller: Caller, client: AsyncOpenAI) -> None:
        path = "/v1/moderations"
        lines = [line(name, MODEL, path, input=name) for name in ("a quiet lake", "sheer violence")]
        batch = await ended(client, await begun(client, lines, path))
        assert (batch.status, batch.error_file_id) == ("completed", None)
        out = await told(client, batch.output_file_id)
        flagged = [each["response"]["body"]["results"][0]["flagged"] for each in out.values()]
        assert flagged == [False, True]
        assert (await it.settled(caller, 2)).postings == 2

    journey(tmp_path, steps)


def test_what_cannot_be_judged_is_refused_before_anybody_is_asked(tmp_path: Path) -> None:
    async def steps(it: Stage, caller: Caller, client: AsyncOpenAI) -> None:
        with pytest.raises(openai.BadRequestError) as unable:
            await client.moderations.create(model="local/extractive", input="a")
        assert unable.value.code == "model_not_able"
        with pytest.raises(openai.BadRequestError) as odd:
            await client.moderations.create(input=[{"type": "audio"}])  # pyright: ignore[reportArgumentType]  # that is the point
        assert odd.value.param == "input[0].type"
        narrow = await it.caller(models=("gpt-4o-mini",))
        with pytest.raises(openai.PermissionDeniedError):
            await client.with_options(api_key=narrow.token).moderations.create(model=MODEL, input="a")
        assert it.simulator.truth.rows() == []
        assert (await it.spent(caller)).held_nanos == 0

    journey(tmp_path, steps)
