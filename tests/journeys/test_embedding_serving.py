"""Vectors from the model in this machine, by OpenAI's own SDK over real sockets: what it sends, counts, refuses, costs.

The model is the real one, in its helper processes.
"""

from __future__ import annotations

import asyncio
import math
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from openai import (
    APIStatusError,
    AsyncOpenAI,
    AuthenticationError,
    BadRequestError,
    NotFoundError,
    RateLimitError,
)

from penstock.kernel.context import Cap
from penstock.kernel.errors import Invalid
from penstock.kernel.settings import EmbeddingSettings
from penstock.wiring import adapters
from tests.journeys.embedding_scene import MINILM, Scene, embedding_scene
from tests.support import run

Steps = Callable[[Scene], Awaitable[None]]
QUESTION = "How full is the lake?"
TEXTS = [
    QUESTION,
    "The reservoir holds eighty percent of its water.",
    "Mia plays the violin in an orchestra.",
]


def journey(folder: Path, steps: Steps, **chosen: Any) -> None:
    async def whole() -> None:
        async with embedding_scene(folder, **chosen) as scene:
            await steps(scene)

    run(whole())


def cosine(left: list[float], right: list[float]) -> float:
    dot = sum(a * b for a, b in zip(left, right, strict=True))
    return dot / math.sqrt(sum(a * a for a in left) * sum(b * b for b in right))


def encoder_of(scene: Scene) -> Any:
    return scene.it.platform.embedding.pools["all-MiniLM-L6-v2"].encoder


async def raw(client: AsyncOpenAI, **body: Any) -> Any:
    """Return a reply as it was sent: the SDK decodes base64 by itself unless a type is named."""
    return await client.post("/embeddings", body={"model": MINILM, **body}, cast_to=object)


def test_vectors_mean_something_and_are_the_same_in_either_encoding(tmp_path: Path) -> None:
    async def steps(scene: Scene) -> None:
        by_base64 = await scene.client.embeddings.create(model=MINILM, input=TEXTS)
        by_numbers = await raw(scene.client, input=TEXTS, encoding_format="float")
        lake, water, violin = [each.embedding for each in by_base64.data]
        assert len(lake) == 384
        assert sum(number * number for number in lake) == pytest.approx(1, abs=1e-5)
        assert cosine(lake, water) > cosine(lake, violin) + 0.2
        assert [each["embedding"] for each in by_numbers["data"]] == [
            each.embedding for each in by_base64.data
        ]
        assert [each["index"] for each in by_numbers["data"]] == [0, 1, 2]
        alone = await scene.client.embeddings.create(model=MINILM, input=QUESTION)
        assert cosine(alone.data[0].embedding, lake) > 0.999
        assert by_base64.model == MINILM

    journey(tmp_path, steps)


def test_usage_is_the_models_own_count_and_what_is_billed(tmp_path: Path) -> None:
    async def steps(scene: Scene) -> None:
        tokens = await scene.client.post("/tokenize", body={"inputs": TEXTS}, cast_to=object)
        count = sum(map(len, tokens))
        for _ in range(2):  # computed, then from the cache
            got = await scene.client.embeddings.create(model=MINILM, input=TEXTS)
            assert got.usage.prompt_tokens == got.usage.total_tokens == count
        assert (await scene.it.settled(scene.caller, 2)).posted_nanos == 2 * count * 2_000  # $2 a million

    journey(tmp_path, steps, priced="2")


def test_tokens_may_be_sent_instead_of_the_text(tmp_path: Path) -> None:
    async def steps(scene: Scene) -> None:
        told: Any = await scene.client.post(
            "/tokenize", body={"inputs": "Hello wörld", "model": MINILM}, cast_to=object
        )
        assert told == [
            [
                {"id": 101, "text": "", "special": True, "start": None, "stop": None},
                {"id": 7592, "text": "Hello", "special": False, "start": 0, "stop": 5},
                {"id": 2088, "text": "wörld", "special": False, "start": 6, "stop": 11},
                {"id": 102, "text": "", "special": True, "start": None, "stop": None},
            ]
        ]
        ids = [each["id"] for each in told[0]]
        by_text = await scene.client.embeddings.create(model=MINILM, input="Hello wörld")
        for given in (ids, ids[1:-1], [ids, ids[1:-1]]):
            by_ids = await scene.client.embeddings.create(model=MINILM, input=given)
            assert cosine(by_ids.data[-1].embedding, by_text.data[0].embedding) > 0.999
            assert by_ids.usage.prompt_tokens == 4 * len(by_ids.data)
        with pytest.raises(BadRequestError, match="no token of all-MiniLM-L6-v2") as strange:
            await scene.client.embeddings.create(model=MINILM, input=[ids, [100_257]])
        assert strange.value.param == "input[1]"

    journey(tmp_path, steps)


