"""The embedded stream keeps every promise of its port."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from penstock.adapters.stream.embedded import SegmentStream
from penstock.contracts.stream import CASES, StreamHarness
from penstock.ports import stream as port
from tests.contracts.file_harness import Life, bind, fill_disk, promises_checked, promises_of
from tests.contracts.not_tried import tried
from tests.support import run


async def on_segment_stream(
    case: Callable, folder: Path, adapter: type[SegmentStream] = SegmentStream, **options
) -> None:
    """Run one case on a fresh stream in `folder`."""
    life = Life(folder, lambda place, clock: adapter.open(place, clock, **options))

    async def tear(topic: str, cut: int, garbage: bytes):
        def damage(place: Path) -> None:
            newest = max((place / "topics" / topic).glob("*.seg"))
            whole = newest.read_bytes()
            newest.write_bytes(whole[: len(whole) - cut] + garbage)

        return await life.crash(damage)

    harness = StreamHarness(
        port=await life.start(),
        advance=life.advance,
        reopen=life.crash,
        peer=life.peer,
        single_process=True,
        tear=tear,
        fill=lambda room: fill_disk(life.folder, room),
    )
    bind(harness, life)
    try:
        await case(harness)
    finally:
        await life.stop()


@pytest.mark.parametrize(
    "options", [{}, {"segment_bytes": 8_000}, {"sync_s": 0.0}], ids=["default", "tiny", "synced"]
)
@pytest.mark.parametrize(
    "case", [case for _, _, case in CASES.cases], ids=[name for name, _, _ in CASES.cases]
)
def test_embedded(case, options, tmp_path):
    run(tried("stream/embedded", case, on_segment_stream(case, tmp_path, **options)))


def test_every_promise_has_a_case():
    assert promises_checked(CASES) == promises_of(port)
