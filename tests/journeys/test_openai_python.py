"""The official OpenAI SDK for Python, unchanged, is a customer of the gateway: what it asks is answered as by OpenAI.

Promise: chat, streams, tools, structured answers, pictures, raw headers and the list of models work as against OpenAI;
what a call cost at the provider is what the ledger posted. Errors, retries and timeouts: test_openai_python_errors.py.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

from penstock.kernel.context import Rate
from tests.journeys.openai_customer import QUESTION, journey
from tests.stage import MODEL, Caller, Stage

PICTURE = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=="
TOOLS: list[Any] = [
    {
        "type": "function",
        "function": {
            "name": "read_gauge",
            "description": "Read a gauge of the plant.",
            "parameters": {
                "type": "object",
                "properties": {
                    "gauge": {"type": "string", "enum": ["intake", "tail"]},
                    "day": {"type": "integer"},
                },
                "required": ["gauge", "day"],
            },
        },
    }
]


class Reading(BaseModel):
    """What a structured answer holds."""

    gauge: str
    litres: int
    valves: list[str]


def test_a_chat_is_answered_and_billed_what_the_provider_billed(tmp_path: Path) -> None:
    async def steps(it: Stage, caller: Caller, client: AsyncOpenAI) -> None:
        reply = await client.chat.completions.create(model=MODEL, messages=QUESTION, temperature=0.2, seed=7)
        assert reply.choices[0].message.content
        assert reply.choices[0].finish_reason == "stop"
        assert reply.usage and reply.usage.completion_tokens > 0
        spent = await it.settled(caller)
        assert spent.posted_nanos == (await it.truth())[0].cost_nanos > 0
        assert spent.postings == 1

    journey(tmp_path, steps)


def test_the_synchronous_client_is_served_too(tmp_path: Path) -> None:
    async def steps(it: Stage, caller: Caller, _client: AsyncOpenAI) -> None:
        def ask() -> str | None:
            with OpenAI(base_url=it.url, api_key=caller.token, max_retries=0) as client:
                whole = (
                    client.chat.completions.create(model=MODEL, messages=QUESTION).choices[0].message.content
                )
                parts = client.chat.completions.create(model=MODEL, messages=QUESTION, stream=True)
                assert "".join(part.choices[0].delta.content or "" for part in parts) == whole
                return whole

        assert await asyncio.to_thread(ask)
        assert (await it.settled(caller, 2)).postings == 2

    journey(tmp_path, steps)


def test_a_stream_says_the_same_as_the_whole_answer_and_tells_no_usage_unasked(tmp_path: Path) -> None:
    async def steps(it: Stage, caller: Caller, client: AsyncOpenAI) -> None:
        whole = await client.chat.completions.create(model=MODEL, messages=QUESTION)
        stream = await client.chat.completions.create(model=MODEL, messages=QUESTION, stream=True)
        chunks = [chunk async for chunk in stream]
        said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        assert said == whole.choices[0].message.content
        assert chunks[-1].choices[0].finish_reason == "stop"
        assert all(chunk.usage is None for chunk in chunks)
        spent = await it.settled(caller, 2)
        assert spent.posted_nanos == sum(row.cost_nanos for row in await it.truth(2))

    journey(tmp_path, steps)


def test_include_usage_brings_one_last_chunk_with_the_figures(tmp_path: Path) -> None:
    async def steps(it: Stage, caller: Caller, client: AsyncOpenAI) -> None:
        stream = await client.chat.completions.create(
            model=MODEL, messages=QUESTION, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
        told = [chunk.usage for chunk in chunks if chunk.usage is not None]
        assert len(told) == 1 and chunks[-1].usage is told[0] and not chunks[-1].choices
        truth = (await it.truth())[0]
        assert (told[0].prompt_tokens, told[0].completion_tokens) == (truth.input_tokens, truth.output_tokens)

    journey(tmp_path, steps)


def test_tools_are_called_and_their_results_answered(tmp_path: Path) -> None:
    async def steps(it: Stage, caller: Caller, client: AsyncOpenAI) -> None:
        first = await client.chat.completions.create(model=MODEL, messages=QUESTION, tools=TOOLS)
        assert first.choices[0].finish_reason == "tool_calls"
        calls = first.choices[0].message.tool_calls
        assert calls and calls[0].type == "function" and calls[0].function.name == "read_gauge"
        arguments = json.loads(calls[0].function.arguments)
        assert arguments["gauge"] in ("intake", "tail") and isinstance(arguments["day"], int)
        answered: list[Any] = [
            *QUESTION,
            first.choices[0].message.model_dump(exclude_none=True),
            {"role": "tool", "tool_call_id": calls[0].id, "content": '{"litres": 1200}'},
        ]
        second = await client.chat.completions.create(model=MODEL, messages=answered, tools=TOOLS)
        assert second.choices[0].finish_reason == "stop" and second.choices[0].message.content

    journey(tmp_path, steps)


def test_a_streamed_tool_call_is_put_together_by_the_sdk(tmp_path: Path) -> None:
    async def steps(it: Stage, caller: Caller, client: AsyncOpenAI) -> None:
        async with client.chat.completions.stream(model=MODEL, messages=QUESTION, tools=TOOLS) as stream:
            kinds = {event.type async for event in stream}
            final = await stream.get_final_completion()
        calls = final.choices[0].message.tool_calls
        assert calls and json.loads(calls[0].function.arguments)["gauge"] == "intake"
        assert "tool_calls.function.arguments.done" in kinds

    journey(tmp_path, steps)


def test_parse_returns_the_callers_own_type_whole_and_streamed(tmp_path: Path) -> None:
    async def steps(it: Stage, caller: Caller, client: AsyncOpenAI) -> None:
        parsed = await client.chat.completions.parse(model=MODEL, messages=QUESTION, response_format=Reading)
        assert isinstance(parsed.choices[0].message.parsed, Reading)
        async with client.chat.completions.stream(
            model=MODEL, messages=QUESTION, response_format=Reading
        ) as stream:
            final = await stream.get_final_completion()
        assert final.choices[0].message.parsed == parsed.choices[0].message.parsed

    journey(tmp_path, steps)


def test_a_json_schema_by_hand_is_obeyed(tmp_path: Path) -> None:
    async def steps(it: Stage, caller: Caller, client: AsyncOpenAI) -> None:
        wanted: Any = {
            "type": "json_schema",
            "json_schema": {"name": "reading", "strict": True, "schema": Reading.model_json_schema()},
        }
        reply = await client.chat.completions.create(model=MODEL, messages=QUESTION, response_format=wanted)
        assert Reading.model_validate_json(reply.choices[0].message.content or "")

    journey(tmp_path, steps)


def test_pictures_several_choices_and_unknown_members_reach_the_provider(tmp_path: Path) -> None:
    async def steps(it: Stage, caller: Caller, client: AsyncOpenAI) -> None:
        picture: list[Any] = [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What does the gauge say?"},
                    {"type": "image_url", "image_url": {"url": PICTURE, "detail": "low"}},
                ],
            }
        ]
        reply = await client.chat.completions.create(
            model=MODEL, messages=picture, n=2, extra_body={"chat_template_kwargs": {"thinking": False}}
        )
        assert [choice.index for choice in reply.choices] == [0, 1]
        spent = await it.settled(caller)
        assert spent.posted_nanos == (await it.truth())[0].cost_nanos

    journey(tmp_path, steps)


def test_the_models_a_key_may_use_are_listed(tmp_path: Path) -> None:
    async def steps(it: Stage, caller: Caller, client: AsyncOpenAI) -> None:
        names = [model.id async for model in client.models.list()]
        assert names == [MODEL]

    journey(tmp_path, steps, rights={"models": (MODEL,)})


def test_raw_headers_tell_request_limits_cost_and_route(tmp_path: Path) -> None:
    async def steps(it: Stage, caller: Caller, client: AsyncOpenAI) -> None:
        raw = await client.chat.completions.with_raw_response.create(model=MODEL, messages=QUESTION)
        headers = raw.headers
        assert raw.request_id and raw.request_id.startswith("req_")
        assert (
            headers["x-ratelimit-limit-requests"] == "60"
            and headers["x-ratelimit-remaining-requests"] == "59"
        )
        assert headers["x-ratelimit-limit-tokens"] == "100000"
        assert 0 < int(headers["x-ratelimit-remaining-tokens"]) < 100_000
        assert headers["x-ratelimit-reset-requests"].endswith("s")
        assert headers["x-penstock-route"] == "sim/sim/model"
        truth = (await it.truth())[0]
        assert int(headers["x-penstock-cost-nanos"]) == truth.cost_nanos
        assert truth.operation == raw.request_id
        assert raw.parse()._request_id == raw.request_id

    journey(tmp_path, steps, rights={"rate": Rate(requests_per_minute=60, tokens_per_minute=100_000)})
