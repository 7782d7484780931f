"""The vendors' official SDKs talk to the simulated provider on their own wires and cannot tell the difference."""

from __future__ import annotations

import base64
import json
from contextlib import asynccontextmanager

import anthropic
import pytest
from google import genai
from google.genai import errors, types

from penstock.simulator.answers import THOUGHT_TOKENS
from penstock.simulator.asked import IMAGE_TOKENS
from penstock.simulator.server import SimulatorOptions
from tests.unit.simulator.calls import with_simulator

QUESTION = "When does the sluice open?"
PIXEL = base64.b64encode(b"\x89PNG").decode()
CLAUDE = {"model": "claude-sim", "max_tokens": 2_000}
WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 3}},
    "required": ["city", "days"],
}


def turn(content=QUESTION):
    return [{"role": "user", "content": content}]


def with_claude(work, **options):
    async def session(caller):
        async with anthropic.AsyncAnthropic(
            base_url=caller.simulator.root, api_key="k", max_retries=0
        ) as sdk:
            return await work(sdk, caller)

    return with_simulator(session, **options)


@asynccontextmanager
async def gemini_of(caller):
    options = types.HttpOptions(base_url=caller.simulator.root)
    client = genai.Client(api_key="k", vertexai=False, http_options=options)
    try:
        yield client.aio
    finally:
        await client.aio.aclose()


def with_gemini(work, **options):
    async def session(caller):
        async with gemini_of(caller) as sdk:
            return await work(sdk, caller)

    return with_simulator(session, **options)


# --------------------------------------------------------------------------------------------------- anthropic


@pytest.mark.parametrize("stream", [True, False])
def test_claude_answers_and_tells_what_it_billed(stream):
    async def work(sdk, caller):
        if stream:
            async with sdk.messages.stream(**CLAUDE | {"max_tokens": 5}, messages=turn()) as answering:
                reply = await answering.get_final_message()
        else:
            reply = await sdk.messages.create(**CLAUDE | {"max_tokens": 5}, messages=turn())
        row = await caller.last_row()
        assert reply.id == row.id
        assert (reply.stop_reason, len(reply.content[0].text.split())) == ("max_tokens", 5)
        assert (reply.usage.input_tokens, reply.usage.output_tokens) == (row.input_tokens, row.output_tokens)
        assert (row.outcome, row.model, row.stream, row.output_tokens) == ("ok", "claude-sim", stream, 5)

    with_claude(work)


