"""The official OpenAI SDK for Python, unchanged, is a customer of the gateway over every provider wire.

Promise: over each of the three wires the SDK sees what it sees at OpenAI: answers whole and streamed, tools and their
results, pictures, thoughts, structured answers, usage and typed errors; and what a call cost at the provider is what
the ledger posted. More of OpenAI's own wire: test_openai_python.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI

from tests.journeys.test_openai_python import PICTURE, TOOLS, Reading
from tests.journeys.three_wires import WIRES, three_wires
from tests.stage import Caller, Stage
from tests.support import run

QUESTION: list[Any] = [
    {"role": "system", "content": "You read gauges."},
    {"role": "user", "content": "How much water passed the gate?"},
]
Steps = Callable[[Stage, Caller, AsyncOpenAI], Awaitable[None]]
every_wire = pytest.mark.parametrize("wire", WIRES)


def journey(folder: Path, steps: Steps) -> None:
    """Take `steps` with a client of its own key."""

    async def whole() -> None:
        async with three_wires(folder) as it:
            caller = await it.caller()
            async with AsyncOpenAI(base_url=it.url, api_key=caller.token, max_retries=0) as client:
                await steps(it, caller, client)

    run(whole())


@every_wire
def test_a_chat_is_answered_and_billed_what_the_provider_billed(tmp_path: Path, wire: str) -> None:
    async def steps(it: Stage, caller: Caller, client: AsyncOpenAI) -> None:
        reply = await client.chat.completions.create(
            model=wire, messages=QUESTION, temperature=0.2, top_p=0.9, stop=["§"], max_completion_tokens=64
        )
        assert (reply.object == "chat.completion" and reply.model == wire) or reply.model
        assert reply.choices[0].message.role == "assistant" and reply.choices[0].message.content
        assert reply.choices[0].finish_reason in ("stop", "length")
        [truth] = await it.truth()
        assert (await it.settled(caller)).posted_nanos == truth.cost_nanos > 0
        assert reply.usage is not None
        assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (
            truth.input_tokens,
            truth.output_tokens,
        )

    journey(tmp_path, steps)


@every_wire
def test_a_stream_says_the_same_and_tells_usage_when_asked(tmp_path: Path, wire: str) -> None:
    async def steps(it: Stage, caller: Caller, client: AsyncOpenAI) -> None:
        whole = await client.chat.completions.create(model=wire, messages=QUESTION)
        silent = await client.chat.completions.create(model=wire, messages=QUESTION, stream=True)
        chunks = [chunk async for chunk in silent]
        assert (
            "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
            == whole.choices[0].message.content
        )
        assert chunks[-1].choices[0].finish_reason == whole.choices[0].finish_reason
        assert all(chunk.usage is None for chunk in chunks)
        telling = await client.chat.completions.create(
            model=wire, messages=QUESTION, stream=True, stream_options={"include_usage": True}
        )
        told = [chunk.usage async for chunk in telling if chunk.usage is not None]
        assert len(told) == 1 and whole.usage is not None
        assert told[0].completion_tokens == whole.usage.completion_tokens
        spent = await it.settled(caller, 3)
        assert spent.posted_nanos == sum(row.cost_nanos for row in await it.truth(3))

    journey(tmp_path, steps)


@every_wire
def test_tools_are_called_and_their_results_answered(tmp_path: Path, wire: str) -> None:
    async def steps(it: Stage, caller: Caller, client: AsyncOpenAI) -> None:
        first = await client.chat.completions.create(
            model=wire, messages=QUESTION, tools=TOOLS, tool_choice="required"
        )
        assert first.choices[0].finish_reason == "tool_calls"
        [call] = first.choices[0].message.tool_calls or []
        assert call.type == "function" and call.function.name == "read_gauge" and call.id
        arguments = json.loads(call.function.arguments)
        assert arguments["gauge"] in ("intake", "tail") and isinstance(arguments["day"], int)
        answered: list[Any] = [
            *QUESTION,
            first.choices[0].message.model_dump(exclude_none=True),
            {"role": "tool", "tool_call_id": call.id, "content": '{"litres": 1200}'},
        ]
        second = await client.chat.completions.create(model=wire, messages=answered, tools=TOOLS)
        assert second.choices[0].finish_reason == "stop" and second.choices[0].message.content
        async with client.chat.completions.stream(model=wire, messages=QUESTION, tools=TOOLS) as stream:
            async for _event in stream:
                pass
            final = await stream.get_final_completion()
        [streamed] = final.choices[0].message.tool_calls or []
        assert json.loads(streamed.function.arguments) == arguments

    journey(tmp_path, steps)


@every_wire
def test_pictures_reach_the_provider(tmp_path: Path, wire: str) -> None:
    async def steps(it: Stage, caller: Caller, client: AsyncOpenAI) -> None:
        parts = [
            {"type": "text", "text": "What is it?"},
            {"type": "image_url", "image_url": {"url": PICTURE}},
        ]
        turns: list[Any] = [{"role": "user", "content": parts}]
        reply = await client.chat.completions.create(model=wire, messages=turns)
        assert reply.choices[0].message.content
        [truth] = await it.truth()
        assert truth.input_tokens > 16  # a picture is 16 tokens to the simulator
        assert (await it.settled(caller)).posted_nanos == truth.cost_nanos

    journey(tmp_path, steps)


@every_wire
def test_thinking_is_asked_for_and_counted(tmp_path: Path, wire: str) -> None:
    async def steps(it: Stage, caller: Caller, client: AsyncOpenAI) -> None:
        reply = await client.chat.completions.create(
            model=wire, messages=QUESTION, reasoning_effort="high", max_completion_tokens=8_000
        )
        assert reply.choices[0].message.content
        spent = await it.settled(caller)
        assert spent.posted_nanos == (await it.truth())[0].cost_nanos
        assert reply.usage and reply.usage.completion_tokens_details
        if (
            wire != "anthropic-wire"
        ):  # Anthropic counts thoughts among the answer's tokens without telling them apart
            assert (reply.usage.completion_tokens_details.reasoning_tokens or 0) > 0

    journey(tmp_path, steps)


@every_wire
def test_a_structured_answer_is_the_callers_own_type(tmp_path: Path, wire: str) -> None:
    async def steps(it: Stage, caller: Caller, client: AsyncOpenAI) -> None:
        parsed = await client.chat.completions.parse(model=wire, messages=QUESTION, response_format=Reading)
        assert isinstance(parsed.choices[0].message.parsed, Reading)

    journey(tmp_path, steps)


@every_wire
@pytest.mark.parametrize(
    ("order", "kind", "status"),
    [("rate_limit", openai.RateLimitError, 429), ("overloaded", openai.InternalServerError, 503)],
)
def test_the_providers_refusals_are_this_sdks_exceptions(
    tmp_path: Path, wire: str, order: str, kind: type[openai.APIStatusError], status: int
) -> None:
    async def steps(it: Stage, caller: Caller, client: AsyncOpenAI) -> None:
        with pytest.raises(kind) as caught:
            await client.chat.completions.create(model=f"{wire}!{order}", messages=QUESTION)
        assert caught.value.status_code == status
        assert (await it.settled(caller)).posted_nanos == 0

    journey(tmp_path, steps)


@every_wire
def test_a_stream_that_breaks_off_is_an_error_and_no_end(tmp_path: Path, wire: str) -> None:
    async def steps(it: Stage, caller: Caller, client: AsyncOpenAI) -> None:
        finishes: list[str | None] = []

        async def listen(order: str) -> None:
            stream = await client.chat.completions.create(
                model=f"{wire}!{order}", messages=QUESTION, stream=True
            )
            async for chunk in stream:
                finishes.append(chunk.choices[0].finish_reason)  # noqa: PERF401  # what came before the error counts

        for order in ("error_mid_stream;after=40;tokens=60", "cut;after=40;tokens=60"):
            with pytest.raises(openai.APIError):
                await listen(order)
        assert finishes and not any(finishes)
        assert (await it.settled(caller, 2)).posted_nanos > 0

    journey(tmp_path, steps)


def test_what_a_provider_cannot_be_told_is_refused_by_name(tmp_path: Path) -> None:
    async def steps(it: Stage, caller: Caller, client: AsyncOpenAI) -> None:
        with pytest.raises(openai.BadRequestError) as refused:
            await client.chat.completions.create(model="anthropic-wire", messages=QUESTION, seed=7)
        assert refused.value.param == "seed"
        told = await client.chat.completions.with_raw_response.create(
            model="gemini-wire", messages=QUESTION, metadata={"team": "search"}, store=False
        )
        assert "metadata" in told.headers["x-penstock-left-out"]

    journey(tmp_path, steps)
