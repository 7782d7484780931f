"""One call for many who ask the same at the same moment: the first leads, the others follow its answer.

    join(key, open)   →  Shared        the leader's reads the source; a follower's reads what the leader has read
    Shared.next()     →  event | None  from the first event on, None at the end
    Shared.close()                     whoever joined closes, whatever happened

A whole answer is a source of one event.

Promises: identical keys make one call; every follower gets every event in order from the beginning; a leader that fails
or leaves before its first event hands over to the follower that waited longest, which makes a call of its own, and
when events have flowed its followers get its failure (another call would answer differently); nobody follows for
longer than `wait_s` without an event, or with more than `followers_most` others, or an answer of more than
`buffer_bytes`: who cannot follow calls for itself, and who had already begun gets `FellBehind`. Followers' number,
hand-overs and those who fell out are counted. A failure is never shared before an event has flowed: each of those
waiting tries again in turn, so that one caller's bad luck (its deadline, its budget) is not everybody's.

A slow leader paces its followers, as it paces the vendor. The key must hold everything the answer depends on and the
tenant: who may follow is the key's business.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, Protocol, TypeVar

import msgspec

from penstock.kernel.errors import Overloaded, Upstream

E = TypeVar("E")
R_co = TypeVar("R_co", covariant=True)


class FellBehind(Overloaded):
    """This answer was shared with a request that went too far ahead. Ask again."""

    code = "fell_behind"


class LeaderLost(Upstream):
    """This answer was shared with a request that was given up half-way. Ask again."""

    code = "leader_lost"


class Source(Protocol[R_co]):
    """An answer on its way, event by event."""

    async def next(self) -> R_co | None:
        """Return the next event, None at the end."""
        ...

    def close(self) -> None:
        """Let it go. Idempotent."""
        ...


class FlightBounds(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Bounds of one shared answer."""

    followers_most: int = 64
    wait_s: float = 30.0
    buffer_bytes: int = 1 << 20


class _Flight(Generic[E]):
    """What the leader has read so far, and who waits for more."""

    __slots__ = ("buffered", "events", "failure", "followers", "is_lost", "is_over", "waiting")

    def __init__(self) -> None:
        self.events: list[E] = []
        self.buffered = 0
        self.is_lost = False
        """Nobody can follow it from the beginning to the end: it outgrew the buffer, or nobody leads it."""
        self.is_over = False
        self.failure: Exception | None = None
        self.followers = 0
        self.waiting: dict[asyncio.Future[bool], None] = {}
        """In the order they began to wait; True hands the lead over, False says that there is news."""

    def wake(self) -> None:
        waiting, self.waiting = self.waiting, {}
        for each in waiting:
            if not each.done():
                each.set_result(False)

    def hand_over(self) -> bool:
        """Make the follower that waited longest the leader; False when nobody waits."""
        while self.waiting:
            longest = next(iter(self.waiting))
            del self.waiting[longest]
            if not longest.done():
                longest.set_result(True)
                return True
        return False


class SingleFlight(Generic[E]):
    """The answers being shared, by key. One per process."""

    def __init__(self, bounds: FlightBounds, size: Callable[[E], int]) -> None:
        """Keep at most `bounds.buffer_bytes` of one answer, by `size(event)` in bytes."""
        self.bounds = bounds
        self.size = size
        self._flights: dict[bytes, _Flight[E]] = {}
        self.led = 0
        self.followed = 0
        self.handed_over = 0
        self.fell_out = 0
        """Those who had to call for themselves or broke off, because a bound was met."""

    def join(self, key: bytes, start: Callable[[], Awaitable[Source[E]]]) -> Shared[E]:
        """Take part in the answer to `key`; `start` makes the call, when it is this one's to make."""
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = _Flight()
            self.led += 1
            return Shared(self, key, start, flight, leads=True)
        if flight.is_lost or flight.followers >= self.bounds.followers_most:
            self.fell_out += 1
            return Shared(self, key, start, None, leads=True)
        flight.followers += 1
        self.followed += 1
        return Shared(self, key, start, flight, leads=False)

    def landed(self, key: bytes, flight: _Flight[E]) -> None:
        """Forget a flight that is over or that nobody is left to lead."""
        if self._flights.get(key) is flight:
            del self._flights[key]

    def __len__(self) -> int:
        """Return how many answers are being shared or could be."""
        return len(self._flights)


