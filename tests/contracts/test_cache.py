"""The embedded cache keeps every promise of its port."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from penstock.adapters.cache.embedded import MemoryCache
from penstock.contracts.cache import CASES, CacheHarness, Damage
from penstock.ports import cache as port
from tests.contracts.file_harness import Life, bind, promises_checked, promises_of
from tests.contracts.not_tried import tried
from tests.support import run

MAX_BYTES, MAX_ENTRY_BYTES = 100_000, 10_000


async def on_memory_cache(case: Callable, folder: Path) -> None:
    """Run one case on a fresh cache in `folder`."""
    life = Life(
        folder,
        lambda place, clock: MemoryCache.open(
            place, clock, max_bytes=MAX_BYTES, max_entry_bytes=MAX_ENTRY_BYTES
        ),
    )

    async def restart(damage: Damage):
        await life.stop()
        (file,) = life.folder.iterdir()
        file.write_bytes(damage(file.read_bytes()))
        return await life.start()

    harness = CacheHarness(
        port=await life.start(),
        advance=life.advance,
        reopen=life.crash,
        peer=life.peer,
        single_process=True,
        max_bytes=MAX_BYTES,
        max_entry_bytes=MAX_ENTRY_BYTES,
        restart=restart,
    )
    bind(harness, life)
    try:
        await case(harness)
    finally:
        await life.stop()


@pytest.mark.parametrize(
    "case", [case for _, _, case in CASES.cases], ids=[name for name, _, _ in CASES.cases]
)
def test_embedded(case, tmp_path):
    run(tried("cache/embedded", case, on_memory_cache(case, tmp_path)))


def test_every_promise_has_a_case():
    assert promises_checked(CASES) == promises_of(port)
