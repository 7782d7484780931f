"""Message batches with the official Anthropic SDK: one engine with OpenAI's, in Anthropic's words.

Promise: a batch costs what its requests cost at the provider, each dispatched once, also across a crash; each request
has exactly one result, which says how it ended; what is told as ended has all of them.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import anthropic
import pytest
from anthropic import AsyncAnthropic
from anthropic.types.messages import MessageBatch
from openai import AsyncOpenAI

from penstock.gateway import batch_runs, batches, files
from penstock.gateway.batch_runs import BatchRuns
from penstock.simulator.server import run_simulator
from penstock.wiring.app import start
from penstock.wiring.platform import Platform
from tests.journeys.test_sdk_batches import killed, stopped
from tests.journeys.three_wires import WIRES, root, three_wires
from tests.stage import Caller, Stage, settings, stage
from tests.support import run

SLOW = "sim/slow_first_byte;seconds=0.5"
Steps = Callable[[Stage, Caller, AsyncAnthropic], Awaitable[None]]


@asynccontextmanager
async def spoken_to(it: Stage, caller: Caller) -> AsyncIterator[AsyncAnthropic]:
    """Yield a client with a key."""
    async with AsyncAnthropic(base_url=root(it), api_key=caller.token, max_retries=0) as client:
        yield client


def journey(
    folder: Path,
    steps: Steps,
    scene: Callable[..., AbstractAsyncContextManager[Stage]] = stage,
    **sections: Any,
) -> None:
    """Take `steps` with a client of its own key."""

    async def whole() -> None:
        async with scene(folder, **sections) as it:
            caller = await it.caller()
            async with spoken_to(it, caller) as client:
                await steps(it, caller, client)

    run(whole())


def asked(name: str, model: str = "sim/model", **other: Any) -> Any:
    """Return one request of a batch."""
    said = {
        "model": model,
        "max_tokens": 8,
        "messages": [{"role": "user", "content": f"How full is {name}?"}],
    }
    return {"custom_id": name, "params": {**said, **other}}


async def ended(client: AsyncAnthropic, batch: MessageBatch) -> MessageBatch:
    """Wait for a batch's end; its requests stand still until then."""
    async with asyncio.timeout(15):
        while batch.processing_status != "ended":
            counts = batch.request_counts
            assert counts.processing > 0 and batch.results_url is batch.ended_at is None
            assert counts.succeeded + counts.errored + counts.canceled + counts.expired == 0
            await asyncio.sleep(0.05)
            batch = await client.messages.batches.retrieve(batch.id)
    assert batch.ended_at is not None
    return batch


async def results(client: AsyncAnthropic, batch: MessageBatch) -> dict[str, Any]:
    """Return the results by custom id; there is one for each request, and they are as the counts say."""
    found = [each async for each in await client.messages.batches.results(batch.id)]
    counts = batch.request_counts.to_dict()
    assert counts.pop("processing") == 0
    assert Counter(each.result.type for each in found) == {kind: n for kind, n in counts.items() if n}
    assert len({each.custom_id for each in found}) == len(found)
    return {each.custom_id: each.result for each in found}


async def under_way(it: Stage, calls: int = 1) -> None:
    """Wait until so many calls are at the provider."""
    async with asyncio.timeout(10):
        while it.simulator.truth.summary().in_flight < calls:
            await asyncio.sleep(0.01)


def test_every_request_is_answered_once_and_billed_over_each_wire(tmp_path: Path) -> None:
    async def steps(it: Stage, caller: Caller, client: AsyncAnthropic) -> None:
        names = [f"{wire}_{number}" for wire in WIRES for number in range(3)]
        batch = await client.messages.batches.create(
            requests=[asked(name, name.partition("_")[0]) for name in names]
        )
        assert (batch.type, batch.processing_status, batch.request_counts.processing) == (
            "message_batch",
            "in_progress",
            9,
        )
        assert (batch.expires_at - batch.created_at).days == 1 and batch._request_id
        batch = await ended(client, batch)
        found = await results(client, batch)
        assert sorted(found) == sorted(names) and batch.request_counts.succeeded == 9
        assert all(
            each.message.usage.output_tokens and each.message.content[0].text for each in found.values()
        )
        truth = await it.truth(9)
        assert len(truth) == 9
        assert (await it.settled(caller, 9)).posted_nanos == sum(row.cost_nanos for row in truth) > 0

    journey(tmp_path, steps, three_wires)


