"""Files and batches with the official OpenAI SDK: validated whole, answered once each, whatever comes between.

Promise: a batch costs what its lines cost at the provider, each dispatched once, also across a crash; what is told as
complete is complete.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI
from openai.types import Batch

from penstock.gateway import batch_runs
from penstock.simulator.server import run_simulator
from penstock.wiring.app import start
from penstock.wiring.platform import Platform
from tests.stage import Caller, Stage, settings, stage
from tests.support import run

ENDED = ("completed", "failed", "cancelled", "expired")
CHAT = "/v1/chat/completions"
Steps = Callable[[Stage, Caller, AsyncOpenAI], Awaitable[None]]


def journey(folder: Path, steps: Steps, **sections: Any) -> None:
    """Take `steps` with a client of its own key."""

    async def whole() -> None:
        async with stage(folder, **sections) as it:
            caller = await it.caller()
            async with AsyncOpenAI(base_url=it.url, api_key=caller.token, max_retries=0) as client:
                await steps(it, caller, client)

    run(whole())


def line(name: str, model: str = "sim/model", url: str = CHAT, **body: Any) -> str:
    """Return one request of a batch."""
    asked = {"messages": [{"role": "user", "content": f"How full is {name}?"}], "max_tokens": 8}
    return json.dumps(
        {"custom_id": name, "method": "POST", "url": url, "body": {"model": model, **(body or asked)}}
    )


async def begun(client: AsyncOpenAI, lines: list[str], endpoint: Any = CHAT) -> Batch:
    """Upload `lines` and make a batch of them."""
    content = "\n".join(lines).encode()
    file = await client.files.create(file=("in.jsonl", content), purpose="batch")
    assert (file.bytes, file.filename, file.purpose) == (len(content), "in.jsonl", "batch")
    return await client.batches.create(
        input_file_id=file.id, endpoint=endpoint, completion_window="24h", metadata={"plant": "tail"}
    )


async def ended(client: AsyncOpenAI, batch: Batch) -> Batch:
    """Wait for a batch's end."""
    async with asyncio.timeout(15):
        while batch.status not in ENDED:
            await asyncio.sleep(0.05)
            batch = await client.batches.retrieve(batch.id)
    return batch


async def told(client: AsyncOpenAI, file_id: str | None) -> dict[str, Any]:
    """Return the lines of an output file by their custom ids."""
    assert file_id is not None
    text = (await client.files.content(file_id)).text
    return {each["custom_id"]: each for each in map(json.loads, text.splitlines())}


def test_every_line_is_answered_once_and_billed(tmp_path: Path) -> None:
    async def steps(it: Stage, caller: Caller, client: AsyncOpenAI) -> None:
        names = [f"gauge {number}" for number in range(9)]
        batch = await ended(client, await begun(client, [line(name) for name in names]))
        counts = batch.request_counts
        assert (batch.status, batch.error_file_id, batch.metadata) == ("completed", None, {"plant": "tail"})
        assert counts and (counts.total, counts.completed, counts.failed) == (9, 9, 0)
        assert batch.in_progress_at and batch.finalizing_at and batch.completed_at
        out = await told(client, batch.output_file_id)
        assert list(out) == names
        truth = await it.truth(9)
        assert len(truth) == 9
        assert {each["response"]["body"]["id"] for each in out.values()} == {row.id for row in truth}
        assert {each["response"]["request_id"] for each in out.values()} == {row.operation for row in truth}
        assert (await it.settled(caller, 9)).posted_nanos == sum(row.cost_nanos for row in truth)
        assert [each.id async for each in client.batches.list()] == [batch.id]
        assert len([each async for each in client.files.list()]) == 2

    journey(tmp_path, steps)


def test_a_line_that_fails_is_in_the_error_file_and_the_others_are_not(tmp_path: Path) -> None:
    async def steps(it: Stage, caller: Caller, client: AsyncOpenAI) -> None:
        lines = [
            line("good", "gpt-4o-mini", "/v1/embeddings", input="a b c"),
            line("bad", "local/extractive", "/v1/embeddings", input="a"),
        ]
        batch = await ended(client, await begun(client, lines, "/v1/embeddings"))
        counts = batch.request_counts
        assert counts and (batch.status, counts.completed, counts.failed) == ("completed", 1, 1)
        good, bad = await told(client, batch.output_file_id), await told(client, batch.error_file_id)
        assert good["good"]["response"]["body"]["usage"]["prompt_tokens"] == 3
        assert bad["bad"]["response"]["status_code"] == 400
        assert bad["bad"]["response"]["body"]["error"]["code"] == "model_not_able"

    journey(tmp_path, steps)


