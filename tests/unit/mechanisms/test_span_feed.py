"""The span feed: hearing costs nothing and fails never; at any moment produced = delivered + dropped + queued."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, TraceIdRatioBased
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from penstock.kernel.errors import Rejected, Unavailable
from penstock.kernel.events import Call, RequestEvent
from penstock.kernel.spans import Span
from penstock.mechanisms import span_feed
from penstock.mechanisms.span_feed import BATCH_SPANS, SpanFeed, sampled
from penstock.mechanisms.spans import spans_of, trace_of
from tests.support import run


class Sink:
    """A collector that takes, refuses, is away or hangs: one word of `moods` a batch, then `mood`."""

    def __init__(self, *moods: str) -> None:
        self.moods = list(moods)
        self.mood = "ok"
        self.asked: list[list[Span]] = []
        self.taken: list[Span] = []
        self.refuses = 0
        self.retry_after_s: float | None = None

    async def export(self, spans: Sequence[Span]) -> int:
        self.asked.append(list(spans))
        mood = self.moods.pop(0) if self.moods else self.mood
        await asyncio.sleep(0)
        match mood:
            case "away":
                raise Unavailable("away", retry_after_s=self.retry_after_s)
            case "never":
                raise Rejected("never")
            case "broken":
                raise ZeroDivisionError
            case "hangs":
                await asyncio.sleep(3_600)
        self.taken += spans
        return self.refuses

    async def close(self) -> None:
        pass

    def ids(self) -> list[str]:
        return [str(each.attributes["penstock.request_id"]) for each in self.taken if not each.depth]


def event(number: int, **fields: object) -> RequestEvent:
    facts = {
        "provider": "sim",
        "model": "fast",
        "latency_ms": 9.0,
        "routed_ms": 1.0,
        "admitted_ms": 2.0,
    } | fields
    return RequestEvent(request_id=f"req_{number}", at_s=1_800_000_000.0, **facts)


def feed_of(sink: Sink, **options: object) -> SpanFeed:
    return SpanFeed(sink, **({"every_s": 0.002, "backoff_s": 0.001} | options))


def balanced(feed: SpanFeed) -> bool:
    return feed.produced == feed.delivered + feed.dropped + feed.queued


async def until(condition) -> None:
    while not condition():
        await asyncio.sleep(0.001)


def counts(feed: SpanFeed) -> dict[str, int]:
    names = ("produced", "delivered", "dropped", "queued", "skipped", "failures", "refused_spans")
    return {name: getattr(feed, name) for name in names if getattr(feed, name)}


def test_what_is_heard_is_sent_in_order_and_close_sends_the_rest():
    async def story():
        sink = Sink()
        feed = feed_of(sink, every_s=60.0)
        feed.start()
        feed([event(number) for number in range(900)])
        feed([event(900)])
        await feed.close()
        assert sink.ids() == [f"req_{number}" for number in range(901)]
        assert counts(feed) == {"produced": 901, "delivered": 901}
        assert sink.taken[:4] == spans_of(event(0))

    run(story())


def test_a_full_batch_does_not_wait_for_its_time():
    async def story():
        sink = Sink()
        feed = feed_of(sink, every_s=3_600.0)
        feed.start()
        feed([event(number) for number in range(span_feed.WAKE_EVENTS)])
        await until(lambda: feed.delivered == span_feed.WAKE_EVENTS)
        await feed.close()

    run(story())


def test_a_batch_is_bounded_unless_one_request_alone_is_larger():
    async def story():
        sink = Sink()
        feed = feed_of(sink)
        huge = event(0, calls=tuple(Call("sim", "m", 1.0, 2.0) for _ in range(BATCH_SPANS)))
        feed([*(event(number) for number in range(1, 400)), huge, event(400)])
        feed.start()
        await feed.close()
        assert feed.delivered == 401
        large = [len(batch) for batch in sink.asked if len(batch) > BATCH_SPANS]
        assert large == [len(spans_of(huge))]

    run(story())


@pytest.mark.parametrize(("heard", "dropped"), [(9, 0), (10, 0), (11, 1), (25, 15)])
def test_the_newest_is_dropped_at_the_bound(heard: int, dropped: int):
    async def story():
        sink = Sink()
        feed = feed_of(sink, capacity=10)
        for number in range(heard):
            feed([event(number)])
            assert balanced(feed)
        assert (feed.dropped, feed.queued) == (dropped, heard - dropped)
        feed.start()
        await feed.close()
        assert sink.ids() == [f"req_{number}" for number in range(heard - dropped)]
        assert balanced(feed)

    run(story())


def test_a_collector_that_is_away_loses_nothing_there_is_room_for():
    async def story():
        sink = Sink()
        sink.mood = "away"
        feed = feed_of(sink, capacity=50)
        feed.start()
        for number in range(80):
            feed([event(number)])
            await asyncio.sleep(0)
            assert balanced(feed)
            assert feed.queued <= 50
        await until(lambda: feed.failures >= 3)
        assert not feed.healthy
        assert (feed.delivered, feed.dropped, feed.queued) == (0, 30, 50)
        sink.mood = "ok"
        await until(lambda: not feed.queued)
        assert feed.healthy
        await feed.close()
        assert sink.ids() == [f"req_{number}" for number in range(50)], "the oldest, once each, in order"
        assert counts(feed)["delivered"] == 50

    run(story())


@pytest.mark.parametrize("mood", ["never", "broken"])
def test_a_batch_that_will_never_be_taken_makes_way(mood: str):
    async def story():
        sink = Sink(mood)
        feed = feed_of(sink)
        feed([event(number) for number in range(200)])
        feed.start()
        await feed.close()
        first = len({each.trace_id for each in sink.asked[0]})
        assert counts(feed) == {"produced": 200, "delivered": 200 - first, "dropped": first, "failures": 1}
        assert sink.ids() == [f"req_{number}" for number in range(first, 200)]

    run(story())


def test_an_event_that_cannot_be_drawn_makes_way(monkeypatch: pytest.MonkeyPatch):
    def draws(event, names, back_ends):
        if event.request_id == "req_1":
            raise ZeroDivisionError
        return spans_of(event, names, back_ends)

    monkeypatch.setattr(span_feed, "spans_of", draws)

    async def story():
        sink = Sink()
        feed = feed_of(sink)
        feed([event(number) for number in range(3)])
        feed.start()
        await feed.close()
        assert sink.ids() == ["req_0", "req_2"]
        assert counts(feed) == {"produced": 3, "delivered": 2, "dropped": 1}

    run(story())


def test_the_event_loop_breathes_while_a_batch_is_drawn():
    async def story():
        feed = feed_of(Sink())
        feed([event(number) for number in range(span_feed.WAKE_EVENTS)])
        drawing = asyncio.create_task(feed._fill())
        breaths = 0
        while not drawing.done():
            breaths += 1
            await asyncio.sleep(0)
        assert breaths > span_feed.WAKE_EVENTS // span_feed.SLICE

    run(story())


def test_spans_the_collector_did_not_want_are_counted():
    async def story():
        sink = Sink()
        sink.refuses = 2
        feed = feed_of(sink)
        feed([event(0)])
        feed.start()
        await feed.close()
        assert counts(feed) == {"produced": 1, "delivered": 1, "refused_spans": 2}

    run(story())


@pytest.mark.parametrize("mood", ["away", "hangs"])
def test_close_ends_within_its_bound_and_counts_what_is_left(mood: str):
    async def story():
        sink = Sink()
        sink.mood = mood
        feed = feed_of(sink, backoff_s=60.0)
        feed([event(number) for number in range(300)])
        feed.start()
        await until(lambda: sink.asked)
        await feed.close(within_s=0.05)
        assert (feed.delivered, feed.dropped, feed.queued) == (0, 300, 0)
        feed([event(300)])
        assert counts(feed)["dropped"] == 301
        await feed.close()

    run(story())


def test_a_feed_that_never_started_closes_too():
    async def story():
        feed = feed_of(Sink())
        feed([event(0)])
        await feed.close()
        assert counts(feed) == {"produced": 1, "dropped": 1}

    run(story())


@pytest.mark.parametrize(
    ("asked_s", "wait_s"), [(None, 1.0), (0.0, 1.0), (5.0, 5.0), (60.0, 60.0), (61.0, 60.0), (1e9, 60.0)]
)
def test_a_collector_may_ask_for_a_pause_within_bounds(asked_s: float | None, wait_s: float):
    async def story():
        sink = Sink()
        sink.mood, sink.retry_after_s = "away", asked_s
        feed = feed_of(sink, backoff_s=1.0)
        feed([event(0)])
        await feed._fill()
        assert await feed._send() == wait_s

    run(story())


def test_pauses_grow_to_a_bound_and_begin_anew_after_a_success():
    async def story():
        sink = Sink(*["away"] * 8)
        feed = feed_of(sink, backoff_s=1.0)
        feed([event(0)])
        await feed._fill()
        assert [await feed._send() for _ in range(9)] == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0, 0.0]
        sink.moods = ["away"]
        feed([event(1)])
        await feed._fill()
        assert await feed._send() == 1.0

    run(story())


# --------------------------------------------------------------------------------------------------------- sampling


def test_what_is_left_out_is_counted_apart():
    feed = feed_of(Sink(), share=0.0)
    feed([event(0), event(1, status=502), event(2, error="client_gone"), event(3, parent_sampled=True)])
    assert counts(feed) == {"produced": 3, "queued": 3, "skipped": 1}


def test_a_caller_is_followed_unless_it_is_not_to_be():
    for share in (0.0, 1.0):
        assert sampled(event(0, parent_sampled=True), share)
        assert not sampled(event(0, parent_sampled=False), share)
        assert sampled(event(0, parent_sampled=False, status=500), share), "what failed is always sent"
        assert sampled(event(0, parent_sampled=not share), share, follow_caller=False) is bool(share)
    feed = feed_of(Sink(), share=0.0, follow_caller=False)
    feed([event(0, parent_sampled=True)])
    assert counts(feed) == {"skipped": 1}


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 1.0])
def test_the_official_sampler_decides_alike(share: float):
    official = ParentBased(TraceIdRatioBased(share))
    for number in range(2_000):
        one = event(number)
        trace_id = int(trace_of(one), 16)
        wanted = official.should_sample(None, trace_id, "chat").decision is Decision.RECORD_AND_SAMPLE
        assert sampled(one, share) is wanted
    for flag in (TraceFlags.DEFAULT, TraceFlags.SAMPLED):
        told = event(0, trace_id="4bf92f3577b34da6a3ce929d0e0e4736", parent_sampled=bool(flag))
        caller = SpanContext(int(told.trace_id, 16), 7, is_remote=True, trace_flags=TraceFlags(flag))
        context = set_span_in_context(NonRecordingSpan(caller))
        wanted = (
            official.should_sample(context, caller.trace_id, "chat").decision is Decision.RECORD_AND_SAMPLE
        )
        assert sampled(told, share) is wanted