def test_a_text_too_long_is_named_with_its_tokens_and_the_limit_or_cut_where_its_caller_says(
    tmp_path: Path,
) -> None:
    async def steps(scene: Scene) -> None:
        fits, over = "word " * 254, "word " * 255
        assert (await scene.client.embeddings.create(model=MINILM, input=fits)).usage.prompt_tokens == 256
        with pytest.raises(BadRequestError) as refused:
            await scene.client.embeddings.create(model=MINILM, input=["a", over])
        body: Any = refused.value.body
        assert (body["param"], body["value"], body["limit"], body["code"]) == (
            "input[1]", 257, 256, "context_length_exceeded",
        )  # fmt: skip
        cut: Any = await scene.client.embeddings.with_raw_response.create(
            model=MINILM, input=["a", f"first {over} last"], extra_body={"truncate": "END"}
        )
        assert cut.headers["x-penstock-truncated"] == "1"
        assert cut.parse().truncated == [1]
        assert cut.parse().usage.prompt_tokens == 3 + 256
        start = await scene.client.embeddings.create(
            model=MINILM, input=f"first {over} last", extra_body={"truncate": "start"}
        )
        assert start.data[0].embedding != cut.parse().data[1].embedding
        whole: Any = await scene.client.embeddings.with_raw_response.create(model=MINILM, input="a")
        assert "x-penstock-truncated" not in whole.headers

    journey(tmp_path, steps)


def test_vectors_in_fewer_bytes_point_the_same_way(tmp_path: Path) -> None:
    async def steps(scene: Scene) -> None:
        (full,) = (await raw(scene.client, input=QUESTION, encoding_format="float"))["data"]
        got: dict[str, Any] = {}
        for dtype in ("float16", "int8", "binary", "ubinary"):
            told = await raw(scene.client, input=QUESTION, encoding_format="float", output_dtype=dtype)
            got[dtype] = told["data"][0]
        exact = full["embedding"]
        assert cosine(got["float16"]["embedding"], exact) > 0.99999
        assert cosine(got["int8"]["embedding"], exact) > 0.9995
        scale, largest = got["int8"]["scale"], max(map(abs, exact))
        assert scale * 127 == pytest.approx(largest)
        assert all(
            abs(q * scale - x) <= scale * 0.5001 for q, x in zip(got["int8"]["embedding"], exact, strict=True)
        )
        bits = [int(bit) for byte in got["ubinary"]["embedding"] for bit in f"{byte:08b}"]
        assert bits == [int(number >= 0) for number in exact]
        assert [byte - 128 for byte in got["ubinary"]["embedding"]] == got["binary"]["embedding"]
        assert "scale" not in full
        packed = await raw(scene.client, input=QUESTION, encoding_format="base64", output_dtype="int8")
        assert len(packed["data"][0]["embedding"]) == 512  # 384 bytes in base64

    journey(tmp_path, steps)


def test_what_means_nothing_here_is_refused_by_its_name_before_anything_starts(tmp_path: Path) -> None:
    async def steps(scene: Scene) -> None:
        wrong = {
            "dimensions": 256,
            "truncate": "sideways",
            "input_type": "poem",
            "output_dtype": "int4",
            "x": "y",
        }
        for member, value in wrong.items():
            with pytest.raises(BadRequestError) as refused:
                await raw(scene.client, input="a", **{member: value})
            assert refused.value.param == member
        assert encoder_of(scene).starts == 0

    journey(tmp_path, steps)


def test_googles_wire_reaches_the_model_too(tmp_path: Path) -> None:
    async def steps(scene: Scene) -> None:
        by_openai = await scene.client.embeddings.create(model=MINILM, input=QUESTION)
        root = scene.it.url.removesuffix("/v1")
        async with AsyncOpenAI(base_url=root, api_key=scene.caller.token, max_retries=0) as client:
            told: Any = await client.post(
                f"/v1beta/models/{MINILM}:embedContent",
                body={"content": {"parts": [{"text": QUESTION}]}},
                cast_to=object,
            )
        assert cosine(told["embedding"]["values"], by_openai.data[0].embedding) > 0.99999

    journey(tmp_path, steps)


