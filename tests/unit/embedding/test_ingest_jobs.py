"""Jobs of ingest: each ends, truthfully and counted once, whatever its key, a limit, a crash or its owner does."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from penstock.embedding.catalog.backlog import GROUP, TOPICS, Item, topic_of
from penstock.embedding.ingest.retries import cancel, retry
from penstock.kernel.context import Principal
from penstock.kernel.errors import Conflict, Invalid, OverBudget, OverLimit, Unavailable
from penstock.kernel.settings_collections import CollectionSettings
from penstock.ports.index import Place
from tests.support import run
from tests.unit.embedding.knowledge_desk import EVE, KIM, desk
from tests.unit.embedding.memory_index import MemoryIndex


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OverBudget("No money is left."), "insufficient_quota"),
        (None, "invalid_api_key"),
    ],
)
def test_a_job_whose_key_or_money_is_gone_says_so_and_can_be_tried_again(
    tmp_path: Path, error: Exception | None, code: str
) -> None:
    async def steps() -> None:
        async with desk(tmp_path, settings=CollectionSettings(batch_documents=1)) as it:
            collection = await it.collection()
            job = await it.put(collection, a="one", b="two", c="three")

            def refuse(who: Principal, _texts: Sequence[str]) -> None:
                if len(it.embedder.texts) == 1 and who.key_id == KIM.key_id and error is not None:
                    raise error

            it.embedder.refuse = refuse
            if error is None:
                del it.keys.alive[KIM.key_id]
            it.work(1)
            job = await it.ended(job)
            assert job.status == ("failed" if error is None else "partial")
            failures = await it.library.jobs.failures(job.id)
            assert {end.failure and (end.failure.code, end.failure.retryable) for _, end in failures} == {
                (code, True)
            }
            assert it.embedder.calls <= 2, "what is left is not asked for"
            job = await it.ended(await retry(it.library, it.announcer, job, EVE.key_id))
            assert job.status == "complete" and (job.counts.documents, job.counts.done) == (3, 3)
            assert set(await it.texts(collection)) == {"a", "b", "c"}

    run(steps())


def test_a_job_that_a_limit_keeps_waiting_lets_others_pass_and_pays_nothing_twice(tmp_path: Path) -> None:
    async def steps() -> None:
        async with desk(tmp_path) as it:
            room = 0

            def refuse(who: Principal, texts: Sequence[str]) -> None:
                nonlocal room
                if who.key_id == KIM.key_id:
                    if room < len(texts):
                        raise OverLimit("Wait.", retry_after_s=0.05)
                    room -= len(texts)

            it.embedder.refuse = refuse
            mine = await it.collection()
            other = await it.collection(who=EVE)
            slow = await it.put(mine, **{f"d{number}": f"text {number}" for number in range(8)})
            quick = await it.put(other, EVE, a="theirs")
            it.work(1)
            assert (await it.ended(quick)).status == "complete"
            now = await it.library.jobs.get(slow.id)
            assert now is not None and now.is_open
            while (now := await it.library.jobs.get(slow.id)) is not None and now.is_open:
                room = 3
                await asyncio.sleep(0.02)
            assert now is not None and now.status == "complete"
            mine_embedded = [text for text in it.embedder.texts if text.startswith("text")]
            assert sorted(mine_embedded) == sorted({*mine_embedded}) and len(mine_embedded) == 8

    run(steps())


def test_a_limit_is_not_asked_again_before_its_time(tmp_path: Path) -> None:
    async def steps() -> None:
        async with desk(tmp_path) as it:

            def refuse(_who: Principal, _texts: Sequence[str]) -> None:
                raise OverLimit("Wait.", retry_after_s=20.0)

            it.embedder.refuse = refuse
            job = await it.put(await it.collection(), a="one", b="two")
            await it.work_together(2)
            while not it.ingest.waits:
                await asyncio.sleep(0.01)
            calls = it.embedder.calls
            await asyncio.sleep(0.2)
            assert it.embedder.calls == calls
            await cancel(it.library, job)
            assert (await it.ended(job)).status == "cancelled", "and a job that is called off waits no longer"

    run(steps())


def test_projects_take_turns(tmp_path: Path) -> None:
    async def steps() -> None:
        async with desk(tmp_path, settings=CollectionSettings(batch_documents=2)) as it:
            mine, other = await it.collection(), await it.collection(who=EVE)
            await it.put(mine, **{f"d{number:02}": f"text {number}" for number in range(20)})
            last = await it.put(other, EVE, a="theirs")
            it.work(1)
            await it.ended(last)
            assert it.index.put_documents.index("a") <= 4

    run(steps())


def test_what_may_pass_is_tried_again_and_then_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.embedding.ingest.ingest.PAUSE_MOST_S", 0.01)

    async def steps() -> None:
        async with desk(tmp_path) as it:
            it.work(1)
            failing = 3

            async def before(verb: str, _place: Place, _space: str, _ids: Sequence[str]) -> None:
                nonlocal failing
                if verb == "put" and failing:
                    failing -= 1
                    raise Unavailable("The disk is away.")

            it.index.before = before
            collection = await it.collection()
            assert (await it.ended(await it.put(collection, a="one"))).status == "complete"
            failing = 1_000
            job = await it.ended(await it.put(collection, b="two"))
            assert job.status == "failed"
            [(_, end)] = await it.library.jobs.failures(job.id)
            assert end.failure is not None and (end.failure.code, end.failure.retryable) == (
                "unavailable",
                True,
            )
            failing = 0
            assert (
                await it.ended(await retry(it.library, it.announcer, job, KIM.key_id))
            ).status == "complete"

    run(steps())


def test_a_message_that_comes_twice_is_counted_once(tmp_path: Path) -> None:
    async def steps() -> None:
        async with desk(tmp_path) as it:
            collection = await it.collection()
            job = await it.put(collection, a="one", b="%BAD", c="three")
            for _ in range(3):
                await it.library.backlog.append([Item(job.owner, job.id, name) for name in "abc"])
            await it.library.backlog.append([Item("", "job_none", "a")])
            it.work()
            job = await it.ended(job)
            while await it.library.backlog.lag():
                await asyncio.sleep(0.01)
            now = await it.library.jobs.get(job.id)
            assert now is not None and (now.status, now.counts.documents, now.counts.ended) == (
                "partial",
                3,
                3,
            )
            assert (now.counts.done, now.counts.failed) == (2, 1)

    run(steps())


@pytest.mark.parametrize("step", ["put", "settle", "commit"])
def test_a_crash_repeats_documents_and_halves_none(
    tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process ends as it is about to put, to write the ends down, or to commit."""
    index = MemoryIndex()

    async def steps() -> None:
        async with desk(tmp_path, index=index) as it:
            reached = asyncio.Event()

            async def stuck(*_: object, **__: object) -> None:
                reached.set()
                await asyncio.Event().wait()

            if step == "put":
                index.before = stuck
            elif step == "settle":
                monkeypatch.setattr(it.library.jobs, "settle", stuck)
            else:
                monkeypatch.setattr(it.library.backlog, "done", stuck)
            it.work(1)
            collection = await it.collection()
            job = await it.put(collection, a="one", b="two")
            await reached.wait()
        monkeypatch.undo()
        index.before = None
        async with desk(tmp_path, index=index) as it:
            it.work(1)
            job = await it.ended(job)
            assert (job.status, job.counts.documents) == ("complete", 2)
            assert job.counts.ended == 2
            assert await it.texts(collection) == {"a": ["one"], "b": ["two"]}
            while await it.library.backlog.lag():
                await asyncio.sleep(0.01)

    run(steps())


