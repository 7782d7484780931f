"""Files across crashes: a file is whole or not there, and nothing of it is left that nobody would ever delete."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from penstock.adapters.blobs.embedded import FileBlobs
from penstock.adapters.records.sqlite import SqliteRecords
from penstock.gateway.files import COLLECTION, HALF_S, TENANT, Bounds, FileDoc, Files
from penstock.kernel.clock import ManualClock
from penstock.kernel.errors import NotFound
from tests.support import run

OWNER = "acme/search/web"
CONTENT = b"one line\n"
VERBS = {"transact", "name", "unname"}


class Crash(BaseException):
    """The process is gone."""


class Mortal:
    """A store whose process dies at the `left`-th of its writes, before it or right after it."""

    def __init__(self, store: Any, fate: Fate) -> None:
        self._store = store
        self._fate = fate

    def __getattr__(self, verb: str) -> Any:
        done = getattr(self._store, verb)
        if verb not in VERBS:
            return done

        async def dying(*arguments: Any) -> Any:
            self._fate.left -= 1
            if self._fate.left == 0 and self._fate.before:
                raise Crash
            result = await done(*arguments)
            if self._fate.left == 0:
                raise Crash
            return result

        return dying


@dataclass
class Fate:
    """When the process dies: at which write (0: at none), before it is made or right after."""

    left: int = 0
    before: bool = False


@dataclass
class Desk:
    """Files over real stores."""

    files: Files
    records: SqliteRecords
    blobs: FileBlobs
    clock: ManualClock
    fate: Fate

    async def left(self) -> tuple[int, int]:
        """Return how many rows and named blobs there are."""
        return await self.records.count(COLLECTION.name, TENANT), len(await self.blobs.list("acme"))

    async def put(self) -> FileDoc:
        return await self.files.put("acme", OWNER, "a.jsonl", "batch", CONTENT)

    async def listed(self) -> list[FileDoc]:
        return [each async for each in self.files._of(OWNER)]


@asynccontextmanager
async def desk(folder: Path) -> AsyncIterator[Desk]:
    """Open it."""
    clock, fate = ManualClock(), Fate()
    records = await SqliteRecords.open(folder / "r.sqlite", (COLLECTION,), clock)
    blobs = FileBlobs(folder / "blobs", clock)
    mortals: tuple[Any, Any] = Mortal(blobs, fate), Mortal(records, fate)

    async def needed(_file_id: str) -> bool:
        return False

    files = Files(*mortals, clock, kept_days=1, bounds=Bounds(9, 999), needed=needed)
    try:
        yield Desk(files, records, blobs, clock, fate)
    finally:
        await blobs.close()
        await records.close()


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("write", range(1, 4))
def test_what_a_crash_leaves_of_a_file_that_was_put_is_swept(
    tmp_path: Path, write: int, before: bool
) -> None:
    async def case() -> None:
        async with desk(tmp_path) as it:
            it.fate.left, it.fate.before = write, before
            with pytest.raises(Crash):
                await it.put()
            for doc in await it.listed():  # only one that is whole is seen
                assert await it.files.content(await it.files.doc(OWNER, doc.id)) == CONTENT
            seen = len(await it.listed())
            assert seen == (write == 3 and not before)
            it.clock.advance(HALF_S - 1)
            await it.files.forget()
            assert len(await it.listed()) == seen
            it.clock.advance(2)
            await it.files.forget()
            assert await it.left() == (seen, seen)

    run(case())


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("write", range(1, 4))
def test_what_a_crash_leaves_of_a_file_that_was_deleted_is_swept(
    tmp_path: Path, write: int, before: bool
) -> None:
    async def case() -> None:
        async with desk(tmp_path) as it:
            doc = await it.put()
            it.fate.left, it.fate.before = write, before
            with pytest.raises(Crash):
                await it.files.drop(doc)
            stays = write == 1 and before
            assert [each.id for each in await it.listed()] == [doc.id] * stays
            if stays:
                assert await it.files.content(await it.files.doc(OWNER, doc.id)) == CONTENT
            else:
                with pytest.raises(NotFound):
                    await it.files.doc(OWNER, doc.id)
            it.clock.advance(HALF_S + 1)
            await it.files.forget()
            assert await it.left() == (stays, stays)

    run(case())


def test_a_sweep_leaves_what_is_being_put(tmp_path: Path) -> None:
    async def case() -> None:
        async with desk(tmp_path) as it:
            name = it.blobs.name

            async def slowly(*arguments: str) -> str:
                it.clock.advance(HALF_S - 1)
                await it.files.forget()
                return await name(*arguments)  # pyright: ignore[reportArgumentType]  # as it was called

            it.blobs.name = slowly  # pyright: ignore[reportAttributeAccessIssue]  # the same, later
            doc = await it.put()
            assert await it.files.content(await it.files.doc(OWNER, doc.id)) == CONTENT

    run(case())
