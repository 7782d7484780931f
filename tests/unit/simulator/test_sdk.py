"""The official SDK talks to the simulated provider and cannot tell the difference."""

from __future__ import annotations

import json

import openai
import pytest
from pydantic import BaseModel

from penstock.simulator.answers import THOUGHT_TOKENS
from penstock.simulator.server import SimulatorOptions
from tests.unit.simulator.calls import MESSAGES, with_simulator


class Opening(BaseModel):
    hour: int
    gate: str


def with_sdk(work, **options):
    async def session(caller):
        async with openai.AsyncOpenAI(base_url=caller.simulator.url, api_key="k", max_retries=0) as sdk:
            return await work(sdk, caller)

    return with_simulator(session, **options)


def test_the_sdk_chats_and_lists_models():
    async def work(sdk, caller):
        reply = await sdk.chat.completions.create(
            model="gpt-4o", messages=MESSAGES, max_completion_tokens=5, n=2
        )
        assert [choice.finish_reason for choice in reply.choices] == ["length", "length"]
        assert reply.usage.completion_tokens == 10
        assert reply.usage.total_tokens == reply.usage.prompt_tokens + 10
        assert [model.id async for model in await sdk.models.list()] == list(SimulatorOptions().models)
        assert (await caller.last_row()).output_tokens == 10

    with_sdk(work)


def test_the_sdk_streams_with_usage():
    async def work(sdk, caller):
        text, usage = "", None
        stream = await sdk.chat.completions.create(
            model="m", messages=MESSAGES, stream=True, stream_options={"include_usage": True}, max_tokens=7
        )
        async for chunk in stream:
            text += chunk.choices[0].delta.content or "" if chunk.choices else ""
            usage = chunk.usage or usage
        assert len(text.split()) == usage.completion_tokens == 7

    with_sdk(work)


def test_the_sdk_gets_tool_calls_streamed_and_whole():
    tools = [{"type": "function", "function": {"name": "gate", "parameters": {
        "type": "object", "properties": {"hour": {"type": "integer"}}}}}]  # fmt: skip

    async def work(sdk, caller):
        whole = await sdk.chat.completions.create(model="m", messages=MESSAGES, tools=tools)
        call = whole.choices[0].message.tool_calls[0]
        assert (call.function.name, json.loads(call.function.arguments)) == ("gate", {"hour": 1})
        async with sdk.chat.completions.stream(model="m", messages=MESSAGES, tools=tools) as stream:
            final = await stream.get_final_completion()
        streamed = final.choices[0].message.tool_calls[0]
        assert (streamed.id, streamed.function.arguments) == (call.id, call.function.arguments)
        assert final.choices[0].finish_reason == "tool_calls"

    with_sdk(work)


def test_the_sdk_parses_structured_output():
    async def work(sdk, caller):
        reply = await sdk.chat.completions.parse(model="m", messages=MESSAGES, response_format=Opening)
        assert isinstance(reply.choices[0].message.parsed, Opening)

    with_sdk(work)


@pytest.mark.parametrize(
    ("model", "exception"),
    [
        ("sim/rate_limit", openai.RateLimitError),
        ("sim/quota", openai.RateLimitError),
        ("sim/server_error", openai.InternalServerError),
        ("sim/overloaded", openai.InternalServerError),
        ("sim/reset", openai.APIConnectionError),
        ("sim/nonsense", openai.BadRequestError),
    ],
)
def test_the_sdk_raises_its_own_errors(model, exception):
    async def work(sdk, caller):
        with pytest.raises(exception):
            await sdk.chat.completions.create(model=model, messages=MESSAGES)

    with_sdk(work)


def test_a_wrong_key_is_refused_and_written_down():
    async def work(sdk, caller):
        with pytest.raises(openai.AuthenticationError):
            await sdk.chat.completions.create(model="m", messages=MESSAGES)
        row = await caller.last_row()
        assert (row.outcome, row.status, row.billed) == ("refused", 401, False)

    with_sdk(work, key="another")


@pytest.mark.parametrize("stream", [True, False])
def test_reasoning_is_billed_and_never_shown(stream):
    async def work(sdk, caller):
        asked = {"model": "m", "messages": MESSAGES, "reasoning_effort": "high", "max_completion_tokens": 10}
        if stream:
            options = {"stream": True, "stream_options": {"include_usage": True}}
            usage = [chunk async for chunk in await sdk.chat.completions.create(**asked, **options)][-1].usage
        else:
            usage = (await sdk.chat.completions.create(**asked)).usage
        row = await caller.last_row()
        assert usage.completion_tokens == row.output_tokens == 10
        assert usage.completion_tokens_details.reasoning_tokens == THOUGHT_TOKENS

    with_sdk(work)
