"""Seals over the audit of admin writes: whatever is done to a sealed row afterwards is seen."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from penstock.adapters.records.sqlite import SqliteRecords
from penstock.kernel.clock import ManualClock
from penstock.mechanisms import change_seals
from penstock.mechanisms.change_rows import PLATFORM, index_value
from penstock.mechanisms.change_seals import MARK, SEALS, SETTLE_S, Seals, Verdict
from penstock.mechanisms.changes import COLLECTIONS, THE_PLATFORM, Changes, Told, change_write
from penstock.ports.records import Row, Write
from tests.support import run

SECRET = b"s" * 32


class Desk:
    """An audit of admin writes and its seals."""

    def __init__(self, records: Any, clock: ManualClock) -> None:
        self.records = records
        self.clock = clock
        self.changes = Changes(records, SECRET)
        self.seals = self.changes.seals

    async def tell(self, *subjects: str, org: str = "acme", at_s: float | None = None) -> None:
        for subject in subjects:
            told = Told(action="key.create", subject=subject, org=org)
            await self.changes.tell(THE_PLATFORM, told, self.clock.wall_s() if at_s is None else at_s)
            self.clock.advance(1.0)

    async def sealed(self, *subjects: str, org: str = "acme") -> int:
        await self.tell(*subjects, org=org)
        self.clock.advance(SETTLE_S)
        return await self.seals.seal(self.clock.wall_s())

    async def verdict(self, org: str = "acme", head: str = "") -> Verdict:
        return await self.seals.verify(org, head=head)

    async def row(self, subject: str) -> Row:
        rows = await self.records.scan("changes", PLATFORM, limit=1_000)
        return next(row for row in rows if f'"{subject}"'.encode() in row.value)

    async def put(self, collection: str, id: str, value: bytes | None, indexed: Any = None) -> None:
        write = Write(collection=collection, tenant=PLATFORM, id=id, value=value, indexed=indexed or {})
        await self.records.transact([write])


def at_desk(folder: Path, case: Callable[[Desk], Awaitable[None]]) -> None:
    async def whole() -> None:
        clock = ManualClock()
        records = await SqliteRecords.open(folder / "records.db", COLLECTIONS, clock)
        try:
            await case(Desk(records, clock))
        finally:
            await records.close()

    run(whole())


def test_rows_are_sealed_once_when_they_have_settled_and_each_organisation_has_its_chain(
    tmp_path: Path,
) -> None:
    async def case(desk: Desk) -> None:
        await desk.tell("one", "two")
        await desk.tell("theirs", org="globex")
        assert await desk.seals.seal(desk.clock.wall_s()) == 0
        desk.clock.advance(SETTLE_S - 1.5)
        assert await desk.seals.seal(desk.clock.wall_s()) == 2  # the third is not old enough
        desk.clock.advance(1.5)
        assert await desk.seals.seal(desk.clock.wall_s()) == 1
        assert await desk.seals.seal(desk.clock.wall_s()) == 0
        assert await desk.sealed("three") == 1
        await desk.tell("four")
        ours, theirs = await desk.verdict(), await desk.verdict("globex")
        assert (ours.seals, ours.rows, ours.unsealed, ours.problems) == (2, 4, 1, ())
        assert (theirs.seals, theirs.rows, theirs.problems) == (1, 1, ())
        assert ours.head != theirs.head
        assert (await desk.verdict("nobody")) == Verdict(seals=0, rows=0, unsealed=0, head="", problems=())

    at_desk(tmp_path, case)


async def _changed(desk: Desk) -> None:
    row = await desk.row("two")
    await desk.put("changes", row.id, row.value.replace(b"two", b"owt"), {"org": index_value("acme")})


async def _removed(desk: Desk) -> None:
    await desk.put("changes", (await desk.row("two")).id, None)


async def _backdated(desk: Desk) -> None:
    await desk.tell("late", at_s=desk.clock.wall_s() - 2 * SETTLE_S)


async def _moved(desk: Desk) -> None:
    row = await desk.row("two")
    value = row.value.replace(b'"acme"', b'"globex"')
    await desk.put("changes", row.id, value, {"org": index_value("globex")})


async def _seal_changed(desk: Desk) -> None:
    row = (await desk.records.scan(SEALS, PLATFORM, after=f"{index_value('acme')}|", limit=1))[0]
    seal = msgspec.json.decode(row.value, type=change_seals.Seal)
    await desk.put(SEALS, row.id, msgspec.json.encode(msgspec.structs.replace(seal, rows=7)))


async def _seal_made_without_the_secret(desk: Desk) -> None:
    await _removed(desk)
    row = (await desk.records.scan(SEALS, PLATFORM, after=f"{index_value('acme')}|", limit=1))[0]
    seal = msgspec.json.decode(row.value, type=change_seals.Seal)
    forger = Seals(desk.records, b"guess")
    seal = msgspec.structs.replace(seal, rows=0, content=forger._content([]))
    forged = msgspec.structs.replace(seal, chain=forger._chain(seal))
    await desk.put(SEALS, row.id, msgspec.json.encode(forged))


async def _seal_removed(desk: Desk) -> None:
    rows = await desk.records.scan(SEALS, PLATFORM, after=f"{index_value('acme')}|", limit=3)
    await desk.put(SEALS, rows[1].id, None)


@pytest.mark.parametrize(
    "deed",
    [_changed, _removed, _backdated, _moved, _seal_changed, _seal_made_without_the_secret, _seal_removed],
)
def test_what_is_done_to_sealed_rows_or_seals_is_seen(tmp_path: Path, deed: Any) -> None:
    async def case(desk: Desk) -> None:
        for subject in ("one", "two", "three"):
            await desk.sealed(subject)
        assert not (await desk.verdict()).problems
        await deed(desk)
        assert (await desk.verdict()).problems

    at_desk(tmp_path, case)


def test_rows_gone_with_all_of_their_seals_are_seen_by_who_kept_a_head(tmp_path: Path) -> None:
    async def case(desk: Desk) -> None:
        await desk.sealed("one")
        kept = (await desk.verdict()).head
        assert not (await desk.verdict(head=kept)).problems
        for row in await desk.records.scan(SEALS, PLATFORM):
            if row.id != MARK:
                await desk.put(SEALS, row.id, None)
        await desk.put("changes", (await desk.row("one")).id, None)
        assert not (await desk.verdict()).problems
        assert (await desk.verdict(head=kept)).problems

    at_desk(tmp_path, case)


def test_many_nodes_seal_each_row_once(tmp_path: Path) -> None:
    async def case(desk: Desk) -> None:
        await desk.tell("one")
        desk.clock.advance(SETTLE_S)
        nodes = [Seals(desk.records, SECRET) for _ in range(8)]
        sealed = await asyncio.gather(*[node.seal(desk.clock.wall_s()) for node in nodes])
        assert sorted(sealed) == [0] * 7 + [1]
        assert (await desk.verdict()).seals == 1

    at_desk(tmp_path, case)


def test_more_rows_than_one_round_takes_are_sealed_in_several(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(change_seals, "ROWS_MOST", 3)
    monkeypatch.setattr(change_seals, "PAGE", 2)

    async def case(desk: Desk) -> None:
        await desk.tell(*[f"n{number}" for number in range(10)])
        desk.clock.advance(SETTLE_S)
        sealed = []
        while taken := await desk.seals.seal(desk.clock.wall_s()):
            sealed.append(taken)
        assert max(sealed) <= 3
        assert sum(sealed) == 10
        verdict = await desk.verdict()
        assert (verdict.rows, verdict.unsealed, verdict.problems) == (10, 0, ())

    at_desk(tmp_path, case)


def test_more_organisations_than_one_round_takes_are_sealed_in_several(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(change_seals, "ORGS_MOST", 2)

    async def case(desk: Desk) -> None:
        for number in range(5):
            await desk.tell("first", "second", org=f"org{number}")
        desk.clock.advance(SETTLE_S)
        sealed = [await desk.seals.seal(desk.clock.wall_s()) for _ in range(4)]
        assert sealed == [4, 4, 2, 0]
        verdicts = [await desk.verdict(f"org{number}") for number in range(5)]
        assert [(each.rows, each.unsealed, each.problems) for each in verdicts] == [(2, 0, ())] * 5

    at_desk(tmp_path, case)


def test_what_is_forgotten_in_time_is_no_tampering(tmp_path: Path) -> None:
    async def case(desk: Desk) -> None:
        for subject in ("one", "two", "three"):
            await desk.sealed(subject)
        cut_s = desk.clock.wall_s() - SETTLE_S - 1
        assert await desk.changes.trim(cut_s) == 2
        verdict = await desk.verdict()
        assert (verdict.rows, verdict.problems) == (1, ())
        await desk.sealed("four")
        await desk.put("changes", (await desk.row("four")).id, None)
        assert (await desk.verdict()).problems  # what came after is still held to its seals

    at_desk(tmp_path, case)


def test_a_mark_is_no_seal(tmp_path: Path) -> None:
    async def case(desk: Desk) -> None:
        write = change_write(THE_PLATFORM, Told(action="a", subject="s", org=""), desk.clock.wall_s())
        await desk.records.transact([write])
        desk.clock.advance(2 * SETTLE_S)
        assert await desk.seals.seal(desk.clock.wall_s()) == 1
        assert (await desk.verdict("")).problems == ()

    at_desk(tmp_path, case)
