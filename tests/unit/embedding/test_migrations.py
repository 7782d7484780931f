"""A change of model: built beside the searches, checked, switched by one row, undone, followed where it came alone."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from msgspec import structs

from penstock.embedding.catalog.collections import document_write
from penstock.embedding.ingest.retries import retry
from penstock.kernel.context import Principal
from penstock.kernel.errors import Conflict, Invalid, NotFound, OverBudget
from penstock.ports.index import Document, Place, Precision
from tests.support import run
from tests.unit.embedding.knowledge_desk import EVE, KIM, ScriptedEmbedder, desk
from tests.unit.embedding.memory_index import MemoryIndex
from tests.unit.embedding.migration_scene import advanced, as_it_is, at_work, built


def test_a_collection_changes_from_whole_to_whole_and_back(tmp_path: Path) -> None:
    async def steps() -> None:
        async with at_work(tmp_path) as (it, collection):
            before = await it.texts(collection)
            begun = await it.migrations.start(collection, "m/two", KIM.key_id)
            assert (await as_it_is(it, collection)).space == "m/one@1"
            done = await advanced(it, begun, "switched")
            await it.migrations.tend()
            now = await as_it_is(it, collection)
            assert (now.space, now.previous, now.building) == ("m/two@1", "m/one@1", "")
            assert await it.texts(now) == before
            assert done.check is not None and (done.check.probes, done.check.missing) == (12, "")
            assert done.check.known_before == done.check.known_after == done.check.dense_recall == 1.0
            job = await it.library.jobs.get(done.job)
            assert job is not None and (job.kind, job.status, job.counts.done) == (
                "migration",
                "complete",
                12,
            )
            await it.ended(await it.put(collection, d0="another text", new="a new one"))
            await it.removal.document(now, "d1")
            for space in ("m/one@1", "m/two@1"):
                texts = await it.texts(collection, space)
                assert texts["d0"] == ["another text"] and texts["new"] == ["a new one"] and "d1" not in texts
            await it.migrations.rollback(done)
            assert (await as_it_is(it, collection)).space == "m/one@1"
            done = await it.migrations.finish(await it.migrations.book.found(collection.uid, done.id))
            now = await as_it_is(it, collection)
            assert (done.state, now.spaces) == ("ended", ("m/one@1",))
            assert not await it.texts(collection, "m/two@1")
            with pytest.raises(Conflict):
                await it.migrations.rollback(done)

    run(steps())


def test_what_comes_meanwhile_is_in_both_spaces(tmp_path: Path) -> None:
    async def steps() -> None:
        async with at_work(tmp_path) as (it, collection):
            it.embedder.gate = asyncio.Event()
            begun = await it.migrations.start(collection, "m/two", KIM.key_id, automatic=False)
            jobs = [await it.put(collection, d3="changed", late="came late")]
            await it.library.book.change(collection.uid, lambda doc: doc)
            deleting = asyncio.create_task(it.removal.document(collection, "d5"))
            it.embedder.gate.set()
            for job in jobs:
                assert (await it.ended(job)).status == "complete"
            await deleting
            await advanced(it, begun, "ready")
            one, two = await it.texts(collection, "m/one@1"), await it.texts(collection, "m/two@1")
            assert one == two and one["d3"] == ["changed"] and "late" in one and "d5" not in one
            done = await it.migrations.switch(
                await it.migrations.book.found(collection.uid, begun.id), KIM.key_id
            )
            assert done.state == "switched"

    run(steps())


def test_a_document_that_slipped_through_is_built_before_the_check(tmp_path: Path) -> None:
    """It was put, in the old space alone, by work that had begun before the change."""

    async def steps() -> None:
        async with at_work(tmp_path) as (it, collection):
            begun = await it.migrations.start(collection, "m/two", KIM.key_id, automatic=False)
            await built(it, begun)
            doc, version = await it.library.book.document(collection.uid, "d7")
            assert doc is not None
            held = structs.replace(doc.latest, title="later")
            slipped = structs.replace(doc, latest=held, held=held, spaces={"m/one@1": held.print})
            await it.library.book.rows.transact([document_write(collection.uid, slipped, version)])
            await it.index.delete(collection.place, ["d7"], space="m/two@1")
            await advanced(it, begun, "ready")
            assert "d7" in await it.texts(collection, "m/two@1")
            now = await it.library.jobs.get(begun.job)
            assert now is not None and (now.status, now.counts.ended) == ("complete", now.counts.documents)

    run(steps())


def test_a_space_that_finds_less_is_not_switched_to(tmp_path: Path) -> None:
    class Forgetful(MemoryIndex):
        async def put(
            self, place: Place, space: str, documents: Sequence[Document], *, precision: Precision = "fp32"
        ) -> None:
            kept = [each for each in documents if space == "m/one@1" or each.id not in ("d2", "d8")]
            await super().put(place, space, kept, precision=precision)

    async def steps() -> None:
        async with at_work(tmp_path, index=Forgetful()) as (it, collection):
            done = await advanced(it, await it.migrations.start(collection, "m/two", KIM.key_id), "failed")
            assert done.check is not None or "known documents" in done.reason
            now = await as_it_is(it, collection)
            await it.migrations.tend()
            now = await as_it_is(it, collection)
            assert (now.space, now.building, now.migration) == ("m/one@1", "", "")

    run(steps())


def test_failures_block_the_change_until_they_are_tried_again(tmp_path: Path) -> None:
    async def steps() -> None:
        async with at_work(tmp_path) as (it, collection):

            def refuse(who: Principal, _texts: Sequence[str]) -> None:
                if who.key_id == KIM.key_id:
                    raise OverBudget("No money is left.")

            it.embedder.refuse = refuse
            begun = await it.migrations.start(collection, "m/two", KIM.key_id)
            blocked = await advanced(it, begun, "blocked")
            assert "retry the job" in blocked.reason
            job = await it.library.jobs.get(begun.job)
            assert job is not None and job.status == "failed"
            await retry(it.library, it.announcer, job, EVE.key_id)
            await it.ended(job)
            while (blocked := await advanced(it, begun, "blocked", "switched")).blocked_by != "check":
                assert blocked.state == "blocked"
            assert "No money is left" in blocked.reason, "whose check it is has none"
            done = await it.migrations.switch(blocked, EVE.key_id)
            assert done.state == "switched"
            assert (await as_it_is(it, collection)).space == "m/two@1"

    run(steps())


def test_a_change_can_be_called_off_and_only_one_is_under_way(tmp_path: Path) -> None:
    async def steps() -> None:
        async with at_work(tmp_path) as (it, collection):
            await it.stop()
            begun = await it.migrations.start(collection, "m/two", KIM.key_id)
            now = await as_it_is(it, collection)
            with pytest.raises(Conflict, match="being changed"):
                await it.migrations.start(now, "m/two", KIM.key_id)
            with pytest.raises(Invalid, match="has that model"):
                await it.migrations.start(now, "m/one", KIM.key_id)
            with pytest.raises(NotFound):
                await it.migrations.start(now, "m/none", KIM.key_id)
            with pytest.raises(Conflict, match="cannot be switched"):
                await it.migrations.switch(begun, KIM.key_id)
            cancelled = await it.migrations.cancel(begun)
            await it.migrations.tend()
            it.work()
            assert (await built(it, begun)).status == "cancelled"
            now = await as_it_is(it, collection)
            assert (cancelled.state, now.building, now.space) == ("cancelled", "", "m/one@1")
            assert not await it.texts(collection, "m/two@1")
            again = await it.migrations.start(now, "m/two", KIM.key_id)
            assert (await advanced(it, again, "switched")).state == "switched"

    run(steps())


def test_a_crash_in_a_change_is_taken_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index, embedder = MemoryIndex(), ScriptedEmbedder()

    async def steps() -> None:
        async with at_work(tmp_path, index=index, embedder=embedder) as (it, collection):
            await it.stop()
            begun = await it.migrations.start(collection, "m/two", KIM.key_id)
        async with desk(tmp_path, index=index, embedder=embedder) as it:
            puts = 0

            async def before(verb: str, _place: Place, _space: str, _ids: Sequence[str]) -> None:
                nonlocal puts
                puts += verb == "put"
                if puts > 1:
                    await asyncio.Event().wait()

            index.before = before
            it.ingest._most = 4
            it.work(1)
            while puts < 2:
                await asyncio.sleep(0.01)
        index.before = None
        async with desk(tmp_path, index=index, embedder=embedder) as it:
            it.work()
            done = await advanced(it, begun, "switched")
            assert done.check is not None and done.check.probes == 12
            now = await as_it_is(it, collection)
            assert await it.texts(now) == await it.texts(collection)

    run(steps())


def test_a_model_that_became_another_version_is_followed(tmp_path: Path) -> None:
    """Nothing can be embedded for the space of before any more: it cannot be kept, and is told as stale until then."""

    async def steps() -> None:
        async with at_work(tmp_path) as (it, collection):
            await it.stop()
            it.embedder.versions["m/one"] = "2"
            await it.migrations.seen_stale(collection, ["d9"])
            now = await as_it_is(it, collection)
            assert (now.space, now.building) == ("m/one@1", "m/one@2")
            await it.migrations.seen_stale(now, ["d9"])
            job = await it.put(now, d0="changed meanwhile")
            it.ingest._most = 1
            it.work(1)
            assert (await it.ended(job)).status == "complete"
            assert "d0" not in await it.texts(collection, "m/one@1"), (
                "what it said before is not found any more"
            )
            migration = await it.migrations.book.found(collection.uid, now.migration)
            done = await advanced(it, migration, "switched", "ended")
            assert done.check is not None and done.check.known_before is None
            await advanced(it, migration, "ended")
            now = await as_it_is(it, collection)
            assert now.spaces == ("m/one@2",) and not await it.texts(collection, "m/one@1")
            assert (await it.texts(now))["d0"] == ["changed meanwhile"] and len(await it.texts(now)) == 12

    run(steps())


def test_what_a_search_came_upon_is_embedded_anew_first(tmp_path: Path) -> None:
    async def steps() -> None:
        async with at_work(tmp_path) as (it, collection):
            await it.stop()
            it.embedder.versions["m/one"] = "2"
            await it.migrations.follow(collection)
            it.ingest._most = 1
            it.index.put_documents.clear()
            filling = asyncio.create_task(it.library.backlog.fill())
            while it.library.backlog.waiting < 12:
                await asyncio.sleep(0.01)
            filling.cancel()
            await it.migrations.seen_stale(collection, ["d9", "d4"])
            it.work(1)
            while len(it.index.put_documents) < 3:
                await asyncio.sleep(0.01)
            assert set(it.index.put_documents[:2]) == {"d9", "d4"}

    run(steps())


def test_a_sweep_follows_every_collection_and_forgets_nothing_that_is_young(tmp_path: Path) -> None:
    async def steps() -> None:
        async with at_work(tmp_path) as (it, collection):
            it.embedder.versions["m/one"] = "2"
            it.upkeep.wake()
            await it.upkeep.look()
            now = await as_it_is(it, collection)
            assert now.building == "m/one@2" and len(await it.library.jobs.of(collection.uid)) == 2

    run(steps())
