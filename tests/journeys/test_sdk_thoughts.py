"""A conversation with thoughts that moves from vendor to vendor, with the official SDKs of Anthropic and Google.

Promise: whichever vendor answers next, the caller sends back what it was given and is answered: a vendor sees the
thoughts its own models signed, unchanged, and no others; the caller is told when some were left out. (The simulated
vendors refuse a signature that is not their own, as the real ones do.)
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from anthropic import AsyncAnthropic
from google import genai
from google.genai import types

from tests.journeys.three_wires import WIRES, root, three_wires
from tests.support import run

THINKERS = ("anthropic-wire", "gemini-wire")
"""OpenAI's own wire shows no thoughts."""
QUESTION = "How much water passed the gate?"
LEFT_OUT = "x-penstock-left-out"
every_first = pytest.mark.parametrize("first", THINKERS)
every_second = pytest.mark.parametrize("second", WIRES)


@every_first
@every_second
@pytest.mark.parametrize("streamed", [False, True])
def test_anthropics_sdk_moves_its_conversation(
    tmp_path: Path, first: str, second: str, streamed: bool
) -> None:
    async def whole() -> None:
        async with three_wires(tmp_path) as it:
            token = (await it.caller()).token
            asked: Any = {"max_tokens": 2048, "thinking": {"type": "enabled", "budget_tokens": 1024}}
            turns: list[Any] = [{"role": "user", "content": QUESTION}]
            async with AsyncAnthropic(base_url=root(it), api_key=token, max_retries=0) as client:
                if streamed:
                    async with client.messages.stream(model=first, messages=turns, **asked) as events:
                        reply = await events.get_final_message()
                else:
                    reply = await client.messages.create(model=first, messages=turns, **asked)
                thought = reply.content[0]
                assert thought.type == "thinking" and thought.thinking and thought.signature
                turns += [
                    {"role": "assistant", "content": [block.model_dump() for block in reply.content]},
                    {"role": "user", "content": "And yesterday?"},
                ]
                again = await client.messages.with_raw_response.create(model=second, messages=turns, **asked)
                assert (await again.parse()).content
                told = again.headers.get(LEFT_OUT, "")
                assert ("messages.reasoning" in told) is (first != second)

    run(whole())


@every_first
@every_second
def test_googles_sdk_moves_its_conversation(tmp_path: Path, first: str, second: str) -> None:
    async def whole() -> None:
        async with three_wires(tmp_path) as it:
            options = types.HttpOptions(base_url=root(it))
            client = genai.Client(api_key=(await it.caller()).token, http_options=options)
            config = types.GenerateContentConfig(
                thinking_config=types.ThinkingConfig(include_thoughts=True, thinking_budget=1024),
                max_output_tokens=4096,
            )
            chat = client.aio.chats.create(model=first, config=config)
            reply: Any = await chat.send_message(QUESTION)
            assert any(part.thought and part.thought_signature for part in reply.candidates[0].content.parts)
            moved = client.aio.chats.create(model=second, config=config, history=chat.get_history())
            again: Any = await moved.send_message("And yesterday?")
            assert again.text
            told = again.sdk_http_response.headers.get(LEFT_OUT, "")
            assert ("contents.reasoning" in told) is (first != second)
            await client.aio.aclose()

    run(whole())
