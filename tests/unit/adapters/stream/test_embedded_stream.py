"""The embedded stream beyond its port's promises: one process, bounds, group commit, damage found."""

from __future__ import annotations

import asyncio
import os
import threading

import pytest

from penstock.adapters.stream import embedded, groups, segments, writer
from penstock.adapters.stream.embedded import SegmentStream
from penstock.kernel.clock import ManualClock
from penstock.kernel.errors import Broken, Conflict, Invalid, Overloaded, Unavailable
from tests.support import run


async def everything(stream, topic, offset=0):
    values = []
    while page := await stream.read(topic, offset, 1000):
        values += [message.value for message in page]
        offset = page[-1].offset + 1
    return values


class Gate:
    """Holds the writer's thread before its first write until opened, and counts writes."""

    def __init__(self, patch) -> None:
        self.open = threading.Event()
        self.writes = 0
        honest = segments.write_all

        def gated(file, data):
            self.writes += 1
            self.open.wait(10)
            honest(file, data)

        patch.setattr(segments, "write_all", gated)


def test_a_second_opener_is_refused_until_the_first_lets_go(tmp_path):
    async def story():
        first = await SegmentStream.open(tmp_path, ManualClock())
        with pytest.raises(Conflict, match="Another process"):
            await SegmentStream.open(tmp_path, ManualClock())
        await first.append("t", [b"still mine"])
        await first.close()
        second = await SegmentStream.open(tmp_path, ManualClock())
        assert await everything(second, "t") == [b"still mine"]
        await second.close()

    run(story())


def test_appends_that_meet_share_a_write(tmp_path, monkeypatch):
    async def story():
        stream = await SegmentStream.open(tmp_path, ManualClock())
        gate = Gate(monkeypatch)
        waiting = [asyncio.ensure_future(stream.append("t", [b"%d" % number])) for number in range(200)]
        await asyncio.sleep(0.01)
        gate.open.set()
        assert await asyncio.gather(*waiting) == list(range(200))
        assert gate.writes == 2, "one for the first, one for all that came while it was writing"
        await stream.close()

    run(story())


def test_what_waits_for_the_disk_is_bounded(tmp_path, monkeypatch):
    async def story():
        stream = await SegmentStream.open(tmp_path, ManualClock())
        gate = Gate(monkeypatch)
        half = [b"x" * (1 << 20)] * (writer.MAX_PENDING_BYTES >> 21)
        waiting = [asyncio.ensure_future(stream.append("t", half)) for _ in range(2)]
        await asyncio.sleep(0.01)
        assert (await stream.stats())["pending_bytes"] == writer.MAX_PENDING_BYTES
        with pytest.raises(Overloaded):
            await stream.append("t", [b"one byte too many"])
        gate.open.set()
        await asyncio.gather(*waiting)
        assert (await stream.stats())["pending_bytes"] == 0
        assert await stream.append("t", [b"room again"]) == 2 * len(half)
        with pytest.raises(Invalid):
            await stream.append("t", [*half, *half, b"more than can ever wait"])
        await stream.close()

    run(story())


def test_a_flipped_byte_is_found_wherever_it_is(tmp_path):
    async def story():
        stream = await SegmentStream.open(tmp_path, ManualClock())
        await stream.append("t", [b"a" * 20, b"b" * 20, b"c" * 20])
        (path,) = (tmp_path / "topics" / "t").glob("*.seg")
        whole = path.read_bytes()
        for position in range(len(whole)):
            path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x10]) + whole[position + 1 :])
            with pytest.raises(Broken):
                await stream.read("t", 0)
        path.write_bytes(whole)
        assert len(await stream.read("t", 0)) == 3
        await stream.close()

    run(story())


