"""Metering: each settlement once under its operation's id, counted exactly, whatever its sink and the audit pipe do."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from penstock.kernel.clock import ManualClock
from penstock.kernel.errors import Unavailable
from penstock.kernel.events import RequestEvent
from penstock.mechanisms.audit import AuditPipe
from penstock.mechanisms.metering import EXPIRED_MOST, Metering, Settlement
from penstock.ports.ledger import Settled
from tests.support import run

ACCOUNTS = (
    "org:acme@2026-11-22",
    "org:acme/team:search@2026-11-22",
    "org:acme/team:search/project:web/site@2026-11-22",
    "org:acme/user:kim@acme.example@2026-11-22",
    "org:acme/key:k1@2026-11-22",
)


class Sink:
    """A stream that is down, answers too late, or keeps what it is given."""

    def __init__(self) -> None:
        self.records: list[Settlement] = []
        self.is_down = False
        self.is_late = False

    async def append(self, topic: str, values: list[bytes]) -> int:
        if topic == "audit":
            return 0
        assert topic == "metering"
        if self.is_down:
            raise Unavailable("The sink is down.")
        self.records += [msgspec.json.decode(value, type=Settlement) for value in values]
        if self.is_late:
            await asyncio.sleep(3600)
        return len(self.records) - 1


def event(number: int, **fields: object) -> RequestEvent:
    told: dict[str, object] = {"admitted_ms": 1.0, "cost_nanos": number, **fields}
    return RequestEvent(request_id=f"req_{number}", at_s=1_800_000_000.0 + number, **told)


def metering_to(sink: Sink, **options: object) -> Metering:
    return Metering(sink, ManualClock(wall_s=7.0), every_s=0.005, **options)


def balanced(metering: Metering) -> bool:
    pipe = metering.pipe
    return pipe.produced == pipe.delivered + pipe.dropped + pipe.queued


async def until(condition) -> None:
    while not condition():
        await asyncio.sleep(0.002)


def test_a_record_tells_who_pays_for_what():
    async def story():
        sink = Sink()
        metering = metering_to(sink)
        metering.pipe.start()
        who = {
            "org": "acme",
            "team": "search",
            "project": "web",
            "user": "kim",
            "key_id": "k1",
            "feature": "chat",
        }
        what = {"provider": "sim", "model_used": "m", "price_version": "v1", "estimated": True}
        used = {"input_tokens": 9, "cached_tokens": 4, "output_tokens": 5, "reasoning_tokens": 2}
        metering([event(3, **who, **what, **used)])
        await metering.pipe.close()
        assert sink.records == [
            Settlement(
                operation="req_3", at_s=1_800_000_003.0, outcome="posted", cost_nanos=3, **who, **what, **used
            )
        ]

    run(story())


def test_what_held_no_money_is_no_settlement():
    metering = metering_to(Sink(), unpaid=frozenset({"count_tokens"}))
    refused, counted = event(1, admitted_ms=0.0, status=429), event(2, flags=("x", "count_tokens"))
    metering([refused, counted, event(3, flags=("x",))])
    metering.missed(refused)
    assert (metering.pipe.produced, metering.pipe.queued) == (1, 1)


def test_a_hold_that_expired_is_told_with_who_pays_and_its_late_request_is_not():
    async def story():
        sink = Sink()
        metering = metering_to(sink)
        metering.pipe.start()
        metering.expired([Settled("req_1", "expired", 77, estimated=True, accounts=ACCOUNTS)])
        metering([event(1), event(2)])
        await metering.pipe.close()
        assert sink.records[0] == Settlement(
            operation="req_1",
            at_s=7.0,
            outcome="expired",
            org="acme",
            team="search",
            project="web/site",
            user="kim@acme.example",
            key_id="k1",
            cost_nanos=77,
            estimated=True,
        )
        assert [(one.operation, one.outcome) for one in sink.records[1:]] == [("req_2", "posted")]

    run(story())


def test_what_expired_is_remembered_within_a_bound():
    metering = metering_to(Sink())
    metering.expired([Settled(f"req_{number}", "expired", 0) for number in range(EXPIRED_MOST + 1)])
    before = metering.pipe.produced
    metering([event(0), event(1), event(EXPIRED_MOST)])
    assert metering.pipe.produced == before + 1
    assert balanced(metering)


def test_a_sink_that_was_down_gets_everything_and_the_books_balance_all_the_time():
    async def story():
        sink = Sink()
        sink.is_down = True
        metering = metering_to(sink)
        metering.pipe.start()
        for number in range(3_000):
            metering([event(number)])
            assert balanced(metering)
        await until(lambda: metering.pipe.failures >= 2)
        assert (metering.pipe.delivered, metering.pipe.healthy, balanced(metering)) == (0, False, True)
        sink.is_down = False
        await until(lambda: metering.pipe.delivered == 3_000)
        assert [one.operation for one in sink.records] == [f"req_{number}" for number in range(3_000)]
        assert (metering.pipe.dropped, metering.pipe.queued) == (0, 0)
        await metering.pipe.close()

    run(story())


@pytest.mark.parametrize(("told", "dropped"), [(1_500, 0), (1_501, 1), (4_000, 2_500)])
def test_drops_are_counted_at_the_bound(told: int, dropped: int):
    async def story():
        sink = Sink()
        metering = metering_to(sink, capacity=1_500)
        metering([event(number) for number in range(told)])
        assert (metering.pipe.produced, metering.pipe.dropped) == (told, dropped)
        assert balanced(metering)
        metering.pipe.start()
        await metering.pipe.close()
        assert len(sink.records) == metering.pipe.delivered == told - dropped

    run(story())


def test_a_sink_that_answers_too_late_has_duplicates_under_the_same_id():
    async def story():
        sink = Sink()
        sink.is_late = True
        metering = metering_to(sink, sink_timeout_s=0.02)
        metering.pipe.start()
        metering([event(number) for number in range(5)])
        await until(lambda: metering.pipe.failures >= 1)
        sink.is_late = False
        await until(lambda: metering.pipe.delivered == 5)
        await metering.pipe.close()
        assert len(sink.records) > 5
        once = {one.operation: one for one in sink.records}
        assert all(once[one.operation] == one for one in sink.records)
        assert sum(one.cost_nanos for one in once.values()) == sum(range(5))

    run(story())


def test_what_the_audit_pipe_drops_unheard_counts_as_dropped_here_too():
    async def story():
        sink = Sink()
        metering = metering_to(sink)
        metering.pipe.start()
        audit = AuditPipe(sink, ManualClock(), capacity=1_500, listeners=[metering], every_s=0.005)
        audit.told_of_losses(metering.missed)
        for number in range(1_600):
            audit.offer(event(number))
        assert (audit.dropped, metering.pipe.produced, metering.pipe.dropped) == (100, 100, 100)
        audit.start()
        await audit.close()
        audit.offer(event(1_600))
        audit.offer(event(1_601, admitted_ms=0.0))
        await metering.pipe.close()
        assert (metering.pipe.produced, metering.pipe.dropped, len(sink.records)) == (1_601, 101, 1_500)
        assert balanced(metering)
        assert audit.produced == audit.delivered + audit.dropped

    run(story())


def test_what_the_audit_pipe_cannot_tell_in_time_at_its_end_counts_as_dropped_here_too():
    async def story():
        metering = metering_to(Sink())
        audit = AuditPipe(Sink(), ManualClock(), listeners=[metering])
        audit.told_of_losses(metering.missed)
        for number in range(10):
            audit.offer(event(number))
        await audit.close()
        assert (audit.dropped, metering.pipe.produced, metering.pipe.dropped) == (10, 10, 10)

    run(story())
