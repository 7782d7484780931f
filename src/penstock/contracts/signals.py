"""What every signals engine must keep: the promises of `ports/signals.py` as cases."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from penstock.contracts.case import CUT_OFF, BrokenPromise, Contract, Harness, expect, expect_error, needs
from penstock.kernel.errors import Invalid, Unavailable
from penstock.ports.signals import Signal, Signals, Subscription

CASES: Contract[Signals] = Contract("signals")

NEWS_S = 1.0
"""The promise: heard within a second."""

SILENCE_S = 0.05
"""How long to listen for what must not come, where the engine had time to deliver it already."""

MOST = 5_000
"""More signals than any queue keeps."""

HANG_S = 10.0

LOSE = "lose signals on their way"


@dataclass(slots=True)
class SignalsHarness(Harness[Signals]):
    """A harness that may also lose messages on their way, and give a handle on a store that cannot be reached.

    `deafen()` breaks the line that pushes signals to `port`, without a goodbye, until `undeafen()`. None where there is
    no such line, or nobody can: the case then raises NotTried.
    """

    deafen: Callable[[], Awaitable[None]] | None = None
    undeafen: Callable[[], Awaitable[None]] | None = None
    cut_off: Callable[[], Awaitable[Signals]] | None = None


async def heard(ear: Subscription) -> Signal:
    """Return the next signal, which must come within a second."""
    signal = await ear.next(NEWS_S)
    if signal is None:
        raise BrokenPromise("a signal is heard within a second")
    return signal


@CASES.case(1)
async def every_signal_is_heard_in_order_everywhere(h: Harness[Signals]) -> None:
    """Two subscribers here and one on another handle hear a hundred signals, each once, as published."""
    topic, other = h.name("keys"), await h.peer()
    ears = [await h.port.subscribe(topic), await h.port.subscribe(topic), await other.subscribe(topic)]
    bodies = [b"%d" % i for i in range(98)] + [b"", bytes(range(256))]
    for i, body in enumerate(bodies):
        await (h.port, other)[i % 2].publish(topic, body)
    for ear in ears:
        signals = [await heard(ear) for _ in bodies]
        expect([s.body for s in signals] == bodies, "each once, in order", got=[s.body for s in signals][:5])
        expect(not any(s.missed for s in signals), "and nothing was missed")
        expect({s.topic for s in signals} == {topic}, "under their topic")
        expect(await ear.next(SILENCE_S) is None, "and nothing else")


@CASES.case(1)
async def a_subscriber_hears_from_now_on(h: Harness[Signals]) -> None:
    """What was published before is not news; the very next signal is."""
    topic = h.name("keys")
    await h.port.publish(topic, b"before")
    ear = await h.port.subscribe(topic)
    await h.port.publish(topic, b"after")
    expect((await heard(ear)).body == b"after", "the first signal heard is the first one after")
    late = await (await h.peer()).subscribe(topic)
    expect(await late.next(SILENCE_S) is None, "nothing old is heard")


@CASES.case(1)
async def waiting_ends_with_the_signal_or_the_timeout(h: Harness[Signals]) -> None:
    """A subscriber that waits is woken; one that waits in vain gets None and may wait again."""
    topic = h.name("keys")
    ear = await h.port.subscribe(topic)
    expect(await ear.next(SILENCE_S) is None, "no news is None")
    waiting = asyncio.create_task(ear.next(HANG_S))
    await asyncio.sleep(0)
    await h.port.publish(topic, b"wake")
    signal = await asyncio.wait_for(waiting, NEWS_S)
    expect(signal and signal.body == b"wake", "the waiter is woken", signal=signal)


@CASES.case(1, 2)
async def topics_never_mix(h: Harness[Signals]) -> None:
    """Names that look alike are different topics, with versions of their own."""
    stem = h.name("keys")
    topics = [stem, f"{stem}*", f"{stem}?", f"{stem}:", f"{stem}ä", f"{stem}\x00", stem[:-1]]
    ears = [await h.port.subscribe(topic) for topic in topics]
    for topic in topics:
        await h.port.publish(topic, topic.encode())
    for topic, ear in zip(topics, ears, strict=True):
        signal = await heard(ear)
        expect(
            (signal.topic, signal.body) == (topic, topic.encode()), "each ear hears its own", signal=signal
        )
        expect(await ear.next(0) is None, "and only its own", topic=topic)
    expect(await h.port.version(h.name("silent")) == 0, "a silent topic has version 0")


@CASES.case(2)
async def versions_grow_with_each_publish(h: Harness[Signals]) -> None:
    """`publish`, `version` and the signal agree, on both handles, under concurrency too."""
    topic, other = h.name("config"), await h.peer()
    expect(await h.port.version(topic) == 0, "nothing was ever published")
    ear, last = await h.port.subscribe(topic), 0
    for i in range(6):
        version = await (h.port, other)[i % 2].publish(topic, b"x")
        expect(version > last, "it grows", last=last, version=version)
        expect((await heard(ear)).version == version, "the signal carries it", version=version)
        for port in (h.port, other):
            expect(await port.version(topic) == version, "and whoever asks is told", version=version)
        last = version
    versions = await asyncio.gather(*((h.port, other)[i % 2].publish(topic, b"%d" % i) for i in range(40)))
    expect(len(set(versions)) == 40 and min(versions) > last, "no version is given twice", versions=versions)
    order = [await heard(ear) for _ in range(40)]
    expect([s.version for s in order] == sorted(versions), "they are heard in the order of versions")
    expect(all(versions[int(s.body)] == s.version for s in order), "each with its own body")


@CASES.case(2)
async def a_lost_message_is_only_late(h: Harness[Signals]) -> None:
    """With the pushing line broken, the latest news still comes within a second, and says that some was missed."""
    own = h if isinstance(h, SignalsHarness) else None
    deafen, undeafen = (needs(able, LOSE) for able in (own and own.deafen, own and own.undeafen))
    topic, other = h.name("keys"), await h.peer()
    ear = await h.port.subscribe(topic)
    await other.publish(topic, b"0")
    expect((await heard(ear)).body == b"0", "the line works")
    await deafen()
    await other.publish(topic, b"1")
    signal = await heard(ear)
    expect((signal.body, signal.missed) == (b"1", False), "one that was lost is fetched", signal=signal)
    await other.publish(topic, b"2")
    last = await other.publish(topic, b"3")
    signal = await heard(ear)
    expect(signal.missed, "of several, the gap is told", signal=signal)
    while signal.version < last:
        signal = await heard(ear)
    expect(signal.body == b"3", "and the latest is there", signal=signal)
    await undeafen()
    await other.publish(topic, b"4")
    expect((await heard(ear)).body == b"4", "the line comes back")


@CASES.case(3)
async def a_slow_subscriber_is_told_to_reload(h: Harness[Signals]) -> None:
    """More than a queue keeps: the queue is bounded, `missed` says so, and the latest version is among what is left."""
    topic = h.name("keys")
    slow, quick = await h.port.subscribe(topic), await h.port.subscribe(topic)
    version = 0
    for start in range(0, MOST, 100):
        versions = await asyncio.gather(*(h.port.publish(topic, b"x") for _ in range(start, start + 100)))
        version = max(versions)
        while (await heard(quick)).version < version:
            pass
    left: list[Signal] = []
    while signal := await slow.next(0):
        left.append(signal)
    expect(len(left) < MOST, "the queue is bounded", left=len(left))
    expect(left[0].missed, "the first one left says that some were lost", first=left[0])
    expect(left[-1].version == version, "the last fact is not lost", last=left[-1].version, version=version)
    expect([s.version for s in left] == sorted({s.version for s in left}), "in order")
    await h.port.publish(topic, b"next")
    signal = await heard(slow)
    expect((signal.body, signal.missed) == (b"next", False), "and then it goes on as usual", signal=signal)


@CASES.case(4)
async def a_closed_subscription_hears_nothing(h: Harness[Signals]) -> None:
    """Neither what was queued nor what comes later; a waiter is let go; its neighbour is not disturbed."""
    topic = h.name("keys")
    ear, neighbour = await h.port.subscribe(topic), await h.port.subscribe(topic)
    await h.port.publish(topic, b"queued")
    expect((await heard(neighbour)).body == b"queued", "both were told")
    await ear.close()
    await h.port.publish(topic, b"later")
    expect((await heard(neighbour)).body == b"later", "the neighbour still hears")
    expect(await ear.next(SILENCE_S) is None, "the closed one does not")
    waiter = asyncio.create_task(neighbour.next(HANG_S))
    await asyncio.sleep(0)
    await neighbour.close()
    expect(await asyncio.wait_for(waiter, NEWS_S) is None, "closing lets a waiter go")
    await ear.close()


@CASES.case(4)
async def closing_the_engine_closes_every_subscription(h: Harness[Signals]) -> None:
    """Every ear is deaf then, and every verb says so."""
    topic = h.name("keys")
    ear = await h.port.subscribe(topic)
    port = h.port
    await h.reopen()
    await port.close()
    expect(await ear.next(SILENCE_S) is None, "the ear is deaf")
    for verb in (port.publish(topic, b""), port.subscribe(topic), port.version(topic)):
        await expect_error(Unavailable, verb, "closed is unavailable")


@CASES.case(2)
async def an_unreachable_store_says_so(h: Harness[Signals]) -> None:
    """Every verb raises Unavailable; none hangs."""
    cut_off = needs(h.cut_off if isinstance(h, SignalsHarness) else None, CUT_OFF)
    topic, port = h.name("keys"), await cut_off()
    for verb in (port.publish(topic, b""), port.subscribe(topic), port.version(topic)):
        try:
            async with asyncio.timeout(HANG_S):
                await expect_error(Unavailable, verb, "an unreachable store raises Unavailable")
        except TimeoutError:
            raise BrokenPromise("nothing hangs") from None


@CASES.case(1)
async def what_is_out_of_bounds_is_invalid(h: Harness[Signals]) -> None:
    """Topics of 1 to 512 bytes, bodies to 64 KiB."""
    topic = h.name("keys")
    ear = await h.port.subscribe(topic)
    for verb in (
        h.port.publish("", b""),
        h.port.publish("x" * 513, b""),
        h.port.publish(topic, b"x" * (64 * 1024 + 1)),
        h.port.subscribe(""),
        h.port.version("x" * 513),
    ):
        await expect_error(Invalid, verb, "out of bounds")
    await h.port.publish(topic, b"x" * 64 * 1024)
    expect(len((await heard(ear)).body) == 64 * 1024, "the bound itself fits")
