"""Rolling windows of figures: counts, money and percentiles of what ended in the last so many seconds.

    add ──▶ the bucket under way ──(its time is over)──▶ sealed buckets ──(out of the window)──▶ forgotten
            dictionaries                                 packed, and added up once

Promises: counts and money are exact integers. Percentiles are of latencies in logarithmic bins, within
`ERROR_PERCENT` of the true value between `LOWEST_MS` and `HIGHEST_MS`, and those beyond them; they are of
requests that were not refused: a refusal takes no time and would hide what the others took. A window is made of whole
buckets and the one under way. To read it costs the same however many requests are in it.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterable
from math import ceil, log
from typing import NamedTuple, TypeVar

import msgspec

from penstock.kernel.events import RequestEvent

GROWTH = 1.05
"""Each bin ends at so many times where it begins."""
ERROR_PERCENT = 100 * (GROWTH - 1) / (GROWTH + 1)
"""A bin's middle is at most so far from any value in it (2.44 %)."""
LOWEST_MS = 0.1
HIGHEST_MS = 3_600_000.0
CODES_MOST = 32
"""Error codes told apart in one bucket; more are counted as `OTHER`."""
OTHER = "other"

_PER_LOG = 1 / log(GROWTH)
_LAST_BIN = ceil(log(HIGHEST_MS / LOWEST_MS) * _PER_LOG)
_MIDDLE = 2 / (1 + GROWTH)
_FIRST_TOKEN = _LAST_BIN + 1
"""Bins from this one on are of the time to the first token."""

_Name = TypeVar("_Name", int, str)


