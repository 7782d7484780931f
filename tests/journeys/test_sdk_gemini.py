"""The official Google Gen AI SDK for Python, unchanged, is a customer of the gateway over every provider wire.

Promise: over each of the three provider wires the SDK, as published, sees what it sees at Google: answers whole and
streamed, functions and their results, pictures, thoughts, structured answers, usage and typed errors; and what a call
cost at the provider is what the ledger posted.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from google.genai import Client, errors, types

from tests.journeys.three_wires import PICTURE, WIRES, root, three_wires
from tests.stage import Caller, Stage
from tests.support import run

QUESTION = "How much water passed the gate?"
FUNCTION = types.FunctionDeclaration(
    name="read_gauge",
    description="Read a gauge of the plant.",
    parameters_json_schema={
        "type": "object",
        "properties": {"gauge": {"type": "string", "enum": ["intake", "tail"]}, "day": {"type": "integer"}},
        "required": ["gauge", "day"],
    },
)
TOOLS: list[Any] = [types.Tool(function_declarations=[FUNCTION])]
Steps = Callable[[Stage, Caller, Any], Awaitable[None]]
every_wire = pytest.mark.parametrize("wire", WIRES)


def journey(folder: Path, steps: Steps) -> None:
    """Take `steps` with the models of a client of its own key."""

    async def whole() -> None:
        async with three_wires(folder) as it:
            caller = await it.caller()
            client = Client(api_key=caller.token, http_options=types.HttpOptions(base_url=root(it)))
            try:
                await steps(it, caller, client.aio.models)
            finally:
                await client.aio.aclose()
                client.close()

    run(whole())


@every_wire
def test_content_is_generated_and_billed_what_the_provider_billed(tmp_path: Path, wire: str) -> None:
    async def steps(it: Stage, caller: Caller, models: Any) -> None:
        reply = await models.generate_content(
            model=wire,
            contents=QUESTION,
            config=types.GenerateContentConfig(
                system_instruction="You read gauges.", temperature=0.2, max_output_tokens=64
            ),
        )
        assert reply.text
        assert reply.candidates[0].finish_reason in (types.FinishReason.STOP, types.FinishReason.MAX_TOKENS)
        [truth] = await it.truth()
        assert (await it.settled(caller)).posted_nanos == truth.cost_nanos > 0
        told = reply.usage_metadata
        assert (told.prompt_token_count, told.candidates_token_count) == (
            truth.input_tokens,
            truth.output_tokens,
        )

    journey(tmp_path, steps)


@every_wire
def test_a_stream_says_the_same_as_the_whole_answer(tmp_path: Path, wire: str) -> None:
    async def steps(it: Stage, caller: Caller, models: Any) -> None:
        whole = await models.generate_content(model=wire, contents=QUESTION)
        pieces = [
            piece async for piece in await models.generate_content_stream(model=wire, contents=QUESTION)
        ]
        assert "".join(piece.text or "" for piece in pieces) == whole.text
        assert pieces[-1].candidates[0].finish_reason == whole.candidates[0].finish_reason
        assert pieces[-1].usage_metadata.candidates_token_count == whole.usage_metadata.candidates_token_count
        spent = await it.settled(caller, 2)
        assert spent.posted_nanos == sum(row.cost_nanos for row in await it.truth(2))

    journey(tmp_path, steps)


@every_wire
def test_functions_are_called_and_their_results_answered(tmp_path: Path, wire: str) -> None:
    async def steps(it: Stage, caller: Caller, models: Any) -> None:
        config = types.GenerateContentConfig(
            tools=TOOLS, automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True)
        )
        asked = types.Content(role="user", parts=[types.Part(text=QUESTION)])
        first = await models.generate_content(model=wire, contents=[asked], config=config)
        [call] = first.function_calls
        assert call.name == "read_gauge" and call.args["gauge"] in ("intake", "tail")
        result = types.Part.from_function_response(name="read_gauge", response={"litres": 1200})
        turns = [asked, first.candidates[0].content, types.Content(role="user", parts=[result])]
        second = await models.generate_content(model=wire, contents=turns, config=config)
        assert second.text
        stream = await models.generate_content_stream(model=wire, contents=[asked], config=config)
        calls = [each async for piece in stream for each in piece.function_calls or ()]
        assert [each.args for each in calls] == [call.args]

    journey(tmp_path, steps)


@every_wire
def test_pictures_reach_the_provider(tmp_path: Path, wire: str) -> None:
    async def steps(it: Stage, caller: Caller, models: Any) -> None:
        picture = types.Part.from_bytes(data=base64.b64decode(PICTURE), mime_type="image/gif")
        reply = await models.generate_content(model=wire, contents=[picture, "What is it?"])
        assert reply.text
        [truth] = await it.truth()
        assert truth.input_tokens > 16  # a picture is 16 tokens to the simulator
        assert (await it.settled(caller)).posted_nanos == truth.cost_nanos

    journey(tmp_path, steps)


@every_wire
def test_thoughts_are_told_and_counted(tmp_path: Path, wire: str) -> None:
    async def steps(it: Stage, caller: Caller, models: Any) -> None:
        config = types.GenerateContentConfig(
            thinking_config=types.ThinkingConfig(include_thoughts=True, thinking_budget=1024),
            max_output_tokens=4096,
        )
        reply = await models.generate_content(model=wire, contents=QUESTION, config=config)
        assert reply.text
        thoughts = [part.text for part in reply.candidates[0].content.parts if part.thought]
        if wire != "openai-wire":  # OpenAI's own wire shows no thoughts
            assert thoughts and thoughts[0]
        assert (await it.settled(caller)).posted_nanos == (await it.truth())[0].cost_nanos

    journey(tmp_path, steps)


@every_wire
def test_a_structured_answer_obeys_its_schema(tmp_path: Path, wire: str) -> None:
    async def steps(it: Stage, caller: Caller, models: Any) -> None:
        schema = {
            "type": "object",
            "properties": {"gauge": {"type": "string"}, "litres": {"type": "integer"}},
            "required": ["gauge", "litres"],
            "additionalProperties": False,
        }
        config = types.GenerateContentConfig(
            response_mime_type="application/json", response_json_schema=schema
        )
        reply = await models.generate_content(model=wire, contents=QUESTION, config=config)
        assert set(json.loads(reply.text)) == {"gauge", "litres"}

    journey(tmp_path, steps)


@every_wire
@pytest.mark.parametrize(("order", "status"), [("rate_limit", 429), ("overloaded", 503)])
def test_the_providers_refusals_are_this_sdks_exceptions(
    tmp_path: Path, wire: str, order: str, status: int
) -> None:
    async def steps(it: Stage, caller: Caller, models: Any) -> None:
        with pytest.raises(errors.APIError) as caught:
            await models.generate_content(model=f"{wire}!{order}", contents=QUESTION)
        assert caught.value.code == status
        assert (await it.settled(caller)).posted_nanos == 0

    journey(tmp_path, steps)


def test_our_own_refusals_are_this_sdks_exceptions(tmp_path: Path) -> None:
    async def steps(it: Stage, caller: Caller, models: Any) -> None:
        with pytest.raises(errors.ClientError) as missing:
            await models.generate_content(model="no-such-model", contents=QUESTION)
        assert missing.value.code == 404 and "no-such-model" in str(missing.value)
        with pytest.raises(errors.ClientError) as wrong:
            await models.generate_content(
                model=WIRES[2], contents=QUESTION, config=types.GenerateContentConfig(candidate_count=1000)
            )
        assert wrong.value.code == 400

    journey(tmp_path, steps)


def test_what_a_provider_cannot_be_told_is_refused_by_name(tmp_path: Path) -> None:
    async def steps(it: Stage, caller: Caller, models: Any) -> None:
        config = types.GenerateContentConfig(tools=[types.Tool(google_search=types.GoogleSearch())])
        with pytest.raises(errors.ClientError) as refused:
            await models.generate_content(model="openai-wire", contents=QUESTION, config=config)
        assert refused.value.code == 400 and "tools[0]" in str(refused.value)

    journey(tmp_path, steps)
