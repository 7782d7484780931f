"""Vectors by the official SDKs of Google and OpenAI, each over either provider's wire.

Promise: each SDK gets what its own vendor would send, whoever embeds; what was paid for is what the provider's books
say; what a provider cannot be told is refused by the name its caller wrote, and nothing is spent.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from google import genai
from google.genai import errors, types
from openai import AsyncOpenAI, BadRequestError

from tests.journeys.three_wires import root, three_wires
from tests.stage import Caller, Stage
from tests.support import run

EMBED_WIRES = ("openai-wire", "gemini-wire")
TEXTS = ["How full is the lake?", "How full is it?"]
CONTENTS: list[Any] = [types.Content(parts=[types.Part(text=text)]) for text in TEXTS]
"""Of mere strings Google's SDK makes one content of several parts where the model's name is a newer Gemini's."""
Steps = Callable[[Stage, Caller, Any, AsyncOpenAI], Awaitable[None]]
every_wire = pytest.mark.parametrize("wire", EMBED_WIRES)


def journey(folder: Path, steps: Steps) -> None:
    """Take `steps` with the models of a client of Google's, and a client of OpenAI's, of one key."""

    async def whole() -> None:
        async with three_wires(folder) as it:
            caller = await it.caller()
            google = genai.Client(api_key=caller.token, http_options={"base_url": root(it)})
            async with AsyncOpenAI(base_url=it.url, api_key=caller.token, max_retries=0) as client:
                try:
                    await steps(it, caller, google.aio.models, client)
                finally:
                    await google.aio.aclose()
                    google.close()

    run(whole())


@every_wire
def test_googles_sdk_embeds_over_either_wire_and_is_billed_what_the_provider_billed(
    tmp_path: Path, wire: str
) -> None:
    async def steps(it: Stage, caller: Caller, models: Any, client: AsyncOpenAI) -> None:
        config = types.EmbedContentConfig(output_dimensionality=6)
        reply = await models.embed_content(model=wire, contents=CONTENTS, config=config)
        assert [len(each.values) for each in reply.embeddings] == [6, 6]
        one = await models.embed_content(model=wire, contents=TEXTS[0], config=config)
        assert one.embeddings[0].values == pytest.approx(reply.embeddings[0].values)
        by_openai = await client.embeddings.create(model=wire, input=TEXTS, dimensions=6)
        assert by_openai.data[1].embedding == pytest.approx(reply.embeddings[1].values, rel=1e-6)
        truth = await it.truth(3)
        assert (await it.settled(caller, 3)).posted_nanos == sum(row.cost_nanos for row in truth) > 0
        assert [row.outcome for row in truth] == ["ok"] * 3
        assert by_openai.usage.prompt_tokens == truth[2].input_tokens == 9

    journey(tmp_path, steps)


def test_the_plain_verb_for_one_content_is_served_too(tmp_path: Path) -> None:
    """Google's SDK asks for many at a time, others of its libraries for one."""

    async def whole() -> None:
        async with three_wires(tmp_path) as it:
            caller = await it.caller()
            asked = {"content": {"parts": [{"text": "How full is the lake?"}]}, "output_dimensionality": 3}
            async with AsyncOpenAI(base_url=root(it), api_key=caller.token, max_retries=0) as client:
                for wire in EMBED_WIRES:
                    told: Any = await client.post(
                        f"/v1beta/models/{wire}:embedContent", body=asked, cast_to=object
                    )
                    assert len(told["embedding"]["values"]) == 3
                    assert told["usageMetadata"] == {"promptTokenCount": 5}

    run(whole())


def test_what_only_gemini_can_be_told_is_refused_elsewhere_by_name(tmp_path: Path) -> None:
    async def steps(it: Stage, caller: Caller, models: Any, client: AsyncOpenAI) -> None:
        config = types.EmbedContentConfig(task_type="RETRIEVAL_DOCUMENT", title="Lake")
        together = types.Content(parts=[types.Part(text="How full"), types.Part(text="is the lake?")])
        assert (
            len((await models.embed_content(model="gemini-wire", contents="a", config=config)).embeddings)
            == 1
        )
        assert len((await models.embed_content(model="gemini-wire", contents=[together])).embeddings) == 1
        with pytest.raises(errors.ClientError, match="taskType"):
            await models.embed_content(model="openai-wire", contents="a", config=config)
        with pytest.raises(errors.ClientError, match=r"content\.parts"):
            await models.embed_content(model="openai-wire", contents=[together])
        picture = types.Content(parts=[types.Part.from_bytes(data=b"GIF89a", mime_type="image/gif")])
        with pytest.raises(errors.ClientError, match=r"requests\[0\]\.content\.parts\[0\]\.inlineData"):
            await models.embed_content(model="gemini-wire", contents=[picture])
        assert len(await it.truth(2)) == 2
        assert (await it.settled(caller, 2)).postings == 2

    journey(tmp_path, steps)


def test_what_gemini_cannot_be_told_is_refused_or_named(tmp_path: Path) -> None:
    async def steps(it: Stage, caller: Caller, models: Any, client: AsyncOpenAI) -> None:
        with pytest.raises(BadRequestError) as numbers:
            await client.embeddings.create(model="gemini-wire", input=[1, 2, 3])
        with pytest.raises(BadRequestError) as stranger:
            await client.embeddings.create(model="gemini-wire", input="a", extra_body={"input_type": "query"})
        assert [each.value.param for each in (numbers, stranger)] == ["input", "input_type"]
        assert {each.value.code for each in (numbers, stranger)} == {"untranslatable"}
        assert it.simulator.truth.rows() == []
        raw = await client.embeddings.with_raw_response.create(model="gemini-wire", input="a", user="kim")
        assert raw.headers["x-penstock-left-out"] == "user"
        raw = await client.embeddings.with_raw_response.create(model="openai-wire", input="a", user="kim")
        assert "x-penstock-left-out" not in raw.headers
        with pytest.raises(BadRequestError) as unable:
            await client.embeddings.create(model="anthropic-wire", input="a")
        assert unable.value.code == "model_not_able"

    journey(tmp_path, steps)


@pytest.mark.parametrize(("order", "status"), [("rate_limit", 429), ("overloaded", 503)])
def test_refusals_of_either_provider_are_googles_own_exceptions(
    tmp_path: Path, order: str, status: int
) -> None:
    async def steps(it: Stage, caller: Caller, models: Any, client: AsyncOpenAI) -> None:
        for wire in EMBED_WIRES:
            with pytest.raises(errors.APIError) as refused:
                await models.embed_content(model=f"{wire}!{order}", contents="a")
            assert refused.value.code == status
        assert (await it.settled(caller, 2)).posted_nanos == 0

    journey(tmp_path, steps)