class Bucket(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What ended in one stretch of a window; `at_s` is its start in seconds since 1970."""

    at_s: float
    requests: int = 0
    failed: int = 0
    refused: int = 0
    cost_nanos: int = 0
    p50_ms: float = 0.0
    p95_ms: float = 0.0


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """The last `window_s` seconds. `series` has every bucket, empty ones too, oldest first; the last is under way.

    A percentile of nothing is 0. `by_code` counts errors by their machine-readable code.
    """

    window_s: float
    requests: int
    refused: int
    failed: int
    cost_nanos: int
    by_code: dict[str, int]
    p50_ms: float
    p95_ms: float
    p99_ms: float
    first_p50_ms: float
    first_p95_ms: float
    first_p99_ms: float
    series: tuple[Bucket, ...]


def bins_of(event: RequestEvent) -> tuple[int, int]:
    """Return the bins of an event's latency and of its first token; -1 for none."""
    if 400 <= event.status < 500:
        return -1, -1
    latency_ms, first_ms = event.latency_ms, event.first_token_ms
    latency = first = 0  # the formula stands here twice: every event comes by, and a call costs more than it
    if latency_ms > LOWEST_MS:
        latency = ceil(log(latency_ms / LOWEST_MS) * _PER_LOG) if latency_ms < HIGHEST_MS else _LAST_BIN
    if first_ms <= 0.0:
        return latency, -1
    if first_ms > LOWEST_MS:
        first = ceil(log(first_ms / LOWEST_MS) * _PER_LOG) if first_ms < HIGHEST_MS else _LAST_BIN
    return latency, _FIRST_TOKEN + first


def _middle_ms(number: int) -> float:
    """Return the time that stands for a bin: as far, in parts, from its lower end as from its upper."""
    return LOWEST_MS * GROWTH**number * _MIDDLE if number else LOWEST_MS


def _percentiles(counts: Iterable[tuple[int, int]], *percents: int) -> list[float]:
    """Return the time below which each of `percents` (rising) of what is counted in `(bin, count)` is, nearest rank."""
    rows = sorted(counts)
    total = sum(count for _, count in rows)
    if not total:
        return [0.0] * len(percents)
    found: list[float] = []
    seen = place = 0
    for percent in percents:
        rank = -(-total * percent // 100)
        while seen + rows[place][1] < rank:
            seen += rows[place][1]
            place += 1
        found.append(round(_middle_ms(rows[place][0]), 3))
    return found


class UnderWay:
    """The bucket under way."""

    __slots__ = ("bins", "codes", "cost_nanos", "failed", "number", "refused", "requests")

    def __init__(self, number: int) -> None:
        """Begin bucket `number`."""
        self.number = number
        self.requests = self.failed = self.refused = self.cost_nanos = 0
        self.codes: dict[str, int] = {}
        self.bins: dict[int, int] = {}

    def add(self, event: RequestEvent, latency_bin: int, first_bin: int) -> None:
        """Count an event, whose bins are those of `bins_of`."""
        self.requests += 1
        self.cost_nanos += event.cost_nanos
        if event.status >= 500:
            self.failed += 1
        elif event.status >= 400:
            self.refused += 1
        if event.error:
            codes = self.codes
            code = event.error if event.error in codes or len(codes) < CODES_MOST else OTHER
            codes[code] = codes.get(code, 0) + 1
        if latency_bin >= 0:
            bins = self.bins
            bins[latency_bin] = bins.get(latency_bin, 0) + 1
            if first_bin >= 0:
                bins[first_bin] = bins.get(first_bin, 0) + 1

    def shown(self, at_s: float) -> Bucket:
        """Return the figures of this bucket, which began at `at_s`."""
        p50_ms, p95_ms = _percentiles(_latencies(self.bins), 50, 95)
        return Bucket(
            at_s=at_s,
            requests=self.requests,
            failed=self.failed,
            refused=self.refused,
            cost_nanos=self.cost_nanos,
            p50_ms=p50_ms,
            p95_ms=p95_ms,
        )


class _Sealed(NamedTuple):
    """A bucket that is over, packed: 8 bytes a bin instead of the hundred of a dictionary's row."""

    number: int
    shown: Bucket
    codes: dict[str, int]
    bins: array[int]


class Tally:
    """The buckets of one organisation or of the platform, and the sums over those that are over.

    A bucket's `number` is its start divided by its length. A clock that was set back by more than one bucket begins
    anew: what is kept would lie in its future.
    """

    __slots__ = ("_bins", "_bucket_s", "_buckets", "_codes", "_sealed", "under_way")

    def __init__(self, buckets: int, bucket_s: float) -> None:
        """Keep `buckets` buckets of `bucket_s` seconds each, the one under way among them."""
        self._buckets = buckets
        self._bucket_s = bucket_s
        self.under_way = UnderWay(0)
        self._sealed: deque[_Sealed] = deque()
        self._bins: dict[int, int] = {}
        self._codes: dict[str, int] = {}

    def is_past(self, number: int) -> bool:
        """Tell whether nothing of this is in the window that ends with bucket `number`."""
        return self.under_way.number <= number - self._buckets

    def bucket(self, number: int) -> UnderWay:
        """Return the bucket to add to."""
        ahead = self.under_way.number - number
        if ahead in (0, 1):
            return self.under_way
        if ahead > 0:
            self._begin_anew()
        elif self.under_way.requests:
            self._seal()
        self.under_way = UnderWay(number)
        self._forget(number)
        return self.under_way

    def window(self, number: int) -> Window:
        """Return the window that ends with bucket `number`."""
        under_way = self.bucket(number)
        number, first = under_way.number, under_way.number - self._buckets + 1
        series = [Bucket(at_s=earlier * self._bucket_s) for earlier in range(first, number + 1)]
        for sealed in self._sealed:
            series[sealed.number - first] = sealed.shown
        series[-1] = under_way.shown(number * self._bucket_s)
        bins, codes = self._bins.copy(), self._codes.copy()
        _add(bins, under_way.bins.items())
        _add(codes, under_way.codes.items())
        p50_ms, p95_ms, p99_ms = _percentiles(_latencies(bins), 50, 95, 99)
        first_p50_ms, first_p95_ms, first_p99_ms = _percentiles(_first_tokens(bins), 50, 95, 99)
        return Window(
            window_s=self._buckets * self._bucket_s,
            requests=sum(bucket.requests for bucket in series),
            refused=sum(bucket.refused for bucket in series),
            failed=sum(bucket.failed for bucket in series),
            cost_nanos=sum(bucket.cost_nanos for bucket in series),
            by_code=codes,
            p50_ms=p50_ms,
            p95_ms=p95_ms,
            p99_ms=p99_ms,
            first_p50_ms=first_p50_ms,
            first_p95_ms=first_p95_ms,
            first_p99_ms=first_p99_ms,
            series=tuple(series),
        )

    def _begin_anew(self) -> None:
        self._sealed.clear()
        self._bins.clear()
        self._codes.clear()

    def _seal(self) -> None:
        over = self.under_way
        packed = array("I", (figure for row in over.bins.items() for figure in row))
        self._sealed.append(
            _Sealed(over.number, over.shown(over.number * self._bucket_s), over.codes, packed)
        )
        _add(self._bins, over.bins.items())
        _add(self._codes, over.codes.items())

    def _forget(self, number: int) -> None:
        """Take out of the sums what is no longer in the window that ends with bucket `number`."""
        sealed = self._sealed
        while sealed and sealed[0].number <= number - self._buckets:
            past = sealed.popleft()
            figures = iter(past.bins)
            _add(self._bins, ((at, -count) for at, count in zip(figures, figures, strict=True)))
            _add(self._codes, ((code, -count) for code, count in past.codes.items()))


def _latencies(bins: dict[int, int]) -> list[tuple[int, int]]:
    return [(at, count) for at, count in bins.items() if at < _FIRST_TOKEN]


def _first_tokens(bins: dict[int, int]) -> list[tuple[int, int]]:
    return [(at - _FIRST_TOKEN, count) for at, count in bins.items() if at >= _FIRST_TOKEN]


def _add(sums: dict[_Name, int], counts: Iterable[tuple[_Name, int]]) -> None:
    """Add counts to sums; what comes to nothing is gone."""
    for name, count in counts:
        total = sums.get(name, 0) + count
        if total:
            sums[name] = total
        else:
            sums.pop(name, None)