class Shared(Generic[E]):
    """One participant's side of a shared answer. Is itself a `Source`."""

    __slots__ = ("_at", "_closed", "_flight", "_flights", "_key", "_source", "_start", "leads")

    def __init__(
        self,
        flights: SingleFlight[E],
        key: bytes,
        start: Callable[[], Awaitable[Source[E]]],
        flight: _Flight[E] | None,
        *,
        leads: bool,
    ) -> None:
        """`flight` is None for one who calls for itself alone."""
        self._flights = flights
        self._key = key
        self._start = start
        self._flight = flight
        self._source: Source[E] | None = None
        self._at = 0
        self._closed = False
        self.leads = leads
        """Whether this one makes (and pays for) the call. Settled when the first event has arrived."""

    @property
    def is_followed(self) -> bool:
        """Whether somebody would lose by this leader's leaving."""
        return self.leads and self._flight is not None and self._flight.followers > 0

    async def next(self) -> E | None:
        """Return the next event, None at the end. Raises what the source raised, FellBehind, LeaderLost."""
        while not self.leads:
            flight = self._flight
            if flight is None:
                raise FellBehind
            if self._at < len(flight.events):
                self._at += 1
                return flight.events[self._at - 1]
            if flight.failure is not None:
                raise flight.failure
            if flight.is_lost:
                self._fall_out()
            elif flight.is_over:
                return None
            else:
                await self._news(flight)
        return await self._lead()

    def close(self) -> None:
        """Leave. A leader that leaves early hands over or, once events have flowed, ends its followers' answer."""
        if self._closed:
            return
        self._closed = True
        if self._source is not None:
            self._source.close()
        flight = self._flight
        if flight is None:
            return
        if self.leads:
            self._give_up(flight, LeaderLost())
        else:
            flight.followers -= 1

    async def _lead(self) -> E | None:
        flight = self._flight
        try:
            if self._source is None:
                self._source = await self._start()
            event = await self._source.next()
        except BaseException as error:  # because a cancelled leader must hand over like any other
            if flight is not None:
                failure = error if isinstance(error, Exception) else LeaderLost()
                self._give_up(flight, failure)
            raise
        if flight is not None and not flight.is_over:
            self._tell(flight, event)
        return event

    def _tell(self, flight: _Flight[E], event: E | None) -> None:
        if event is None:
            flight.is_over = True
            self._flights.landed(self._key, flight)
        elif not flight.is_lost:
            flight.buffered += self._flights.size(event)
            if flight.buffered > self._flights.bounds.buffer_bytes:
                flight.is_lost = True
                self._flights.landed(self._key, flight)
            else:
                flight.events.append(event)
        flight.wake()

    def _give_up(self, flight: _Flight[E], failure: Exception) -> None:
        self._flight = None
        if flight.is_over:
            return
        if not flight.events and not flight.is_lost and flight.hand_over():
            self._flights.handed_over += 1
            return
        flight.is_over = True
        if flight.events:
            flight.failure = failure
        else:
            flight.is_lost = True
        self._flights.landed(self._key, flight)
        flight.wake()

    async def _news(self, flight: _Flight[E]) -> None:
        """Wait for an event, the end, or the lead; past the bound, fall out."""
        news = asyncio.get_running_loop().create_future()
        flight.waiting[news] = None
        try:
            async with asyncio.timeout(self._flights.bounds.wait_s):
                leads = await news
        except TimeoutError:
            if news.done() and not news.cancelled() and news.result():
                leads = True  # the lead came in the very moment the wait ended
            else:
                flight.waiting.pop(news, None)
                self._fall_out()
                return
        except asyncio.CancelledError:
            flight.waiting.pop(news, None)
            if news.done() and not news.cancelled() and news.result():
                self.leads = True  # so that closing hands over again
                flight.followers -= 1
            raise
        if leads:
            self.leads = True
            flight.followers -= 1

    def _fall_out(self) -> None:
        """Stop following: call for itself, or break off where events have been read."""
        if self._flight is not None:
            self._flight.followers -= 1
            self._flight = None
            self._flights.fell_out += 1
        if self._at:
            raise FellBehind
        self.leads = True
