"""Streams in pieces, as the vendors' own SDKs see them: the same words whatever the cadence, each dialect alive while
nothing leaves, and an operator's rules kept on the way.
"""

from __future__ import annotations

import asyncio
import http.client
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from anthropic import AsyncAnthropic
from google.genai import Client, types
from openai import AsyncOpenAI

from penstock.gateway import cadence
from penstock.kernel.settings import OutputSettings, PrivacySettings, Settings
from penstock.simulator.behaviour import Speeds
from penstock.simulator.server import SimulatorOptions
from tests.echo_upstream import echo
from tests.journeys.three_wires import WIRES, root, three_wires
from tests.stage import MODEL, Stage, stage
from tests.support import run

QUESTION = "How much water passed the gate?"
SLOWLY = SimulatorOptions(speeds=Speeds(tokens_per_s=300.0, answer_tokens=48.0))
CADENCES = ("token", "100ms", "sentence", "whole")
every_wire = pytest.mark.parametrize("wire", WIRES)


def ruled(*rules: OutputSettings) -> Callable[[Settings], Settings]:
    return lambda settings: msgspec.structs.replace(settings, output=rules)


async def openai_pieces(it: Stage, token: str, wire: str, wish: str) -> list[str]:
    async with AsyncOpenAI(base_url=it.url, api_key=token, max_retries=0) as customer:
        stream = await customer.chat.completions.create(
            model=wire,
            messages=[{"role": "user", "content": QUESTION}],
            stream=True,
            extra_headers={"x-penstock-cadence": wish},
        )
        chunks = [chunk async for chunk in stream]
    assert chunks[-1].choices[0].finish_reason == "stop"
    return [said for chunk in chunks if (said := chunk.choices[0].delta.content)]


async def responses_pieces(it: Stage, token: str, wire: str, wish: str) -> list[str]:
    async with AsyncOpenAI(base_url=it.url, api_key=token, max_retries=0) as customer:
        stream = await customer.responses.create(
            model=wire, input=QUESTION, stream=True, extra_headers={"x-penstock-cadence": wish}
        )
        events = [event async for event in stream]
    assert events[-1].type == "response.completed"
    return [event.delta for event in events if event.type == "response.output_text.delta"]


async def anthropic_pieces(it: Stage, token: str, wire: str, wish: str) -> list[str]:
    async with AsyncAnthropic(base_url=root(it), api_key=token, max_retries=0) as customer:
        stream = await customer.messages.create(
            model=wire,
            max_tokens=100,
            messages=[{"role": "user", "content": QUESTION}],
            stream=True,
            extra_headers={"x-penstock-cadence": wish},
        )
        events = [event async for event in stream]
    assert events[-1].type == "message_stop"
    return [event.delta.text for event in events if event.type == "content_block_delta"]  # pyright: ignore[reportAttributeAccessIssue]  # text is all there is


async def gemini_pieces(it: Stage, token: str, wire: str, wish: str) -> list[str]:
    options = types.HttpOptions(base_url=root(it), headers={"x-penstock-cadence": wish})
    client = Client(api_key=token, http_options=options)
    try:
        chunks = [
            chunk
            async for chunk in await client.aio.models.generate_content_stream(model=wire, contents=QUESTION)
        ]
    finally:
        await client.aio.aclose()
        client.close()
    assert chunks[-1].candidates[0].finish_reason == types.FinishReason.STOP  # pyright: ignore[reportOptionalSubscript]  # one was asked for
    return [chunk.text for chunk in chunks if chunk.text]


SDKS = {
    "openai": openai_pieces,
    "responses": responses_pieces,
    "anthropic": anthropic_pieces,
    "gemini": gemini_pieces,
}


@every_wire
@pytest.mark.parametrize("sdk", SDKS)
def test_every_sdk_reads_the_same_words_at_every_cadence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wire: str, sdk: str
) -> None:
    monkeypatch.setattr(cadence, "SIGN_S", 0.02)  # signs of life in the middle of everything

    async def whole() -> None:
        async with three_wires(tmp_path, SLOWLY) as it:
            caller = await it.caller()
            pieces = {wish: await SDKS[sdk](it, caller.token, wire, wish) for wish in CADENCES}
            words = "".join(pieces["token"])
            assert len(words) > 100
            assert all("".join(each) == words for each in pieces.values())
            assert len(pieces["whole"]) == 1
            assert all(each.endswith(". ") for each in pieces["sentence"][:-1])
            assert len(pieces["token"]) > len(pieces["100ms"]) > 1
            rows = await it.truth(len(CADENCES))
            assert (await it.settled(caller, len(CADENCES))).posted_nanos == sum(
                row.cost_nanos for row in rows
            )

    run(whole())