@pytest.mark.parametrize(
    ("endpoint", "asked"),
    [
        ("/v1/responses", {"input": "How full is it?", "max_output_tokens": 16}),
        ("/v1/completions", {"prompt": "It is", "max_tokens": 8}),
    ],
)
def test_a_batch_of_another_endpoint_is_answered_in_its_words(
    tmp_path: Path, endpoint: str, asked: dict[str, Any]
) -> None:
    async def steps(it: Stage, caller: Caller, client: AsyncOpenAI) -> None:
        batch = await ended(client, await begun(client, [line("a", url=endpoint, **asked)], endpoint))
        body = (await told(client, batch.output_file_id))["a"]["response"]["body"]
        assert body["object"] == {"/v1/responses": "response"}.get(endpoint, "text_completion")
        assert (await it.settled(caller)).posted_nanos == (await it.truth())[0].cost_nanos

    journey(tmp_path, steps)


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ("{", "invalid_json_line"),
        (line("a"), "duplicate_custom_id"),
        (line("b", url="/v1/embeddings"), "mismatched_url"),
        (line("b", model="gone"), "model_not_found"),
        (line("b", stream=True, messages=[{"role": "user", "content": "a"}]), "invalid_request"),
    ],
)
def test_one_line_that_is_no_request_fails_the_batch_before_it_costs(
    tmp_path: Path, wrong: str, code: str
) -> None:
    async def steps(it: Stage, caller: Caller, client: AsyncOpenAI) -> None:
        batch = await ended(client, await begun(client, [line("a"), wrong]))
        assert batch.status == "failed" and batch.failed_at and batch.errors and batch.errors.data
        assert [(each.line, each.code) for each in batch.errors.data] == [(2, code)]
        assert it.simulator.truth.rows() == []

    journey(tmp_path, steps)


def test_a_cancelled_batch_tells_what_was_answered_and_names_what_was_not(tmp_path: Path) -> None:
    async def steps(it: Stage, caller: Caller, client: AsyncOpenAI) -> None:
        slow = "sim/slow_first_byte;seconds=0.5"
        batch = await begun(client, [line(f"g{number}", slow) for number in range(8)])
        async with asyncio.timeout(10):
            while not it.simulator.truth.summary().in_flight:
                await asyncio.sleep(0.01)
        assert (await client.batches.cancel(batch.id)).status == "cancelling"
        batch = await ended(client, batch)
        assert batch.status == "cancelled" and batch.cancelling_at and batch.cancelled_at
        good, bad = await told(client, batch.output_file_id), await told(client, batch.error_file_id)
        assert {*good, *bad} == {f"g{number}" for number in range(8)}
        assert len(good) == len(it.simulator.truth.rows()) < 8
        assert {each["error"]["code"] for each in bad.values()} == {"batch_cancelled"}
        with pytest.raises(openai.ConflictError):
            await client.batches.cancel(batch.id)

    journey(tmp_path, steps, batches={"concurrency": 2})


def test_a_limit_of_the_key_makes_a_batch_wait_and_not_fail(tmp_path: Path) -> None:
    async def steps(it: Stage, _caller: Caller, client: AsyncOpenAI) -> None:
        slow = await it.caller(rate={"requests_per_minute": 60})
        mine = client.with_options(api_key=slow.token)
        batch = await ended(mine, await begun(mine, [line(f"g{number}") for number in range(62)]))
        counts = batch.request_counts
        assert counts and (batch.status, counts.completed, counts.failed) == ("completed", 62, 0)

    journey(tmp_path, steps)


