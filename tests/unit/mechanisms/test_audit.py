"""The audit pipe: never blocks, counts exactly, survives its sink, tells its listeners whatever happens."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from penstock.kernel.clock import ManualClock
from penstock.kernel.errors import Unavailable
from penstock.kernel.events import RequestEvent
from penstock.mechanisms.audit import BATCH, AuditPipe, content_hash, encoded
from tests.support import run


class Sink:
    """A stream that fails, hangs or keeps what it is given."""

    def __init__(self) -> None:
        self.records: list[bytes] = []
        self.appends: list[int] = []
        self.failing = False
        self.hanging = False

    async def append(self, topic: str, values: list[bytes]) -> int:
        if self.hanging:
            await asyncio.sleep(3600)
        if self.failing:
            raise Unavailable("The disk is full.")
        assert topic == "audit"
        self.appends.append(len(values))
        self.records += values
        return len(self.records) - 1

    def ids(self) -> list[str]:
        return [msgspec.json.decode(record)["request_id"] for record in self.records]


def event(number: int, **fields: object) -> RequestEvent:
    return RequestEvent(request_id=f"req_{number}", at_s=1_800_000_000.0 + number, **fields)


def pipe(sink: Sink, **options: object) -> AuditPipe:
    return AuditPipe(sink, ManualClock(), every_s=0.005, **options)


def balanced(audit: AuditPipe) -> bool:
    return audit.produced == audit.delivered + audit.dropped + audit.queued


async def until(condition) -> None:
    while not condition():
        await asyncio.sleep(0.002)


def test_events_arrive_in_order_and_close_flushes():
    async def story():
        sink = Sink()
        audit = pipe(sink)
        audit.start()
        for number in range(2_500):
            audit.offer(event(number))
        await audit.close()
        assert sink.ids() == [f"req_{number}" for number in range(2_500)]
        assert max(sink.appends) <= BATCH
        assert (audit.delivered, audit.dropped, audit.queued) == (2_500, 0, 0)

    run(story())


@pytest.mark.parametrize(("offered", "dropped"), [(9_999, 0), (10_000, 0), (10_001, 1), (12_345, 2_345)])
def test_the_newest_is_dropped_at_the_bound(offered, dropped):
    async def story():
        sink = Sink()
        audit = pipe(sink)
        for number in range(offered):
            audit.offer(event(number))
        assert (audit.dropped, audit.queued, balanced(audit)) == (dropped, offered - dropped, True)
        audit.start()
        await audit.close()
        assert sink.ids() == [f"req_{number}" for number in range(offered - dropped)]

    run(story())


def test_a_failing_sink_keeps_the_queue_bounded_and_the_listeners_hearing():
    async def story():
        sink, heard = Sink(), []
        sink.failing = True
        audit = pipe(sink, capacity=2_000, listeners=[heard.extend])
        audit.start()
        audit.offer(event(0))
        await until(lambda: not audit.healthy)
        for number in range(1, 5_001):
            audit.offer(event(number))
            assert audit.queued <= 2_000
            if number % 500 == 0:
                await until(lambda wanted=number: len(heard) == wanted + 1)
                assert balanced(audit)
        assert [told.request_id for told in heard] == [f"req_{number}" for number in range(5_001)]
        assert audit.dropped == 5_001 - audit.queued
        assert audit.failures >= 1
        sink.failing = False
        await until(lambda: audit.queued == 0)
        assert audit.healthy
        assert balanced(audit)
        assert sink.ids() == [f"req_{number}" for number in range(len(sink.records))], (
            "the oldest were kept, in order"
        )
        await audit.close()

    run(story())


def test_a_sink_that_hangs_is_cut_and_tried_again():
    async def story():
        sink = Sink()
        sink.hanging = True
        audit = pipe(sink, sink_timeout_s=0.02)
        audit.start()
        audit.offer(event(1))
        await until(lambda: audit.failures == 1)
        sink.hanging = False
        await until(lambda: audit.delivered == 1)
        await audit.close()
        assert sink.ids() == ["req_1"]

    run(story())


def test_close_ends_within_its_bound_and_counts_what_it_could_not_deliver():
    async def story():
        sink = Sink()
        sink.hanging = True
        audit = pipe(sink)
        audit.start()
        for number in range(1_500):
            audit.offer(event(number))
        await audit.close(within_s=0.05)
        assert (audit.delivered, audit.dropped, audit.queued) == (0, 1_500, 0)
        audit.offer(event(9))
        assert (audit.produced, audit.dropped, balanced(audit)) == (1_501, 1_501, True)

    run(story())


def test_a_broken_listener_silences_nobody():
    async def story():
        sink, heard = Sink(), []

        def broken(_events):
            raise RuntimeError("listener")

        audit = pipe(sink, listeners=[broken, heard.extend])
        audit.start()
        audit.offer(event(1))
        await audit.close()
        assert len(heard) == 1
        assert audit.listener_errors == 1
        assert sink.ids() == ["req_1"]

    run(story())


def test_the_lag_is_the_age_of_the_oldest():
    clock = ManualClock(wall_s=1_800_000_010.0)
    audit = AuditPipe(Sink(), clock)
    assert audit.lag_s() == 0.0
    audit.offer(event(3))
    audit.offer(event(7))
    assert audit.lag_s() == 7.0


def test_a_capacity_without_room_for_a_batch_is_refused():
    with pytest.raises(ValueError, match="capacity"):
        AuditPipe(Sink(), ManualClock(), capacity=BATCH)
    AuditPipe(Sink(), ManualClock(), capacity=BATCH + 1)


def test_a_record_holds_what_was_given_and_omits_the_rest():
    given = event(1, org="acme", cost_nanos=123_456_789_012, temperature=0.0, flags=("hedged",), status=429)
    record = msgspec.json.decode(encoded(given))
    assert record == {
        "request_id": "req_1",
        "at_s": 1_800_000_001.0,
        "org": "acme",
        "cost_nanos": 123_456_789_012,
        "temperature": 0.0,
        "flags": ["hedged"],
        "status": 429,
    }
    assert msgspec.json.decode(encoded(given), type=RequestEvent) == given


@pytest.mark.parametrize("text", ["\ud800", "x" * 2_000_000, "é\udfff" * 100_000, '"' * 100_000])
def test_no_text_of_a_caller_can_stop_the_pipe(text):
    async def story():
        sink = Sink()
        audit = pipe(sink)
        audit.start()
        audit.offer(event(1, user=text, model=text, flags=(text,) * 100))
        audit.offer(event(2))
        await audit.close()
        assert sink.ids() == ["req_1", "req_2"]
        assert max(map(len, sink.records)) <= 32 << 10

    run(story())


def test_hashes_tell_equal_contents_of_one_tenant_only():
    key = b"k" * 32
    assert content_hash(key, "acme", b"hello") == content_hash(key, "acme", b"hello")
    assert len({content_hash(key, tenant, b"hello") for tenant in ("acme", "other", "")}) == 3
    assert content_hash(key, "acme", b"hello") != content_hash(key, "acme", b"hello ")
    assert content_hash(b"x" * 32, "acme", b"hello") != content_hash(key, "acme", b"hello")
    assert len(content_hash(key, "acme", b"")) == 32
