"""The bytes of documents: whole or gone, in rows that every node reads, or large ones in blobs of the one there is."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from penstock.adapters.blobs.embedded import FileBlobs
from penstock.adapters.records.sqlite import SqliteRecords
from penstock.embedding.catalog.collections import Source
from penstock.embedding.catalog.sources import PIECE_BYTES, PIECES_AT_ONCE, SOURCES, Sources, kept_as
from penstock.kernel.clock import SystemClock
from penstock.kernel.errors import NotFound
from penstock.ports.records import Write
from tests.support import run

SIZES = (0, 1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, (PIECES_AT_ONCE + 1) * PIECE_BYTES + 7)


@asynccontextmanager
async def sources(folder: Path, *, alone: bool) -> AsyncGenerator[tuple[Sources, SqliteRecords]]:
    clock = SystemClock()
    rows = await SqliteRecords.open(folder / "records.sqlite", (SOURCES,), clock)
    blobs = FileBlobs(folder / "blobs", clock)
    try:
        yield Sources(rows, blobs if alone else None, clock), rows
    finally:
        await blobs.close()
        await rows.close()


def files(folder: Path) -> list[Path]:
    return [path for path in (folder / "blobs").rglob("*") if path.is_file()]


def source(kept: str, size_bytes: int) -> Source:
    return Source(kept=kept, digest="", size_bytes=size_bytes)


def content(size_bytes: int, word: bytes = b"pump ") -> bytes:
    return (word * (size_bytes // len(word) + 1))[:size_bytes]


@pytest.mark.parametrize("alone", [True, False])
def test_what_was_put_returns_byte_for_byte_whatever_its_size(tmp_path: Path, alone: bool) -> None:
    async def steps() -> None:
        async with sources(tmp_path, alone=alone) as (it, _):
            kept = {kept_as(f"d{size}", "job_1"): size for size in SIZES}
            await it.put("col", [(name, content(size)) for name, size in kept.items()])
            for name, size in kept.items():
                assert await it.get("col", source(name, size)) == content(size)
            with pytest.raises(NotFound):
                await it.get("other", source(kept_as("d1", "job_1"), 1))

    run(steps())


def test_what_other_nodes_read_is_in_rows_alone(tmp_path: Path) -> None:
    async def steps() -> None:
        async with sources(tmp_path, alone=False) as (it, rows):
            kept, size = kept_as("a", "job_1"), 2 * PIECE_BYTES + 1
            await it.put("col", [(kept, content(size))])
            assert not (tmp_path / "blobs").exists()
            assert await rows.count(SOURCES.name, "col") == 3
            [*_, last] = await rows.scan(SOURCES.name, "col")
            await rows.transact([Write(collection=SOURCES.name, tenant="col", id=last.id, value=None)])
            with pytest.raises(NotFound, match="bytes are gone"):
                await it.get("col", source(kept, size))

    run(steps())


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize("size", [1, (PIECES_AT_ONCE + 1) * PIECE_BYTES])
def test_dropping_takes_what_is_over_and_nothing_else(tmp_path: Path, alone: bool, size: int) -> None:
    async def steps() -> None:
        async with sources(tmp_path, alone=alone) as (it, rows):
            names = {job: kept_as("a", job) for job in ("job_1", "job_2", "job_3", "job_4")}
            other = kept_as("b", "job_1")
            await it.put("col", [(kept, content(size, kept.encode())) for kept in (*names.values(), other)])
            await it.drop("col", "a", until="job_3", but=(names["job_2"],))
            for kept in (names["job_2"], names["job_4"], other):
                assert await it.get("col", source(kept, size)) == content(size, kept.encode())
            for kept in (names["job_1"], names["job_3"]):
                with pytest.raises(NotFound):
                    await it.get("col", source(kept, size))
            await it.tidy("col")
            assert len(files(tmp_path)) == (6 if alone and size > 1 else 0), (
                "a blob of each that stays, and its name"
            )
            await it.drop_all("col")
            assert await rows.count(SOURCES.name, "col") == 0
            assert not files(tmp_path)

    run(steps())


def test_dropping_one_document_reads_no_other_and_little_of_what_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def steps() -> None:
        async with sources(tmp_path, alone=False) as (it, rows):
            stays = kept_as("a", "job_1")
            pieces = 3 * PIECES_AT_ONCE
            await it.put("col", [(stays, content(pieces * PIECE_BYTES))])
            await it.put("col", [(kept_as(f"d{n}", "job_1"), b"x") for n in range(200)])
            read, find = 0, rows.find

            async def counted(*asked: str, after: str = "", limit: int = 100) -> object:
                nonlocal read
                found = await find(*asked, after=after, limit=limit)
                read += len(found)
                return found

            monkeypatch.setattr(rows, "find", counted)
            await it.drop("col", "a", until="job_1", but=(stays,))
            assert read == PIECES_AT_ONCE
            await it.drop("col", "d7", until="job_1")
            assert read == PIECES_AT_ONCE + 1
            assert await rows.count(SOURCES.name, "col") == pieces + 199

    run(steps())


def test_letting_go_of_a_blob_looks_for_no_other_and_the_disk_is_freed_once_a_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def steps() -> None:
        async with sources(tmp_path, alone=True) as (it, _):
            assert it._blobs is not None
            swept = 0
            expire = it._blobs.expire

            async def counted(tenant: str, before_s: float) -> tuple[int, int]:
                nonlocal swept
                swept += 1
                return await expire(tenant, before_s)

            async def none(*_: object, **__: object) -> list[str]:
                raise AssertionError("It looks through all there are.")

            monkeypatch.setattr(it._blobs, "expire", counted)
            monkeypatch.setattr(it._blobs, "list", none)
            large = PIECE_BYTES + 1
            await it.put("col", [(kept_as(f"d{n}", "job_1"), content(large, b"%d " % n)) for n in range(4)])
            for n in range(3):
                await it.drop("col", f"d{n}", until="job_1")
            assert swept == 0
            for _ in range(3):
                await it.tidy("col")
            assert (swept, len(files(tmp_path))) == (1, 2), "one blob and its name are left"
            await it.drop("col", "small", until="job_1")
            await it.tidy("col")
            assert swept == 1, "nothing was let go of"
            await it.drop("col", "d3", until="job_1")
            await it.tidy("col")
            assert (swept, files(tmp_path)) == (2, [])

    run(steps())
