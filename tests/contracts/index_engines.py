"""Harnesses for the engines of the index: the embedded one, whose crash is a real kill -9 of its helper."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from penstock.adapters.index.embedded import LIMITS, EmbeddedIndex
from penstock.adapters.index.embedded_wire import Limits
from penstock.contracts.index_search import IndexHarness

LARGE = Limits(exact_most=12, scan_most=8, memory_words_most=4)
"""By these a space of a dozen rows is as large ones are: it has a graph, and its words lie on disk."""


def found_in(folder: Path, wanted: bytes) -> list[Path]:
    """Return the files of a folder that hold these bytes."""
    return [file for file in folder.rglob("*") if file.is_file() and wanted in file.read_bytes()]


@asynccontextmanager
async def embedded_index(folder: Path, limits: Limits = LIMITS) -> AsyncIterator[IndexHarness]:
    """Give the embedded index in a folder."""
    opened: list[EmbeddedIndex] = []

    async def start() -> EmbeddedIndex:
        opened.append(EmbeddedIndex(folder / "index", limits))
        return opened[-1]

    async def advance(seconds: float) -> None:
        raise AssertionError("no promise of the index port is about time")

    async def reopen() -> EmbeddedIndex:
        if (pid := harness.port.pid) is not None:
            os.kill(pid, signal.SIGKILL)
        await harness.port.close()
        harness.port = await start()
        return harness.port

    async def peer() -> EmbeddedIndex:
        return harness.port

    async def cut_off() -> EmbeddedIndex:
        closed = await start()
        await closed.close()
        return closed

    async def keeps(wanted: bytes) -> bool:
        return bool(found_in(folder, wanted))

    harness = IndexHarness(
        await start(), advance, reopen, peer, single_process=True, cut_off=cut_off, keeps=keeps
    )
    try:
        yield harness
    finally:
        for index in opened:
            await index.close()
