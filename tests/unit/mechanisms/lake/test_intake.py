"""The intake: every record of the stream is in the lake exactly once, wherever it dies, whoever goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.kernel.errors import Unavailable
from penstock.mechanisms.lake import intake as module
from penstock.mechanisms.lake.intake import ABANDONED_S, GROUP, LEASE_S, TOPIC, settled_batch
from tests.unit.mechanisms.lake.lake_stage import Dying, Killed, Stage, Stream, event, staged


def named(count: int, start: int = 0) -> list[str]:
    return [f"r{n:04d}" for n in range(start, start + count)]


def test_a_batch_is_due_by_its_number_or_its_age(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        intake = stage.intake(batch_records=10, flush_s=60.0)
        await stage.told(*named(9))
        assert await intake.step() == 0
        await stage.told("r0009", "r0010")
        assert await intake.step() == 10
        assert await intake.step() == 0
        stage.clock.advance(59.9)
        assert await intake.step() == 0
        stage.clock.advance(0.1)
        assert await intake.step() == 1
        assert await stage.ids() == named(11)
        assert (intake.stored, intake.batches, await intake.lag()) == (11, 2, 0)

    staged(tmp_path, case)


def test_a_batch_ends_by_its_bytes(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(module, "PAGE", 4)

    async def case(stage: Stage) -> None:
        await stage.told(*named(30))
        intake = stage.intake(batch_bytes=5 * 60, flush_s=1.0)
        assert await intake.step(flush=True) in {4, 8}
        while await intake.step(flush=True):
            pass
        assert await stage.ids() == named(30)

    staged(tmp_path, case)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(
    ("store", "verbs"), [("records", {"transact"}), ("blobs", {"name"}), ("stream", {"commit"})]
)
def test_wherever_it_dies_each_record_is_there_once(
    tmp_path: Path, store: str, verbs: set[str], after: bool
) -> None:
    """It is killed at its first call of a store, the next life at its second, and so on, until one dies no more."""

    async def case(stage: Stage) -> None:
        wanted: list[str] = []
        for life in range(1, 40):
            ids = named(7, start=7 * life)
            wanted += ids
            await stage.told(*ids[:4], at_s=stage.clock.wall_s() - 3_600)
            await stage.told(*ids[4:])
            dying = Dying(getattr(stage, store), verbs, life, after=after)
            intake = stage.intake(batch_records=5, **{store: dying})
            try:
                while await intake.step(flush=True):
                    pass
            except Killed:
                stage.clock.advance(LEASE_S)
            if not dying.is_spent:
                break
        else:
            raise AssertionError("it never worked to its end")
        assert life > 3
        assert await stage.ids() == wanted
        assert await stage.stream.lag(TOPIC, GROUP) == 0

    staged(tmp_path, case)


def test_a_record_told_twice_is_there_once(tmp_path: Path) -> None:
    """In one batch, in the next, and in one of the next life."""

    async def case(stage: Stage) -> None:
        intake = stage.intake()
        await stage.told("a", "b", "a")
        await intake.step(flush=True)
        await stage.told("b", "c")
        await intake.step(flush=True)
        await intake.close()
        await stage.told("c", "d")
        again = stage.intake()
        await again.step(flush=True)
        assert await stage.ids() == ["a", "b", "c", "d"]
        assert (intake.repeated, again.repeated) == (2, 1)

    staged(tmp_path, case)


def test_what_is_no_record_is_counted_and_stops_nothing(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        await stage.stream.append(TOPIC, [b"garbage", b"{}"])
        await stage.told("a")
        intake = stage.intake()
        await intake.step(flush=True)
        assert (intake.rejected, intake.stored, await stage.ids()) == (2, 1, ["a"])

    staged(tmp_path, case)


def test_organisations_are_apart(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        await stage.told("a", org="acme")
        await stage.told("b", org="")
        await stage.told("c", org="a" * 500)
        intake = stage.intake()
        await intake.step(flush=True)
        assert [await stage.ids(org) for org in ("acme", "", "a" * 500)] == [["a"], ["b"], ["c"]]

    staged(tmp_path, case)


def test_one_of_two_processes_works_and_the_other_goes_on_when_it_is_gone(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        first, second = stage.intake(), stage.intake()
        await stage.told("a")
        assert await first.step(flush=True) == 1
        await stage.told("b")
        assert await second.step(flush=True) == 0
        assert (first.leads, second.leads) == (True, False)
        stage.clock.advance(LEASE_S + 1)
        assert await second.step(flush=True) == 1
        await stage.told("c")
        assert await first.step(flush=True) == 0
        await second.close()
        assert await first.step(flush=True) == 1
        assert await stage.ids() == ["a", "b", "c"]

    staged(tmp_path, case)


def test_one_that_lost_its_lease_unawares_changes_nothing(tmp_path: Path) -> None:
    """It sleeps in the middle of a batch; another one does that batch and the next; then it wakes."""

    async def case(stage: Stage) -> None:
        sleeper = stage.intake()
        other = stage.intake()
        honest = stage.tables.pack

        async def asleep(*args: object) -> object:
            stage.tables.pack = honest
            stage.clock.advance(LEASE_S + 1)
            await stage.told("b")
            assert await other.step(flush=True) == 1
            assert await other.step(flush=True) == 1
            return await honest(*args)

        await stage.told("a")
        stage.tables.pack = asleep
        assert await sleeper.step(flush=True) == 0
        assert await stage.ids() == ["a", "b"]
        assert sleeper.stored == 0

    staged(tmp_path, case)


def test_a_store_that_is_down_is_waited_for(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        intake = stage.intake()
        await stage.told("a")
        honest = stage.tables.pack

        async def down(*args: object) -> None:
            raise Unavailable

        stage.tables.pack = down
        for _ in range(3):
            with pytest.raises(Unavailable):
                await intake.step(flush=True)
        stage.tables.pack = honest
        assert await intake.step(flush=True) == 1
        assert await stage.ids() == ["a"]

    staged(tmp_path, case)


def test_what_the_stream_forgot_is_counted_and_the_rest_is_taken(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        intake = stage.intake(stream=Stream(event("a"), event("b"), event("c"), first=2))
        assert await intake.step(flush=True) == 1
        assert (intake.lost, await stage.ids()) == (2, ["c"])

    staged(tmp_path, case)


@pytest.mark.parametrize("first", [1, 2])
def test_what_was_written_of_a_batch_stays_when_the_stream_forgets_it(tmp_path: Path, first: int) -> None:
    """It died after the files were there; when it is back, the stream has the end of the batch, or nothing of it."""

    async def case(stage: Stage) -> None:
        stream = Stream(event("a"), event("b"))
        with pytest.raises(Killed):
            await stage.intake(stream=Dying(stream, {"commit"}, 1, after=False)).step(flush=True)
        stage.clock.advance(LEASE_S + 1)
        stream.first = first
        again = stage.intake(stream=stream)
        await again.step(flush=True)
        stream.values = (*stream.values, event("c"))
        await again.step(flush=True)
        assert sorted(set(await stage.ids())) == ["a", "b", "c"]
        assert again.lost == first

    staged(tmp_path, case)


@pytest.mark.parametrize("count", [1, 5, 20])
def test_a_stream_that_begins_anew_is_taken_from_its_beginning(tmp_path: Path, count: int) -> None:
    async def case(stage: Stage) -> None:
        intake = stage.intake(stream=Stream(*map(event, named(9))))
        await intake.step(flush=True)
        await intake.close()
        await stage.intake(stream=Stream(*map(event, named(count, start=50)))).step(flush=True)
        assert await stage.ids() == [*named(9), *named(count, start=50)]

    staged(tmp_path, case)


def test_numbers_of_batches_are_never_given_twice(tmp_path: Path) -> None:
    """Also to the streams of two processes; and none is settled before its batch is whole."""

    async def case(stage: Stage) -> None:
        await stage.told("a")
        one = stage.intake(source="one", blobs=Dying(stage.blobs, {"name"}, 1, after=False))
        with pytest.raises(Killed):
            await one.step(flush=True)
        assert await settled_batch(stage.records, stage.clock.wall_s()) == 0
        two = stage.intake(source="two")
        await two.step(flush=True)
        assert await settled_batch(stage.records, stage.clock.wall_s()) == 0
        assert await stage.ids() == ["a"]  # both sources read the stage's only stream
        stage.clock.advance(LEASE_S + 1)
        again = stage.intake(source="one")
        await again.step(flush=True)
        assert await settled_batch(stage.records, stage.clock.wall_s()) == 2
        assert await stage.ids() == ["a", "a"]

    staged(tmp_path, case)


def test_a_batch_left_for_a_day_gets_another_number_when_its_owner_is_back(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        await stage.told("a")
        gone = stage.intake(blobs=Dying(stage.blobs, {"name"}, 1, after=False))
        with pytest.raises(Killed):
            await gone.step(flush=True)
        stage.clock.advance(ABANDONED_S + LEASE_S)
        assert await settled_batch(stage.records, stage.clock.wall_s()) == 1
        back = stage.intake()
        await back.step(flush=True)
        assert await settled_batch(stage.records, stage.clock.wall_s()) == 2
        (name,) = await stage.blobs.list("audit:acme")
        assert name.endswith("-000000000002")

    staged(tmp_path, case)
