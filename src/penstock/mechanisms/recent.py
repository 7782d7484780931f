"""What happened lately: the last quarter of an hour in figures, the latest requests, and new ones as they end.

    audit pipe ──▶ platform's tally ┐
               ──▶ organisation's   ┴─▶ one open bucket, then sealed ones ──▶ `window`
               ──▶ ring ──▶ `latest`
               ──▶ watches ──▶ `Watch.next`

Promises: all of it is bounded, whatever callers do: at most `orgs_max` organisations (an event of one more counts in
the platform's figures only, and in `left_out`; one that is silent for a window makes room), `ring` events, and
`watchers_max` watches of `capacity` events each. What a watch has no room for is counted and told to whoever watches.

An event counts when it is heard (about a tenth of a second after its end), by the wall clock. A window is `window_s`
long at most, and one bucket less at least. Memory is about 1 kB per bucket of an organisation that is busy throughout.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from penstock.kernel.clock import Clock
from penstock.kernel.errors import Overloaded
from penstock.kernel.events import RequestEvent
from penstock.mechanisms.windows import Tally, Window, bins_of

RETRY_WATCH_S = 5.0

Admits = Callable[[RequestEvent], bool]


class Recent:
    """A listener of the audit pipe; used on the event loop only."""

    def __init__(
        self,
        clock: Clock,
        *,
        window_s: float = 900.0,
        bucket_s: float = 10.0,
        ring: int = 1_000,
        watchers_max: int = 64,
        orgs_max: int = 1_000,
    ) -> None:
        """Remember `window_s` seconds in buckets of `bucket_s`, and the latest `ring` events."""
        self.version = 0
        """Events heard so far: who saw another number before has news to see."""
        self.left_out = 0
        """Events in the platform's figures only: there were too many organisations."""
        self.watch_errors = 0
        """Watches that were ended because their filter failed."""
        self._clock = clock
        self._bucket_s = bucket_s
        self._buckets = max(1, round(window_s / bucket_s))
        self._orgs_max = orgs_max
        self._watchers_max = watchers_max
        self._platform = Tally(self._buckets, bucket_s)
        self._orgs: dict[str, Tally] = {}
        self._swept = 0
        self._ring: deque[RequestEvent] = deque(maxlen=ring)
        self._watches: list[Watch] = []
        self._closed = False

    def __call__(self, events: Sequence[RequestEvent]) -> None:
        """Hear a batch of events."""
        number = self._now()
        platform = self._platform.bucket(number)
        for event in events:
            latency_bin, first_bin = bins_of(event)
            platform.add(event, latency_bin, first_bin)
            tally = self._orgs.get(event.org) or self._tally(event.org, number)
            if tally is not None:
                bucket = tally.under_way
                if bucket.number != number:
                    bucket = tally.bucket(number)
                bucket.add(event, latency_bin, first_bin)
        self._ring.extend(events)
        self.version += len(events)
        for watch in tuple(self._watches):
            watch.hear(events)

    def window(self, org: str = "") -> Window:
        """Return the figures of an organisation, or of the platform; about 0.2 ms."""
        tally = self._orgs.get(org) if org else self._platform
        return (tally or Tally(self._buckets, self._bucket_s)).window(self._now())

    def latest(self, admits: Admits, limit: int) -> list[RequestEvent]:
        """Return at most `limit` events that `admits` lets through, the newest first, of all that are remembered."""
        found: list[RequestEvent] = []
        if limit > 0:
            for event in reversed(self._ring):
                if admits(event):
                    found.append(event)
                    if len(found) >= limit:
                        break
        return found

    def watch(self, admits: Admits, capacity: int = 200) -> Watch:
        """Begin to collect what `admits` lets through. Raises Overloaded past `watchers_max`; whoever watches closes.

        A watch begun after `close` has ended already.
        """
        if len(self._watches) >= self._watchers_max:
            raise Overloaded(
                "Too many people watch requests live.",
                code="too_many_watchers",
                limit=self._watchers_max,
                retry_after_s=RETRY_WATCH_S,
            )
        watch = Watch(self, admits, capacity)
        if self._closed:
            watch.close()
        else:
            self._watches.append(watch)
        return watch

    @property
    def watchers(self) -> int:
        """How many watch now."""
        return len(self._watches)

    def leave(self, watch: Watch) -> None:
        """Forget a watch; `Watch.close` calls this."""
        if watch in self._watches:
            self._watches.remove(watch)

    def close(self) -> None:
        """End all watches, so that whoever waits for the next event is told that there is none. Idempotent."""
        self._closed = True
        for watch in tuple(self._watches):
            watch.close()

    def _now(self) -> int:
        return int(self._clock.wall_s() // self._bucket_s)

    def _tally(self, org: str, number: int) -> Tally | None:
        """Return the tally of an organisation that is new here, or None when there is no room."""
        if not org:
            return None
        if len(self._orgs) >= self._orgs_max and self._swept != number:
            self._swept = number  # at most once a bucket: looking at all of them takes a while
            self._orgs = {name: tally for name, tally in self._orgs.items() if not tally.is_past(number)}
        if len(self._orgs) >= self._orgs_max:
            self.left_out += 1
            return None
        tally = self._orgs[org] = Tally(self._buckets, self._bucket_s)
        return tally


class Watch:
    """Events as they end, for one who looks on. Made by `Recent.watch`; one task awaits `next`, and closes it."""

    def __init__(self, recent: Recent, admits: Admits, capacity: int) -> None:
        """Hold at most `capacity` (at least 1) events; the oldest go first."""
        self._recent = recent
        self._admits = admits
        self._capacity = max(1, capacity)
        self._held: deque[RequestEvent] = deque(maxlen=self._capacity)
        self._skipped = 0
        self._news = asyncio.Event()
        self.closed = False

    def hear(self, events: Sequence[RequestEvent]) -> None:
        """Take what this watch admits. A filter that fails ends its watch and is counted."""
        try:
            admitted = [event for event in events if self._admits(event)]
        except Exception:  # because one watch's broken filter must not silence the others
            self._recent.watch_errors += 1
            self.close()
            return
        if admitted:
            self._skipped += max(0, len(self._held) + len(admitted) - self._capacity)
            self._held.extend(admitted)
            self._news.set()

    async def next(self) -> tuple[list[RequestEvent], int]:
        """Wait for an event; return all that are there, oldest first, and how many were skipped before them.

        No event at all means that the watch has ended.
        """
        while not self._held and not self.closed:
            self._news.clear()
            await self._news.wait()
        events, skipped = list(self._held), self._skipped
        self._held.clear()
        self._skipped = 0
        return events, skipped

    def close(self) -> None:
        """Watch no more; whoever awaits `next` gets what is left. Idempotent."""
        self.closed = True
        self._recent.leave(self)
        self._news.set()
