"""Hedging: a late attempt gets a rival, the first good answer is used, and the other is let go.

After Dean and Barroso, "The Tail at Scale" (CACM 56(2), 2013): a second request after the 95th percentile of the first
costs a few per cent more calls and cuts the tail. What "late" means is measured: the 95th percentile of the last
`WINDOW` first-token times of that back end, streams and whole answers apart (a whole answer's first token is its
last). A window follows a vendor that changes within minutes and is exact where a running estimate is neither.

Promises: nobody is hedged before `SAMPLES_LEAST` times are known; the rival starts only when money was granted for it;
each attempt is told exactly once: as the answer, as `failed`, or as `abandoned`, also when the whole race is cancelled;
an answer nobody uses is given to `discard`. An abandoned attempt's time counts as if it had answered then: left out,
the slow ones would vanish from the measure and ever more would be hedged.

Not for requests whose answer has effects of its own at the vendor (its own tools: searches, code, stored conversations,
batches): they would happen twice. The caller's own tools are safe, because only one answer reaches it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

from penstock.kernel.clock import Clock
from penstock.ports.providers import ProviderFailure


class Target(Protocol):
    """What can be called: a back end with a name of its own."""

    @property
    def label(self) -> str:
        """Unique name of the back end: what is known of it is kept under this."""
        ...


T = TypeVar("T", bound=Target)
A = TypeVar("A")

WINDOW: Final = 256
SAMPLES_LEAST: Final = 50
RENEW_EVERY: Final = 16
"""New times after which the percentile is worked out again."""
LABELS_MOST: Final = 4_096


@dataclass(slots=True, frozen=True)
class HedgePlan(Generic[T, A]):
    """That a request may be hedged, and who must know. None of the callbacks may raise, `grant` excepted."""

    grant: Callable[[T], Awaitable[T | None]]
    """Holds the money of one more attempt beside the one under way, and returns whom to ask; None: no rival."""
    failed: Callable[[T, ProviderFailure], None]
    """One of two failed while the other goes on: bill it as a failed attempt."""
    abandoned: Callable[[T], None]
    """One was given up on its way: the vendor may bill all of it."""
    discard: Callable[[A], None]
    """Lets go of an answer that nobody will read."""
    streamed: bool


class FirstTokens:
    """How long first tokens took, by back end."""

    def __init__(self) -> None:
        """Start without any."""
        self._kept: dict[tuple[str, bool], _Times] = {}
        self.left_out = 0
        """Times not kept, because too many back ends are."""

    def note(self, label: str, after_s: float, *, streamed: bool) -> None:
        """Note a first token after `after_s` seconds."""
        key = (label, streamed)
        times = self._kept.get(key)
        if times is None:
            if len(self._kept) >= LABELS_MOST:
                self.left_out += 1
                return
            times = self._kept[key] = _Times()
        times.note(after_s)

    def p95_s(self, label: str, *, streamed: bool) -> float | None:
        """Return the seconds that 95 of 100 first tokens took at most; None while too few are known."""
        times = self._kept.get((label, streamed))
        return None if times is None else times.p95_s


class _Times:
    __slots__ = ("_fresh", "_last", "p95_s")

    def __init__(self) -> None:
        self._last: deque[float] = deque(maxlen=WINDOW)
        self._fresh = 0
        self.p95_s: float | None = None

    def note(self, after_s: float) -> None:
        self._last.append(after_s)
        self._fresh += 1
        if len(self._last) >= SAMPLES_LEAST and (self._fresh >= RENEW_EVERY or self.p95_s is None):
            self._fresh = 0
            self.p95_s = sorted(self._last)[len(self._last) * 95 // 100]


@dataclass(slots=True)
class _Run(Generic[T]):
    target: T
    began_s: float | None = None


class Race(Generic[T, A]):
    """One request's attempts beside one another. Used once."""

    def __init__(
        self, call: Callable[[T], Awaitable[A]], plan: HedgePlan[T, A], times: FirstTokens, clock: Clock
    ) -> None:
        """Make attempts with `call`, note how long they took in `times`."""
        self._call = call
        self._plan = plan
        self._times = times
        self._clock = clock
        self._runs: dict[asyncio.Task[A], _Run[T]] = {}
        self.failures: list[tuple[T, ProviderFailure]] = []
        """Those that failed while another went on."""
        self.target: T
        """Whose answer, or whose last failure, it is."""

    async def run(self, first: T, late_s: float | None, rival: Callable[[], Awaitable[T | None]]) -> A:
        """Return the first answer: of `first`, or of the rival asked for after `late_s` seconds (None: never).

        Raises the ProviderFailure of whichever failed last.
        """
        lead = self._begin(first)
        try:
            if late_s is not None:
                await asyncio.wait((lead,), timeout=late_s)
                other = None if lead.done() else await rival()
                if other is not None and not lead.done():
                    self._begin(other)
            return await self._first()
        finally:
            self._let_go()

    def _begin(self, target: T) -> asyncio.Task[A]:
        run = _Run(target)

        async def called() -> A:
            run.began_s = self._clock.monotonic_s()
            return await self._call(target)

        task = asyncio.ensure_future(called())
        self._runs[task] = run
        return task

    async def _first(self) -> A:
        while True:
            await asyncio.wait(self._runs, return_when=asyncio.FIRST_COMPLETED)
            task = next(task for task in self._runs if task.done())
            run = self._runs.pop(task)
            self.target = run.target
            try:
                answer = task.result()
            except ProviderFailure as failure:
                if not self._runs:
                    raise
                self.failures.append((run.target, failure))
                self._plan.failed(run.target, failure)
                continue
            self._note(run)
            return answer

    def _let_go(self) -> None:
        """Give up whoever is still on its way."""
        for task, run in self._runs.items():
            failure = task.exception() if task.done() and not task.cancelled() else None
            if isinstance(failure, ProviderFailure):
                self._plan.failed(run.target, failure)
            elif run.began_s is not None:
                self._note(run)
                self._plan.abandoned(run.target)
            task.cancel()
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[A]) -> None:
        if not task.cancelled() and task.exception() is None:
            self._plan.discard(task.result())

    def _note(self, run: _Run[T]) -> None:
        if run.began_s is not None:
            after_s = self._clock.monotonic_s() - run.began_s
            self._times.note(run.target.label, after_s, streamed=self._plan.streamed)
