"""A client that reads slowly slows its provider down; it does not fill the gateway, and one that stops is cut.

Promise: real sockets, the gateway in a process of its own; the full size and the neighbours' times are evidence S4.
"""

from __future__ import annotations

from pathlib import Path

from tests.evidence.s4_slow import READER_KIB_MAX, Cut, Slow, slow_readers, stalled_readers
from tests.slow_readers import ANSWER_BYTES
from tests.support import run


def test_slow_readers_cost_little_memory_and_hold_the_provider_back(tmp_path: Path) -> None:
    """Given forty readers at ten bytes a second, then what waits for them is bounded on every stretch of the way."""

    async def steps() -> Slow:
        return await slow_readers(tmp_path, readers=40, block_s=0.3, blocks=1)

    seen = run(steps())
    assert seen.kib_each <= READER_KIB_MAX
    assert seen.most_bytes < ANSWER_BYTES / 8


def test_a_client_that_stops_reading_is_cut_and_settled(tmp_path: Path) -> None:
    assert run(stalled_readers(tmp_path, readers=5, write_idle_s=0.5)) == Cut(5, 5, 0)
