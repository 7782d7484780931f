"""The span feed: events of the audit pipe → spans → a collector, off the request path and bounded everywhere.

    audit pipe ──▶ sample ──▶ queue ──(each second, or when a batch is full)──▶ spans ──▶ sink
                              at most `capacity` events, the batch on its way among them

Promises: hearing an event never blocks and never raises; at any moment
``produced == delivered + dropped + queued`` (events). When the queue is full the newest is dropped and counted. A sink
that is unavailable is tried again with a bounded backoff and loses nothing meanwhile; a batch that it rejects is
dropped and counted, so that it does not keep the others waiting. A batch holds at most `BATCH_SPANS` spans, unless one
request alone has more. `close` sends what is queued within its bound.

Sampling, as OpenTelemetry's own samplers do it: a trace is sent when its caller says that it sends its part (the
sampled flag of `traceparent`), so that no trace has holes; of the others a share by trace id, so that whoever samples
the same trace at the same share decides alike. What went wrong is always sent.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from penstock.kernel.errors import Unavailable
from penstock.kernel.events import RequestEvent
from penstock.kernel.spans import Span
from penstock.mechanisms.background import let_end, woken
from penstock.mechanisms.genai import CURRENT, Names
from penstock.mechanisms.spans import NO_BACK_ENDS, BackEnds, spans_of, trace_of
from penstock.ports.spans import SpanSink

BATCH_SPANS = 512
WAKE_EVENTS = BATCH_SPANS // 5
"""As many events fill a batch: a usual request has five spans."""
SLICE = 12
"""Events drawn without letting the event loop breathe (about 0.3 ms)."""
MAX_BACKOFF_S = 30.0
MAX_RETRY_AFTER_S = 60.0
"""A collector that asks for a longer pause is tried again after this one."""
_LOW_64 = (1 << 64) - 1


def sampled(event: RequestEvent, share: float, *, follow_caller: bool = True) -> bool:
    """Tell whether an event's trace is sent when a `share` (0 to 1) of all is: what went wrong always is.

    With `follow_caller` a caller that has decided about its own part of the trace has decided about ours.
    """
    if event.status >= 400 or event.error:
        return True
    if follow_caller and event.parent_sampled is not None:
        return event.parent_sampled
    return share >= 1.0 or int(trace_of(event), 16) & _LOW_64 < round(share * (_LOW_64 + 1))


class SpanFeed:
    """A listener of the audit pipe. `start` it on the event loop, `close` it after the pipe."""

    def __init__(
        self,
        sink: SpanSink,
        *,
        names: Names = CURRENT,
        back_ends: BackEnds = NO_BACK_ENDS,
        share: float = 1.0,
        follow_caller: bool = True,
        capacity: int = 5_000,
        every_s: float = 1.0,
        backoff_s: float = 1.0,
    ) -> None:
        """Hold at most `capacity` events; send each `every_s` seconds; wait `backoff_s` after the first failure."""
        self.produced = 0
        """Events that were to be sent: those heard without `skipped`."""
        self.delivered = 0
        self.dropped = 0
        self.skipped = 0
        """Events left out by sampling."""
        self.refused_spans = 0
        """Spans of delivered batches that the collector did not want."""
        self.failures = 0
        """Batches that did not go through, each time they did not."""
        self._sink = sink
        self._draw: Callable[[RequestEvent], list[Span]] = lambda event: spans_of(event, names, back_ends)
        self._share = share
        self._follow_caller = follow_caller
        self._capacity = capacity
        self._every_s = every_s
        self._first_backoff_s = self._backoff_s = backoff_s
        self._queue: deque[RequestEvent] = deque()
        self._batch: list[Span] = []
        self._batch_events = 0
        self._failing = False
        self._closed = False
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def __call__(self, events: Sequence[RequestEvent]) -> None:
        """Hear a batch of events; 0.2 µs each, 2 µs where a share of them is drawn."""
        for event in events:
            if not sampled(event, self._share, follow_caller=self._follow_caller):
                self.skipped += 1
                continue
            self.produced += 1
            if self._closed or self.queued >= self._capacity:
                self.dropped += 1
            else:
                self._queue.append(event)
        if len(self._queue) >= WAKE_EVENTS and not self._failing:
            self._wake.set()

    @property
    def queued(self) -> int:
        """Events taken and neither delivered nor dropped."""
        return len(self._queue) + self._batch_events

    @property
    def healthy(self) -> bool:
        """Whether the sink took what it was last given."""
        return not self._failing

    def start(self) -> None:
        """Begin to send; once, on the running event loop."""
        self._task = asyncio.get_running_loop().create_task(self._send_forever(), name="spans")

    async def close(self, within_s: float = 5.0) -> None:
        """Hear no more, send what is queued within `within_s` seconds; what is left is dropped and counted."""
        self._closed = True
        self._wake.set()
        if self._task is not None:
            await let_end((self._task,), within_s)
        self.dropped += self.queued
        self._queue.clear()
        self._done()

    async def _send_forever(self) -> None:
        pause_s = self._every_s
        while not (self._closed and not self.queued):
            await woken(self._wake, pause_s)  # a full batch and `close` wake it
            pause_s = self._every_s
            while self.queued:
                await self._fill()
                if wait_s := await self._send():
                    pause_s = wait_s
                    break

    async def _fill(self) -> None:
        """Draw the spans of the next batch, unless one is waiting to be sent again."""
        if self._batch_events:
            return
        while self._queue:
            try:
                spans = self._draw(self._queue[0])
            except (
                Exception
            ):  # because one event that cannot be drawn must not keep all others from being sent
                self._queue.popleft()
                self.dropped += 1
                continue
            if self._batch and len(self._batch) + len(spans) > BATCH_SPANS:
                return
            self._queue.popleft()
            self._batch += spans
            self._batch_events += 1
            if not self._batch_events % SLICE:
                await asyncio.sleep(0)

    async def _send(self) -> float:
        """Send the batch; return 0 when that is done with, else the seconds to wait before it is tried again."""
        if not self._batch:
            return 0.0
        try:
            refused = await self._sink.export(self._batch)
        except Unavailable as error:
            self.failures += 1
            self._failing = True
            wait_s = max(self._backoff_s, min(error.retry_after_s or 0.0, MAX_RETRY_AFTER_S))
            self._backoff_s = min(2 * self._backoff_s, MAX_BACKOFF_S)
            return wait_s
        except Exception:  # because whatever else the sink says (Rejected first of all), it will say it again
            self.failures += 1
            self._failing = True
            self.dropped += self._batch_events
        else:
            self.refused_spans += refused
            self._failing = False
            self.delivered += self._batch_events
        self._backoff_s = self._first_backoff_s
        self._done()
        return 0.0

    def _done(self) -> None:
        self._batch = []
        self._batch_events = 0
