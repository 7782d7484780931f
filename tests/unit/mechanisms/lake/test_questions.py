"""Questions: an organisation is answered from its own files of the days it asks about, within bounds."""

from __future__ import annotations

import asyncio
from datetime import date
from pathlib import Path

import pytest

from penstock.adapters.tables.duckdb import DuckDbTables
from penstock.kernel.errors import Invalid, NotFound, Overloaded
from penstock.mechanisms.lake import questions as module
from penstock.mechanisms.lake.questions import AT_ONCE, LakeQuestions
from tests.unit.mechanisms.lake.lake_stage import DAY_S, NOON_S, Stage, staged

FRIDAY, SATURDAY = date(2026, 11, 20), date(2026, 11, 21)


async def two_days(stage: Stage) -> LakeQuestions:
    await stage.told("sat", at_s=NOON_S)
    await stage.told("fri", at_s=NOON_S - DAY_S)
    await stage.told("old", at_s=NOON_S - 7 * DAY_S)
    await stage.told("other", org="other")
    await stage.told("none", org="")
    await stage.intake().step(flush=True)
    return LakeQuestions(stage.tables, stage.blobs, stage.clock)


async def ids(questions: LakeQuestions, org: str = "acme", **days: date) -> list[object]:
    return [row[0] for row in (await questions.ask(org, "", **days)).rows]


def test_days_are_both_included_and_without_any_it_is_the_last_seven(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        questions = await two_days(stage)
        assert await ids(questions) == ["fri", "sat"]
        assert await ids(questions, since=SATURDAY) == ["sat"]
        assert await ids(questions, since=FRIDAY, until=FRIDAY) == ["fri"]
        assert await ids(questions, since=date(2026, 11, 14), until=SATURDAY) == ["old", "fri", "sat"]
        for since, until in ((SATURDAY, FRIDAY), (date(2025, 11, 20), SATURDAY)):
            with pytest.raises(Invalid):
                await ids(questions, since=since, until=until)

    staged(tmp_path, case)


def test_an_organisation_is_answered_from_its_own_files(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        questions = await two_days(stage)
        assert await ids(questions, "other") == ["other"]
        assert await ids(questions, "") == ["none"]
        for org in ("nobody", "acme/", "../audit:acme", "audit:acme", "*"):
            assert await ids(questions, org) == []

    staged(tmp_path, case)


def test_files_that_are_merged_while_they_are_read_are_found_again(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        questions = await two_days(stage)
        honest, calls = stage.blobs.get, []

        async def merged(tenant: str, name: str) -> bytes:
            calls.append(name)
            if len(calls) <= 2:
                raise NotFound
            return await honest(tenant, name)

        stage.blobs.get = merged
        assert await ids(questions) == ["fri", "sat"]
        calls.clear()
        stage.blobs.get = lambda *_: merged("audit:acme", calls.clear() or "")
        with pytest.raises(Overloaded):
            await ids(questions)

    staged(tmp_path, case)


def test_only_so_many_are_answered_at_a_time(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        questions = await two_days(stage)
        going = asyncio.Event()
        honest = stage.tables.ask

        async def slow(*args: object) -> object:
            await going.wait()
            return await honest(*args)

        stage.tables.ask = slow
        asked = [asyncio.create_task(ids(questions)) for _ in range(AT_ONCE)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await ids(questions)
        going.set()
        assert [await each for each in asked] == [["fri", "sat"]] * AT_ONCE
        assert await ids(questions) == ["fri", "sat"]

    staged(tmp_path, case)


def test_too_many_files_are_refused_with_a_remedy(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(module, "FILES_MOST", 1)

    async def case(stage: Stage) -> None:
        questions = await two_days(stage)
        assert await ids(questions, since=SATURDAY) == ["sat"]
        with pytest.raises(Invalid) as told:
            await ids(questions)
        assert (told.value.reason, told.value.value) == ("query_too_large", 2)

    staged(tmp_path, case)


def test_from_the_stream_to_the_answer_with_the_real_engine(tmp_path: Path) -> None:
    """Packed, merged and asked by DuckDB; another organisation's rows cannot be had by any name."""

    async def case(stage: Stage) -> None:
        stage.tables = DuckDbTables(tmp_path / "work")
        await stage.told("a", "b", team="t", cost_nanos=2)
        await stage.told("x", org="other", cost_nanos=40)
        await stage.intake().step(flush=True)
        questions = LakeQuestions(stage.tables, stage.blobs, stage.clock)
        for _ in range(2):
            found = await questions.ask(
                "acme", "SELECT team, count(*), sum(cost_nanos) FROM audit GROUP BY team"
            )
            assert found.rows == (("t", 2, 4),)
            stage.clock.advance(DAY_S)
            await stage.upkeep().round()
        assert (await questions.ask("other", "SELECT sum(cost_nanos) FROM audit")).rows == ((40,),)
        theirs = next((tmp_path / "blobs").glob("t.audit%3Aother/objects/*/*"))
        with pytest.raises(Invalid):
            await questions.ask("acme", f"FROM read_parquet('{theirs}')")

    staged(tmp_path, case)
