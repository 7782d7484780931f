"""What a job tells is so: what it counted, what it paid, what was left out; and nothing stays of what is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from penstock.embedding.catalog.collections import DOCUMENTS, CollectionDoc, Failure
from penstock.embedding.catalog.jobs import LISTS, JobDoc
from penstock.embedding.catalog.sources import SOURCES
from penstock.embedding.ingest import building
from penstock.embedding.ingest.retries import retry
from penstock.kernel.context import Principal
from penstock.kernel.errors import Conflict, NotFound, OverBudget, OverLimit, Unavailable
from penstock.kernel.settings_collections import CollectionSettings
from tests.support import run
from tests.unit.embedding.knowledge_desk import KIM, Desk, desk

LONG = "\n\n".join(" ".join(f"word{part}-{number}" for number in range(30)) for part in range(6))
CHUNKS = 9


async def left(it: Desk, uid: str) -> dict[str, int]:
    """Return how many rows a collection has left, and how many jobs there are."""
    rows = it.library.book.rows
    counts = {kind: await rows.count(kind, uid) for kind in (SOURCES.name, DOCUMENTS.name)}
    return counts | {"jobs": len(await it.library.jobs.of(uid))}


GONE = {SOURCES.name: 0, DOCUMENTS.name: 0, "jobs": 0}


# ------------------------------------------------------------------------------------------------- indexed in part


def test_a_document_indexed_in_part_is_never_called_whole(tmp_path: Path) -> None:
    async def steps() -> None:
        async with desk(tmp_path) as it:
            it.work(1)
            collection = await it.collection()
            sent = {"a": "one", "b": "%PART of two"}
            for again in (False, True):
                job = await it.ended(await it.put(collection, **sent))
                counts = job.counts
                assert (job.status, counts.in_part, counts.failed, counts.ended) == ("partial", 1, 0, 2)
                assert (counts.done, counts.unchanged) == ((0, 1) if again else (1, 0))
                [(name, end)] = await it.library.jobs.failures(job.id)
                assert name == "b" and end.failure is not None
                assert (
                    end.failure.code == "indexed_in_part" and "page 2: it is damaged" in end.failure.message
                )
                with pytest.raises(Conflict, match="Nothing of the job"):
                    await retry(it.library, it.announcer, job, KIM.key_id)
            doc, _ = await it.library.book.document(collection.uid, "b")
            assert doc is not None and (doc.state, doc.omitted) == ("partial", ("page 2: it is damaged",))
            assert set(await it.texts(collection)) == {"a", "b"}, "what could be read is found"
            job = await it.ended(await it.put(collection, b="whole"))
            doc, _ = await it.library.book.document(collection.uid, "b")
            assert job.status == "complete" and doc is not None and doc.state == "indexed"

    run(steps())


def test_a_change_of_model_is_not_held_up_by_what_no_model_reads(tmp_path: Path) -> None:
    async def steps() -> None:
        async with desk(tmp_path) as it:
            it.work(1)
            collection = await it.collection()
            await it.ended(await it.put(collection, a="one", b="%PART of two"))
            migration = await it.migrations.start(collection, "m/two", KIM.key_id)
            job = await it.library.jobs.get(migration.job)
            assert job is not None
            assert (await it.ended(job)).status == "complete"
            doc, _ = await it.library.book.document(collection.uid, "b")
            assert doc is not None and doc.state == "partial", "and it is told as before"

    run(steps())


# ------------------------------------------------------------------------------------------------- what was paid


def test_what_was_paid_before_something_broke_off_is_the_jobs_and_counted_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building, "TEXTS_PER_CALL", 2)

    async def steps() -> None:
        async with desk(tmp_path) as it:
            failing = 2

            def refuse(_who: Principal, _texts: Sequence[str]) -> None:
                nonlocal failing
                if len(it.embedder.texts) == 4 and failing:
                    failing -= 1
                    raise OverLimit("Wait.", retry_after_s=0.05) if failing else Unavailable("It is away.")

            it.embedder.refuse = refuse
            it.work(1)
            job = await it.ended(await it.put(await it.collection(), a=LONG))
            assert not failing and job.counts.chunks == len(it.embedder.texts) == CHUNKS
            assert (job.counts.embedded, job.counts.reused) == (CHUNKS, 0)
            assert job.counts.cost_nanos == 10 * CHUNKS
            assert job.counts.tokens == sum(len(text.split()) for text in it.embedder.texts)

    run(steps())


def test_what_was_paid_for_a_document_that_fails_is_counted_too_and_stays_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building, "TEXTS_PER_CALL", 2)

    async def steps() -> None:
        async with desk(tmp_path) as it:

            def refuse(_who: Principal, _texts: Sequence[str]) -> None:
                if len(it.embedder.texts) == 4:
                    raise OverBudget("No money is left.")

            it.embedder.refuse = refuse
            it.work(1)
            job = await it.ended(await it.put(await it.collection(), a=LONG))
            assert (job.status, job.counts.cost_nanos) == ("failed", 40)
            it.embedder.refuse = None
            job = await it.ended(await retry(it.library, it.announcer, job, KIM.key_id))
            assert (job.status, job.counts.cost_nanos, job.counts.embedded) == (
                "complete",
                10 * CHUNKS,
                CHUNKS,
            )

    run(steps())


# ------------------------------------------------------------------------------------------------- counted exactly


def test_two_who_try_a_job_again_at_once_are_counted_once(tmp_path: Path) -> None:
    async def steps() -> None:
        async with desk(tmp_path) as it:

            def refuse(_who: Principal, _texts: Sequence[str]) -> None:
                raise OverBudget("No money is left.")

            it.embedder.refuse = refuse
            it.work(1)
            job = await it.ended(await it.put(await it.collection(), a="one", b="two"))
            it.embedder.refuse = None
            tried = [retry(it.library, it.announcer, job, KIM.key_id) for _ in range(3)]
            await asyncio.gather(*tried, return_exceptions=True)
            job = await it.ended(job)
            assert (job.status, job.counts.done, job.counts.failed, job.counts.ended) == ("complete", 2, 0, 2)

    run(steps())


def test_documents_that_are_about_to_be_written_down_take_room(tmp_path: Path) -> None:
    async def steps() -> None:
        async with desk(tmp_path, settings=CollectionSettings(open_documents=5)) as it:
            collection = await it.collection()
            texts = [{f"{n}-{k}": "text" for k in range(3)} for n in range(4)]
            told = await asyncio.gather(
                *[it.put(collection, **each) for each in texts], return_exceptions=True
            )
            assert sorted(isinstance(each, OverLimit) for each in told) == [False, True, True, True]

    run(steps())


def test_a_change_of_model_leaves_room_for_what_is_sent_meanwhile(tmp_path: Path) -> None:
    async def steps() -> None:
        async with desk(tmp_path, settings=CollectionSettings(open_documents=3)) as it:
            it.work(1)
            collection = await it.collection()
            for name in "abcd":
                await it.ended(await it.put(collection, **{name: name}))
            await it.stop()
            await it.migrations.start(collection, "m/two", KIM.key_id)
            await it.put(collection, e="5", f="6", g="7")

    run(steps())


def test_lines_that_were_no_documents_end_with_their_list_or_are_not_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def steps() -> None:
        async with desk(tmp_path) as it:
            collection = await it.collection()
            unread = {f"line\t{n}": Failure(code="x", message="no", retryable=False) for n in range(3)}
            settle = it.library.jobs.settle

            async def killed(*_: object, **__: object) -> None:
                raise Unavailable("The process ends here.")

            monkeypatch.setattr(it.library.jobs, "settle", killed)
            with pytest.raises(Unavailable):
                await it.intake.take(collection, KIM, [], unread)
            monkeypatch.setattr(it.library.jobs, "settle", settle)
            [job] = await it.library.jobs.of(collection.uid)
            assert job.counts.documents == await it.library.book.rows.count(LISTS.name, job.id) == 0
            job = await it.intake.take(collection, KIM, [], unread)
            assert (job.status, job.counts.failed, job.counts.documents) == ("failed", 3, 3)

    run(steps())


# ------------------------------------------------------------------------------------- beside a collection's deletion


async def deleted(it: Desk, collection: CollectionDoc) -> None:
    """Delete a collection, to the end."""
    await it.removal.collection(collection)
    doc = await it.library.book.get(collection.uid)
    assert doc is not None
    await it.removal.finish(doc)


@pytest.mark.parametrize("where", ["before the job", "after the bytes"])
def test_an_upload_beside_the_deletion_of_its_collection_is_refused_and_leaves_nothing(
    tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def steps() -> None:
        async with desk(tmp_path) as it:
            collection = await it.collection()
            add, put = it.library.jobs.add, it.library.sources.put

            async def adding(job: JobDoc, *writes: Any) -> None:
                if where == "before the job":
                    await deleted(it, collection)
                await add(job, *writes)

            async def putting(uid: str, contents: Sequence[tuple[str, bytes]]) -> None:
                await put(uid, contents)
                if where == "after the bytes":
                    await deleted(it, collection)

            monkeypatch.setattr(it.library.jobs, "add", adding)
            monkeypatch.setattr(it.library.sources, "put", putting)
            with pytest.raises(NotFound, match="no such collection"):
                await it.put(collection, a="one", b="two")
            assert await left(it, collection.uid) == GONE
            assert not await it.library.jobs.open(10)

    run(steps())


def test_documents_written_down_while_a_collection_goes_go_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page is written just after the deletion looked at the documents."""

    async def steps() -> None:
        async with desk(tmp_path) as it:
            collection = await it.collection()
            delete, sending = it.index.delete, asyncio.Event()
            began: list[asyncio.Task[JobDoc]] = []
            put = it.library.sources.put

            async def waits(uid: str, contents: Sequence[tuple[str, bytes]]) -> None:
                sending.set()
                await gate.wait()
                await put(uid, contents)

            async def deleting(*asked: Any, **named: Any) -> int:
                if await it.library.book.get(collection.uid) is not None and began:
                    gate.set()
                    await asyncio.gather(*began, return_exceptions=True)
                return await delete(*asked, **named)

            gate = asyncio.Event()
            monkeypatch.setattr(it.library.sources, "put", waits)
            began.append(asyncio.create_task(it.put(collection, a="one")))
            await sending.wait()
            await it.removal.collection(collection)
            monkeypatch.setattr(it.index, "delete", deleting)
            doc = await it.library.book.get(collection.uid)
            assert doc is not None
            await it.removal.finish(doc)
            assert isinstance(began[0].exception(), NotFound)
            assert await left(it, collection.uid) == GONE

    run(steps())


