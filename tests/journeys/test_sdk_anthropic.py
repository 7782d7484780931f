"""The official Anthropic SDK for Python, unchanged, is a customer of the gateway over every provider wire.

Promise: over each of the three provider wires the SDK, as published, sees what it sees at its own vendor: answers whole
and streamed, tools and their results, pictures, thoughts, structured answers, usage and typed errors; and what a call
cost at the provider is what the ledger posted.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anthropic
import pytest
from anthropic import AsyncAnthropic

from tests.journeys.three_wires import PICTURE, WIRES, root, three_wires
from tests.stage import Caller, Stage
from tests.support import run

QUESTION: list[Any] = [{"role": "user", "content": "How much water passed the gate?"}]
TOOLS: list[Any] = [
    {
        "name": "read_gauge",
        "description": "Read a gauge of the plant.",
        "input_schema": {
            "type": "object",
            "properties": {
                "gauge": {"type": "string", "enum": ["intake", "tail"]},
                "day": {"type": "integer"},
            },
            "required": ["gauge", "day"],
        },
    }
]
Steps = Callable[[Stage, Caller, AsyncAnthropic], Awaitable[None]]
every_wire = pytest.mark.parametrize("wire", WIRES)


def journey(folder: Path, steps: Steps) -> None:
    """Take `steps` with a client of its own key."""

    async def whole() -> None:
        async with three_wires(folder) as it:
            caller = await it.caller()
            async with AsyncAnthropic(base_url=root(it), api_key=caller.token, max_retries=0) as client:
                await steps(it, caller, client)

    run(whole())


@every_wire
def test_a_message_is_answered_and_billed_what_the_provider_billed(tmp_path: Path, wire: str) -> None:
    async def steps(it: Stage, caller: Caller, client: AsyncAnthropic) -> None:
        reply = await client.messages.create(
            model=wire,
            max_tokens=64,
            system="You read gauges.",
            messages=QUESTION,
            extra_body={"temperature": 0.2, "top_p": 0.9},
        )
        assert (
            reply.type == "message"
            and reply.role == "assistant"
            and reply.stop_reason in ("end_turn", "max_tokens")
        )
        assert reply.content[0].type == "text" and reply.content[0].text
        spent = await it.settled(caller)
        [truth] = await it.truth()
        assert spent.posted_nanos == truth.cost_nanos > 0
        assert (reply.usage.input_tokens, reply.usage.output_tokens) == (
            truth.input_tokens,
            truth.output_tokens,
        )
        assert reply._request_id and reply._request_id.startswith("req_")

    journey(tmp_path, steps)


@every_wire
def test_a_stream_says_the_same_as_the_whole_message(tmp_path: Path, wire: str) -> None:
    async def steps(it: Stage, caller: Caller, client: AsyncAnthropic) -> None:
        asked: dict[str, Any] = {"model": wire, "max_tokens": 64, "messages": QUESTION}
        whole = await client.messages.create(**asked)
        async with client.messages.stream(**asked) as stream:
            kinds = [event.type async for event in stream]
            final = await stream.get_final_message()
        assert final.content[0].type == whole.content[0].type == "text"
        assert final.content[0].text == whole.content[0].text
        assert final.stop_reason == whole.stop_reason
        assert (kinds[0], kinds[-1]) == ("message_start", "message_stop")
        assert kinds.count("content_block_start") == kinds.count("content_block_stop") == 1
        assert final.usage.output_tokens == whole.usage.output_tokens
        spent = await it.settled(caller, 2)
        assert spent.posted_nanos == sum(row.cost_nanos for row in await it.truth(2))

    journey(tmp_path, steps)


@every_wire
def test_tools_are_called_and_their_results_answered(tmp_path: Path, wire: str) -> None:
    async def steps(it: Stage, caller: Caller, client: AsyncAnthropic) -> None:
        asked: dict[str, Any] = {"model": wire, "max_tokens": 256, "tools": TOOLS}
        first = await client.messages.create(messages=QUESTION, tool_choice={"type": "any"}, **asked)
        assert first.stop_reason == "tool_use"
        call = next(block for block in first.content if block.type == "tool_use")
        assert call.name == "read_gauge" and call.input["gauge"] in ("intake", "tail") and call.id
        result = {
            "type": "tool_result",
            "tool_use_id": call.id,
            "content": [{"type": "text", "text": "1200"}],
        }
        turns: list[Any] = [
            *QUESTION,
            {"role": "assistant", "content": [block.model_dump() for block in first.content]},
            {"role": "user", "content": [result]},
        ]
        second = await client.messages.create(messages=turns, **asked)
        assert second.stop_reason in ("end_turn", "max_tokens") and second.content[0].type == "text"
        async with client.messages.stream(messages=QUESTION, **asked) as stream:
            final = await stream.get_final_message()
        streamed = next(block for block in final.content if block.type == "tool_use")
        assert streamed.input == call.input

    journey(tmp_path, steps)


@every_wire
def test_pictures_reach_the_provider(tmp_path: Path, wire: str) -> None:
    async def steps(it: Stage, caller: Caller, client: AsyncAnthropic) -> None:
        source = {"type": "base64", "media_type": "image/gif", "data": PICTURE}
        turns: list[Any] = [
            {
                "role": "user",
                "content": [{"type": "image", "source": source}, {"type": "text", "text": "What is it?"}],
            }
        ]
        reply = await client.messages.create(model=wire, max_tokens=32, messages=turns)
        assert reply.content[0].type == "text"
        [truth] = await it.truth()
        assert truth.input_tokens > 16  # a picture is 16 tokens to the simulator
        assert (await it.settled(caller)).posted_nanos == truth.cost_nanos

    journey(tmp_path, steps)


@every_wire
def test_thoughts_come_before_words_and_may_be_sent_back(tmp_path: Path, wire: str) -> None:
    async def steps(it: Stage, caller: Caller, client: AsyncAnthropic) -> None:
        asked: dict[str, Any] = {
            "model": wire, "max_tokens": 2048, "thinking": {"type": "enabled", "budget_tokens": 1024},
        }  # fmt: skip
        reply = await client.messages.create(messages=QUESTION, **asked)
        assert reply.content[-1].type == "text"
        if wire != "openai-wire":  # OpenAI's own wire shows no thoughts
            assert reply.content[0].type == "thinking" and reply.content[0].thinking
        turns: list[Any] = [
            *QUESTION,
            {"role": "assistant", "content": [block.model_dump() for block in reply.content]},
            {"role": "user", "content": "And yesterday?"},
        ]
        assert (await client.messages.create(messages=turns, **asked)).content

    journey(tmp_path, steps)


@every_wire
def test_a_structured_answer_obeys_its_schema(tmp_path: Path, wire: str) -> None:
    async def steps(it: Stage, caller: Caller, client: AsyncAnthropic) -> None:
        schema = {
            "type": "object",
            "properties": {"gauge": {"type": "string"}, "litres": {"type": "integer"}},
            "required": ["gauge", "litres"],
            "additionalProperties": False,
        }
        reply = await client.messages.create(
            model=wire,
            max_tokens=256,
            messages=QUESTION,
            output_config={"format": {"type": "json_schema", "schema": schema}},
        )
        assert reply.content[0].type == "text"
        assert set(json.loads(reply.content[0].text)) == {"gauge", "litres"}

    journey(tmp_path, steps)


@every_wire
@pytest.mark.parametrize(
    ("order", "kind", "status"),
    [("rate_limit", anthropic.RateLimitError, 429), ("overloaded", anthropic.APIStatusError, 529)],
)
def test_the_providers_refusals_are_this_sdks_exceptions(
    tmp_path: Path, wire: str, order: str, kind: type[anthropic.APIStatusError], status: int
) -> None:
    async def steps(it: Stage, caller: Caller, client: AsyncAnthropic) -> None:
        with pytest.raises(kind) as caught:
            await client.messages.create(model=f"{wire}!{order}", max_tokens=16, messages=QUESTION)
        assert caught.value.status_code == status
        assert isinstance(caught.value.body, dict) and caught.value.body["type"] == "error"
        assert (await it.settled(caller)).posted_nanos == 0

    journey(tmp_path, steps)


@every_wire
def test_a_stream_that_breaks_off_is_an_error_and_no_end(tmp_path: Path, wire: str) -> None:
    async def steps(it: Stage, caller: Caller, client: AsyncAnthropic) -> None:
        kinds: list[str] = []
        order = "error_mid_stream;after=40;tokens=60"

        async def listen() -> None:
            asked: dict[str, Any] = {"model": f"{wire}!{order}", "max_tokens": 64, "messages": QUESTION}
            async with client.messages.stream(**asked) as stream:
                async for event in stream:
                    kinds.append(event.type)  # noqa: PERF401  # what came before the error counts

        with pytest.raises(anthropic.APIStatusError):
            await listen()
        assert "message_stop" not in kinds and "content_block_delta" in kinds
        assert (await it.settled(caller)).posted_nanos > 0

    journey(tmp_path, steps)


def test_our_own_refusals_are_this_sdks_exceptions(tmp_path: Path) -> None:
    async def steps(it: Stage, caller: Caller, client: AsyncAnthropic) -> None:
        with pytest.raises(anthropic.NotFoundError) as missing:
            await client.messages.create(model="no-such-model", max_tokens=16, messages=QUESTION)
        assert "no-such-model" in str(missing.value)
        with pytest.raises(anthropic.BadRequestError) as wrong:
            await client.messages.create(model=WIRES[1], max_tokens=0, messages=QUESTION)
        assert "max_tokens" in str(wrong.value)
        stranger = client.with_options(api_key="pen-" + "x" * 40)
        with pytest.raises(anthropic.AuthenticationError):
            await stranger.messages.create(model=WIRES[1], max_tokens=16, messages=QUESTION)

    journey(tmp_path, steps)


def test_who_may_not_list_models_is_told_in_this_dialect(tmp_path: Path) -> None:
    """The path is OpenAI's as well: whose SDK asks is told by `anthropic-version`, before anybody is known."""

    async def steps(it: Stage, caller: Caller, client: AsyncAnthropic) -> None:
        nothing = anthropic.Omit()
        unknown: list[dict[str, Any]] = [{}, {"x-api-key": nothing, "authorization": nothing}]
        for headers in unknown:
            stranger = client.with_options(api_key="pen-" + "x" * 40)
            with pytest.raises(anthropic.AuthenticationError) as refused:
                await stranger.models.list(extra_headers=headers)
            body: Any = refused.value.body
            assert (body["type"], body["error"]["type"]) == ("error", "authentication_error")
            assert refused.value.request_id
            assert refused.value.response.headers["www-authenticate"] == "Bearer"

    journey(tmp_path, steps)


