r"""Traces: what became of each request, kept so that people can look it up, and the totals that figures are made of.

Promises
1. `add` is one transaction per batch: all of its events and totals are there, or none.
2. A batch is added once, however often it is offered: a retry after an answer that never came changes nothing.
3. `get` returns the event as it was added, or None; an event added twice (in two batches) is kept once.
4. `find` returns what matches every member of the filter and nothing else, latest first, and pages through all of it
   by `after` without a repeat or a gap, also when events have the same time or later ones arrive meanwhile.
5. `totals` adds up every delta that matches the filter, grouped by the dimensions asked for: exactly, in integers,
   whether or not the events behind them were kept; at most `TOTALS_MOST` rows, dearest first.
6. `trim` forgets events and batch ids from before one time and totals of hours that ended before another, and nothing
   later.
7. A tenant's filter never shows another's rows, also when names begin alike or hold characters like ``% _ / \``.

Raises Unavailable when the engine is down; Invalid for an unknown dimension, a page or filter out of bounds, an `after`
that is none of ours, and a batch out of bounds: then nothing of it was added, nor would be by offering it again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from penstock.kernel.events import RequestEvent

DIMENSIONS = (
    "hour",
    "day",
    "org",
    "team",
    "project",
    "user",
    "key_id",
    "feature",
    "model",
    "provider",
    "outcome",
)
GROUPED_MOST = 3
TOTALS_MOST = 10_000
PAGE_MOST = 1_000
EVENTS_MOST = 1_000
DELTAS_MOST = 5_000
"""Events and totals in one batch."""
FIGURE_MOST = 1 << 53
"""What one batch adds to one figure of one row at most; none takes away."""
TRIM_MOST = 10_000
"""Events, totals and batch ids that one call of `trim` forgets, of each."""
TEXT_BYTES = 512
"""A request's id, a batch's id and each name that is filtered by take at most so much UTF-8."""
HOUR_S = 3_600
DAY_S = 86_400


class TraceFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which requests. "" and 0 ask for all; times are seconds since 1970, `since_s` inside and `until_s` outside.

    `model` is the model served, or the one asked for when none was; `outcome` "ok" (status below 400), "refused" (4xx)
    or "failed" (everything else). For `totals`, the time of an event is the start of the hour it ended in.
    """

    org: str = ""
    team: str = ""
    project: str = ""
    user: str = ""
    key_id: str = ""
    feature: str = ""
    model: str = ""
    provider: str = ""
    outcome: str = ""
    since_s: float = 0.0
    until_s: float = 0.0

    def admits(self, event: RequestEvent) -> bool:
        """Tell whether an event matches: what `find` says of a kept one, said of one at hand."""
        return (
            (not self.org or event.org == self.org)
            and (not self.team or event.team == self.team)
            and (not self.project or event.project == self.project)
            and (not self.user or event.user == self.user)
            and self._admits_what(event)
            and event.at_s >= self.since_s
            and (not self.until_s or event.at_s < self.until_s)
        )

    def _admits_what(self, event: RequestEvent) -> bool:
        return (
            (not self.key_id or event.key_id == self.key_id)
            and (not self.feature or event.feature == self.feature)
            and (not self.model or event.model_served == self.model)
            and (not self.provider or event.provider == self.provider)
            and (not self.outcome or event.outcome == self.outcome)
        )


class Delta(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What the requests of one hour with the same names add to the totals. `hour_s` is the hour's start."""

    hour_s: int
    org: str
    team: str
    project: str
    user: str
    key_id: str
    feature: str
    model: str
    provider: str
    outcome: str
    requests: int
    estimated: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    cost_nanos: int
    latency_ms: int


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """What is added at once: the events to be kept, and the totals of those and of all others."""

    id: str
    at_s: float
    events: Sequence[RequestEvent] = ()
    deltas: Sequence[Delta] = ()


class Total(msgspec.Struct, frozen=True, kw_only=True):
    """One row of `totals`: the value of each dimension asked for (an hour or day as its start in seconds), the sums."""

    group: tuple[str, ...]
    requests: int
    failed: int
    refused: int
    estimated: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    cost_nanos: int
    latency_ms: int


class TracePage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of events, latest first. `after` asks for the next one; "" means there is none."""

    events: tuple[RequestEvent, ...]
    after: str


class Traces(Protocol):
    """Keeps what became of requests."""

    async def add(self, batch: Batch) -> None:
        """Keep a batch, once."""
        ...

    async def get(self, request_id: str) -> RequestEvent | None:
        """Return one kept event."""
        ...

    async def find(self, wanted: TraceFilter, *, after: str = "", limit: int = 100) -> TracePage:
        """Return a page of kept events; `limit` is at most `PAGE_MOST`."""
        ...

    async def totals(self, wanted: TraceFilter, by: Sequence[str]) -> list[Total]:
        """Return the sums of what matches, for each combination of the dimensions `by` (0 to 3 of `DIMENSIONS`).

        By none, there is one row, all zeroes when nothing matches.
        """
        ...

    async def trim(self, before_s: float, *, totals_before_s: float | None = None) -> int:
        """Forget what is from before a time (totals: another time, when given); returns how many events went.

        At most `TRIM_MOST` of each kind go in one call.
        """
        ...