def test_a_batch_whose_answers_fill_its_file_sends_no_more_and_names_what_was_not_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_runs, "OUTPUT_BYTES_MAX", 1_000)

    async def steps(it: Stage, caller: Caller, client: AsyncOpenAI) -> None:
        names = {f"g{number}" for number in range(9)}
        batch = await ended(client, await begun(client, [line(name) for name in sorted(names)]))
        good, bad = await told(client, batch.output_file_id), await told(client, batch.error_file_id)
        counts = batch.request_counts
        assert counts and (batch.status, counts.completed, counts.failed) == (
            "completed",
            len(good),
            len(bad),
        )
        assert 1_000 <= (await client.files.retrieve(batch.output_file_id or "")).bytes < 2_000
        assert {*good, *bad} == names and not {*good} & {*bad}
        assert {each["error"]["code"] for each in bad.values()} == {"batch_output_full"}
        assert len(good) == len(it.simulator.truth.rows())

    journey(tmp_path, steps, batches={"concurrency": 1})


def test_another_project_sees_neither_files_nor_batches(tmp_path: Path) -> None:
    async def steps(it: Stage, caller: Caller, client: AsyncOpenAI) -> None:
        batch = await ended(client, await begun(client, [line("a")]))
        doc = await it.platform.tenancy.key(caller.id)
        assert doc is not None
        other = await it.platform.tenancy.create_key(
            type(doc)(id="", mac="", org="acme", team="search", project="other", user="kim")
        )
        theirs = client.with_options(api_key=other[1])
        assert (
            [each async for each in theirs.files.list()]
            == [each async for each in theirs.batches.list()]
            == []
        )
        with pytest.raises(openai.NotFoundError):
            await theirs.batches.retrieve(batch.id)
        with pytest.raises(openai.NotFoundError):
            await theirs.batches.cancel(batch.id)
        with pytest.raises(openai.NotFoundError):
            await theirs.files.content(batch.input_file_id)
        with pytest.raises(openai.NotFoundError):
            await theirs.files.delete(batch.input_file_id)
        assert (await client.files.delete(batch.input_file_id)).deleted
        with pytest.raises(openai.NotFoundError):
            await client.files.retrieve(batch.input_file_id)

    journey(tmp_path, steps)


async def killed(platform: Platform) -> None:
    """Stop the work on batches as a crash does: nothing is tidied up."""
    tasks = [task for task in asyncio.all_tasks() if task.get_name().startswith("batch")]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await platform.close()


async def stopped(platform: Platform) -> None:
    """Stop as an operator does."""
    await platform.close()


@pytest.mark.parametrize(("ending", "lost"), [(stopped, 0), (killed, 2)])
def test_a_batch_goes_on_after_its_process_is_gone_and_no_line_is_sent_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: Callable[[Platform], Awaitable[None]], lost: int
) -> None:
    monkeypatch.setattr(batch_runs, "LEASE_S", 2.0)
    monkeypatch.setattr(batch_runs, "LOOK_S", 0.2)

    async def whole() -> None:
        provider = await run_simulator()
        set_up = settings(tmp_path / "data", provider.url, batches={"concurrency": 2})
        lines = [line(f"g{number}", "sim/slow_first_byte;seconds=0.5") for number in range(6)]
        try:
            first = await start(set_up, {})
            it = Stage(provider, first)
            caller = await it.caller()
            async with AsyncOpenAI(base_url=it.url, api_key=caller.token, max_retries=0) as client:
                batch = await begun(client, lines)
                async with asyncio.timeout(10):
                    while provider.truth.summary().requests < 2 or provider.truth.summary().in_flight < 2:
                        await asyncio.sleep(0.01)
            await ending(first)
            second = await start(set_up, {})
            try:
                it = Stage(provider, second)
                async with AsyncOpenAI(base_url=it.url, api_key=caller.token, max_retries=0) as client:
                    batch = await ended(client, batch)
                    good = await told(client, batch.output_file_id)
                    bad = await told(client, batch.error_file_id) if lost else {}
                await it.settled(caller, 6)
            finally:
                await second.close()
            assert batch.status == "completed" and (len(good), len(bad)) == (6 - lost, lost)
            assert {each["response"]["body"]["error"]["code"] for each in bad.values()} <= {
                "idempotency_conflict"
            }
            assert len(provider.truth.rows()) == 6
        finally:
            await provider.close()

    run(whole())
