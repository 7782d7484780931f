"""Who goes first: queries before ingest, every tenant its share, a full queue told with the time it takes.

The encoder is a double that notes the order in which it is asked; everything before it is the real platform.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from openai import APIStatusError, AsyncOpenAI, BadRequestError, RateLimitError

from tests.counting_encoder import CountingEncoder, number_of
from tests.journeys.embedding_scene import COUNTING, Scene, counted, embedding_scene, until
from tests.support import run

Steps = Callable[[Scene, CountingEncoder], Awaitable[None]]
INGEST = {"X-Priority": "ingest"}


def journey(folder: Path, monkeypatch: pytest.MonkeyPatch, steps: Steps, **chosen: Any) -> None:
    async def whole() -> None:
        encoder = counted(monkeypatch)
        bounds = {"query_batches": 1, "ingest_batches": 1, "cache_bytes": 0, **chosen}
        async with embedding_scene(folder, **bounds) as scene:
            await steps(scene, encoder)
        assert encoder.closed == 1

    run(whole())


def asked(client: AsyncOpenAI, texts: list[str], headers: dict[str, str] | None = None) -> asyncio.Task[Any]:
    return asyncio.create_task(
        client.embeddings.create(model=COUNTING, input=texts, extra_headers=headers or {})
    )


def texts(count: int, words: int = 30, name: str = "t") -> list[str]:
    return [" ".join(f"{name}{number}-{word}" for word in range(words)) for number in range(count)]


def owners(encoder: CountingEncoder, names: dict[str, int]) -> list[set[str]]:
    """Return, batch by batch, whose texts are in it, told by their first word."""
    return [
        {name for name, first in names.items() if any(first in ids for ids in rows)}
        for _, rows in encoder.batches
    ]


def test_a_query_is_served_while_ingest_saturates_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def steps(scene: Scene, encoder: CountingEncoder) -> None:
        encoder.gate.clear()
        ingest = [asked(scene.client, texts(100, name=f"i{n}"), INGEST) for n in range(10)]
        batcher = scene.it.platform.embedding.pools["counting"].batcher
        await until(lambda: batcher.waiting_tokens("ingest") > 20_000)
        query = asked(scene.client, ["question"])
        await until(lambda: "query" in [lane for lane, _ in encoder.batches])
        assert [lane for lane, _ in encoder.batches] == ["ingest", "query"]  # at once, beside what was begun
        encoder.gate.set()
        assert len((await query).data) == 1
        assert not any(each.done() for each in ingest[1:])
        assert [len(got.data) for got in await asyncio.gather(*ingest)] == [100] * 10

    journey(tmp_path, monkeypatch, steps)


def test_no_ingest_begins_while_queries_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def steps(scene: Scene, encoder: CountingEncoder) -> None:
        encoder.gate.clear()
        ingest = asked(scene.client, texts(200, name="i"), INGEST)
        await until(lambda: len(encoder.batches) == 1)
        queries = [asked(scene.client, texts(60, name=f"q{n}")) for n in range(4)]
        batcher = scene.it.platform.embedding.pools["counting"].batcher
        await until(lambda: batcher.waiting_tokens("query") > 6_000)
        encoder.gate.set()
        await asyncio.gather(*queries)
        lanes = [lane for lane, _ in encoder.batches]
        last = len(lanes) - 1 - lanes[::-1].index("query")
        assert lanes[1:last].count("ingest") <= 1, lanes
        await ingest

    journey(tmp_path, monkeypatch, steps)


def test_a_tenants_flood_leaves_another_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def steps(scene: Scene, encoder: CountingEncoder) -> None:
        encoder.gate.clear()
        flood = [asked(scene.client, texts(100, name=f"f{n}")) for n in range(9)]
        batcher = scene.it.platform.embedding.pools["counting"].batcher
        await until(lambda: batcher.waiting_tokens("query") > 20_000)
        with pytest.raises(RateLimitError, match="share of the queue") as full:
            await asked(scene.client, texts(200, name="more"))
        assert float(full.value.response.headers["retry-after"]) >= 1
        calm = await scene.other("calm")
        late = asked(calm, ["calmly"])
        before = batcher.waiting_tokens("query")
        await until(lambda: batcher.waiting_tokens("query") > before)
        encoder.gate.set()
        assert len((await late).data) == 1
        batches = owners(encoder, {"calm": number_of("calmly")})
        assert {"calm"} in batches[:4], batches
        assert len(await asyncio.gather(*flood)) == 9

    journey(tmp_path, monkeypatch, steps, query_queue_tokens=60_000)


def test_a_full_queue_is_429_with_the_time_it_takes_and_nothing_is_charged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def steps(scene: Scene, encoder: CountingEncoder) -> None:
        encoder.gate.clear()
        others = [await scene.other(f"team{n}") for n in range(3)]
        held = [asked(client, texts(20, name=f"h{n}")) for n, client in enumerate(others)]
        batcher = scene.it.platform.embedding.pools["counting"].batcher
        await until(lambda: batcher.waiting_tokens("query") > 1_300)
        with pytest.raises(RateLimitError) as full:
            await scene.client.embeddings.create(model=COUNTING, input=texts(20, name="late"))
        assert full.value.code == "rate_limit_exceeded"
        assert full.value.response.headers["retry-after"] == "1"
        assert full.value.response.headers["x-should-retry"] == "true"
        encoder.gate.set()
        await asyncio.gather(*held)
        spent = await scene.it.spent(scene.caller)
        assert (spent.posted_nanos, spent.held_nanos) == (0, 0)

    journey(tmp_path, monkeypatch, steps, query_queue_tokens=1_500, query_batch_tokens=600, priced="2")


def test_a_priority_that_is_none_is_refused_before_anything_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def steps(scene: Scene, encoder: CountingEncoder) -> None:
        for said in ("urgent", "", "query,ingest"):
            with pytest.raises(BadRequestError, match="There is no such priority") as refused:
                await asked(scene.client, ["a"], {"X-Priority": said})
            assert refused.value.param == "x-priority"
        assert not encoder.tokenized
        await asked(scene.client, ["a"], {"X-Priority": "Ingest"})
        await asked(scene.client, ["b"], {"x-penstock-priority": "low"})
        await asked(scene.client, ["c"], {"x-penstock-priority": "low", "X-Priority": "query"})
        batch = await scene.other("night", tier="batch")
        await asked(batch, ["d"], {"X-Priority": "query"})
        await asked(batch, ["e"])
        assert [lane for lane, _ in encoder.batches] == ["ingest", "ingest", "query", "ingest", "ingest"]

    journey(tmp_path, monkeypatch, steps)


def test_a_text_that_cannot_be_computed_fails_no_neighbour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def steps(scene: Scene, encoder: CountingEncoder) -> None:
        encoder.refused.add(number_of("poison"))
        encoder.poison.add(number_of("killer"))
        encoder.gate.clear()
        first = asked(scene.client, ["first"])
        await until(lambda: len(encoder.batches) == 1)
        sound = [asked(scene.client, [f"sound {n}"]) for n in range(30)]
        bad = [asked(scene.client, ["fine", "poison here"]), asked(scene.client, ["killer here", "fine"])]
        batcher = scene.it.platform.embedding.pools["counting"].batcher
        await until(lambda: batcher.waiting_tokens("query") >= 30 * 4 + 2 * 7)
        encoder.gate.set()
        assert len(await asyncio.gather(first, *sound)) == 31
        told = await asyncio.gather(*bad, return_exceptions=True)
        for error, status, param in zip(told, (400, 503), ("input[1]", "input[0]"), strict=True):
            assert isinstance(error, APIStatusError)
            body: Any = error.body
            assert (error.status_code, body["param"]) == (status, param)
        assert sum(number_of("killer") in ids for _, rows in encoder.batches for ids in rows) <= 3

    journey(tmp_path, monkeypatch, steps)


def test_a_caller_who_leaves_is_not_computed_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def steps(scene: Scene, encoder: CountingEncoder) -> None:
        encoder.gate.clear()
        running = asked(scene.client, texts(30, name="r"))
        await until(lambda: len(encoder.batches) == 1)
        gone = asked(scene.client, texts(30, name="gone"))
        batcher = scene.it.platform.embedding.pools["counting"].batcher
        await until(lambda: batcher.waiting_tokens("query") > 900)
        gone.cancel()
        await until(lambda: batcher.waiting_tokens("query") == 0)
        encoder.gate.set()
        await running
        assert batcher.tallies()["query"].dropped == 30
        assert number_of("gone0-0") not in [ids[1] for _, rows in encoder.batches for ids in rows]

    journey(tmp_path, monkeypatch, steps)


def test_the_metrics_page_tells_what_waits_and_what_was_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def steps(scene: Scene, encoder: CountingEncoder) -> None:
        encoder.gate.clear()
        task = asked(scene.client, texts(40, name="m"), INGEST)
        await until(lambda: len(encoder.batches) == 1)
        waiting = asked(scene.client, texts(10, name="w"), INGEST)
        batcher = scene.it.platform.embedding.pools["counting"].batcher
        await until(lambda: batcher.waiting_tokens("ingest") == 320)
        page = scene.it.platform.metrics.render().decode()
        assert 'penstock_embedding_queue_tokens{lane="ingest",model="counting"} 320.0' in page
        assert 'penstock_embedding_queue_tokens{lane="query",model="counting"} 0.0' in page
        encoder.gate.set()
        await asyncio.gather(task, waiting)
        page = scene.it.platform.metrics.render().decode()
        assert 'penstock_embedding_tokens_total{lane="ingest",model="counting"} 1600.0' in page
        assert 'penstock_embedding_cache_misses_total{model="counting"} 50.0' in page

    journey(tmp_path, monkeypatch, steps)
