"""Whose documents come when: a project's million keeps nobody waiting, nor a document its neighbours."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from penstock.embedding.catalog.jobs import JobDoc
from penstock.kernel.context import Principal
from penstock.kernel.errors import OverLimit, Unavailable
from penstock.kernel.settings_collections import CollectionSettings
from tests.support import run
from tests.unit.embedding.knowledge_desk import EVE, Desk, ScriptedEmbedder, desk
from tests.unit.embedding.memory_index import MemoryIndex

AHEAD = 40


@pytest.fixture(autouse=True)
def few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a few documents on the stream at a time."""
    announcing = "penstock.embedding.catalog.announcing"
    monkeypatch.setattr(f"{announcing}.AHEAD", AHEAD)
    monkeypatch.setattr(f"{announcing}.SHARE_LEAST", 10)
    monkeypatch.setattr(f"{announcing}.PAGE", 10)
    monkeypatch.setattr(f"{announcing}.LISTED_AT_ONCE", 5)
    monkeypatch.setattr("penstock.embedding.ingest.intake.PAGE", 10)


def many(count: int) -> dict[str, str]:
    """Return so many texts."""
    return {f"d{number:03}": f"text {number}" for number in range(count)}


async def tended(it: Desk, job: JobDoc) -> JobDoc:
    """Tend as the process does until a job has ended; returns it."""
    async with asyncio.timeout(20):
        while (now := await it.library.jobs.get(job.id)) is not None and now.is_open:
            await it.announcer.tend()
            # A page more, and what has ended in two batches and is not committed yet.
            assert await it.library.backlog.lag() <= AHEAD + 10 + 2 * 8, "of one project so many are there"
            await asyncio.sleep(0.01)
    assert now is not None
    return now


async def committed(it: Desk) -> None:
    """Stop once nothing is on the stream any more."""
    async with asyncio.timeout(10):
        while await it.library.backlog.lag():
            await asyncio.sleep(0.01)
    await it.stop()


def test_of_a_large_job_a_part_is_on_the_stream_and_all_of_it_is_done(tmp_path: Path) -> None:
    async def steps() -> None:
        async with desk(tmp_path, settings=CollectionSettings(batch_documents=8)) as it:
            job = await it.put(await it.collection(), **many(150))
            assert await it.library.backlog.lag() == AHEAD
            await it.announcer.tend()
            assert await it.library.backlog.lag() == AHEAD, "none has ended: there is no room"
            it.work()
            job = await tended(it, job)
            assert (job.status, job.counts.done, job.counts.documents) == ("complete", 150, 150)
            assert len(it.embedder.texts) == 150 == len(set(it.embedder.texts)), "each once"

    run(steps())


def test_the_jobs_of_a_project_share_what_is_on_the_stream(tmp_path: Path) -> None:
    async def steps() -> None:
        async with desk(tmp_path) as it:
            collection = await it.collection()
            jobs = [await it.put(collection, **{f"{n}-{name}": name for name in many(60)}) for n in range(4)]
            found = [await it.library.jobs.get(job.id) for job in jobs]
            assert [job and job.on_stream for job in found] == [40, 20, 20, 10]
            other = await it.put(await it.collection(who=EVE), EVE, **many(60))
            now = await it.library.jobs.get(other.id)
            assert now is not None and now.on_stream == AHEAD, "another project's share is its own"

    run(steps())


def test_a_change_of_model_is_listed_and_announced_step_by_step(tmp_path: Path) -> None:
    async def steps() -> None:
        async with desk(tmp_path, settings=CollectionSettings(batch_documents=8)) as it:
            it.work()
            collection = await it.collection()
            await tended(it, await it.put(collection, **many(120)))
            await committed(it)
            migration = await it.migrations.start(collection, "m/two", "key_kim")
            job = await it.library.jobs.get(migration.job)
            assert job is not None and (job.counts.documents, job.listed, job.announced) == (50, False, False)
            assert await it.library.backlog.lag() == AHEAD
            it.work()
            job = await tended(it, job)
            assert (job.status, job.counts.done, job.counts.documents) == ("complete", 120, 120)
            assert len(await it.texts(collection, migration.after)) == 120

    run(steps())


