"""Latency budgets: how long the answers to a feature's requests take at the 95th percentile, and which step takes it.

    audit pipe ──▶ budget of the event's feature ──▶ window of organisation and feature ──▶ `used`
                   (none: not counted)               bins in times the budget, time by step

Promises: all of it is bounded, whatever callers name: at most `WINDOWS_MOST` windows of `BUCKETS` buckets of fixed size
(a request of one more feature is counted in `left_out` alone; a feature that is silent for a window makes room).
Whether the percentile is over its budget is exact, for a budget is the edge of a bin; how far over is within
`mechanisms/windows.ERROR_PERCENT`. Only answers count: a refusal takes no time, a failure has alerts of its own, and
what is promised for later was not waited for. Steps are those of the answers over budget: they are what broke it.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from math import ceil, log
from typing import Final, NamedTuple

from penstock.kernel.clock import Clock
from penstock.kernel.events import RequestEvent
from penstock.mechanisms.windows import GROWTH

BUCKET_S: Final = 30.0
BUCKETS: Final = 10
"""A window is five minutes, the bucket under way among them."""
WINDOWS_MOST: Final = 256
PERCENT: Final = 95
STEPS: Final = (
    "parsing and routing",
    "admission and waiting",
    "retries",
    "the vendor's first token",
    "the rest of the answer",
)
_PER_LOG: Final = 1 / log(GROWTH)
_MIDDLE: Final = 2 / (1 + GROWTH)
_UNDER: Final = 64
"""Bins up to the budget; the last of them ends at it, the first has all below a twentieth of it."""
_BINS: Final = _UNDER + 96
"""The last bin has all over a hundred times the budget."""


class Budget(NamedTuple):
    """What a feature's answers may take: `p95_ms` (above 0); `team` whose rule says so, "" for every team."""

    team: str
    p95_ms: int


BudgetOf = Callable[[RequestEvent], Budget | None]


class Used(NamedTuple):
    """How a budget is used. `times` is the 95th percentile in budgets; `shares` (0 to 1 each) are the steps' parts of
    the time that answers over budget took, in the order of `STEPS`, all 0 when none was.
    """

    org: str
    feature: str
    budget: Budget
    requests: int
    times: float
    shares: tuple[float, ...]

    @property
    def p95_ms(self) -> float:
        """Return the 95th percentile in milliseconds."""
        return self.times * self.budget.p95_ms

    @property
    def dearest(self) -> int:
        """Return the number of the step that takes most."""
        return self.shares.index(max(self.shares))


def steps_of(event: RequestEvent) -> list[float]:
    """Return what each of `STEPS` took of an answer, in milliseconds; together they are its latency.

    The wait for a place comes before routing, and the wait for a vendor's quota after admission: both are admission's.
    """
    calls = event.calls
    first = calls[0].began_ms if calls else 0.0
    answering = next((call.began_ms for call in reversed(calls) if call.outcome == "ok"), first)
    waited_first = "waited" in event.flags
    took: list[float] = []
    done_ms = 0.0
    for mark_ms in (
        0.0 if waited_first else event.routed_ms,
        max(event.admitted_ms, event.routed_ms, first),
        answering,
        event.first_token_ms,
        event.latency_ms,
    ):
        until_ms = max(done_ms, min(mark_ms, event.latency_ms))
        took.append(until_ms - done_ms)
        done_ms = until_ms
    return took


def _bin(latency_ms: float, budget_ms: int) -> int:
    """Return the bin of a latency: `_UNDER` and less are within the budget."""
    if latency_ms <= 0.0:
        return 0
    return min(max(_UNDER + ceil(log(latency_ms / budget_ms) * _PER_LOG), 0), _BINS)


class _Bucket:
    """What ended in one stretch of a window."""

    __slots__ = ("bins", "number", "requests", "steps")

    def __init__(self, number: int) -> None:
        self.number = number
        self.requests = 0
        self.bins = array("I", bytes(4 * (_BINS + 1)))
        self.steps = [0.0] * len(STEPS)