@pytest.mark.parametrize("stream", [True, False])
def test_claude_thinks_signs_calls_a_tool_and_reads_its_answer(stream):
    """Given the whole turn sent back as it came, then the signature holds and words follow the tool's answer."""

    async def work(sdk, caller):
        tools = [{"name": "weather", "description": "d", "input_schema": WEATHER}]
        asked = {**CLAUDE, "thinking": {"type": "enabled", "budget_tokens": 1024}, "tools": tools}
        if stream:
            async with sdk.messages.stream(**asked, messages=turn()) as answering:
                reply = await answering.get_final_message()
        else:
            reply = await sdk.messages.create(**asked, messages=turn())
        thought, call = reply.content
        assert (thought.type, call.type, reply.stop_reason) == ("thinking", "tool_use", "tool_use")
        assert len(thought.thinking.split()) == THOUGHT_TOKENS
        assert call.input == {"city": "water", "days": 3}
        result = {"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}
        said = [block.model_dump(exclude_none=True) for block in reply.content]
        again = [*turn(), {"role": "assistant", "content": said}, {"role": "user", "content": [result]}]
        assert (await sdk.messages.create(**asked, messages=again)).content[-1].type == "text"
        said[0]["thinking"] += "!"
        with pytest.raises(anthropic.BadRequestError, match="signature"):
            await sdk.messages.create(**asked, messages=again)

    with_claude(work)


def test_claude_follows_a_schema_and_counts_pictures():
    async def work(sdk, caller):
        picture = {
            "type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}
        }  # fmt: skip
        words = await sdk.messages.count_tokens(model="claude-sim", messages=turn())
        seen = await sdk.messages.count_tokens(
            model="claude-sim", messages=turn([picture, {"type": "text", "text": QUESTION}])
        )
        assert seen.input_tokens - words.input_tokens >= IMAGE_TOKENS
        assert caller.simulator.truth.summary().requests == 0
        reply = await sdk.messages.create(
            **CLAUDE, messages=turn(),
            output_config={"format": {"type": "json_schema", "schema": WEATHER | {"additionalProperties": False}}},
        )  # fmt: skip
        assert json.loads(reply.content[0].text) == {"city": "water", "days": 3}

    with_claude(work)


def test_claude_lists_models_and_checks_the_key():
    async def work(sdk, caller):
        assert [model.id async for model in sdk.models.list()] == list(SimulatorOptions().models)
        with pytest.raises(anthropic.AuthenticationError):
            await sdk.messages.create(**CLAUDE, messages=turn())
        assert (await caller.last_row()).outcome == "refused"

    with_claude(work, key="another")


@pytest.mark.parametrize(
    ("order", "raised", "text"),
    [
        ("rate_limit;seconds=7", anthropic.RateLimitError, "rate limit"),
        ("quota", anthropic.BadRequestError, "credit balance"),
        ("spend_limit", anthropic.RateLimitError, "enforced_spend_limit_reached"),
        ("server_error", anthropic.InternalServerError, "Internal"),
        ("overloaded", anthropic.APIStatusError, "overloaded_error"),
    ],
)
def test_claude_refuses_in_its_own_words(order, raised, text):
    async def work(sdk, caller):
        with pytest.raises(raised, match=text) as refusal:
            await sdk.messages.create(**CLAUDE, messages=turn(), extra_headers={"x-simulate": order})
        hint = refusal.value.response.headers.get("retry-after")
        assert hint == ("7" if order.startswith("rate_limit") else None)
        assert not (await caller.last_row()).billed

    with_claude(work)


def test_claude_gives_up_in_the_middle():
    async def work(sdk, caller):
        with pytest.raises(anthropic.APIStatusError, match="Internal server error"):
            async with sdk.messages.stream(
                **CLAUDE, messages=turn(), extra_headers={"x-simulate": "error_mid_stream;after=2;tokens=9"}
            ) as answering:
                await answering.get_final_message()
        row = await caller.last_row()
        assert (row.outcome, row.output_tokens, row.billed) == ("error_mid_stream", 2, True)

    with_claude(work)


# ------------------------------------------------------------------------------------------------------ gemini


@pytest.mark.parametrize("stream", [True, False])
def test_gemini_answers_and_tells_what_it_billed(stream):
    async def work(sdk, caller):
        asked = {
            "model": "gemini-sim", "contents": QUESTION,
            "config": types.GenerateContentConfig(max_output_tokens=5),
        }  # fmt: skip
        if stream:
            pieces = [piece async for piece in await sdk.models.generate_content_stream(**asked)]
        else:
            pieces = [await sdk.models.generate_content(**asked)]
        row = await caller.last_row()
        usage, said = pieces[-1].usage_metadata, "".join(piece.text or "" for piece in pieces)
        assert (usage.prompt_token_count, usage.candidates_token_count) == (row.input_tokens, 5)
        assert (pieces[-1].candidates[0].finish_reason, len(said.split())) == ("MAX_TOKENS", 5)
        assert (row.outcome, row.model, row.stream, row.output_tokens) == ("ok", "gemini-sim", stream, 5)

    with_gemini(work)


@pytest.mark.parametrize("stream", [True, False])
def test_gemini_thinks_signs_its_call_and_reads_the_answer(stream):
    async def work(sdk, caller):
        tool = types.Tool(
            function_declarations=[types.FunctionDeclaration(name="weather", parameters_json_schema=WEATHER)]
        )
        config = types.GenerateContentConfig(
            tools=[tool],
            thinking_config=types.ThinkingConfig(include_thoughts=True),
            automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
        )
        asked = {"model": "gemini-sim", "config": config}
        if stream:
            answering = await sdk.models.generate_content_stream(**asked, contents=QUESTION)
            replies = [reply async for reply in answering]
        else:
            replies = [await sdk.models.generate_content(**asked, contents=QUESTION)]
        parts = [part for reply in replies for part in reply.candidates[0].content.parts or ()]
        thoughts = "".join(part.text for part in parts if part.thought and part.text)
        (called,) = [part for part in parts if part.function_call]
        assert len(thoughts.split()) == THOUGHT_TOKENS == replies[-1].usage_metadata.thoughts_token_count
        assert called.function_call.args == {"city": "water", "days": 3}
        assert called.thought_signature
        result = types.Part.from_function_response(name="weather", response={"sky": "clear"})
        again = [
            types.UserContent(QUESTION), types.Content(role="model", parts=parts),
            types.Content(role="user", parts=[result]),
        ]  # fmt: skip
        assert (await sdk.models.generate_content(**asked, contents=again)).text

    with_gemini(work)


@pytest.mark.parametrize("stream", [True, False])
def test_thoughts_nobody_asked_to_see_are_billed_and_not_shown(stream):
    async def work(caller):
        verb = "streamGenerateContent?alt=sse" if stream else "generateContent"
        config = {"thinkingConfig": {"thinkingBudget": 512}}
        body = {"contents": [{"role": "user", "parts": [{"text": QUESTION}]}], "generationConfig": config}
        _, _, got = await caller.send(
            b"POST",
            f"/v1beta/models/g:{verb}".encode(),
            json.dumps(body).encode(),
            b"x-simulate: none;tokens=4\r\n",
        )
        assert b'"thought":true' not in got
        assert b'"thoughtsTokenCount":%d' % THOUGHT_TOKENS in got
        assert (await caller.last_row()).output_tokens == THOUGHT_TOKENS + 4

    with_simulator(work)


def test_gemini_follows_a_schema_counts_tokens_and_lists_models():
    async def work(sdk, caller):
        picture = types.Part.from_bytes(data=b"\x89PNG", mime_type="image/png")
        words = await sdk.models.count_tokens(model="gemini-sim", contents=QUESTION)
        seen = await sdk.models.count_tokens(model="gemini-sim", contents=[QUESTION, picture])
        assert seen.total_tokens - words.total_tokens >= IMAGE_TOKENS
        config = types.GenerateContentConfig(
            response_mime_type="application/json", response_json_schema=WEATHER, candidate_count=2
        )
        reply = await sdk.models.generate_content(model="gemini-sim", contents=QUESTION, config=config)
        assert json.loads(reply.text) == {"city": "water", "days": 3}
        assert len(reply.candidates) == 2
        names = [model.name async for model in await sdk.models.list()]
        assert names == [f"models/{name}" for name in SimulatorOptions().models]

    with_gemini(work)


@pytest.mark.parametrize(
    ("order", "code", "status", "detail"),
    [
        ("rate_limit;seconds=7", 429, "RESOURCE_EXHAUSTED", '"7s"'),
        ("quota", 429, "RESOURCE_EXHAUSTED", "PerDay"),
        ("spend_limit", 429, "RESOURCE_EXHAUSTED", "spend"),
        ("server_error", 500, "INTERNAL", "internal error"),
        ("overloaded", 503, "UNAVAILABLE", "overloaded"),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
def test_gemini_refuses_in_its_own_words(order, code, status, detail, stream):
    async def work(sdk, caller):
        caller.simulator.order(order)

        async def ask():
            if not stream:
                return [await sdk.models.generate_content(model="g", contents=QUESTION)]
            return [
                each async for each in await sdk.models.generate_content_stream(model="g", contents=QUESTION)
            ]

        with pytest.raises(errors.APIError) as refusal:
            await ask()
        assert (refusal.value.code, refusal.value.status) == (code, status)
        assert detail in json.dumps(refusal.value.details)
        assert not (await caller.last_row()).billed

    with_gemini(work)


def test_a_path_orders_a_misbehaviour_too():
    async def work(sdk, caller):
        with pytest.raises(errors.ServerError):
            await sdk.models.generate_content(model="models/sim/overloaded", contents=QUESTION)

    with_gemini(work)


# --------------------------------------------------------------------------------------------------- every wire

BODIES = {
    b"/v1/messages": {**CLAUDE, "messages": turn(), "stream": True},
    b"/v1beta/models/g:streamGenerateContent?alt=sse": {
        "contents": [{"role": "user", "parts": [{"text": QUESTION}]}]
    },
}


@pytest.mark.parametrize("target", BODIES)
@pytest.mark.parametrize(
    ("order", "told", "reported"),
    [
        ("none", 1, "usage"), ("usage_missing", 0, "missing"), ("usage_twice", 2, "twice"),
        ("usage_late", 1, "late"), ("usage_wrong", 1, "wrong"),
    ],
)  # fmt: skip
def test_usage_is_told_as_ordered(target, order, told, reported):
    """Given a stream, then its usage comes as often as ordered, and after the end when it is late."""
    mark = b"event: message_stop" if b"messages" in target else b"finishReason"

    async def work(caller):
        _, _, got = await caller.send(
            b"POST",
            target,
            json.dumps(BODIES[target]).encode(),
            b"x-simulate: %b;tokens=4\r\n" % order.encode(),
        )
        row = await caller.last_row()
        events = [
            event for event in got.split(b"\n\n") if b'"usage' in event and b"message_start" not in event
        ]
        assert (len(events), row.reported, row.output_tokens, row.billed) == (told, reported, 4, True)
        if told:
            generated = row.output_tokens * 3 + 7 if order == "usage_wrong" else row.output_tokens
            assert (
                b'okenCount":%d' % generated in events[-1] or b'output_tokens":%d' % generated in events[-1]
            )
            blocks = got.split(b"\n\n")
            (end,) = [at for at, block in enumerate(blocks) if mark in block]
            assert (end < blocks.index(events[0])) == (order == "usage_late")
        else:
            assert b'"usage' not in got

    with_simulator(work)


@pytest.mark.parametrize("target", BODIES)
def test_a_line_breaks_and_a_huge_event_comes(target):
    async def work(caller):
        for order, sign in ((b"malformed_line", b'"bro\n\n'), (b"huge_event", b"x" * 2_000_000)):
            _, _, got = await caller.send(
                b"POST", target, json.dumps(BODIES[target]).encode(), b"x-simulate: %b;tokens=5\r\n" % order
            )
            assert sign in got
            assert (await caller.last_row()).output_tokens == 5

    with_simulator(work)


@pytest.mark.parametrize("target", [b"/v1/messages", b"/v1beta/models/g:generateContent"])
def test_a_malformed_request_is_refused_in_the_wires_words_and_has_its_row(target):
    async def work(caller):
        status, _, body = await caller.send(b"POST", target, b'{"messages":7,"contents":7}')
        assert (status, (await caller.last_row()).outcome) == (400, "refused")
        error = json.loads(body)["error"]
        assert error["type"] == "invalid_request_error" if b"messages" in target else error["code"] == 400

    with_simulator(work)


def test_unknown_verbs_and_streams_without_events_are_refused():
    async def work(caller):
        body = json.dumps(next(iter(reversed(BODIES.values())))).encode()
        assert (await caller.send(b"POST", b"/v1beta/models/g:predict", body))[0] == 404
        assert (await caller.send(b"POST", b"/v1beta/models/g:streamGenerateContent", body))[0] == 400

    with_simulator(work)