def test_what_a_search_came_upon_is_embedded_before_what_is_on_the_stream(tmp_path: Path) -> None:
    async def steps() -> None:
        async with desk(tmp_path, settings=CollectionSettings(batch_documents=2)) as it:
            it.work()
            collection = await it.collection()
            await tended(it, await it.put(collection, **many(90)))
            await committed(it)
            migration = await it.migrations.start(collection, "m/two", "key_kim")
            done = len(it.index.put_documents)
            for _ in range(3):
                await it.announcer.hasten(migration.job, ["d005", "d088"])
            assert await it.library.backlog.lag() == AHEAD + 2, "put there again, once"
            await it.work_together(AHEAD + 2)
            while len(it.index.put_documents) < done + 2:
                await asyncio.sleep(0.01)
            assert set(it.index.put_documents[done : done + 2]) == {"d005", "d088"}
            job = await it.library.jobs.get(migration.job)
            assert job is not None
            job = await tended(it, job)
            assert (job.status, job.counts.done) == ("complete", 90)

    run(steps())


def test_a_job_half_on_the_stream_goes_on_where_another_process_takes_it_up(tmp_path: Path) -> None:
    index = MemoryIndex()

    async def steps() -> None:
        async with desk(tmp_path, index=index) as it:
            job = await it.put(await it.collection(), **many(90))
            it.work(1)
            while not it.ingest.documents_ended:
                await asyncio.sleep(0.01)
        async with desk(tmp_path, index=index) as it:
            it.work(1)
            await it.library.jobs.change(job.id, lambda now: msgspec.structs.replace(now, leased_until_s=0.0))
            async with asyncio.timeout(20):
                while (now := await it.library.jobs.get(job.id)) is not None and now.is_open:
                    await it.announcer.tend()
                    await asyncio.sleep(0.01)
            assert now is not None and (now.status, now.counts.ended, now.counts.documents) == (
                "complete", 90, 90,
            )  # fmt: skip

    run(steps())


def test_one_document_that_never_ends_well_fails_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock.embedding.ingest.ingest.PAUSE_MOST_S", 0.01)
    monkeypatch.setattr("penstock.embedding.ingest.ingest.TRIES_MOST", 2)

    async def steps() -> None:
        async with desk(tmp_path) as it:
            limited = True

            def refuse(_who: Principal, texts: Sequence[str]) -> None:
                nonlocal limited
                if "slow" in texts:
                    if len(texts) == 1 and limited:
                        limited = False
                        raise OverLimit("Wait.", retry_after_s=0.05)
                    raise Unavailable("It answers 500.")

            it.embedder.refuse = refuse
            collection = await it.collection()
            job = await it.put(collection, a="one", b="two", c="slow", d="four")
            await it.work_together(4)
            job = await it.ended(job)
            assert (job.status, job.counts.done, job.counts.failed) == ("partial", 3, 1)
            [(name, end)] = await it.library.jobs.failures(job.id)
            assert name == "c" and end.failure is not None and end.failure.retryable
            assert set(await it.texts(collection)) == {"a", "b", "d"} and not limited
            assert not it.library.backlog._alone

    run(steps())


def test_the_stream_is_read_on_whatever_one_look_at_it_met(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def steps() -> None:
        async with desk(tmp_path, embedder=ScriptedEmbedder()) as it:
            stream = it.library.backlog._stream
            poll, failing = stream.poll, True

            async def first_fails(*asked: Any) -> object:
                nonlocal failing
                if failing:
                    failing = False
                    raise msgspec.DecodeError("This is no message.")
                return await poll(*asked)

            monkeypatch.setattr(stream, "poll", first_fails)
            it.work(1)
            job = await it.ended(await it.put(await it.collection(), a="one"))
            assert job.status == "complete" and it.library.backlog.failures == 1

    run(steps())
