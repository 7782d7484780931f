"""What hears of every request to show it later: the figures of the last minutes, and the feed of the trace store.

Promise: a deployment that keeps no traces has the last minutes all the same; what was opened here is let go by the
stack it was given, the feed before its store; a store that has much to forget forgets it a piece at a tick, so that no
other chore waits.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass

from penstock.kernel.clock import Clock
from penstock.kernel.settings import Settings
from penstock.mechanisms.audit import Listener
from penstock.mechanisms.recent import Recent
from penstock.mechanisms.trace_feed import TraceFeed
from penstock.ports.traces import TRIM_MOST
from penstock.wiring import adapters
from penstock.wiring.parts import KeptTraces
from penstock.wiring.platform import Platform

DAY_S = 86_400
TRIM_EVERY_S = 300.0
"""Often: one trim tells of events that went, not of totals, and of those there may be more."""


@dataclass(slots=True)
class SightFeeds:
    """The listeners of sight, and the store one of them feeds."""

    recent: Recent
    traces: KeptTraces | None = None
    trace_feed: TraceFeed | None = None

    @property
    def listeners(self) -> tuple[Listener, ...]:
        """Who listens to the audit pipe."""
        return (self.recent,) if self.trace_feed is None else (self.recent, self.trace_feed)


async def open_sight_feeds(settings: Settings, clock: Clock, opening: AsyncExitStack) -> SightFeeds:
    """Open the store and its feed, if traces are kept; `opening` closes them. The audit pipe is opened after this."""
    recent = Recent(clock)
    opening.callback(recent.close)
    if not settings.traces.store:
        return SightFeeds(recent)
    traces = await adapters.traces(settings)
    opening.push_async_callback(traces.close)
    feed = TraceFeed(traces, clock, per_s=settings.traces.per_s)
    feed.start()
    opening.push_async_callback(feed.close)
    return SightFeeds(recent, traces, feed)


class TraceTrim:
    """Every few minutes forgets what is past its time: a piece at each tick until nothing is left of it."""

    def __init__(self, platform: Platform) -> None:
        """Trim the traces of `platform`, the first time at the first tick."""
        self._platform = platform
        self._due_s = 0.0

    async def tick(self) -> None:
        """Forget a piece if it is due; what failed is due again a while later."""
        platform = self._platform
        now_s = platform.clock.monotonic_s()
        if platform.traces is None or now_s < self._due_s:
            return
        self._due_s = now_s + TRIM_EVERY_S
        wall_s, kept = platform.clock.wall_s(), platform.settings.traces
        went = await platform.traces.trim(
            wall_s - kept.retain_days * DAY_S, totals_before_s=wall_s - kept.totals_days * DAY_S
        )
        if went >= TRIM_MOST:
            self._due_s = now_s