class _Window:
    """The last buckets of one feature, and their bins added up."""

    __slots__ = ("_bins", "_buckets", "budget", "requests")

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.requests = 0
        self._buckets: deque[_Bucket] = deque()
        self._bins = array("I", bytes(4 * (_BINS + 1)))

    def add(self, event: RequestEvent, number: int) -> None:
        """Count an answer in bucket `number`."""
        buckets = self._buckets
        if not buckets or buckets[-1].number != number:
            self.forget(number)
            if not buckets or buckets[-1].number < number:
                buckets.append(_Bucket(number))
        bucket = buckets[-1]
        at = _bin(event.latency_ms, self.budget.p95_ms)
        bucket.requests += 1
        bucket.bins[at] += 1
        self.requests += 1
        self._bins[at] += 1
        if at > _UNDER:
            for step, took_ms in enumerate(steps_of(event)):
                bucket.steps[step] += took_ms

    def forget(self, number: int) -> None:
        """Forget what is not in the window that ends with bucket `number`. A clock set back by more than one bucket
        begins anew: what is kept would lie in its future.
        """
        buckets = self._buckets
        while buckets and (buckets[0].number <= number - BUCKETS or buckets[-1].number > number + 1):
            past = buckets.popleft()
            self.requests -= past.requests
            for at, count in enumerate(past.bins):
                self._bins[at] -= count

    def times(self) -> float:
        """Return the 95th percentile, nearest rank, in budgets."""
        above = self.requests - -(-self.requests * PERCENT // 100)
        at = _BINS
        while at and self._bins[at] <= above:
            above -= self._bins[at]
            at -= 1
        return GROWTH ** (at - _UNDER) * _MIDDLE

    def shares(self) -> tuple[float, ...]:
        """Return each step's part of what answers over budget took."""
        sums = [sum(column) for column in zip(*(bucket.steps for bucket in self._buckets), strict=True)]
        total = sum(sums)
        return tuple([each / total for each in sums]) if total else (0.0,) * len(STEPS)


class LatencyBudgets:
    """A listener of the audit pipe; used on the event loop only."""

    def __init__(self, clock: Clock, budget_of: BudgetOf, *, windows_most: int = WINDOWS_MOST) -> None:
        """Watch the features that `budget_of` knows a budget of, at most `windows_most` (at least 1) at one time."""
        self.left_out = 0
        """Answers that no window counts: too many features were watched."""
        self._clock = clock
        self._budget_of = budget_of
        self._most = windows_most
        self._windows: dict[tuple[str, str, str], _Window] = {}
        self._swept = -1

    def __call__(self, events: Sequence[RequestEvent]) -> None:
        """Hear a batch of events."""
        number = self._now()
        for event in events:
            if event.status >= 400 or event.status == 202:
                continue
            budget = self._budget_of(event)
            if budget is None:
                continue
            window = self._window((event.org, event.feature, budget.team), budget, number)
            if window is None:
                self.left_out += 1
            else:
                window.add(event, number)

    def used(self, least: int = 1) -> Iterator[Used]:
        """Yield how each budget is used of which `least` (at least 1) answers or more are in the window."""
        self._sweep(self._now())
        for (org, feature, _), window in self._windows.items():
            if window.requests >= max(1, least):
                yield Used(org, feature, window.budget, window.requests, window.times(), window.shares())

    def __len__(self) -> int:
        """Return how many features are watched."""
        return len(self._windows)

    def _now(self) -> int:
        return int(self._clock.wall_s() // BUCKET_S)

    def _window(self, key: tuple[str, str, str], budget: Budget, number: int) -> _Window | None:
        """Return the window to count in, begun anew when its budget is another; None when there is no room."""
        window = self._windows.get(key)
        if window is not None and window.budget == budget:
            return window
        if window is None and len(self._windows) >= self._most:
            if self._swept != number:  # at most once a bucket: looking at all of them takes a while
                self._sweep(number)
            if len(self._windows) >= self._most:
                return None
        window = self._windows[key] = _Window(budget)
        return window

    def _sweep(self, number: int) -> None:
        """Forget what is past, and the features of which nothing is left."""
        self._swept = number
        for window in self._windows.values():
            window.forget(number)
        self._windows = {key: window for key, window in self._windows.items() if window.requests}
