"""A desk at work with a collection of twelve documents, and what tests of its change from m/one to m/two ask of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from penstock.embedding.catalog.collections import CollectionDoc
from penstock.embedding.catalog.jobs import JobDoc
from penstock.embedding.migrations.migration import Migration
from penstock.ports.index import Place
from tests.unit.embedding.knowledge_desk import KIM, Desk, desk

TEXTS = {
    f"d{number}": f"document {number} tells of thing{number} and of thing{number + 1}" for number in range(12)
}


@asynccontextmanager
async def at_work(folder: Path, **parts: Any) -> AsyncGenerator[tuple[Desk, CollectionDoc]]:
    """Give a desk that works in `folder`, made of these `parts` or its own, and its collection."""
    async with desk(folder, **parts) as it:
        it.work()
        collection = await it.collection()
        assert (await it.ended(await it.put(collection, KIM, **TEXTS))).status == "complete"
        yield it, collection


async def as_it_is(it: Desk, collection: CollectionDoc) -> CollectionDoc:
    """Return a collection as its row is now."""
    now = await it.library.book.get(collection.uid)
    assert now is not None
    return now


async def built(it: Desk, migration: Migration) -> JobDoc:
    """Wait until the work on the new space has ended; return its job."""
    job = await it.library.jobs.get(migration.job)
    assert job is not None
    return await it.ended(job)


async def advanced(it: Desk, migration: Migration, *states: str, within_s: float = 10.0) -> Migration:
    """Tend until the migration is in one of `states`."""
    async with asyncio.timeout(within_s):
        while True:
            await it.migrations.tend()
            now = await it.migrations.book.get(migration.id)
            assert now is not None
            if now.state in states:
                return now
            await asyncio.sleep(0.01)


def in_the_check(it: Desk, step: Callable[[], Awaitable[object]]) -> None:
    """Have `step` come between: once, when the new space is searched for the first time."""

    async def before(verb: str, _place: Place, space: str, _ids: Sequence[str]) -> None:
        if verb == "search" and space == "m/two@1":
            it.index.before = None
            await step()

    it.index.before = before