def test_messages_are_found_far_into_a_segment_and_across_a_restart(tmp_path):
    async def story():
        clock = ManualClock()
        stream = await SegmentStream.open(tmp_path, clock, segment_bytes=60_000)
        values = [b"%05d" % number for number in range(10_000)]
        for start in range(0, 10_000, 700):
            await stream.append("t", values[start : start + 700])
        for _ in range(2):
            assert (await stream.stats())["segments"] > 2
            for offset in (0, 1, 1_023, 1_024, 1_025, 2_799, 2_800, 5_555, 9_999):
                (message,) = await stream.read("t", offset, 1)
                assert (message.offset, message.value) == (offset, values[offset])
            await stream.close()
            stream = await SegmentStream.open(tmp_path, clock, segment_bytes=60_000)
        assert await everything(stream, "t", 123) == values[123:]
        await stream.close()

    run(story())


def test_a_segment_ends_by_size_and_by_age(tmp_path):
    async def story():
        clock = ManualClock()
        stream = await SegmentStream.open(tmp_path, clock, segment_bytes=1_000, roll_s=60.0)

        async def segments_after(value):
            await stream.append("t", [value])
            return (await stream.stats())["segments"]

        assert await segments_after(b"x" * 983) == 1
        assert await segments_after(b"999 bytes are not 1,000") == 1
        assert await segments_after(b"now they are more") == 2
        clock.advance(59.9)
        assert await segments_after(b"young") == 2
        clock.advance(0.1)
        assert await segments_after(b"old") == 3
        await stream.close()

    run(story())


def test_an_offset_comes_from_the_writer_even_if_the_caller_goes_away(tmp_path, monkeypatch):
    async def story():
        stream = await SegmentStream.open(tmp_path, ManualClock())
        gate = Gate(monkeypatch)
        gone = asyncio.ensure_future(stream.append("t", [b"gone"]))
        await asyncio.sleep(0.01)
        gone.cancel()
        gate.open.set()
        assert await stream.append("t", [b"next"]) == 1
        assert await everything(stream, "t") == [b"gone", b"next"]
        await stream.close()

    run(story())


def test_a_cancelled_commit_parts_nothing(tmp_path):
    async def story():
        stream = await SegmentStream.open(tmp_path, ManualClock())
        await stream.append("t", [b"%d" % number for number in range(50)])
        await stream.poll("t", "g", "m", 50)
        for offset in range(50):
            commit = asyncio.ensure_future(stream.commit("t", "g", [offset]))
            await asyncio.sleep(0)
            if offset % 2:
                commit.cancel()
            await asyncio.gather(commit, return_exceptions=True)
        await stream.commit("t", "g", [49])
        before = await stream.lag("t", "g")
        await stream.close()
        again = await SegmentStream.open(tmp_path, ManualClock())
        assert await again.lag("t", "g") == before == 0
        await again.close()

    run(story())


def test_a_cancelled_poll_hides_nothing(tmp_path):
    async def story():
        stream = await SegmentStream.open(tmp_path, ManualClock())
        await stream.append("t", [b"a", b"b"])
        poll = asyncio.ensure_future(stream.poll("t", "g", "m", 10, 60.0))
        await asyncio.sleep(0)
        poll.cancel()
        await asyncio.gather(poll, return_exceptions=True)
        assert [message.value for message in await stream.poll("t", "g", "n", 10, 60.0)] == [b"a", b"b"]
        await stream.close()

    run(story())


def test_the_file_of_commits_is_compacted_and_says_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(groups, "COMPACT_BYTES", 500)

    async def story():
        stream = await SegmentStream.open(tmp_path, ManualClock())
        await stream.append("t", [b"x"] * 400)
        await stream.poll("t", "g", "m", 400)
        for offset in [*range(0, 400, 3), *range(1, 300, 3)]:
            await stream.commit("t", "g", [offset])
        left = [*range(2, 300, 3), *(offset for offset in range(300, 400) if offset % 3)]
        assert await stream.lag("t", "g") == len(left)
        assert (tmp_path / "topics/t/groups/g.commits").stat().st_size < 3_000
        await stream.close()
        stream = await SegmentStream.open(tmp_path, ManualClock())
        assert [message.offset for message in await stream.poll("t", "g", "m", 400)] == left
        await stream.close()

    run(story())