def test_a_job_broken_off_while_it_was_taken_in_goes_on_with_what_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock.embedding.ingest.intake.PAGE", 2)

    async def steps() -> None:
        async with desk(tmp_path) as it:
            collection = await it.collection()
            put, pages = it.library.sources.put, 0

            async def failing(uid: str, contents: Sequence[tuple[str, bytes]]) -> None:
                nonlocal pages
                pages += 1
                if pages == 2:
                    raise Unavailable("The disk is full.")
                await put(uid, contents)

            monkeypatch.setattr(it.library.sources, "put", failing)
            with pytest.raises(Unavailable):
                await it.put(collection, a="1", b="2", c="3", d="4")
            it.work(1)
            [job] = await it.library.jobs.of(collection.uid)
            assert job.status == "queued" and not job.announced
            await it.announcer.tend()
            assert not it.library.backlog.has(job.id), "whoever takes it in may still be at it"
            await it.library.jobs.change(job.id, lambda now: msgspec.structs.replace(now, leased_until_s=0.0))
            await it.announcer.tend()
            job = await it.ended(job)
            assert (job.status, job.counts.documents) == ("complete", 2)
            assert set(await it.texts(collection)) == {"a", "b"}

    run(steps())


def test_a_job_overtaken_before_it_was_on_the_stream_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its documents' rows are another job's by then; it still knows which they were."""

    async def steps() -> None:
        async with desk(tmp_path) as it:
            it.work(1)
            collection = await it.collection()
            append = it.library.backlog.append

            async def failing(_items: object) -> None:
                raise Unavailable("The disk is full.")

            monkeypatch.setattr(it.library.backlog, "append", failing)
            with pytest.raises(Unavailable):
                await it.put(collection, a="1", b="2", c="3")
            monkeypatch.setattr(it.library.backlog, "append", append)
            [job] = await it.library.jobs.of(collection.uid)
            await it.ended(await it.put(collection, a="later", b="later"))
            await it.removal.document(collection, "c")
            await it.library.jobs.change(job.id, lambda now: msgspec.structs.replace(now, leased_until_s=0.0))
            await it.announcer.tend()
            job = await it.ended(job)
            assert (job.status, job.counts.superseded, job.counts.documents) == ("complete", 3, 3)
            assert await it.texts(collection) == {"a": ["later"], "b": ["later"]}

    run(steps())


def test_a_cancelled_job_ends_what_it_began_and_nothing_else(tmp_path: Path) -> None:
    async def steps() -> None:
        async with desk(tmp_path, settings=CollectionSettings(batch_documents=1)) as it:
            collection = await it.collection()
            job = await it.put(collection, a="one", b="two", c="three")
            await cancel(it.library, job)
            it.work(1)
            job = await it.ended(job)
            assert job.status == "cancelled" and job.counts.cancelled == 3
            assert not await it.texts(collection) and await it.library.book.count(collection.uid) == 0
            with pytest.raises(Conflict):
                await cancel(it.library, job)
            await it.ended(await it.put(collection, a="one"))
            await it.stop()
            later = await it.put(collection, a="later")
            await cancel(it.library, later)
            it.work(1)
            await it.ended(later)
            doc, _ = await it.library.book.document(collection.uid, "a")
            assert doc is not None and doc.state == "indexed" and await it.texts(collection) == {"a": ["one"]}

    run(steps())


def test_a_project_has_so_many_open_jobs_and_documents_waiting(tmp_path: Path) -> None:
    async def steps() -> None:
        bounds = CollectionSettings(open_jobs=2, open_documents=3, documents=5)
        async with desk(tmp_path, settings=bounds) as it:
            collection, other = await it.collection(), await it.collection(who=EVE)
            await it.put(collection, a="1", b="2")
            with pytest.raises(OverLimit) as refused:
                await it.put(collection, c="3", d="4")
            assert (refused.value.reason, refused.value.value, refused.value.limit) == (
                "too_many_documents_waiting", 4, 3,
            )  # fmt: skip
            await it.put(collection, c="3")
            with pytest.raises(OverLimit) as refused:
                await it.put(collection)
            assert (refused.value.reason, refused.value.limit) == ("too_many_jobs", 2)
            await it.put(other, EVE, a="1")
            it.work()
            for job in await it.library.jobs.of(collection.uid):
                await it.ended(job)
            with pytest.raises(Invalid) as full:
                await it.put(collection, d="4", e="5", f="6")
            assert (full.value.reason, full.value.limit) == ("collection_full", 5)
            await it.put(collection, d="4", e="5")

    run(steps())


def test_messages_of_one_document_are_on_one_topic_and_those_of_many_on_all() -> None:
    topics = {topic_of(f"document {number}") for number in range(400)}
    assert topics == set(TOPICS) and len({topic_of("a") for _ in range(3)}) == 1
    assert GROUP == "ingest"