def test_this_sdk_finds_the_request_id_of_every_reply_and_refusal(tmp_path: Path) -> None:
    """Whoever asks for help can name the request, also where it was refused before anybody read its body."""

    async def steps(it: Stage, caller: Caller, client: AsyncAnthropic) -> None:
        stranger = client.with_options(api_key="pen-" + "x" * 40)
        refusals: list[Callable[[], Awaitable[object]]] = [
            lambda: stranger.messages.create(model=WIRES[1], max_tokens=16, messages=QUESTION),
            lambda: client.messages.create(model="no-such-model", max_tokens=16, messages=QUESTION),
            lambda: client.messages.batches.retrieve("msgbatch_none"),
            lambda: client.messages.batches.create(requests=[]),
            lambda: client.models.retrieve("no-such-model"),
        ]
        ids: list[str | None] = []
        for refusal in refusals:
            with pytest.raises(anthropic.APIStatusError) as refused:
                await refusal()
            ids.append(refused.value.request_id)
        ids.append((await client.models.with_raw_response.list()).request_id)
        ids.append((await client.messages.batches.with_raw_response.list()).request_id)
        assert all(each is not None and each.startswith("req_") for each in ids), ids
        assert len(set(ids)) == len(ids)

    journey(tmp_path, steps)


def test_what_a_provider_cannot_be_told_is_refused_by_name(tmp_path: Path) -> None:
    async def steps(it: Stage, caller: Caller, client: AsyncAnthropic) -> None:
        tools: list[Any] = [{"type": "web_search_20250305", "name": "web_search"}]
        with pytest.raises(anthropic.BadRequestError) as refused:
            await client.messages.create(model="openai-wire", max_tokens=16, messages=QUESTION, tools=tools)
        assert "tools[0].type" in str(refused.value)
        told = await client.messages.with_raw_response.create(
            model="openai-wire",
            max_tokens=16,
            messages=[
                {
                    "role": "user",
                    "content": [{"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral"}}],
                }
            ],
        )
        assert "cache_control" in told.headers["x-penstock-left-out"]

    journey(tmp_path, steps)
