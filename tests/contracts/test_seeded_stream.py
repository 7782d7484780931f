"""The suite finds bugs: twelve are seeded into the embedded stream, one at a time, and every one is caught."""

from __future__ import annotations

import os

import pytest

from penstock.adapters.stream import embedded, groups, segments
from penstock.adapters.stream.embedded import SegmentStream
from penstock.adapters.stream.groups import Group
from penstock.adapters.stream.segments import Segment, TopicLog
from penstock.contracts.stream import CASES
from tests.contracts.file_harness import first_broken
from tests.contracts.test_stream import on_segment_stream


def acknowledges_before_the_system_has_it(patch):
    """The last bytes of each write wait in the process for company."""
    waiting: dict[int, bytes] = {}

    def lazy(file, data):
        data = waiting.pop(file, b"") + bytes(data)
        os.write(file, data[:-8])
        waiting[file] = data[-8:]

    patch.setattr(segments, "write_all", lazy)


def keeps_the_torn_tail(patch):
    """Open believes the file's size: the next append follows the rubbish."""

    def forgetful(log):
        with pytest.MonkeyPatch.context() as local:
            local.setattr(os, "ftruncate", lambda *_: None)
            honest(log)
        log._size = os.fstat(log._file).st_size if log._file >= 0 else 0

    honest = TopicLog.open
    patch.setattr(TopicLog, "open", forgetful)


def leaves_half_a_failed_write(patch):
    """A failed write is reported and its first half stays."""

    def careless(log, batches, *, sync):
        with pytest.MonkeyPatch.context() as local:
            local.setattr(os, "ftruncate", lambda *_: None)
            return honest(log, batches, sync=sync)

    honest = TopicLog.append
    patch.setattr(TopicLog, "append", careless)


def mixes_up_offsets_of_a_shared_write(patch):
    """Appends that shared a write get each other's offsets."""
    honest = TopicLog.append
    patch.setattr(TopicLog, "append", lambda log, batches, *, sync: honest(log, batches, sync=sync)[::-1])


def gives_a_message_to_two_members(patch):
    """A poll does not remember what it gave."""

    def twice(group, limit, end, now_s, until_s):
        taken = honest(group, limit, end, now_s, until_s)
        group._cursor = group.floor
        return taken

    honest = Group.take
    patch.setattr(Group, "take", twice)


def loses_what_was_not_acknowledged(patch):
    """A lease never ends."""
    patch.setattr(Group, "_recall", lambda group, now_s: None)


def forgets_commits_at_a_crash(patch):
    """Commits stay in memory."""
    patch.setattr(Group, "record", lambda group, entry, *, replace, sync: 0)


def counts_what_was_not_delivered(patch):
    """Lag is taken for what is left to deliver."""
    patch.setattr(Group, "lag", lambda group, end: end - max(group.floor, group._cursor))


def trims_a_segment_for_its_oldest_message(patch):
    """A segment goes when its first message is old."""

    def hasty(segment, before_s):
        return segment.read(segment.base, 1, 1)[0].appended_s < before_s

    patch.setattr(Segment, "older_than", hasty)


def wakes_everybody(patch):
    """Any message ends any wait, whatever the offset."""
    honest = SegmentStream.wait
    patch.setattr(
        SegmentStream, "wait", lambda stream, topic, offset, timeout_s: honest(stream, topic, 0, timeout_s)
    )


def remembers_commits_of_messages_torn_away(patch):
    """A group believes its own file, even about messages that the log lost."""
    honest = Group.restore
    patch.setattr(groups.Group, "restore", lambda group, end: honest(group, 1 << 60))


def pages_overlap(patch):
    """A page starts with the last message of the one before."""
    honest = embedded.TopicLog.read

    def overlapping(log, offset, limit, budget_bytes=segments.READ_BUDGET_BYTES):
        return honest(log, max(0, offset - (offset % 1000 == 0)), limit, budget_bytes)

    patch.setattr(TopicLog, "read", overlapping)


SEEDED = [
    acknowledges_before_the_system_has_it,
    keeps_the_torn_tail,
    leaves_half_a_failed_write,
    mixes_up_offsets_of_a_shared_write,
    gives_a_message_to_two_members,
    loses_what_was_not_acknowledged,
    forgets_commits_at_a_crash,
    counts_what_was_not_delivered,
    trims_a_segment_for_its_oldest_message,
    wakes_everybody,
    remembers_commits_of_messages_torn_away,
    pages_overlap,
]


@pytest.mark.parametrize("seed", SEEDED, ids=lambda seed: seed.__name__)
def test_the_suite_catches(seed, monkeypatch, tmp_path):
    seed(monkeypatch)
    assert first_broken(CASES.cases, tmp_path, on_segment_stream), seed.__doc__


def test_and_blames_nothing_else(tmp_path):
    assert not first_broken(CASES.cases, tmp_path, on_segment_stream)