def test_each_model_does_what_it_can_and_says_so_of_what_it_cannot(tmp_path: Path) -> None:
    async def steps(scene: Scene) -> None:
        listed = [model.id for model in (await scene.client.models.list()).data]
        assert {MINILM, "local/extractive"} <= set(listed)
        with pytest.raises(BadRequestError, match="does not answer embeddings"):
            await scene.client.embeddings.create(model="local/extractive", input="a")
        with pytest.raises(BadRequestError, match="cannot chat"):
            await scene.client.chat.completions.create(
                model=MINILM, messages=[{"role": "user", "content": "a"}]
            )

    journey(tmp_path, steps)


def test_money_is_held_before_anything_is_computed(tmp_path: Path) -> None:
    async def steps(scene: Scene) -> None:
        with pytest.raises(RateLimitError) as poor:
            await scene.client.embeddings.create(model=MINILM, input=TEXTS)
        assert poor.value.code == "insufficient_quota"
        pool = scene.it.platform.embedding.pools["all-MiniLM-L6-v2"]
        assert (pool.cache.misses, encoder_of(scene).starts) == (0, 0)

    journey(tmp_path, steps, priced="2", rights={"caps": (Cap(window="day", limit_nanos=1_000),)})


def test_tokens_are_for_those_who_may_use_the_model(tmp_path: Path) -> None:
    async def steps(scene: Scene) -> None:
        stranger = AsyncOpenAI(base_url=scene.it.url, api_key="pen-none", max_retries=0)
        with pytest.raises(AuthenticationError):
            await stranger.post("/tokenize", body={"inputs": "a"}, cast_to=object)
        with pytest.raises(NotFoundError):
            await scene.client.post("/tokenize", body={"inputs": "a"}, cast_to=object)
        for body in ({}, {"inputs": []}, {"inputs": ""}, {"inputs": 5}, {"inputs": "a", "x": 1}):
            with pytest.raises(BadRequestError):
                await scene.client.post("/tokenize", body=body, cast_to=object)

    journey(tmp_path, steps, rights={"models": ("sim/model",)})


def test_without_the_extra_the_model_is_not_listed_and_its_name_tells_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(_settings: object) -> object:
        raise adapters._not_installed(ModuleNotFoundError("x", name="openvino"), "encoder.openvino")

    monkeypatch.setattr(adapters, "encoder", absent)

    async def steps(scene: Scene) -> None:
        listed = [model.id for model in (await scene.client.models.list()).data]
        assert MINILM not in listed
        assert "local/extractive" in listed
        with pytest.raises(NotFoundError, match=r"penstock\[local\]"):
            await scene.client.embeddings.create(model=MINILM, input="a")
        with pytest.raises(NotFoundError, match=r"penstock\[local\]"):
            await scene.client.post("/tokenize", body={"inputs": "a"}, cast_to=object)

    journey(tmp_path, steps)


def test_a_missing_driver_is_told_by_its_extra_when_the_encoder_is_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("penstock.adapters.encoder.openvino.find_spec", lambda _name: None)
    with pytest.raises(Invalid, match=r"penstock\[local\]"):
        adapters.encoder(EmbeddingSettings())


def test_a_killed_encoder_fails_nobody_who_comes_later_and_hangs_nobody(tmp_path: Path) -> None:
    async def steps(scene: Scene) -> None:
        await scene.client.embeddings.create(model=MINILM, input="warm")
        encoder = encoder_of(scene)
        ended = asyncio.Event()
        outcomes: list[str] = []

        async def asking(number: int) -> None:
            count = 0
            while not ended.is_set():
                count += 1
                try:
                    got = await scene.client.embeddings.create(
                        model=MINILM, input=[f"question {number} {count} {at}" for at in range(4)]
                    )
                    outcomes.append("ok" if len(got.data) == 4 else "short")
                except APIStatusError as error:
                    outcomes.append(f"{error.status_code} {error.code}")

        crowd = [asyncio.create_task(asking(number)) for number in range(8)]
        for _ in range(3):
            before = len(outcomes)
            while len(outcomes) < before + 8:
                await asyncio.sleep(0.01)
            for helper in encoder._lanes["query"]:
                if helper.pid is not None:
                    os.kill(helper.pid, signal.SIGKILL)
        before = len(outcomes)
        while len(outcomes) < before + 16:
            await asyncio.sleep(0.01)
        ended.set()
        await asyncio.gather(*crowd)
        assert set(outcomes) <= {"ok", "503 overloaded", "429 rate_limit_exceeded"}, set(outcomes)
        assert outcomes.count("ok") > len(outcomes) * 0.7
        assert (await scene.client.embeddings.create(model=MINILM, input="later")).usage.prompt_tokens == 3
        assert encoder.starts >= 2

    journey(tmp_path, steps)
