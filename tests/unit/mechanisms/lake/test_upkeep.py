"""The upkeep: small files become few, days pass away, the flagged stay; no row is gone or there twice meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.kernel.errors import Unavailable
from penstock.mechanisms.lake import upkeep as module
from penstock.mechanisms.lake.intake import LEASE_S
from penstock.mechanisms.lake.upkeep import EVERY_S, PRESETS, SMALL_MOST, Retention
from tests.unit.mechanisms.lake.lake_stage import DAY_S, PIECE_ROWS, Dying, Killed, Stage, staged

TENANT = "audit:acme"


async def filled(stage: Stage, batches: int, rows: int = 3, **facts: object) -> list[str]:
    """Put so many batches of so many records into the lake; returns their ids."""
    intake = stage.intake()
    ids: list[str] = []
    for batch in range(batches):
        some = [f"{batch:03d}-{row:03d}" for row in range(rows)]
        await stage.told(*some, **facts)
        await intake.step(flush=True)
        ids += some
    await intake.close()
    return ids


async def names(stage: Stage) -> list[str]:
    return [name.partition("/day=")[2] for name in await stage.blobs.list(TENANT)]


def test_a_day_is_merged_once_it_is_over_for_an_hour(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        ids = await filled(stage, 20)
        upkeep = stage.upkeep()
        for seconds, files in ((0, 20), (13 * 3_600 - 1, 20), (EVERY_S + 1, 2)):
            stage.clock.advance(seconds)
            assert await upkeep.round()
            assert len(await names(stage)) == files
            assert await stage.ids() == ids
        assert await names(stage) == [f"2026-11-21/all-000000000020-{n}of2" for n in (1, 2)]
        assert PIECE_ROWS < len(ids) <= 2 * PIECE_ROWS
        stage.clock.advance(EVERY_S)
        assert await upkeep.round()
        assert (upkeep.merged, upkeep.failures) == (20, 0)

    staged(tmp_path, case)


def test_a_day_under_way_is_merged_when_it_has_too_many_files(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        ids = await filled(stage, SMALL_MOST, rows=1)
        await stage.upkeep().round()
        assert len(await names(stage)) == SMALL_MOST
        ids = sorted([*ids, *(await late(stage))])
        stage.clock.advance(EVERY_S)
        await stage.upkeep().round()
        assert await names(stage) == [f"2026-11-21/all-{SMALL_MOST + 1:012d}-{n}of3" for n in (1, 2, 3)]
        assert await stage.ids() == ids

    staged(tmp_path, case)


async def late(stage: Stage, id: str = "late", **facts: object) -> list[str]:
    await stage.told(id, **facts)
    intake = stage.intake()
    await intake.step(flush=True)
    await intake.close()
    return [id]


def test_what_comes_late_joins_its_day(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        ids = await filled(stage, 2)
        noon_s = stage.clock.wall_s()
        stage.clock.advance(DAY_S)
        await stage.upkeep().round()
        ids += await late(stage, at_s=noon_s)
        assert await stage.ids() == ids
        stage.clock.advance(EVERY_S)
        await stage.upkeep().round()
        assert await names(stage) == ["2026-11-21/all-000000000003-1of1"]
        assert await stage.ids() == ids

    staged(tmp_path, case)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("verb", ["name", "unname", "get", "expire"])
def test_wherever_it_dies_each_row_is_there_once(tmp_path: Path, verb: str, after: bool) -> None:
    async def case(stage: Stage) -> None:
        ids = await filled(stage, 15, rows=4)
        stage.clock.advance(DAY_S)
        for life in range(1, 60):
            dying = Dying(stage.blobs, {verb}, life, after=after)
            try:
                await stage.upkeep(blobs=dying).round()
            except Killed:
                pass
            assert await stage.ids() == ids
            stage.clock.advance(EVERY_S)
        assert await names(stage) == [f"2026-11-21/all-000000000015-{n}of2" for n in (1, 2)]

    staged(tmp_path, case)


def test_days_pass_away_and_the_flagged_stay_for_ever(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        await filled(stage, 3)
        kept = await late(stage, "kept", flags=("x", "flagged"))
        stage.clock.advance(90 * DAY_S)
        upkeep = stage.upkeep()
        await upkeep.round()
        assert len(await stage.ids()) == 10
        stage.clock.advance(DAY_S)
        await upkeep.round()
        assert await stage.ids() == kept
        assert await names(stage) == ["2026-11-21/kept-000000000004-1of1"]
        stage.clock.advance(3_650 * DAY_S)
        await upkeep.round()
        assert await stage.ids() == kept
        assert upkeep.forgotten_days == 1

    staged(tmp_path, case)


@pytest.mark.parametrize("flags", [(), ("flagged",)])
def test_bytes_that_are_forgotten_are_gone_from_the_disk(tmp_path: Path, flags: tuple[str, ...]) -> None:
    async def case(stage: Stage) -> None:
        await filled(stage, 3)
        stage.clock.advance(91 * DAY_S)
        await stage.upkeep(retention=Retention(flags=flags)).round()
        assert await stage.ids() == []
        assert not [path for path in tmp_path.glob("blobs/*/objects/*/*") if b"000-000" in path.read_bytes()]

    staged(tmp_path, case)


def test_a_cold_year_is_a_year(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        ids = await filled(stage, 1)
        for days, left in ((365, ids), (1, [])):
            stage.clock.advance(days * DAY_S)
            await stage.upkeep(retention=PRESETS["cold-year"]).round()
            assert await stage.ids() == left

    staged(tmp_path, case)


def test_a_batch_under_way_is_not_merged_over(tmp_path: Path) -> None:
    """Of two batches the first one is not whole yet; a merge that counted for it would hide what comes of it."""

    async def case(stage: Stage) -> None:
        yesterday_s = stage.clock.wall_s() - DAY_S
        await stage.told("first", at_s=yesterday_s)
        slow = stage.intake(source="slow", blobs=Dying(stage.blobs, {"name"}, 1, after=False))
        with pytest.raises(Killed):
            await slow.step(flush=True)
        await stage.told("second", at_s=yesterday_s)
        await stage.intake().step(flush=True)
        await stage.upkeep().round()
        stage.clock.advance(LEASE_S + 1)
        await stage.intake(source="slow").step(flush=True)
        assert await stage.ids() == ["first", "first", "second"]  # each source reads the one stream
        stage.clock.advance(EVERY_S)
        await stage.upkeep().round()
        assert await stage.ids() == ["first", "second"]

    staged(tmp_path, case)


def test_one_organisations_trouble_does_not_stop_the_others(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        for org in ("acme", "bad", "zeta"):
            await late(stage, org, org=org)

        class Troubled:
            def __getattr__(self, name: str) -> object:
                return getattr(stage.blobs, name)

            async def list(self, tenant: str, *args: object, **named: object) -> object:
                if tenant == "audit:bad":
                    raise Unavailable
                return await stage.blobs.list(tenant, *args, **named)

        stage.clock.advance(DAY_S)
        upkeep = stage.upkeep(blobs=Troubled())
        await upkeep.round()
        assert (upkeep.merged, upkeep.failures) == (2, 1)

    staged(tmp_path, case)


def test_rounds_are_an_hour_apart_whoever_makes_them(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        one, two = stage.upkeep(), stage.upkeep()
        assert [await one.round(), await two.round(), await one.round()] == [True, False, False]
        stage.clock.advance(EVERY_S - 1)
        assert not await two.round()
        stage.clock.advance(1)
        assert [await two.round(), await one.round()] == [True, False]

    staged(tmp_path, case)


def test_lists_longer_than_a_page_are_read_whole(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(module, "PAGE", 2)

    async def case(stage: Stage) -> None:
        ids = await filled(stage, 7)
        await late(stage, "b", org="b")
        await late(stage, "c", org="c")
        stage.clock.advance(DAY_S)
        upkeep = stage.upkeep()
        await upkeep.round()
        assert upkeep.merged == 9
        assert await stage.ids() == ids

    staged(tmp_path, case)
