"""Ingest: every document of a job ends once and truthfully, whatever comes between; only what is new is embedded."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from penstock.embedding.catalog import events
from penstock.embedding.catalog.jobs import JobDoc
from penstock.embedding.ingest.retries import retry
from penstock.kernel.context import Principal
from penstock.kernel.errors import Conflict, Invalid
from tests.support import run
from tests.unit.embedding.knowledge_desk import KIM, Desk, desk


def told(job: JobDoc) -> dict[str, object]:
    """Return a job's counts that are not 0."""
    return {name: value for name, value in msgspec.structs.asdict(job.counts).items() if value}


def test_documents_are_found_and_counted(tmp_path: Path) -> None:
    async def steps() -> None:
        async with desk(tmp_path) as it:
            it.work()
            collection = await it.collection()
            job = await it.ended(await it.put(collection, a="one two\n\nthree", b="four"))
            assert job.status == "complete"
            assert told(job) == {
                "documents": 2, "done": 2, "chunks": 2, "embedded": 2, "tokens": 4, "cost_nanos": 20,
            }  # fmt: skip
            assert await it.texts(collection) == {"a": ["one two\n\nthree"], "b": ["four"]}
            doc, _ = await it.library.book.document(collection.uid, "a")
            assert doc is not None and (doc.state, doc.chunks, doc.language) == ("indexed", 1, "en")
            assert await it.library.backlog.lag() == 0

    run(steps())


def test_what_says_nearly_the_same_is_reported_and_kept(tmp_path: Path) -> None:
    async def steps() -> None:
        async with desk(tmp_path) as it:
            it.work(1)
            collection = await it.collection()
            text = " ".join(f"word{number}" for number in range(28))
            await it.ended(await it.put(collection, a=text, other="nothing like it at all"))
            job = await it.ended(await it.put(collection, b=f"{text} and"))
            assert (job.status, job.counts.near_duplicates) == ("complete", 1)
            [(name, end)] = await it.library.jobs.near(job.id)
            [near] = end.near
            assert (name, near.other, near.position, near.other_position) == ("b", "a", 0, 0)
            assert near.similarity > 0.85 and set(await it.texts(collection)) == {"a", "b", "other"}
            again = await it.ended(await it.put(collection, b=f"{text} or"))
            assert [each.other for _, end in await it.library.jobs.near(again.id) for each in end.near] == [
                "a"
            ]

    run(steps())


def test_what_is_known_is_not_embedded_again(tmp_path: Path) -> None:
    async def steps() -> None:
        async with desk(tmp_path) as it:
            it.work(1)
            collection = await it.collection()
            long = " ".join(f"word{number}" for number in range(90))
            first = await it.ended(await it.put(collection, a=long))
            assert first.counts.chunks == first.counts.embedded >= 3
            copy = await it.ended(await it.put(collection, b=long))
            assert (copy.counts.embedded, copy.counts.reused) == (0, first.counts.chunks)
            again = await it.ended(await it.put(collection, a=f"{long}\n\nan end"))
            assert again.counts.chunks == again.counts.embedded + again.counts.reused
            assert 1 <= again.counts.embedded <= 2
            assert len(set(it.embedder.texts)) == len(it.embedder.texts)
            same = await it.ended(await it.put(collection, b=long))
            assert told(same) == {"documents": 1, "unchanged": 1}

    run(steps())


def test_one_bad_document_fails_by_itself(tmp_path: Path) -> None:
    async def steps() -> None:
        async with desk(tmp_path) as it:

            def refuse(_who: Principal, texts: Sequence[str]) -> None:
                if "poison" in texts:
                    raise Invalid("This text cannot be embedded.", code="invalid_text", field="input[0]")

            it.embedder.refuse = refuse
            collection = await it.collection()
            job = await it.put(collection, a="good", b="%BAD", c="poison", d="fine")
            await it.work_together(4)
            job = await it.ended(job)
            assert job.status == "partial" and (job.counts.done, job.counts.failed) == (2, 2)
            failures = {name: end.failure for name, end in await it.library.jobs.failures(job.id)}
            assert {name: each and (each.code, each.retryable) for name, each in failures.items()} == {
                "b": ("unreadable", False),
                "c": ("invalid_text", False),
            }
            assert set(await it.texts(collection)) == {"a", "d"}
            with pytest.raises(Conflict, match="Nothing of the job"):
                await retry(it.library, it.announcer, job, KIM.key_id)
            all_bad = await it.ended(await it.put(collection, e="%BAD"))
            assert all_bad.status == "failed"

    run(steps())


