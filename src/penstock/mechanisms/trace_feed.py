"""The trace feed: events of the audit pipe → totals of every one, and the events worth keeping → the trace store.

    audit pipe ──▶ totals by hour and names ──────────────────┐
               ──▶ notable events, and a sample of the others ┴─(each second)──▶ batch ──▶ store

Promises: hearing an event never blocks and never raises. Every event is in the totals, kept or not: at any moment
``produced == delivered + dropped + queued`` (events, by their totals). A batch that did not go through is offered again
under the same id, after a bounded and growing pause, and what comes meanwhile is added up behind it. What waits is at
most `capacity` totals and events together, beside one batch and one second's sample. When that is reached events make
room for totals, a sampled one before a notable one; only totals that even then have no room are dropped. A batch that
the store rejects is offered again in parts, so that nothing but what is wrong in it is lost. Whatever is lost is
counted, totals with their money.

Notable is an event that failed, was refused by a provider, was billed by an estimate, or was slow. Of the others at
most `per_s` of each second are kept, each with the same chance.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from random import Random

from penstock.kernel.clock import Clock
from penstock.kernel.errors import Rejected
from penstock.kernel.events import RequestEvent
from penstock.kernel.ids import new_id
from penstock.mechanisms.background import let_end, woken
from penstock.mechanisms.totals import Totals, storable
from penstock.ports.traces import DELTAS_MOST, EVENTS_MOST, Batch, Delta, Traces

SLOW_MS = 30_000.0
"""A request that took so long is kept in any case."""
SLICE = 256
"""Totals or events written into a batch without letting the event loop breathe (about 0.3 ms)."""
MAX_BACKOFF_S = 30.0


def notable(event: RequestEvent) -> bool:
    """Tell whether an event is to be kept whatever else happens."""
    return (
        event.status >= 500
        or (event.status >= 400 and event.attempts > 0)
        or event.estimated
        or event.latency_ms >= SLOW_MS
    )


class _Sample:
    """At most `per_s` of a second's events, each with the same chance (Vitter's algorithm R, 1985)."""

    __slots__ = ("_draw", "_per_s", "_seen", "events", "second")

    def __init__(self, per_s: int, draw: Random) -> None:
        self.events: list[RequestEvent] = []
        self.second = 0
        self._per_s = per_s
        self._draw = draw
        self._seen = 0

    def add(self, event: RequestEvent) -> bool:
        """Take an event; False when it, or in its stead one taken before, is left out."""
        self._seen += 1
        if len(self.events) < self._per_s:
            self.events.append(event)
            return True
        place = int(self._draw.random() * self._seen)
        if place < self._per_s:
            self.events[place] = event
        return False

    def turn(self, second: int) -> list[RequestEvent]:
        """Begin the sample of a new second and return the last one."""
        over, self.events = self.events, []
        self.second, self._seen = second, 0
        return over


class TraceFeed:
    """A listener of the audit pipe. `start` it on the event loop, `close` it after the pipe."""

    def __init__(
        self,
        traces: Traces,
        clock: Clock,
        *,
        per_s: int = 200,
        capacity: int = 20_000,
        every_s: float = 1.0,
        backoff_s: float = 1.0,
        store_timeout_s: float = 10.0,
        draw: Random | None = None,
    ) -> None:
        """Keep `per_s` ordinary events a second; deliver each `every_s` seconds; give the store its timeout."""
        self.produced = 0
        self.delivered = 0
        self.dropped = 0
        """Events whose totals were lost."""
        self.dropped_nanos = 0
        """Their money."""
        self.kept = 0
        """Events that the store has."""
        self.sampled_out = 0
        """Events in the totals only: there were more than the sample takes."""
        self.kept_dropped = 0
        """Events that were to be kept and are not."""
        self.failures = 0
        """Batches that did not go through, each time they did not."""
        self._traces = traces
        self._clock = clock
        self._capacity = capacity
        self._every_s = every_s
        self._first_backoff_s = self._backoff_s = backoff_s
        self._store_timeout_s = store_timeout_s
        self._totals = Totals()
        self._notable: deque[RequestEvent] = deque()
        self._others: deque[RequestEvent] = deque()
        self._sample = _Sample(per_s, draw or Random())  # noqa: S311 - a sample is no secret
        self._deltas: list[Delta] = []
        self._events: list[RequestEvent] = []
        """The next batch, while it is written."""
        self._batches: deque[Batch] = deque()
        """The batch on its way, or the parts of a rejected one."""
        self._on_way = 0
        """Events whose totals are in those."""
        self._failing = False
        self._closed = False
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def queued(self) -> int:
        """Events whose totals are neither delivered nor dropped."""
        return self._totals.requests + self._on_way

    @property
    def kept_queued(self) -> int:
        """Events that wait to be kept; one of the second under way may yet be left out for another."""
        on_way = len(self._events) + sum(len(batch.events) for batch in self._batches)
        return len(self._sample.events) + len(self._notable) + len(self._others) + on_way

    @property
    def room(self) -> tuple[int, int]:
        """What waits, totals and events to be kept, and how much may."""
        return self._waiting, self._capacity

    @property
    def healthy(self) -> bool:
        """Whether the store took what it was last given."""
        return not self._failing

    def start(self) -> None:
        """Begin to deliver; once, on the running event loop."""
        self._task = asyncio.get_running_loop().create_task(self._send_forever(), name="traces")

    async def close(self, within_s: float = 5.0) -> None:
        """Hear no more, deliver what waits within `within_s` seconds; what is left counts as dropped."""
        self._closed = True
        self._wake.set()
        if self._task is not None:
            await let_end((self._task,), within_s)
        self._drop_all()

    # ------------------------------------------------------------------------------------------ events ▶ what waits

    def __call__(self, events: Sequence[RequestEvent]) -> None:
        """Hear a batch of events; about 1.5 µs each."""
        self.produced += len(events)
        self._turn_second()
        add, sample = self._totals.add, self._sample.add
        for event in events:
            if self._closed or not (add(event) or self._begin(event)):
                self.dropped += 1
                self.dropped_nanos += event.cost_nanos
                self.kept_dropped += 1
            elif notable(event):
                self._keep(event, self._notable)
            elif not sample(event):
                self.sampled_out += 1
        if self._is_full and not self._failing:
            self._wake.set()

    def _begin(self, event: RequestEvent) -> bool:
        """Begin the total of an event, an event making room if need be; False when there is no room."""
        if self._waiting >= self._capacity:
            queue = self._others or self._notable
            if not queue:
                return False
            queue.popleft()
            self.kept_dropped += 1
        self._totals.begin(event)
        return True

    def _keep(self, event: RequestEvent, queue: deque[RequestEvent]) -> None:
        """Let an event wait to be kept; without room it is dropped, or if it is notable a sampled one."""
        if self._waiting >= self._capacity:
            self.kept_dropped += 1
            if queue is self._others or not self._others:
                return
            self._others.popleft()
        queue.append(event)

    def _turn_second(self) -> None:
        """Let the sample of a second that is over wait to be kept."""
        second = int(self._clock.monotonic_s())
        if second != self._sample.second:
            for event in self._sample.turn(second):
                self._keep(event, self._others)

    @property
    def _waiting(self) -> int:
        return len(self._totals) + len(self._notable) + len(self._others)

    @property
    def _is_full(self) -> bool:
        """Whether what waits fills a batch."""
        return len(self._totals) >= DELTAS_MOST or len(self._notable) + len(self._others) >= EVENTS_MOST

    # ------------------------------------------------------------------------------------------- what waits ▶ store

    async def _send_forever(self) -> None:
        pause_s = self._every_s
        while not (self._closed and not self.queued and not self.kept_queued):
            await woken(self._wake, pause_s)  # a full batch and `close` wake it
            pause_s = self._every_s
            self._turn_second()
            if self._closed:
                self._others.extend(self._sample.turn(0))
            while await self._fill():
                if wait_s := await self._send():
                    pause_s = wait_s
                    break
                if not (self._batches or self._is_full or self._closed):
                    break  # what came meanwhile is little: it may grow for a while

    async def _fill(self) -> bool:
        """Write the next batch, unless one is to be offered again; False when there is nothing to write."""
        if self._batches:
            return True
        while self._totals and (room := DELTAS_MOST - len(self._deltas)):
            deltas = self._totals.take(min(room, SLICE))
            self._deltas += deltas
            self._on_way += _requests(deltas)
            await asyncio.sleep(0)
        while (queue := self._notable or self._others) and (room := EVENTS_MOST - len(self._events)):
            self._events += [storable(queue.popleft()) for _ in range(min(len(queue), room, SLICE))]
            await asyncio.sleep(0)
        if self._deltas or self._events:
            self._batches.append(self._batch(self._events, self._deltas))
            self._events, self._deltas = [], []
        return bool(self._batches)

    def _batch(self, events: Sequence[RequestEvent], deltas: Sequence[Delta]) -> Batch:
        return Batch(id=new_id("batch_"), at_s=self._clock.wall_s(), events=events, deltas=deltas)

    async def _send(self) -> float:
        """Offer the first batch; return 0 when that is done with, else the seconds to wait until it is again."""
        batch = self._batches[0]
        try:
            async with asyncio.timeout(self._store_timeout_s):
                await self._traces.add(batch)
        except Rejected:
            self._note_failure()
            self._batches.popleft()
            self._batches.extendleft(reversed(self._parted(batch)))
            await asyncio.sleep(0)  # a store may reject without having waited for anything
        except Exception:  # because whatever else the store says, the batch is kept and offered again
            self._note_failure()
            wait_s, self._backoff_s = self._backoff_s, min(2 * self._backoff_s, MAX_BACKOFF_S)
            return wait_s
        else:
            self._batches.popleft()
            self._failing = False
            delivered = _requests(batch.deltas)
            self.delivered += delivered
            self._on_way -= delivered
            self.kept += len(batch.events)
        self._backoff_s = self._first_backoff_s
        return 0.0

    def _note_failure(self) -> None:
        self.failures += 1
        self._failing = True

    def _parted(self, batch: Batch) -> list[Batch]:
        """Return a rejected batch in two, or drop it when it is one thing: that is what is wrong."""
        events, deltas = batch.events, batch.deltas
        if events and deltas:
            return [self._batch((), deltas), self._batch(events, ())]
        middle = (len(events) + len(deltas)) // 2
        if middle:
            return [
                self._batch(events[:middle], deltas[:middle]),
                self._batch(events[middle:], deltas[middle:]),
            ]
        self._drop(events, deltas)
        return []

    def _drop(self, events: Sequence[RequestEvent], deltas: Iterable[Delta]) -> None:
        lost = list(deltas)
        self.kept_dropped += len(events)
        self.dropped += _requests(lost)
        self.dropped_nanos += sum(delta.cost_nanos for delta in lost)
        self._on_way -= _requests(lost)

    def _drop_all(self) -> None:
        """Drop what waits still."""
        left = self._totals.take(len(self._totals))
        self._on_way += _requests(left)
        self._drop((*self._sample.turn(0), *self._notable, *self._others), left)
        self._drop(self._events, self._deltas)
        for batch in self._batches:
            self._drop(batch.events, batch.deltas)
        for waiting in (self._notable, self._others, self._events, self._deltas, self._batches):
            waiting.clear()


def _requests(deltas: Iterable[Delta]) -> int:
    return sum(delta.requests for delta in deltas)
