"""Records in SQLite: the connections are all opened at the start, so a burst of reads needs no descriptor."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from penstock.adapters.records.sqlite import READERS, SqliteRecords
from penstock.adapters.records.sqlite_file import SqliteFile
from penstock.kernel.clock import SystemClock
from penstock.ports.records import Collection
from tests.support import run


def _open_files(folder: Path) -> int:
    """Count the descriptors of this process that lead into `folder`."""
    found = 0
    for each in Path("/proc/self/fd").iterdir():
        try:
            found += each.readlink().is_relative_to(folder)
        except FileNotFoundError:  # the listing's own descriptor is gone by now
            continue
    return found


def test_a_burst_of_reads_opens_nothing(tmp_path: Path) -> None:
    async def burst() -> tuple[int, int]:
        records = await SqliteRecords.open(
            tmp_path / "records.sqlite", [Collection(name="teams")], SystemClock()
        )
        try:
            before = _open_files(tmp_path)

            def slow(file: SqliteFile) -> None:
                time.sleep(0.02)  # long enough for the next read to want a thread of its own
                file.number("SELECT count(*) FROM rows")

            await asyncio.gather(*[records._read(slow) for _ in range(4 * READERS)])
            return before, _open_files(tmp_path)
        finally:
            await records.close()

    before, after = run(burst())
    assert before > READERS
    assert after == before
    assert _open_files(tmp_path) == 0
