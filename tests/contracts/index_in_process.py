"""The embedded index without its helper process, so that bugs can be seeded; a crash is a copy of its folder."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from penstock.adapters.index.embedded_engine import Engine
from penstock.adapters.index.embedded_wire import Limits
from penstock.contracts.index_search import IndexHarness
from penstock.kernel.errors import Unavailable
from penstock.ports.index import Counts, Document, Found, Place, Precision, Question, Row
from tests.contracts.index_engines import found_in


class InProcessIndex:
    """An engine on threads of this process."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        self.engine = Engine(folder, limits)

    async def put(
        self, place: Place, space: str, documents: list[Document], *, precision: Precision = "fp32"
    ) -> None:
        await asyncio.to_thread(self.engine.put, place, space, documents, precision)

    async def search(self, place: Place, space: str, question: Question) -> Found:
        return await asyncio.to_thread(self.engine.search, place, space, question)

    async def delete(self, place: Place, documents: list[str] | None = None, *, space: str = "") -> int:
        return await asyncio.to_thread(self.engine.delete, place, documents, space)

    async def known(self, place: Place, space: str, digests: list[str]) -> dict[str, bytes]:
        return await asyncio.to_thread(self.engine.known, place, space, digests)

    async def scan(
        self, place: Place, space: str, *, after: tuple[str, int] = ("", -1), limit: int = 1000
    ) -> list[Row]:
        return await asyncio.to_thread(self.engine.scan, place, space, after, limit)

    async def count(self, place: Place, space: str = "") -> Counts:
        return await asyncio.to_thread(self.engine.count, place, space)

    async def compact(self) -> None:
        seen = self.engine.compact(0)
        while not seen.ended:
            await asyncio.sleep(0.002)
            seen = self.engine.compact(seen.round)
        if seen.error:
            raise Unavailable(seen.error)

    async def close(self) -> None:
        await asyncio.to_thread(self.engine.close)


def _copied(folder: Path) -> Path:
    """Copy a folder beside itself, while upkeep goes on: what vanishes meanwhile is as a kill leaves it."""

    def copy(source: str, target: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            shutil.copy2(source, target)

    target = folder.with_name(f"{folder.name}-again")
    shutil.copytree(folder, target, copy_function=copy)
    return target


@asynccontextmanager
async def in_process_index(folder: Path, limits: Limits) -> AsyncIterator[IndexHarness]:
    """Give the engine in a folder; a crash goes on with a copy of it as it stands."""
    place = folder / "store-0"
    place.mkdir(parents=True)

    async def advance(seconds: float) -> None:
        raise AssertionError("no promise of the index port is about time")

    async def reopen() -> InProcessIndex:
        nonlocal place
        place = _copied(place)
        await harness.port.close()
        harness.port = InProcessIndex(place, limits)
        return harness.port

    async def peer() -> InProcessIndex:
        return harness.port

    async def keeps(wanted: bytes) -> bool:
        return bool(found_in(place, wanted))

    harness = IndexHarness(
        InProcessIndex(place, limits), advance, reopen, peer, single_process=True, keeps=keeps
    )
    try:
        yield harness
    finally:
        await harness.port.close()