@pytest.mark.parametrize("cut", range(1, 30))
def test_a_torn_file_of_commits_keeps_its_whole_entries(tmp_path, cut):
    async def story():
        stream = await SegmentStream.open(tmp_path, ManualClock())
        await stream.append("t", [b"x"] * 3)
        for offset in range(3):
            await stream.commit("t", "g", [offset])
        await stream.close()
        path = tmp_path / "topics/t/groups/g.commits"
        entry = path.stat().st_size // 3
        os.truncate(path, path.stat().st_size - cut)
        stream = await SegmentStream.open(tmp_path, ManualClock())
        lost = -(-cut // entry)
        assert await stream.lag("t", "g") == lost
        await stream.commit("t", "g", [2])
        await stream.close()
        stream = await SegmentStream.open(tmp_path, ManualClock())
        assert await stream.lag("t", "g") == lost - 1
        await stream.close()

    run(story())


def test_a_poison_message_stops_its_group_at_the_window(tmp_path, monkeypatch):

    monkeypatch.setattr(groups, "WINDOW", 10)
    monkeypatch.setattr(embedded, "WINDOW", 10)

    async def story():
        clock = ManualClock()
        stream = await SegmentStream.open(tmp_path, clock)
        await stream.append("t", [b"x"] * 30)
        got = await stream.poll("t", "g", "m", 30)
        assert [message.offset for message in got] == list(range(10))
        await stream.commit("t", "g", list(range(1, 10)))
        assert not await stream.poll("t", "g", "m", 30)
        with pytest.raises(Invalid):
            await stream.commit("t", "g", [10])
        await stream.commit("t", "g", [0])
        got = await stream.poll("t", "g", "m", 30)
        assert [message.offset for message in got] == list(range(10, 20))
        await stream.close()

    run(story())


def test_leases_end_exactly_when_they_say_and_their_list_stays_small(tmp_path):
    async def story():
        clock = ManualClock()
        stream = await SegmentStream.open(tmp_path, clock)
        await stream.append("t", [b"x"] * 10_000)
        for _ in range(4):
            await stream.append("t", [b"x"] * 10_000)
        for _ in range(49):
            got = await stream.poll("t", "g", "m", 1_000, 30.0)
            await stream.commit("t", "g", [message.offset for message in got])
        group = stream._topics["t"].groups["g"]
        assert group._listed <= 2 * len(group.leases) + 11_000
        assert len(await stream.poll("t", "g", "m", 10, 30.0)) == 10
        clock.advance(29.999)
        assert (await stream.poll("t", "g", "m", 10, 30.0))[0].offset == 49_010
        clock.advance(0.001)
        assert (await stream.poll("t", "g", "m", 10, 30.0))[0].offset == 49_000
        await stream.close()

    run(story())


def test_a_disk_that_cannot_be_forced_shows(tmp_path, monkeypatch):
    async def story():
        stream = await SegmentStream.open(tmp_path, ManualClock(), sync_s=0.001)
        assert await stream.healthy()

        def failing(_file):
            raise OSError(5, "Input/output error")

        with monkeypatch.context() as patch:
            patch.setattr(os, "fdatasync", failing)
            await stream.append("t", [b"x"])
            while await stream.healthy():
                await asyncio.sleep(0.001)
        await stream.append("t", [b"y"])
        while not await stream.healthy():
            await asyncio.sleep(0.001)
        await stream.close()
        assert not await stream.healthy()
        with pytest.raises(Unavailable):
            await stream.append("t", [b"z"])

    run(story())


def test_close_wakes_who_waits(tmp_path):
    async def story():
        stream = await SegmentStream.open(tmp_path, ManualClock())
        waiting = asyncio.ensure_future(stream.wait("t", 0, 1000.0))
        await asyncio.sleep(0)
        await stream.close()
        assert await waiting is False
        await stream.close()

    run(story())
