"""What the tests of the trace feed share: a store that fails as told, events, and the plain way to add them up."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from random import Random

from penstock.kernel.clock import ManualClock
from penstock.kernel.errors import Invalid, Unavailable
from penstock.kernel.events import RequestEvent
from penstock.mechanisms.trace_feed import TraceFeed
from penstock.ports.traces import DELTAS_MOST, EVENTS_MOST, HOUR_S, TEXT_BYTES, Batch, Delta

START_S = 1_800_000_000


class Store:
    """A trace store that adds a batch once, and fails as it is told: one word of `moods` an offer, then "ok"."""

    def __init__(self, *moods: str) -> None:
        self.moods = list(moods)
        self.mood = "ok"
        self.offers: list[Batch] = []
        self.added: dict[str, Batch] = {}

    async def add(self, batch: Batch) -> None:
        self.offers.append(batch)
        mood = self.moods.pop(0) if self.moods else self.mood
        await asyncio.sleep(0)
        if mood == "down":
            raise Unavailable("The disk is full.")
        if mood == "hangs":
            await asyncio.sleep(3600)
        if len(batch.events) > EVENTS_MOST or len(batch.deltas) > DELTAS_MOST or not names_fit(batch):
            raise Invalid("A batch is out of bounds.")
        self.added.setdefault(batch.id, batch)
        if mood == "mute":
            raise ConnectionResetError

    @property
    def events(self) -> list[RequestEvent]:
        return [event for batch in self.added.values() for event in batch.events]

    @property
    def deltas(self) -> list[Delta]:
        return [delta for batch in self.added.values() for delta in batch.deltas]

    def ids(self) -> list[str]:
        return [event.request_id for event in self.events]


def names_fit(batch: Batch) -> bool:
    names = [delta.user for delta in batch.deltas] + [event.user for event in batch.events]
    try:
        return "poison" not in names and all(len(name.encode()) <= TEXT_BYTES for name in names)
    except UnicodeEncodeError:
        return False


def event(number: int, **fields: object) -> RequestEvent:
    facts = {"org": "acme", "model": "fast", "latency_ms": 12.0, "cost_nanos": 5} | fields
    return RequestEvent(request_id=f"req_{number}", at_s=START_S + number / 1000, **facts)


def failed(number: int, **fields: object) -> RequestEvent:
    return event(number, status=502, **fields)


def feed_of(store: Store, clock: ManualClock | None = None, **options: object) -> TraceFeed:
    options = {"every_s": 0.002, "backoff_s": 0.001, "draw": Random(1)} | options
    return TraceFeed(store, clock or ManualClock(wall_s=START_S), **options)


def balanced(feed: TraceFeed) -> bool:
    totals = feed.delivered + feed.dropped + feed.queued
    kept = feed.kept + feed.sampled_out + feed.kept_dropped + feed.kept_queued
    return feed.produced == totals == kept


def came_to(events: Iterable[RequestEvent]) -> Counter[tuple[object, ...]]:
    """Add up events the plain way, by group and figure."""
    sums: Counter[tuple[object, ...]] = Counter()
    for each in events:
        hour_s = int(each.at_s) - int(each.at_s) % HOUR_S
        who = (each.org, each.team, each.project, each.user, each.key_id, each.feature)
        group = (hour_s, *who, each.model_served, each.provider, each.outcome)
        sums[group, "requests"] += 1
        sums[group, "estimated"] += each.estimated
        sums[group, "latency_ms"] += round(each.latency_ms)
        for figure in ("input_tokens", "cached_tokens", "output_tokens", "cost_nanos"):
            sums[group, figure] += getattr(each, figure)
    return +sums


def stored(deltas: Iterable[Delta]) -> Counter[tuple[object, ...]]:
    """Add up deltas by group and figure."""
    sums: Counter[tuple[object, ...]] = Counter()
    for each in deltas:
        group = (each.hour_s, each.org, each.team, each.project, each.user, each.key_id, each.feature)
        group = (*group, each.model, each.provider, each.outcome)
        for figure in ("requests", "estimated", "input_tokens", "cached_tokens", "output_tokens"):
            sums[group, figure] += getattr(each, figure)
        for figure in ("cost_nanos", "latency_ms"):
            sums[group, figure] += getattr(each, figure)
    return +sums


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.001)
