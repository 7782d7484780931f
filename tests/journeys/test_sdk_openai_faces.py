"""The Responses API and legacy completions by the official OpenAI SDK, over every provider wire.

Promise: as test_sdk_openai_wires, for OpenAI's other two ways to ask.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI
from openai.types.responses import (
    Response,
    ResponseCompletedEvent,
    ResponseCreatedEvent,
    ResponseInProgressEvent,
)

from tests.journeys.test_openai_python import PICTURE, TOOLS, Reading
from tests.journeys.three_wires import WIRES, three_wires
from tests.stage import Caller, Stage
from tests.support import run

QUESTION = "How much water passed the gate?"
FLAT: list[Any] = [{"type": "function", **TOOLS[0]["function"], "strict": False}]
WHOLE_EVENTS = (ResponseCreatedEvent, ResponseInProgressEvent, ResponseCompletedEvent)
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
def test_a_response_is_made_and_billed_what_the_provider_billed(tmp_path: Path, wire: str) -> None:
    async def steps(it: Stage, caller: Caller, client: AsyncOpenAI) -> None:
        reply = await client.responses.create(
            model=wire, input=QUESTION, instructions="You read gauges.", max_output_tokens=64
        )
        assert reply.output_text and reply.status in ("completed", "incomplete")
        [truth] = await it.truth()
        assert (await it.settled(caller)).posted_nanos == truth.cost_nanos > 0
        assert reply.usage
        assert (reply.usage.input_tokens, reply.usage.output_tokens) == (
            truth.input_tokens,
            truth.output_tokens,
        )

    journey(tmp_path, steps)


@every_wire
def test_a_streamed_response_says_the_same(tmp_path: Path, wire: str) -> None:
    async def steps(it: Stage, caller: Caller, client: AsyncOpenAI) -> None:
        whole = await client.responses.create(model=wire, input=QUESTION)
        async with client.responses.stream(model=wire, input=QUESTION) as stream:
            kinds = [event.type async for event in stream]
            final = await stream.get_final_response()
        assert final.output_text == whole.output_text and final.status == whole.status
        assert (kinds[0], kinds[-1]) == ("response.created", "response.completed")
        spent = await it.settled(caller, 2)
        assert spent.posted_nanos == sum(row.cost_nanos for row in await it.truth(2))

    journey(tmp_path, steps)


@every_wire
def test_a_response_repeats_what_was_asked_whoever_answers(tmp_path: Path, wire: str) -> None:
    """Whole, and at the beginning and the end of a stream: as OpenAI's own objects do, under ids like theirs."""
    asked: dict[str, Any] = {
        "instructions": "You read gauges.", "max_output_tokens": 64, "temperature": 0.5, "tools": FLAT,
        "tool_choice": "auto", "parallel_tool_calls": True,
    }  # fmt: skip

    def holds(reply: Response) -> None:
        told = reply.model_dump(mode="json", exclude_unset=True)
        assert {name: told[name] for name in asked} == asked
        assert reply.id.startswith("resp_") and told["store"] is False
        assert told["text"] == {"format": {"type": "text"}} and told["metadata"] == {}
        assert (reply.truncation, reply.top_p) == ("disabled", None)
        assert reply.previous_response_id is None and reply.error is None
        kinds = {"message": "msg_", "function_call": "fc_", "reasoning": "rs_"}
        for item in reply.output:
            assert item.id and item.id.startswith(kinds[item.type])

    async def steps(it: Stage, caller: Caller, client: AsyncOpenAI) -> None:
        whole = await client.responses.create(model=wire, input=QUESTION, **asked)
        holds(whole)
        assert whole.output and whole.usage
        stream = await client.responses.create(model=wire, input=QUESTION, stream=True, **asked)
        forms: list[Response] = [event.response async for event in stream if isinstance(event, WHOLE_EVENTS)]
        assert [form.status for form in forms] == ["in_progress", "in_progress", "completed"]
        assert len({form.id for form in forms}) == 1
        for form in forms:
            holds(form)

    journey(tmp_path, steps)


@every_wire
def test_functions_are_called_and_their_results_answered(tmp_path: Path, wire: str) -> None:
    async def steps(it: Stage, caller: Caller, client: AsyncOpenAI) -> None:
        first = await client.responses.create(model=wire, input=QUESTION, tools=FLAT, tool_choice="required")
        [call] = [item for item in first.output if item.type == "function_call"]
        assert call.name == "read_gauge" and json.loads(call.arguments)["gauge"] in ("intake", "tail")
        turns: list[Any] = [
            {"role": "user", "content": QUESTION},
            *[item.model_dump(exclude_none=True) for item in first.output],
            {"type": "function_call_output", "call_id": call.call_id, "output": "1200"},
        ]
        second = await client.responses.create(model=wire, input=turns, tools=FLAT)
        assert second.output_text

    journey(tmp_path, steps)


@every_wire
def test_pictures_thinking_and_a_type_of_ones_own(tmp_path: Path, wire: str) -> None:
    async def steps(it: Stage, caller: Caller, client: AsyncOpenAI) -> None:
        parts = [
            {"type": "input_text", "text": "What is it?"},
            {"type": "input_image", "image_url": PICTURE, "detail": "auto"},
        ]
        turns: list[Any] = [{"role": "user", "content": parts}]
        seen = await client.responses.create(
            model=wire, input=turns, reasoning={"effort": "low"}, max_output_tokens=8_000
        )
        assert seen.output_text
        parsed = await client.responses.parse(model=wire, input=QUESTION, text_format=Reading)
        assert isinstance(parsed.output_parsed, Reading)
        spent = await it.settled(caller, 2)
        assert spent.posted_nanos == sum(row.cost_nanos for row in await it.truth(2))

    journey(tmp_path, steps)


@every_wire
def test_a_text_is_completed_whole_and_streamed(tmp_path: Path, wire: str) -> None:
    async def steps(it: Stage, caller: Caller, client: AsyncOpenAI) -> None:
        whole = await client.completions.create(model=wire, prompt=QUESTION, max_tokens=32)
        assert whole.object == "text_completion" and whole.choices[0].text
        stream = await client.completions.create(model=wire, prompt=QUESTION, max_tokens=32, stream=True)
        assert "".join([chunk.choices[0].text async for chunk in stream]) == whole.choices[0].text
        spent = await it.settled(caller, 2)
        assert spent.posted_nanos == sum(row.cost_nanos for row in await it.truth(2))

    journey(tmp_path, steps)


@every_wire
def test_refusals_and_breaks_are_this_sdks_exceptions(tmp_path: Path, wire: str) -> None:
    async def steps(it: Stage, caller: Caller, client: AsyncOpenAI) -> None:
        with pytest.raises(openai.RateLimitError):
            await client.responses.create(model=f"{wire}!rate_limit", input=QUESTION)
        kinds: list[str] = []

        async def listen() -> None:
            stream = await client.responses.create(
                model=f"{wire}!error_mid_stream;after=40;tokens=60", input=QUESTION, stream=True
            )
            async for event in stream:
                kinds.append(event.type)  # noqa: PERF401  # what came before the error counts

        try:
            await listen()
        except openai.APIError:
            kinds.append("raised")
        assert "response.output_text.delta" in kinds and kinds[-1] in ("raised", "error", "response.failed")
        assert "response.completed" not in kinds
        with pytest.raises(openai.BadRequestError) as refused:
            await client.responses.create(model=wire, input=QUESTION, previous_response_id="resp_1")
        assert refused.value.param == "previous_response_id"

    journey(tmp_path, steps)