ASKED = {
    "/v1/chat/completions": {
        "model": MODEL,
        "stream": True,
        "messages": [{"role": "user", "content": QUESTION}],
    },
    "/v1/messages": {
        "model": MODEL,
        "stream": True,
        "max_tokens": 100,
        "messages": [{"role": "user", "content": QUESTION}],
    },
    "/v1beta/models/gpt-4o-mini:streamGenerateContent?alt=sse": {
        "contents": [{"parts": [{"text": QUESTION}]}]
    },
    "/v1beta/models/gpt-4o-mini:streamGenerateContent": {"contents": [{"parts": [{"text": QUESTION}]}]},
}
SIGNS = dict(
    zip(
        ASKED,
        (b" bytes of text so far\n\n", b'event: ping\ndata: {"type": "ping"}\n\n', b"\n\n\n\n", b"\n\n"),
        strict=True,
    )
)


@pytest.mark.parametrize("path", ASKED)
def test_while_a_whole_answer_is_awaited_its_dialect_shows_signs_of_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(cadence, "SIGN_S", 0.02)

    async def whole() -> None:
        async with stage(tmp_path, simulator=SLOWLY) as it:
            caller = await it.caller()
            body = await read(it, caller.token, path, ASKED[path])
            before = body[: body.index(b"gate")]  # of the answer's words
            assert SIGNS[path] in before
            if path.endswith("streamGenerateContent"):
                assert msgspec.json.decode(body), "the array is JSON all the same"

    run(whole())


async def read(it: Stage, token: str, path: str, asked: dict[str, Any]) -> bytes:
    """Return the body of an answer, whole, byte for byte."""
    wish = {
        "x-penstock-cadence": "whole",
        "authorization": f"Bearer {token}",
        "content-type": "application/json",
    }

    def exchange() -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", it.platform.port, timeout=20)
        try:
            connection.request("POST", path, msgspec.json.encode(asked), wish)
            return connection.getresponse().read()
        finally:
            connection.close()

    return await asyncio.to_thread(exchange)


def test_words_put_back_by_redaction_come_in_whole_sentences(tmp_path: Path) -> None:
    said = "Write to mia@example.org today. And to tom@example.org!"

    async def whole(url: str) -> None:
        rules = PrivacySettings(requests={"EMAIL": "replace"}, answers={}, budget_ms=5_000)
        async with stage(tmp_path, provider={"base_url": url}, privacy=(rules,)) as it:
            caller = await it.caller()
            async with AsyncOpenAI(base_url=it.url, api_key=caller.token, max_retries=0) as customer:
                stream = await customer.chat.completions.create(
                    model=MODEL,
                    messages=[{"role": "user", "content": said}],
                    stream=True,
                    extra_headers={"x-penstock-cadence": "sentence"},
                )
                pieces = [text async for chunk in stream if (text := chunk.choices[0].delta.content)]
            assert pieces == ["Write to mia@example.org today. ", "And to tom@example.org!"]

    with echo() as url:
        run(whole(url))


@every_wire
@pytest.mark.parametrize("streams", [True, False])
def test_an_operators_rules_hold_on_every_wire(tmp_path: Path, wire: str, streams: bool) -> None:
    rules = (
        OutputSettings(reasoning="strip"),
        OutputSettings(stop=("wheel",), feature="stops"),
        OutputSettings(max_output_tokens=10, feature="short"),
    )

    async def whole() -> None:
        async with three_wires(tmp_path, altered=ruled(*rules)) as it:
            caller = await it.caller()
            async with AsyncOpenAI(base_url=it.url, api_key=caller.token, max_retries=0) as customer:
                for feature, finish in (("stops", "stop"), ("short", "length")):
                    asked: dict[str, Any] = {
                        "model": wire,
                        "messages": [{"role": "user", "content": QUESTION}],
                        "reasoning_effort": "high",
                        "max_tokens": 400,
                        "extra_headers": {"x-penstock-feature": feature},
                    }
                    if streams:
                        chunks = [
                            chunk
                            async for chunk in await customer.chat.completions.create(**asked, stream=True)
                        ]
                        text = "".join([chunk.choices[0].delta.content or "" for chunk in chunks])
                        said, ended = (
                            str([chunk.to_dict() for chunk in chunks]),
                            chunks[-1].choices[0].finish_reason,
                        )
                    else:
                        reply = await customer.chat.completions.create(**asked)
                        text, ended = reply.choices[0].message.content or "", reply.choices[0].finish_reason
                        said = str(reply.choices[0].message.to_dict())
                    assert feature == "short" or "wheel" not in text
                    assert "reasoning" not in said
                    assert ended == finish
            rows = await it.truth(2)
            assert rows[1].output_tokens == 10
            assert (await it.settled(caller, 2)).posted_nanos == sum(row.cost_nanos for row in rows)

    run(whole())


@every_wire
@pytest.mark.parametrize("sdk", SDKS)
def test_a_break_after_an_operators_stop_is_none_on_every_face_and_wire(
    tmp_path: Path, sdk: str, wire: str
) -> None:
    """Each reader asserts the end mark of its own dialect."""

    async def whole() -> None:
        async with three_wires(tmp_path, altered=ruled(OutputSettings(stop=("wheel",)))) as it:
            caller = await it.caller()
            it.simulator.order("cut;after=40;tokens=60")
            said = "".join(await SDKS[sdk](it, caller.token, wire, "token"))
            assert "wheel" not in said
            [row] = await it.truth(1)
            assert (await it.settled(caller)).posted_nanos >= row.cost_nanos > 0

    run(whole())
