"""Each step of a change of model, whoever comes between: whole or undone, once, from the state it was decided in."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from msgspec import structs

from penstock.embedding.catalog.collections import COLLECTIONS, document_write, marked
from penstock.embedding.migrations.migration import MIGRATIONS, Migration, _write
from penstock.kernel.errors import Conflict
from penstock.ports.index import Place
from penstock.ports.records import Write
from tests.support import run
from tests.unit.embedding.knowledge_desk import KIM
from tests.unit.embedding.migration_scene import advanced, as_it_is, at_work, built, in_the_check


def test_what_was_declined_is_begun_again_only_by_somebody(tmp_path: Path) -> None:
    """An upgrade is followed once: what failed or was called off would be paid for again every minute."""

    async def steps() -> None:
        async with at_work(tmp_path) as (it, collection):
            it.embedder.versions["m/one"] = "2"
            await it.migrations.follow(collection)
            [first] = await it.migrations.book.of(collection.uid)
            await it.migrations.cancel(first)
            await advanced(it, first, "cancelled")
            calls = it.embedder.calls
            for _ in range(3):
                it.upkeep.wake()
                await it.upkeep.look()
                await it.migrations.seen_stale(await as_it_is(it, collection), ["d9"])
            assert len(await it.migrations.book.of(collection.uid)) == 1 and it.embedder.calls == calls
            now = await as_it_is(it, collection)
            again = await it.migrations.start(now, "m/one", KIM.key_id)
            assert (await advanced(it, again, "switched", "ended")).reason == ""
            it.embedder.versions["m/one"] = "3"
            await it.migrations.follow(await as_it_is(it, collection))
            assert (await as_it_is(it, collection)).building == "m/one@3", "another version is another matter"

    run(steps())


def test_a_space_whose_vectors_mean_nothing_is_not_switched_to(tmp_path: Path) -> None:
    """Words alone would find every document in it, whatever its vectors are."""

    async def steps() -> None:
        async with at_work(tmp_path) as (it, collection):
            it.embedder.versions["m/one"] = "2"
            it.embedder.noisy = "m/one@2"
            await it.migrations.follow(collection)
            [begun] = await it.migrations.book.of(collection.uid)
            done = await advanced(it, begun, "failed", "switched", "ended")
            assert (done.state, done.reason.partition(":")[0]) == ("failed", "found by their vectors alone")
            assert done.check is not None and done.check.known_after == 1.0 and done.check.meant_after < 0.6
            now = await as_it_is(it, collection)
            assert now.space == "m/one@1" and now.declined == "m/one@2"
            it.embedder.noisy = "m/two@1"
            it.embedder.versions["m/one"] = "1"
            done = await advanced(
                it, await it.migrations.start(now, "m/two", KIM.key_id), "failed", "switched"
            )
            assert done.check is not None and "before: 100.0%" in done.reason, "nor one that means less"

    run(steps())


def test_a_crash_between_two_writes_of_a_step_leaves_the_step_whole_or_undone(tmp_path: Path) -> None:
    """Beginning, switching, rolling back and letting go change a collection and its migration in one transaction."""

    async def steps() -> None:
        async with at_work(tmp_path) as (it, collection):
            rows = it.library.book.rows
            transact, apart = rows.transact, []

            async def watched(writes: Sequence[Write]) -> Sequence[int]:
                kinds = {each.collection for each in writes}
                if COLLECTIONS.name in kinds or MIGRATIONS.name in kinds:
                    before = await as_it_is(it, collection)
                    versions = await transact(writes)
                    now = await as_it_is(it, collection)
                    if now.space != before.space or (now.building and not before.building):
                        apart.append(kinds)
                    return versions
                return await transact(writes)

            rows.transact = watched
            begun = await it.migrations.start(collection, "m/two", KIM.key_id)
            done = await advanced(it, begun, "switched")
            await it.migrations.rollback(done)
            assert apart == 3 * [{COLLECTIONS.name, MIGRATIONS.name}]

    run(steps())


def test_a_change_that_is_ready_when_it_crashes_is_switched(tmp_path: Path) -> None:
    async def steps() -> None:
        async with at_work(tmp_path) as (it, collection):
            begun = await it.migrations.start(collection, "m/two", KIM.key_id, automatic=False)
            await advanced(it, begun, "ready")
            await it.migrations.book.change(begun.id, lambda now: structs.replace(now, automatic=True))
            assert (await advanced(it, begun, "switched")).drop == "m/one@1"

    run(steps())


def test_what_was_called_off_during_its_check_is_not_switched(tmp_path: Path) -> None:
    async def steps() -> None:
        async with at_work(tmp_path) as (it, collection):
            begun = await it.migrations.start(collection, "m/two", KIM.key_id)
            await built(it, begun)
            in_the_check(it, lambda: it.migrations.cancel(begun))
            done = await advanced(it, begun, "cancelled", "switched")
            await it.migrations.tend()
            now = await as_it_is(it, collection)
            assert (done.state, now.space, now.building) == ("cancelled", "m/one@1", "")
            with pytest.raises(Conflict, match="is cancelled"):
                await it.migrations.switch(begun, KIM.key_id)

    run(steps())


def test_documents_that_go_or_change_during_the_check_tell_nothing_of_the_new_space(tmp_path: Path) -> None:
    async def steps() -> None:
        async with at_work(tmp_path) as (it, collection):
            begun = await it.migrations.start(collection, "m/two", KIM.key_id)
            await built(it, begun)

            async def changed() -> None:
                now = await as_it_is(it, collection)
                for name in ("d1", "d2", "d3"):
                    await it.removal.document(now, name)
                await it.ended(await it.put(collection, d4="about something else altogether"))

            in_the_check(it, changed)
            done = await advanced(it, begun, "failed", "switched")
            assert (done.state, done.reason) == ("switched", "")
            assert done.check is not None and (done.check.probes, done.check.known_after) == (8, 1.0)

    run(steps())


def test_what_was_switched_is_not_called_off(tmp_path: Path) -> None:
    async def steps() -> None:
        async with at_work(tmp_path) as (it, collection):
            begun = await it.migrations.start(collection, "m/two", KIM.key_id)
            seen = await advanced(it, begun, "switched")
            with pytest.raises(Conflict, match="is switched"):
                await it.migrations.cancel(structs.replace(seen, state="checking"))
            now = await it.migrations.book.found(collection.uid, begun.id)
            assert (now.state, now.drop) == ("switched", "m/one@1")

    run(steps())


def test_a_space_that_was_let_go_of_and_built_anew_is_compared_anew(tmp_path: Path) -> None:
    """A document that the second build left out is missing, whatever the first one wrote down of it."""

    async def steps() -> None:
        async with at_work(tmp_path) as (it, collection):
            first, _ = await it.library.book.document(collection.uid, "d7")
            assert first is not None
            for model in ("m/two", "m/one"):
                now = await as_it_is(it, collection)
                begun = await it.migrations.start(now, model, KIM.key_id, automatic=model == "m/two")
                if model == "m/two":
                    await it.migrations.finish(await advanced(it, begun, "switched"))
            await built(it, begun)
            await it.index.delete(collection.place, ["d7"], space="m/one@1")
            doc, version = await it.library.book.document(collection.uid, "d7")
            assert doc is not None
            slipped = structs.replace(doc, spaces={**doc.spaces, **first.spaces})
            await it.library.book.rows.transact([document_write(collection.uid, slipped, version)])
            await advanced(it, begun, "ready")
            assert "d7" in await it.texts(collection, "m/one@1")

    run(steps())


def test_what_is_put_into_a_space_that_went_meanwhile_goes_again_and_into_the_one_that_came(
    tmp_path: Path,
) -> None:
    """The work began before the change did, and puts when the space before is gone already."""

    async def steps() -> None:
        async with at_work(tmp_path) as (it, collection):
            held, going = asyncio.Event(), asyncio.Event()

            async def late(verb: str, _place: Place, space: str, ids: Sequence[str]) -> None:
                if (verb, space, list(ids)) == ("put", "m/one@1", ["d3"]):
                    it.index.before = None
                    held.set()
                    await going.wait()

            it.index.before = late
            job = await it.put(collection, d3="changed")
            await held.wait()
            begun = await it.migrations.start(collection, "m/two", KIM.key_id, automatic=False)
            now = await as_it_is(it, collection)
            gone = structs.replace(now, space="m/two@1", building="", previous="", migration="")
            await it.library.book.change(collection.uid, lambda _: gone)
            await it.index.delete(collection.place, space="m/one@1")
            going.set()
            assert (await it.ended(job)).status == "complete"
            assert not await it.texts(collection, "m/one@1")
            assert (await it.texts(collection, "m/two@1"))["d3"] == ["changed"]
            doc, _ = await it.library.book.document(collection.uid, "d3")
            assert doc is not None and doc.spaces == {"m/two@1": marked(doc.latest, begun.id)}

    run(steps())


def test_a_space_is_not_built_anew_before_its_old_rows_are_gone(tmp_path: Path) -> None:
    """A change in between makes the kept space superfluous: it goes, and is not taken for the one that is built."""

    async def steps() -> None:
        async with at_work(tmp_path) as (it, collection):
            it.embedder.versions["m/three"] = "1"
            first = await advanced(it, await it.migrations.start(collection, "m/two", KIM.key_id), "switched")
            now = await as_it_is(it, collection)
            await advanced(it, await it.migrations.start(now, "m/three", KIM.key_id), "switched")
            now = await as_it_is(it, collection)
            assert (now.previous, now.dropping) == ("m/two@1", ("m/one@1",))
            with pytest.raises(Conflict, match="keeps the rows"):
                await it.migrations.start(now, "m/one", KIM.key_id)
            with pytest.raises(Conflict, match="cannot be rolled back"):
                await it.migrations.rollback(first)
            await it.migrations.finish(await it.migrations.book.found(collection.uid, first.id))
            assert not await it.texts(collection, "m/one@1")
            now = await as_it_is(it, collection)
            assert now.dropping == ()
            back = await it.migrations.start(now, "m/one", KIM.key_id)
            assert (await advanced(it, back, "switched")).after == "m/one@1"
            assert len(await it.texts(await as_it_is(it, collection))) == 12

    run(steps())


def test_many_migrations_whose_old_rows_are_kept_hold_up_nobody(tmp_path: Path) -> None:
    async def steps() -> None:
        async with at_work(tmp_path) as (it, collection):
            kept = Migration(
                id="", uid="col_none", owner="", key_id="", before="a@1", after="b@1", job="", automatic=True,
                created_s=0.0, changed_s=0.0, state="switched", drop="a@1", drop_after_s=1e12,
            )  # fmt: skip
            for first in range(0, 1_100, 100):
                named = [structs.replace(kept, id=f"mig_00{first + each:04}") for each in range(100)]
                await it.library.book.rows.transact([_write(each, 0) for each in named])
            begun = await it.migrations.start(collection, "m/two", KIM.key_id)
            assert (await advanced(it, begun, "switched")).state == "switched"

    run(steps())


def test_a_model_that_is_gone_keeps_nothing_from_being_tidied(tmp_path: Path) -> None:
    """Its collections' old jobs are forgotten, its searches go on, and it can be left for another."""

    async def steps() -> None:
        async with at_work(tmp_path) as (it, collection):
            [job] = await it.library.jobs.of(collection.uid)
            old = {"created_s": 1.0, "ended_s": 2.0}
            await it.library.jobs.change(job.id, lambda now: structs.replace(now, **old))
            del it.embedder.versions["m/one"]
            it.upkeep.wake()
            await it.upkeep.look()
            assert it.upkeep.failures == 0 and not await it.library.jobs.of(collection.uid)
            await it.migrations.seen_stale(collection, ["d9"])
            begun = await it.migrations.start(collection, "m/two", KIM.key_id)
            assert (await advanced(it, begun, "switched", "ended")).reason == ""
            assert (await as_it_is(it, collection)).spaces == ("m/two@1",)

    run(steps())
