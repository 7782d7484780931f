"""The official SDKs, unchanged, at the faces beside chat: models, counts of tokens, embeddings.

Promise: each SDK gets what its own vendor would send; what was paid for is what the provider's books say.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import openai
import pytest
from anthropic import AsyncAnthropic, NotFoundError
from google import genai
from openai import AsyncOpenAI

from tests.journeys.three_wires import WIRES, root, three_wires
from tests.stage import Caller, Stage, stage
from tests.support import run

Steps = Callable[[Stage, Caller, AsyncOpenAI], Awaitable[None]]


def journey(folder: Path, steps: Steps) -> None:
    """Take `steps` with a client of its own key."""

    async def whole() -> None:
        async with stage(folder, resilience={"max_attempts": 2}) as it:
            caller = await it.caller()
            async with AsyncOpenAI(base_url=it.url, api_key=caller.token, max_retries=0) as client:
                await steps(it, caller, client)

    run(whole())


def test_every_sdk_lists_the_models_and_finds_one(tmp_path: Path) -> None:
    async def whole() -> None:
        async with three_wires(tmp_path) as it:
            token = (await it.caller(models=(*WIRES, "gone"))).token
            async with AsyncOpenAI(base_url=it.url, api_key=token) as client:
                assert [model.id async for model in client.models.list()] == list(WIRES)
                assert (await client.models.retrieve(WIRES[0])).owned_by == "sim"
                with pytest.raises(openai.NotFoundError):
                    await client.models.retrieve("gone")
            async with AsyncAnthropic(base_url=root(it), api_key=token) as client:
                assert [model.id async for model in client.models.list(limit=2)] == list(WIRES)
                assert (await client.models.retrieve(WIRES[1])).display_name == WIRES[1]
            google = genai.Client(api_key=token, http_options={"base_url": root(it)}).aio
            listed = [model.name async for model in await google.models.list(config={"page_size": 2})]
            assert listed == [f"models/{wire}" for wire in WIRES]
            assert (await google.models.get(model=WIRES[2])).name == f"models/{WIRES[2]}"
            await google.aclose()

    run(whole())


def test_a_model_whose_name_has_a_slash_is_found_by_every_sdk(tmp_path: Path) -> None:
    """The SDKs of OpenAI and Anthropic escape it, Google's does not."""

    async def whole() -> None:
        async with stage(tmp_path) as it:
            token = (await it.caller(models=("sim/model",))).token
            async with AsyncOpenAI(base_url=it.url, api_key=token) as client:
                assert (await client.models.retrieve("sim/model")).id == "sim/model"
                with pytest.raises(openai.NotFoundError):
                    await client.models.retrieve("sim/gpt-4o-mini")
                with pytest.raises(openai.BadRequestError):
                    await client.models.retrieve("sim/../../api/v1/keys")
                with pytest.raises(openai.BadRequestError):
                    await client.get("/batches/a%2Fb", cast_to=object)
            async with AsyncAnthropic(base_url=root(it), api_key=token) as client:
                assert (await client.models.retrieve("sim/model")).id == "sim/model"
            google = genai.Client(api_key=token, http_options={"base_url": root(it)}).aio
            assert (await google.models.get(model="models/sim/model")).name == "models/sim/model"
            await google.aclose()

    run(whole())


def test_tokens_are_counted_by_the_provider_for_nothing_or_estimated_and_said_so(tmp_path: Path) -> None:
    async def whole() -> None:
        async with three_wires(tmp_path) as it:
            caller = await it.caller()
            google = genai.Client(api_key=caller.token, http_options={"base_url": root(it)}).aio
            question: Any = [{"role": "user", "content": "How much water passed the gate?"}]
            async with AsyncAnthropic(base_url=root(it), api_key=caller.token) as client:
                for wire in WIRES[1:]:
                    told = await client.messages.with_raw_response.count_tokens(model=wire, messages=question)
                    counted = (await told.parse()).input_tokens
                    answer = await client.messages.create(model=wire, messages=question, max_tokens=16)
                    assert counted == answer.usage.input_tokens and "x-penstock-estimated" not in told.headers
                    by_google = await google.models.count_tokens(
                        model=wire, contents="How much water passed the gate?"
                    )
                    assert by_google.total_tokens == counted
                told = await client.messages.with_raw_response.count_tokens(model=WIRES[0], messages=question)
                assert told.headers["x-penstock-estimated"] == "input_tokens"
                assert 6 <= (await told.parse()).input_tokens <= 60
                with pytest.raises(NotFoundError):
                    await client.messages.count_tokens(model="gone", messages=question)
            await google.aclose()
            spent = await it.settled(caller, 2)
            assert (spent.postings, spent.posted_nanos) == (
                2,
                sum(row.cost_nanos for row in await it.truth(2)),
            )

    run(whole())


def test_texts_are_embedded_and_billed_what_the_provider_billed(tmp_path: Path) -> None:
    async def steps(it: Stage, caller: Caller, client: AsyncOpenAI) -> None:
        texts = ["How full is the lake?", "How full is it?"]
        reply = await client.embeddings.create(model="gpt-4o-mini", input=texts, dimensions=6)
        assert [(each.index, len(each.embedding)) for each in reply.data] == [(0, 6), (1, 6)]
        again = await client.embeddings.create(
            model="gpt-4o-mini", input=texts[0], dimensions=6, encoding_format="float"
        )
        assert again.data[0].embedding == pytest.approx(reply.data[0].embedding, rel=1e-6)
        truth = await it.truth(2)
        assert [reply.usage.prompt_tokens, again.usage.prompt_tokens] == [row.input_tokens for row in truth]
        spent = await it.settled(caller, 2)
        assert spent.posted_nanos == sum(row.cost_nanos for row in truth) > 0

    journey(tmp_path, steps)


def test_a_vendor_that_is_busy_is_asked_again_and_one_key_is_answered_once(tmp_path: Path) -> None:
    async def steps(it: Stage, caller: Caller, client: AsyncOpenAI) -> None:
        it.simulator.order("overloaded")
        once = {"Idempotency-Key": "k1"}
        first = await client.embeddings.create(model="gpt-4o-mini", input=[1, 2, 3], extra_headers=once)
        again = await client.embeddings.create(model="gpt-4o-mini", input=[1, 2, 3], extra_headers=once)
        assert again.data[0].embedding == first.data[0].embedding
        assert [row.outcome for row in await it.truth(2)] == ["overloaded", "ok"]
        assert (await it.settled(caller)).postings == 1

    journey(tmp_path, steps)


def test_what_cannot_be_embedded_is_refused_before_it_costs(tmp_path: Path) -> None:
    async def steps(it: Stage, caller: Caller, client: AsyncOpenAI) -> None:
        with pytest.raises(openai.BadRequestError) as unable:
            await client.embeddings.create(model="local/extractive", input="a")
        assert unable.value.code == "model_not_able"
        with pytest.raises(openai.BadRequestError):
            await client.embeddings.create(model="gpt-4o-mini", input="")
        poor = await it.caller(max_request_nanos=1)
        with pytest.raises(openai.RateLimitError) as dear:
            await client.with_options(api_key=poor.token).embeddings.create(
                model="gpt-4o-mini", input="a" * 99
            )
        assert dear.value.code == "request_too_expensive"
        assert it.simulator.truth.rows() == []
        assert (await it.spent(caller)).held_nanos == 0

    journey(tmp_path, steps)