def test_a_job_without_a_collection_is_forgotten(tmp_path: Path) -> None:
    async def steps() -> None:
        async with desk(tmp_path) as it:
            collection = await it.collection()
            job = await it.put(collection, a="one")
            await it.library.book.drop(collection.uid)
            it.work(1)
            async with asyncio.timeout(10):
                while await it.library.jobs.get(job.id) is not None or await it.library.backlog.lag():
                    await asyncio.sleep(0.01)

    run(steps())


# ------------------------------------------------------------------------------------------------------------ bounds


@pytest.mark.parametrize(
    ("name", "most"), [("batch_documents", 48), ("open_jobs", 1_000), ("per_project", 1_000)]
)
def test_a_bound_that_no_write_or_page_could_keep_to_is_refused(name: str, most: int) -> None:
    assert getattr(msgspec.convert({name: most}, CollectionSettings), name) == most
    with pytest.raises(msgspec.ValidationError, match=name):
        msgspec.convert({name: most + 1}, CollectionSettings)


def test_the_largest_batch_is_settled(tmp_path: Path) -> None:
    async def steps() -> None:
        async with desk(tmp_path, settings=CollectionSettings(batch_documents=48)) as it:
            job = await it.put(await it.collection(), **{f"d{n}": f"text {n}" for n in range(48)})
            await it.work_together(48)
            assert (await it.ended(job)).status == "complete" and it.ingest.stumbles == it.ingest.waits == 0

    run(steps())
