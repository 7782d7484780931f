"""Whoever looks for work on batches goes on looking, whatever the store gives it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from penstock.gateway import batch_runs
from penstock.gateway.batch_runs import BatchRuns
from penstock.kernel.clock import ManualClock
from penstock.kernel.errors import Unavailable
from tests.support import run


@pytest.mark.parametrize(
    "error", [Unavailable("The store is away."), ValueError("a row that nobody can read")]
)
def test_a_look_that_fails_is_not_the_last(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    monkeypatch.setattr(batch_runs, "LOOK_S", 0.0)
    looks = asyncio.Event()

    class Book:
        failed = False

        async def unfinished(self, *_asked: object, **_bounds: object) -> list[Any]:
            if not self.failed:
                self.failed = True
                raise error
            looks.set()
            return []

    async def case() -> None:
        book: Any = Book()
        unused: Any = None
        runs = BatchRuns(book, unused, unused, unused, ManualClock(), concurrency=1, running=1)
        watching = asyncio.create_task(runs.watch())
        await asyncio.wait((watching, asyncio.create_task(looks.wait())), return_when=asyncio.FIRST_COMPLETED)
        assert not watching.done()
        watching.cancel()

    run(case())