def test_a_request_that_is_none_is_told_in_its_result_and_costs_nothing(tmp_path: Path) -> None:
    async def steps(it: Stage, caller: Caller, client: AsyncAnthropic) -> None:
        wrong = [
            asked("no_model", "gone"),
            asked("no_limit", max_tokens=None),
            {"custom_id": "no_request", "params": "a"},
        ]
        made: Any = [asked("good"), *wrong]
        batch = await ended(client, await client.messages.batches.create(requests=made))
        found = await results(client, batch)
        assert found.pop("good").type == "succeeded"
        assert {name: each.error.error.type for name, each in found.items()} == {
            "no_model": "not_found_error",
            "no_limit": "invalid_request_error",
            "no_request": "invalid_request_error",
        }
        assert all(each.error.request_id.startswith("req_") for each in found.values())
        assert (await it.settled(caller, 1)).postings == len(await it.truth(1)) == 1

    journey(tmp_path, steps)


@pytest.mark.parametrize(
    ("requests", "field"),
    [
        ([], "requests"),
        ([asked("a"), asked("a")], "requests[1].custom_id"),
        ([asked("a b")], "requests[0].custom_id"),
        ([asked("a" * 65)], "requests[0].custom_id"),
        ([{"params": asked("a")["params"]}], "requests[0].custom_id"),
        ([asked("a", stream=True)], "requests[0].params.stream"),
        ([asked("a"), asked("b"), asked("c")], "requests"),
    ],
)
def test_a_batch_of_which_no_results_could_be_told_is_refused(
    tmp_path: Path, requests: Any, field: str
) -> None:
    async def steps(it: Stage, _caller: Caller, client: AsyncAnthropic) -> None:
        with pytest.raises(anthropic.BadRequestError) as refused:
            await client.messages.batches.create(requests=requests)
        said: Any = refused.value.body
        assert (said["type"], said["error"]["type"], said["error"]["field"]) == (
            "error",
            "invalid_request_error",
            field,
        )
        made = await client.messages.batches.create(requests=[asked("a" * 64), asked("b")])
        assert [each.id async for each in client.messages.batches.list()] == [made.id]

    journey(tmp_path, steps, batches={"max_lines": 2})


def test_a_cancelled_batch_tells_what_was_answered_and_what_was_not(tmp_path: Path) -> None:
    async def steps(it: Stage, caller: Caller, client: AsyncAnthropic) -> None:
        made = client.messages.batches
        batch = await made.create(requests=[asked(f"g{number}", SLOW) for number in range(8)])
        await under_way(it)
        with pytest.raises(anthropic.ConflictError):
            await made.delete(batch.id)
        batch = await made.cancel(batch.id)
        assert batch.processing_status == "canceling" and batch.cancel_initiated_at
        batch = await ended(client, batch)
        found = await results(client, batch)
        assert len(found) == 8
        assert batch.request_counts.succeeded == len(await it.truth(1)) < 8
        assert batch.request_counts.canceled == 8 - batch.request_counts.succeeded
        with pytest.raises(anthropic.ConflictError):
            await made.cancel(batch.id)
        gone = await made.delete(batch.id)
        assert (gone.id, gone.type) == (batch.id, "message_batch_deleted")
        for look in (made.retrieve, made.delete, made.cancel):
            with pytest.raises(anthropic.NotFoundError):
                await look(batch.id)

    journey(tmp_path, steps, batches={"concurrency": 2})


def test_nothing_is_left_of_a_batch_that_was_deleted(tmp_path: Path) -> None:
    async def steps(it: Stage, _caller: Caller, client: AsyncAnthropic) -> None:
        made = client.messages.batches
        batch = await ended(client, await made.create(requests=[asked("a"), asked("b", "gone")]))
        assert len(await results(client, batch)) == 2
        blobs = tmp_path / "data" / "blobs"
        assert [each for each in blobs.rglob("names/**/*") if each.is_file()]
        await made.delete(batch.id)
        assert not await it.platform.stores.records.scan(files.COLLECTION.name, files.TENANT)
        assert not [each for each in blobs.rglob("names/**/*") if each.is_file()]

    journey(tmp_path, steps)


def test_a_batch_whose_day_is_over_tells_what_was_answered_and_what_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "DAY_S", 1.0)

    async def steps(it: Stage, _caller: Caller, client: AsyncAnthropic) -> None:
        requests = [asked(f"g{number}", SLOW) for number in range(8)]
        batch = await ended(client, await client.messages.batches.create(requests=requests))
        assert len(await results(client, batch)) == 8
        assert batch.request_counts.succeeded == len(await it.truth(1)) < 8
        assert batch.request_counts.expired == 8 - batch.request_counts.succeeded

    journey(tmp_path, steps, batches={"concurrency": 1})


