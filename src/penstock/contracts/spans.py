"""What every sink of spans must keep: the promises of `ports/spans.py` as cases.

A case looks at what arrived at the collector, not at what the sink says it sent: `SpansHarness` reads it there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import msgspec

from penstock.contracts.case import CUT_OFF, Contract, Harness, expect, expect_error, needs
from penstock.kernel.errors import Rejected, Unavailable
from penstock.kernel.spans import Attribute, Kind, Span
from penstock.ports.spans import SpanSink

CASES: Contract[SpanSink] = Contract("spans")

LOOK = "look at what arrived"
ORDER = "order the collector"
PATIENCE_S = 10.0
ORIGIN_NS = 1_800_000_000_123_456_789
KINDS: tuple[Kind, ...] = ("server", "internal", "client")


class Arrived(msgspec.Struct, frozen=True, kw_only=True):
    """A span as the collector has it. `error` is "" for one that did not fail."""

    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    remote_parent: bool
    began_ns: int
    ended_ns: int
    attributes: dict[str, object]
    failed: bool
    error: str


@dataclass(slots=True)
class SpansHarness(Harness[SpanSink]):
    """A harness with a collector behind the sink, which answers late after less than `PATIENCE_S`.

    `arrived()` returns what the collector has taken, in order, and `asked()` how often it was asked; `until_asked(n)`
    waits until that is `n` times. `order(text)` says what it does with the next request: a status, with
    ``; retry-after=SECONDS`` or not, ``partial=N``, ``garbage``, ``cut`` or ``hang``. `cut_off()` returns a sink of a
    collector that is not there.
    """

    arrived: Callable[[], Sequence[Arrived]] | None = None
    asked: Callable[[], int] | None = None
    until_asked: Callable[[int], Awaitable[None]] | None = None
    order: Callable[[str], None] | None = None
    cut_off: Callable[[], Awaitable[SpanSink]] | None = None


def _looks(h: Harness[SpanSink]) -> Callable[[], Sequence[Arrived]]:
    return needs(h.arrived if isinstance(h, SpansHarness) else None, LOOK)


def _counts(h: Harness[SpanSink]) -> Callable[[], int]:
    return needs(h.asked if isinstance(h, SpansHarness) else None, LOOK)


def _waits(h: Harness[SpanSink]) -> Callable[[int], Awaitable[None]]:
    return needs(h.until_asked if isinstance(h, SpansHarness) else None, LOOK)


def _orders(h: Harness[SpanSink]) -> Callable[[str], None]:
    return needs(h.order if isinstance(h, SpansHarness) else None, ORDER)


def span(number: int, **members: object) -> Span:
    """Make a span, other than all with another number."""
    return msgspec.structs.replace(
        Span(
            name=f"chat {number}",
            kind="client",
            began_ms=0.25 + number,
            ended_ms=1.5 + number,
            trace_id=f"{number + 1:032x}",
            span_id=f"{number + 7:016x}",
            origin_ns=ORIGIN_NS,
        ),
        **members,
    )


def expected(sent: Span) -> Arrived:
    """Return what must arrive of a span."""
    return Arrived(
        name=sent.name,
        kind=sent.kind,
        trace_id=sent.trace_id,
        span_id=sent.span_id,
        parent_id=sent.parent_id,
        remote_parent=sent.remote_parent,
        began_ns=sent.began_ns,
        ended_ns=sent.ended_ns,
        attributes=dict(sent.attributes),
        failed=sent.failed,
        error=sent.error if sent.failed else "",
    )


async def _sent(h: Harness[SpanSink], batch: Sequence[Span]) -> int:
    """Send a batch, which must not hang."""
    async with asyncio.timeout(PATIENCE_S):
        return await h.port.export(batch)


@CASES.case(1)
async def a_batch_arrives_as_it_is(h: Harness[SpanSink]) -> None:
    """Each kind, each type of attribute to its bounds, remote parents, failures and refusals."""
    arrived = _looks(h)
    told: dict[str, Attribute] = {
        "text": "Grüße, 世界 \x00 \U0001f30d",
        "empty": "",
        "whole": 2**63 - 1,
        "least": 1 - 2**63,
        "none": 0,
        "share": 0.1,
        "yes": True,
        "no": False,
        "list": ("stop", "é"),
        "nothing": (),
    }
    batch = [
        span(0, kind="server", name="chat 世界", parent_id="00f067aa0ba902b7", remote_parent=True),
        *(span(10 + number, kind=kind, parent_id="00000000000000ff") for number, kind in enumerate(KINDS)),
        span(20, attributes=told),
        span(21, error="overloaded", failed=True),
        span(22, error="invalid_request", failed=False),
        span(23, began_ms=5.0, ended_ms=5.0),
        span(24, origin_ns=0, began_ms=0.0, ended_ms=0.000001),
    ]
    expect(await _sent(h, batch) == 0, "a collector that wants everything refuses nothing")
    found = arrived()
    for there, sent in zip(found, batch, strict=False):
        wanted = expected(sent)
        expect(there == wanted, "a span arrives as it is", there=there, wanted=wanted)
        types = {name: (type(there.attributes[name]), type(value)) for name, value in sent.attributes.items()}
        expect(all(one is other for one, other in types.values()), "each attribute of its type", types=types)
    expect(len(found) == len(batch), "every span arrives, once", found=len(found))


@CASES.case(1)
async def a_large_batch_arrives_whole(h: Harness[SpanSink]) -> None:
    """In order, each once, and so does one by one and nothing at all."""
    arrived = _looks(h)
    for size in (1_000, 1, 0, 25):
        before = len(arrived())
        batch = [span(before + number) for number in range(size)]
        expect(await _sent(h, batch) == 0, "nothing is refused")
        found = [each.name for each in arrived()[before:]]
        expect(
            found == [each.name for each in batch], "each span once, in order", size=size, found=len(found)
        )


@CASES.case(1)
async def batches_at_the_same_time_do_not_mix(h: Harness[SpanSink]) -> None:
    """Each span arrives once, however many batches are on their way."""
    arrived = _looks(h)
    await asyncio.gather(*(_sent(h, [span(100 * one + each) for each in range(50)]) for one in range(8)))
    found = sorted(each.trace_id for each in arrived())
    wanted = sorted(span(100 * one + each).trace_id for one in range(8) for each in range(50))
    expect(found == wanted, "each span of each batch once", found=len(found), wanted=len(wanted))


@CASES.case(1)
async def what_the_collector_does_not_want_is_told(h: Harness[SpanSink]) -> None:
    """As many as it says; an answer that says nothing of it, in whatever way, refuses nothing."""
    order = _orders(h)
    for text, refused in (("partial=3", 3), ("garbage", 0), ("partial=1", 1)):
        order(text)
        found = await _sent(h, [span(number) for number in range(5)])
        expect(found == refused, "refused spans are counted", order=text, found=found)
    expect(await _sent(h, [span(9)]) == 0, "and not the ones of the batch before")


@CASES.case(2)
async def what_will_never_be_taken_is_rejected(h: Harness[SpanSink]) -> None:
    """At once, without asking again; the next batch is another matter."""
    order, asked, arrived = _orders(h), _counts(h), _looks(h)
    for status in (400, 401, 403, 404, 413, 500, 302):
        before = asked()
        order(str(status))
        await expect_error(Rejected, _sent(h, [span(1)]), f"{status} is final")
        expect(asked() == before + 1, "it is asked once", status=status, times=asked() - before)
    expect(not arrived(), "what was rejected is not there", arrived=len(arrived()))
    await _sent(h, [span(2)])
    expect([each.name for each in arrived()] == ["chat 2"], "the next batch goes through")


@CASES.case(3)
async def a_busy_collector_is_unavailable_for_as_long_as_it_says(h: Harness[SpanSink]) -> None:
    """Asked once, and the time to come back is passed on when it is one."""
    order, asked, arrived = _orders(h), _counts(h), _looks(h)
    for text, wait_s in (
        ("429; retry-after=7", 7.0),
        ("503; retry-after=0", 0.0),
        ("429", None),
        ("502", None),
        ("503", None),
        ("504", None),
        ("503; retry-after=soon", None),
        ("503; retry-after=-3", None),
    ):
        before = asked()
        order(text)
        error = await expect_error(Unavailable, _sent(h, [span(1)]), f"{text} may be tried again")
        told = getattr(error, "retry_after_s", None)
        expect(told == wait_s, "the time to come back is passed on", order=text, told=told)
        expect(asked() == before + 1, "it is asked once", order=text, times=asked() - before)
    await _sent(h, [span(2)])
    expect([each.name for each in arrived()] == ["chat 2"], "the next batch goes through")


@CASES.case(3)
async def a_collector_that_does_not_answer_is_unavailable(h: Harness[SpanSink]) -> None:
    """Gone in the middle, or silent; the next batch goes through."""
    order, arrived = _orders(h), _looks(h)
    for number, text in enumerate(
        ("cut", "hang")
    ):  # cut first: a kept connection that is cut may just be a stale one
        order(text)
        await expect_error(Unavailable, _sent(h, [span(1)]), f"a collector that does {text} is unavailable")
        await _sent(h, [span(2 + number)])
    expect([each.name for each in arrived()] == ["chat 2", "chat 3"], "the next batch goes through")


@CASES.case(3)
async def a_batch_given_up_by_its_sender_disturbs_no_other(h: Harness[SpanSink]) -> None:
    """Cancelled on its way, a batch is gone; the next one goes through."""
    order, until_asked, arrived = _orders(h), _waits(h), _looks(h)
    order("hang")
    on_its_way = asyncio.create_task(h.port.export([span(1)]))
    async with asyncio.timeout(PATIENCE_S):
        await until_asked(1)
        on_its_way.cancel()
        await asyncio.wait([on_its_way])
    await _sent(h, [span(2)])
    expect([each.name for each in arrived()] == ["chat 2"], "the next batch goes through")


@CASES.case(3)
async def a_collector_that_is_not_there_is_unavailable(h: Harness[SpanSink]) -> None:
    """And nothing hangs."""
    sink = await needs(h.cut_off if isinstance(h, SpansHarness) else None, CUT_OFF)()
    try:
        async with asyncio.timeout(PATIENCE_S):
            await expect_error(Unavailable, sink.export([span(1)]), "nobody is there")
    finally:
        await sink.close()


@CASES.case(4)
async def after_close_nothing_is_sent(h: Harness[SpanSink]) -> None:
    """A batch on its way fails; every one after it too; closing twice is closing once."""
    order, asked, until_asked = _orders(h), _counts(h), _waits(h)
    await _sent(h, [span(1)])
    order("hang")
    on_its_way = asyncio.create_task(h.port.export([span(2)]))
    async with asyncio.timeout(PATIENCE_S):
        await until_asked(2)
        await h.port.close()
        await expect_error(Unavailable, on_its_way, "a batch on its way fails")
        await h.port.close()
    for batch in ([span(3)], []):
        await expect_error(Unavailable, _sent(h, batch), "after close nothing is sent")
    expect(asked() == 2, "and nobody asked", asked=asked())
