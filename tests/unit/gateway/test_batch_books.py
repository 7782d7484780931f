"""What is written down of batches is found again: every open one, and how far each is, by reading little."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from penstock.adapters.records.sqlite import SqliteRecords
from penstock.gateway import batch_lines, batches
from penstock.gateway.batch_lines import Answered, Lines
from penstock.gateway.batches import BatchBook, BatchDoc
from penstock.kernel.clock import ManualClock
from penstock.ports.records import Row, Write
from tests.support import run

ENDPOINT = "/v1/chat/completions"


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[SqliteRecords]:
    collections = (batches.COLLECTION, *batch_lines.COLLECTIONS)
    records = await SqliteRecords.open(folder / "records.sqlite", collections, ManualClock())
    try:
        yield records
    finally:
        await records.close()


def batch(batch_id: str, owner: str = "acme/search/web", created_s: float = 0.0) -> BatchDoc:
    return BatchDoc(
        id=batch_id,
        org="acme",
        owner=owner,
        key_id="key",
        endpoint=ENDPOINT,
        input_file_id="file",
        metadata={},
        created_s=created_s,
    )


def test_no_batch_is_behind_so_many_others_that_nobody_looks_at_it(tmp_path: Path) -> None:
    """The ids of one dialect all sort behind those of the other."""

    async def case() -> None:
        async with opened(tmp_path) as records:
            book = BatchBook(records)
            await book.add(batch("batch_0"))
            [row] = await records.scan(batches.COLLECTION.name, "*")
            many = [batch(f"batch_{number:05d}", created_s=float(number)) for number in range(5_001)]
            for first in range(0, len(many), 100):
                await records.transact(
                    [
                        Write(
                            collection=batches.COLLECTION.name,
                            tenant="*",
                            id=doc.id,
                            value=msgspec.json.encode(doc),
                            indexed=row.indexed,
                        )
                        for doc in many[first : first + 100]
                    ]
                )
            for age_s, name in enumerate("abcd"):
                await book.add(batch(f"msgbatch_{name}", "acme/search/app", created_s=9.0 - age_s))
            found = await book.unfinished(lambda doc: doc.id != "batch_00000", each=3)
            assert [doc.id for doc in found] == [
                *("batch_0", "batch_00001", "batch_00002"),
                *("msgbatch_d", "msgbatch_c", "msgbatch_b"),
            ]

    run(case())


class Weighed:
    """Records that count the bytes of what was read."""

    def __init__(self, records: SqliteRecords) -> None:
        self._records = records
        self.read_bytes = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._records, name)

    async def find(self, *asked: Any, **page: Any) -> Sequence[Row]:
        return self._counted(await self._records.find(*asked, **page))

    async def scan(self, *asked: Any, **page: Any) -> Sequence[Row]:
        return self._counted(await self._records.scan(*asked, **page))

    def _counted(self, rows: Sequence[Row]) -> Sequence[Row]:
        self.read_bytes += sum(len(row.value) for row in rows)
        return rows


def test_how_far_a_batch_is_is_known_without_reading_its_answers(tmp_path: Path) -> None:
    async def case() -> None:
        async with opened(tmp_path) as records:
            weighed: Any = Weighed(records)
            unused: Any = None
            lines = Lines({}, unused, weighed, unused, ManualClock(), deadline_s=1.0, max_lines=9)
            for number, good in enumerate((True, False, True)):
                await lines.keep("batch_a", Answered(number, good, b"x" * (100_000 + number)))
            await lines.keep("batch_b", Answered(0, True, b"of another"))
            assert await lines.kept("batch_a") == ({0: True, 1: False, 2: True}, 300_003)
            assert weighed.read_bytes < 100
            await lines.forget("batch_a")
            assert await lines.kept("batch_a") == ({}, 0)
            assert await lines.kept("batch_b") == ({0: True}, 10)
            for collection in batch_lines.COLLECTIONS:
                assert not await records.scan(collection.name, "batch_a")

    run(case())
