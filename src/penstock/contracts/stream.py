"""What every stream must keep: the promises of `ports/stream.py` as cases.

`StreamHarness` adds two awkward states that only the owner of the files can make; an engine whose log is not ours to
tear or fill leaves them None, and the cases that need them raise NotTried.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from penstock.contracts.case import Contract, Harness, expect, expect_error, needs
from penstock.kernel.errors import Invalid, NotFound, Unavailable
from penstock.ports.stream import Message, Stream

CASES: Contract[Stream] = Contract("stream")

MIB = 1 << 20
TEAR = "tear the tail of the log"


@dataclass(slots=True)
class StreamHarness(Harness[Stream]):
    """A harness that may also tear the log and fill the disk.

    `tear(topic, cut, garbage)` crashes, takes the last `cut` bytes off the topic's newest file, adds `garbage` there
    and opens the store again. `fill(room)` leaves `room` bytes on the disk for the largest file; None ends it.
    """

    tear: Callable[[str, int, bytes], Awaitable[Stream]] | None = None
    fill: Callable[[int | None], None] | None = None


def numbered(count: int, start: int = 0) -> list[bytes]:
    """Return `count` messages that can be told apart."""
    return [f"message {number}".encode() for number in range(start, start + count)]


async def everything(stream: Stream, topic: str, offset: int = 0) -> list[Message]:
    """Read a topic to its end in pages."""
    messages: list[Message] = []
    while page := await stream.read(topic, offset, 1000):
        messages += page
        offset = page[-1].offset + 1
    return messages


def values_of(messages: Sequence[Message]) -> list[bytes]:
    """Return the values alone."""
    return [message.value for message in messages]


def offsets_of(messages: Sequence[Message]) -> list[int]:
    """Return the offsets alone."""
    return [message.offset for message in messages]


@CASES.case(1)
async def what_append_returned_for_survives_a_crash(h: Harness[Stream]) -> None:
    """Offsets are those of the last message, and a crash right after loses nothing."""
    topic = h.name("audit")
    last = await h.port.append(topic, numbered(3))
    expect(last == 2, "append returns the offset of the last message", last=last)
    port = await h.reopen()
    expect(values_of(await port.read(topic, 0)) == numbered(3), "appended messages survive a crash")
    last = await port.append(topic, numbered(2, 3))
    expect(last == 4, "offsets go on after a crash", last=last)
    messages = await everything(port, topic)
    expect(offsets_of(messages) == [0, 1, 2, 3, 4], "offsets grow by one", offsets=offsets_of(messages))


@CASES.case(1)
async def appends_at_the_bounds(h: Harness[Stream]) -> None:
    """1 and 10,000 messages are taken; 0 and 10,001 are refused and leave nothing."""
    topic = h.name("bounds")
    await expect_error(Invalid, h.port.append(topic, []), "no message at all is refused")
    await expect_error(Invalid, h.port.append(topic, numbered(10_001)), "10,001 messages are refused")
    expect(not await h.port.read(topic, 0), "a refused append leaves nothing")
    expect(await h.port.append(topic, numbered(10_000)) == 9_999, "10,000 messages are taken")
    expect(await h.port.append(topic, [b""]) == 10_000, "an empty message is a message")
    expect(values_of(await h.port.read(topic, 10_000)) == [b""], "an empty message reads back empty")
    found = values_of(await everything(h.port, topic))
    expect(found[:-1] == numbered(10_000), "all 10,000 are there in order", found=len(found))


@CASES.case(1)
async def messages_at_the_bound_of_size(h: Harness[Stream]) -> None:
    """A message of 1 MiB is taken, one byte more refuses the whole append."""
    topic = h.name("sizes")
    await expect_error(
        Invalid, h.port.append(topic, [b"a", b"x" * (MIB + 1)]), "a message over 1 MiB is refused"
    )
    whole = bytes(range(256)) * (MIB // 256)
    expect(await h.port.append(topic, [whole]) == 0, "1 MiB is taken, and the refused left nothing")
    expect(values_of(await h.port.read(topic, 0)) == [whole], "a message of 1 MiB reads back whole")


@CASES.case(1)
async def names_that_are_no_topics(h: Harness[Stream]) -> None:
    """A name that could leave its folder or hide is refused by every verb that takes one."""
    for name in ("", "..", "a/b", "../a", "A b", "a\0b", "é", "x" * 121):
        await expect_error(Invalid, h.port.append(name, [b"x"]), f"append refuses the topic {name!r}")
        await expect_error(Invalid, h.port.read(name, 0), f"read refuses the topic {name!r}")
        await expect_error(Invalid, h.port.lag("audit", name), f"lag refuses the group {name!r}")


@CASES.case(1, 2)
async def concurrent_appends_keep_their_batches_whole(h: Harness[Stream]) -> None:
    """Forty writers at once: each batch is contiguous, in order, where its offset says."""
    topic = h.name("crowd")
    batches = [[f"{writer}.{number}".encode() for number in range(25)] for writer in range(40)]
    lasts = await asyncio.gather(*(h.port.append(topic, batch) for batch in batches))
    found = values_of(await everything(h.port, topic))
    expect(len(found) == 1000, "every message is there once", found=len(found))
    expect(len(set(lasts)) == 40, "no two appends share an offset", lasts=sorted(lasts))
    for last, batch in zip(lasts, batches, strict=True):
        expect(found[last - 24 : last + 1] == batch, "a batch is where its offset says", last=last)


@CASES.case(2)
async def pages_neither_miss_nor_repeat(h: Harness[Stream]) -> None:
    """Reading in pages of any size gives the same messages; past the end there is nothing."""
    topic = h.name("pages")
    await h.port.append(topic, numbered(2500))
    for size in (1000, 7):
        offset, seen = (0, []) if size == 1000 else (2000, list[bytes](numbered(2000)))
        while page := await h.port.read(topic, offset, size):
            expect(len(page) <= size, "a page is no larger than asked", size=size, got=len(page))
            expect(
                offsets_of(page) == list(range(offset, offset + len(page))), "offsets follow", offset=offset
            )
            seen += values_of(page)
            offset += len(page)
        expect(seen == numbered(2500), "pages hold every message once, in order", size=size, seen=len(seen))
    one = await h.port.read(topic, 1234, 1)
    expect(values_of(one) == numbered(1, 1234), "a read from the middle starts there", got=one)
    expect(not await h.port.read(topic, 2500), "at the end there is nothing")
    expect(not await h.port.read(topic, 99_999), "past the end there is nothing")
    expect(not await h.port.read(h.name("unwritten"), 0), "an unwritten topic is empty")
    await expect_error(Invalid, h.port.read(topic, -1), "a negative offset is refused")
    await expect_error(Invalid, h.port.read(topic, 0, 0), "a limit of 0 is refused")
    await expect_error(Invalid, h.port.read(topic, 0, 10_001), "a limit of 10,001 is refused")


@CASES.case(2)
async def large_messages_come_in_order_too(h: Harness[Stream]) -> None:
    """Twelve megabytes come in as many reads as it takes."""
    topic = h.name("large")
    values = [bytes([number]) * MIB for number in range(12)]
    await h.port.append(topic, values)
    expect(values_of(await everything(h.port, topic)) == values, "large messages are whole and in order")


@CASES.case(2)
async def a_reader_at_the_tail_sees_what_is_being_written(h: Harness[Stream]) -> None:
    """A reader that follows writers misses nothing and sees nothing twice."""
    topic = h.name("tail")

    async def write() -> None:
        for start in range(0, 1000, 50):
            await h.port.append(topic, numbered(50, start))

    async def follow() -> list[bytes]:
        seen: list[bytes] = []
        while len(seen) < 1000:
            if await h.port.wait(topic, len(seen), 1.0):
                page = await h.port.read(topic, len(seen), 130)
                expect(page, "what wait promised can be read", offset=len(seen))
                seen += values_of(page)
        return seen

    _, seen = await asyncio.gather(write(), follow())
    expect(seen == numbered(1000), "a follower sees every message once, in order", seen=len(seen))


@CASES.case(3)
async def a_message_goes_to_one_member_at_a_time(h: Harness[Stream]) -> None:
    """Members that poll at once get different messages; another group gets them all."""
    topic = h.name("jobs")
    await h.port.append(topic, numbered(100))
    polls = (h.port.poll(topic, "workers", f"m{number}", 15, 60.0) for number in range(8))
    given = [offset for got in await asyncio.gather(*polls) for offset in offsets_of(got)]
    expect(sorted(given) == list(range(100)), "each message goes to one member", given=sorted(given))
    expect(not await h.port.poll(topic, "workers", "m9", 15, 60.0), "what others hold is hidden")
    expect(not await h.port.poll(topic, "workers", "m0", 15, 60.0), "and what one holds oneself")
    others = await h.port.poll(topic, "billing", "b1", 1000, 60.0)
    expect(values_of(others) == numbered(100), "another group gets every message", got=len(others))
    await expect_error(Invalid, h.port.poll(topic, "workers", "m1", 0), "a limit of 0 is refused")


@CASES.case(3)
async def an_unacknowledged_message_comes_again(h: Harness[Stream]) -> None:
    """Hidden until `visible_s` has passed, then given again, to any member, and only what was not committed."""
    topic = h.name("again")
    await h.port.append(topic, numbered(4))
    first = await h.port.poll(topic, "g", "slow", 3, 2.0)
    expect(offsets_of(first) == [0, 1, 2], "a poll takes the oldest", got=offsets_of(first))
    await h.port.commit(topic, "g", [1])
    await h.advance(1.5)
    rest = await h.port.poll(topic, "g", "other", 10, 60.0)
    expect(offsets_of(rest) == [3], "before visible_s they are hidden", got=offsets_of(rest))
    await h.advance(0.6)
    again = await h.port.poll(topic, "g", "other", 10, 60.0)
    expect(offsets_of(again) == [0, 2], "after visible_s the uncommitted come again", got=offsets_of(again))
    expect(values_of(again) == [b"message 0", b"message 2"], "with their own values", got=values_of(again))
    await h.advance(2.1)
    expect(not await h.port.poll(topic, "g", "third", 10, 60.0), "a second lease hides as long as it says")


@CASES.case(4)
async def commits_survive_a_crash(h: Harness[Stream]) -> None:
    """After a restart a group gets exactly what it had not committed."""
    topic = h.name("commits")
    await h.port.append(topic, numbered(10))
    await h.port.poll(topic, "g", "m", 10, 1.0)
    await h.port.commit(topic, "g", [0, 1, 2, 3, 4])
    await h.port.commit(topic, "g", [7, 7])
    port = await h.reopen()
    await h.advance(1.1)
    lag = await port.lag(topic, "g")
    expect(lag == 4, "lag survives a restart", lag=lag)
    left = await port.poll(topic, "g", "m", 100, 1.0)
    expect(offsets_of(left) == [5, 6, 8, 9], "a group goes on after what it committed", got=offsets_of(left))
    await port.commit(topic, "g", [9, 8, 6, 5])
    port = await h.reopen()
    await h.advance(1.1)
    expect(await port.lag(topic, "g") == 0, "a group that committed all has no lag")
    expect(not await port.poll(topic, "g", "m"), "and gets nothing")


@CASES.case(4)
async def commits_that_make_no_sense(h: Harness[Stream]) -> None:
    """Committing twice changes nothing; what never existed cannot be committed."""
    topic = h.name("odd")
    await h.port.append(topic, numbered(3))
    await h.port.poll(topic, "g", "m", 10, 60.0)
    await h.port.commit(topic, "g", [])
    await h.port.commit(topic, "g", [0])
    await h.port.commit(topic, "g", [0, 0])
    await expect_error(Invalid, h.port.commit(topic, "g", [1, 3]), "an offset that does not exist is refused")
    await expect_error(Invalid, h.port.commit(topic, "g", [-1]), "a negative offset is refused")
    lag = await h.port.lag(topic, "g")
    expect(lag == 2, "a refused commit commits nothing", lag=lag)


@CASES.case(4, 5)
async def commits_at_once_are_all_kept(h: Harness[Stream]) -> None:
    """Many members commit at the same time; none of it is lost, now or after a crash."""
    topic = h.name("many")
    await h.port.append(topic, numbered(200))
    await h.port.poll(topic, "g", "m", 200, 1.0)
    await asyncio.gather(*(h.port.commit(topic, "g", [offset]) for offset in range(0, 200, 2)))
    expect(await h.port.lag(topic, "g") == 100, "commits at once are all counted")
    port = await h.reopen()
    await h.advance(1.1)
    left = offsets_of(await port.poll(topic, "g", "m", 200, 60.0))
    expect(left == list(range(1, 200, 2)), "commits at once are all durable", left=len(left))


@CASES.case(5)
async def lag_is_exact(h: Harness[Stream]) -> None:
    """Lag counts what is not committed: not what was not delivered, and holes are counted."""
    topic = h.name("lag")
    expect(await h.port.lag(topic, "g") == 0, "an empty topic has no lag")
    await h.port.append(topic, numbered(10))
    expect(await h.port.lag(topic, "new") == 10, "a group that never polled lags by everything")
    await h.port.poll(topic, "g", "m", 6, 60.0)
    expect(await h.port.lag(topic, "g") == 10, "delivered is not committed")
    for committed, lag in (([5], 9), ([0, 1], 7), ([2, 3, 4], 4)):
        await h.port.commit(topic, "g", committed)
        seen = await h.port.lag(topic, "g")
        expect(seen == lag, "lag falls by what is committed", committed=committed, lag=seen)
    await h.port.append(topic, numbered(3, 10))
    expect(await h.port.lag(topic, "g") == 7, "lag grows by what is appended")


@CASES.case(6)
async def trim_keeps_what_is_not_older(h: Harness[Stream]) -> None:
    """Nothing younger than the bound goes; a reader and a group behind the cut are told or moved."""
    topic = h.name("trim")
    await h.port.append(topic, numbered(5))
    await h.advance(2.0)
    await h.port.append(topic, numbered(5, 5))
    messages = await everything(h.port, topic)
    oldest_s, bound_s = messages[0].appended_s, messages[5].appended_s
    expect(bound_s - oldest_s >= 2.0, "messages carry their time", seconds=bound_s - oldest_s)
    expect(await h.port.trim(topic, oldest_s) == 0, "what is not older than the bound stays")
    first = await h.port.trim(topic, bound_s)
    expect(0 <= first <= 5, "no young message is trimmed", first=first)
    left = values_of(await everything(h.port, topic, first))
    expect(left == numbered(10 - first, first), "what is left is whole", first=first, left=len(left))
    first = await h.port.trim(topic, bound_s + 1.0)
    expect(first == 10, "what is older than the bound goes", first=first)
    error = await expect_error(NotFound, h.port.read(topic, 9), "a reader behind the cut is told")
    expect(getattr(error, "limit", None) == 10, "it is told the first offset left", error=str(error))
    expect(await h.port.lag(topic, "g") == 0, "what was trimmed is no longer lag")
    port = await h.reopen()
    expect(await port.append(topic, [b"next"]) == 10, "a restart uses no offset twice")
    got = await port.poll(topic, "g", "m", 10, 60.0)
    expect(offsets_of(got) == [10], "a group behind the cut goes on at what is left", got=offsets_of(got))
    expect(await port.trim(h.name("unwritten"), bound_s) == 0, "an unwritten topic has nothing to trim")


@CASES.case(7)
async def a_torn_tail_is_cut(h: Harness[Stream]) -> None:
    """A crash in mid-append leaves the whole messages before it and nothing of it; writing goes on after them."""
    tear = needs(h.tear if isinstance(h, StreamHarness) else None, TEAR)
    rubbish = (b"", b"\0" * 64, b"\x05\0\0\0" + b"a whole record's length", b"\xff" * 40, bytes(range(16)))
    for cut in (1, 10, 100, 0):
        for garbage in rubbish:
            topic = h.name(f"torn-{cut}-{rubbish.index(garbage)}")
            values = [b"v" * 100, b"w" * 100, b"x" * 100]
            await h.port.append(topic, values)
            port = await tear(topic, cut, garbage)
            whole = values if not cut else values[:2]
            found = values_of(await everything(port, topic))
            expect(
                found == whole,
                "whole messages stay, torn ones go",
                cut=cut,
                garbage=garbage,
                found=len(found),
            )
            last = await port.append(topic, [b"after"])
            expect(last == len(whole), "writing goes on after the whole ones", last=last)
            port = await h.reopen()
            found = values_of(await everything(port, topic))
            expect(
                found == [*whole, b"after"], "and stays readable", cut=cut, garbage=garbage, found=len(found)
            )


@CASES.case(7, 4)
async def a_group_never_skips_what_a_tear_took(h: Harness[Stream]) -> None:
    """A commit of a message that the crash tore away does not hide the message that takes its offset."""
    tear = needs(h.tear if isinstance(h, StreamHarness) else None, TEAR)
    topic = h.name("torn-commit")
    await h.port.append(topic, numbered(3))
    await h.port.poll(topic, "g", "m", 3, 1.0)
    await h.port.commit(topic, "g", [0, 1, 2])
    port = await tear(topic, 1, b"")
    expect(await port.append(topic, [b"again"]) == 2, "the torn offset is used again")
    await h.advance(1.1)
    got = values_of(await port.poll(topic, "g", "m", 3, 60.0))
    expect(got == [b"again"], "the group gets what took the torn offset", got=got)


@CASES.case(8)
async def wait_wakes_when_there_is_something(h: Harness[Stream]) -> None:
    """At once when it is there, when it comes, and not for an earlier offset."""
    topic = h.name("wait")
    expect(await h.port.wait(topic, 0, 0.02) is False, "nothing comes: False after the timeout")
    expect(await h.port.wait(topic, 0, 0.0) is False, "no patience: False at once")
    far = asyncio.ensure_future(h.port.wait(topic, 5, 10.0))
    near = asyncio.ensure_future(h.port.wait(topic, 2, 10.0))
    await h.port.append(topic, numbered(3))
    expect(await near is True, "the message that was waited for wakes")
    expect(await h.port.wait(topic, 2, 10.0) is True, "what is there already is there at once")
    expect(await h.port.wait(topic, 3, 0.02) is False, "an earlier message is not what was waited for")
    expect(not far.done(), "a waiter further on sleeps on")
    await h.port.append(topic, numbered(3, 3))
    expect(await far is True, "until its own offset exists")


@CASES.case(9)
async def a_full_disk_is_unavailable_and_loses_nothing(h: Harness[Stream]) -> None:
    """Appends fail with Unavailable at every amount of room, reads go on, and when there is room so do appends."""
    fill = needs(h.fill if isinstance(h, StreamHarness) else None, "fill the disk")
    topic = h.name("full")
    kept = [b"k" * 50 for _ in range(100)]
    await h.port.append(topic, kept)
    for room in (0, 7, 30, 150):
        fill(room)
        try:
            await expect_error(
                Unavailable, h.port.append(topic, [b"n" * 50] * 5), "a full disk is Unavailable"
            )
            found = values_of(await everything(h.port, topic))
            expect(found == kept, "the log stays readable and unchanged", room=room, found=len(found))
        finally:
            fill(None)
        last = await h.port.append(topic, [b"room %d" % room])
        kept.append(b"room %d" % room)
        expect(last == len(kept) - 1, "with room, offsets go on without a hole", room=room, last=last)
    port = await h.reopen()
    expect(values_of(await everything(port, topic)) == kept, "nothing of a failed append appears")