def test_a_later_version_that_cannot_be_read_leaves_the_one_before(tmp_path: Path) -> None:
    async def steps() -> None:
        async with desk(tmp_path) as it:
            it.work()
            collection = await it.collection()
            await it.ended(await it.put(collection, a="good"))
            await it.ended(await it.put(collection, a="%BAD"))
            assert await it.texts(collection) == {"a": ["good"]}
            doc, _ = await it.library.book.document(collection.uid, "a")
            assert doc is not None and doc.state == "failed" and doc.held is not None
            assert await it.library.sources.get(collection.uid, doc.held) == b"good"

    run(steps())


def test_a_document_deleted_while_it_is_on_its_way_stays_deleted(tmp_path: Path) -> None:
    async def steps() -> None:
        async with desk(tmp_path) as it:
            it.embedder.gate = asyncio.Event()
            it.work(1)
            collection = await it.collection()
            job = await it.put(collection, a="one", b="two")
            while not it.embedder.calls:
                await asyncio.sleep(0.01)
            deleting = asyncio.create_task(it.removal.document(collection, "a"))
            await asyncio.sleep(0.05)
            it.embedder.gate.set()
            await deleting
            assert "a" not in await it.texts(collection)
            job = await it.ended(job)
            assert (job.status, job.counts.done, job.counts.superseded) == ("complete", 1, 1)
            assert set(await it.texts(collection)) == {"b"}
            assert await it.library.book.document(collection.uid, "a") == (None, 0)
            assert await it.library.book.count(collection.uid) == 1

    run(steps())


def test_the_last_version_sent_is_the_one_that_stays(tmp_path: Path) -> None:
    async def steps() -> None:
        async with desk(tmp_path) as it:
            collection = await it.collection()
            jobs = [await it.put(collection, a=f"version {number}") for number in range(5)]
            it.work(3)
            ended = [await it.ended(job) for job in jobs]
            assert {job.status for job in ended} == {"complete"}
            assert await it.texts(collection) == {"a": ["version 4"]}
            assert sum(job.counts.superseded for job in ended) == 4
            doc, _ = await it.library.book.document(collection.uid, "a")
            assert doc is not None and doc.held == doc.latest and not doc.waits

    run(steps())


def test_a_change_is_told_after_the_index_has_it(tmp_path: Path) -> None:
    async def steps() -> None:
        async with desk(tmp_path) as it:
            it.work()
            collection = await it.collection()
            await it.ended(await it.put(collection, a="one"))
            await it.ended(await it.put(collection, a="one"))
            await it.removal.document(collection, "a")
            stream = it.library.events._stream
            heard = [
                msgspec.json.decode(message.value, type=events.Changed)
                for message in await stream.read(events.TOPIC, 0)
            ]
            assert [(each.collection, each.document, each.deleted) for each in heard] == [
                ("guides", "a", False),
                ("guides", "a", True),
            ]
            assert heard[0].org == "acme" and heard[0].version

    run(steps())


def test_a_deleted_collection_leaves_nothing(tmp_path: Path) -> None:
    async def steps() -> None:
        async with desk(tmp_path) as it:
            it.work()
            collection = await it.collection()
            large = "large " * 40_000
            await it.ended(await it.put(collection, a="one", b=large.strip()[:200_000]))
            other = await it.collection("others")
            await it.ended(await it.put(other, a="theirs"))
            await it.removal.collection(collection)
            assert not await it.texts(collection)
            again = await it.collection()
            assert not await it.texts(again)
            it.upkeep.wake()
            await it.upkeep.look()
            assert await it.library.book.get(collection.uid) is None
            assert not await it.library.jobs.of(collection.uid)
            assert await it.library.book.count(collection.uid) == 0
            assert not await it.library.sources._rows.count("knowledge_sources", collection.uid)
            left = [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()]
            assert not left
            assert await it.texts(other) == {"a": ["theirs"]}
            assert isinstance(it, Desk)

    run(steps())