def test_batches_are_listed_the_newest_first_page_by_page_in_either_direction(tmp_path: Path) -> None:
    async def steps(_it: Stage, _caller: Caller, client: AsyncAnthropic) -> None:
        made = client.messages.batches
        ids = [(await made.create(requests=[asked("a")])).id for _ in range(5)][::-1]
        assert [each.id async for each in made.list(limit=2)] == ids
        page = await made.list(limit=2)
        assert ([each.id for each in page.data], page.has_more) == (ids[:2], True)
        page = await made.list(limit=2, after_id=ids[2])
        assert ([each.id for each in page.data], page.has_more) == (ids[3:], False)
        page = await made.list(limit=2, before_id=ids[4])
        assert ([each.id for each in page.data], page.has_more) == (ids[2:4], True)
        page = await made.list(limit=2, before_id=ids[2])
        assert ([each.id for each in page.data], page.has_more) == (ids[:2], False)

    journey(tmp_path, steps)


def test_neither_another_project_nor_the_other_dialect_sees_a_batch_or_its_files(tmp_path: Path) -> None:
    async def steps(it: Stage, caller: Caller, client: AsyncAnthropic) -> None:
        batch = await ended(client, await client.messages.batches.create(requests=[asked("a")]))
        async with AsyncOpenAI(base_url=it.url, api_key=caller.token, max_retries=0) as openai:
            assert [each async for each in openai.batches.list()] == []
            assert [each async for each in openai.files.list()] == []
        doc = await it.platform.tenancy.key(caller.id)
        assert doc is not None
        other = await it.platform.tenancy.create_key(
            type(doc)(id="", mac="", org="acme", team="search", project="other", user="kim")
        )
        async with spoken_to(it, Caller("", other[1])) as theirs:
            assert [each async for each in theirs.messages.batches.list()] == []
            for look in (theirs.messages.batches.retrieve, theirs.messages.batches.delete):
                with pytest.raises(anthropic.NotFoundError):
                    await look(batch.id)
            with pytest.raises(anthropic.NotFoundError):
                await theirs.get(f"/v1/messages/batches/{batch.id}/results", cast_to=object)

    journey(tmp_path, steps)


@pytest.mark.parametrize(("ending", "lost"), [(stopped, 0), (killed, 2)])
def test_a_batch_goes_on_after_its_process_is_gone_and_no_request_is_sent_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: Callable[[Platform], Awaitable[None]], lost: int
) -> None:
    monkeypatch.setattr(batch_runs, "LEASE_S", 2.0)
    monkeypatch.setattr(batch_runs, "LOOK_S", 0.2)

    async def whole() -> None:
        provider = await run_simulator()
        set_up = settings(tmp_path / "data", provider.url, batches={"concurrency": 2})
        try:
            it = Stage(provider, await start(set_up, {}))
            caller = await it.caller()
            async with spoken_to(it, caller) as client:
                batch = await client.messages.batches.create(
                    requests=[asked(f"g{number}", SLOW) for number in range(6)]
                )
                await under_way(it, 2)
            await ending(it.platform)
            it = Stage(provider, await start(set_up, {}))
            try:
                async with spoken_to(it, caller) as client:
                    batch = await ended(client, batch)
                    found = await results(client, batch)
                await it.settled(caller, 6)
            finally:
                await it.platform.close()
            assert (batch.request_counts.succeeded, batch.request_counts.errored) == (6 - lost, lost)
            assert len(provider.truth.rows()) == len(found) == 6
        finally:
            await provider.close()

    run(whole())


def test_a_batch_ends_with_its_key_also_after_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = asyncio.Event()
    work = BatchRuns.watch

    async def held(runs: BatchRuns) -> None:
        await gate.wait()
        await work(runs)

    monkeypatch.setattr(BatchRuns, "watch", held)

    async def steps(it: Stage, caller: Caller, client: AsyncAnthropic) -> None:
        batch = await client.messages.batches.create(requests=[asked("a"), asked("b")])
        await it.platform.tenancy.revoke_key(caller.id)
        gate.set()
        async with spoken_to(it, await it.caller()) as mate:
            batch = await ended(mate, batch)
            assert batch.request_counts.canceled == len(await results(mate, batch)) == 2
        assert it.simulator.truth.rows() == []

    journey(tmp_path, steps)
