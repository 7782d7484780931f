"""What telling easy requests from hard ones saves, and how often the small model will do: counted from the audit.

Promise: a request counts once, under the model it asked for; the saving is what the large model would have cost for the
very tokens that were used, less what was paid, in nano-dollars; it may be negative, and then says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from penstock.gateway.routing import Route, RouteTable
from penstock.kernel.events import RequestEvent
from penstock.kernel.money import Usage, cost_nanos

ESCALATED: Final = "escalated"
"""The flag of a request whose small answer would not do."""


class TierSum(msgspec.Struct, kw_only=True):
    """One route's requests: answered by the small or the large model, escalated from small to large, failed at each."""

    small: int = 0
    large: int = 0
    escalated: int = 0
    small_failed: int = 0
    large_failed: int = 0
    saved_nanos: int = 0


class Tiers:
    """Listens to the audit. One per process; `sums` by public model name, as many as routes have tiers."""

    def __init__(self, table: Callable[[], RouteTable]) -> None:
        """`table()` is the route table in force."""
        self._table = table
        self.sums: dict[str, TierSum] = {}

    def __call__(self, events: Sequence[RequestEvent]) -> None:
        """Count events of routes that have two tiers."""
        table = self._table()
        tiered = table.tiered
        if not tiered:
            return
        for event in events:
            route = tiered.get(event.model)
            if route is not None and event.provider:
                self._count(table.of_org(route, event.org), event)

    def _count(self, route: Route, event: RequestEvent) -> None:
        rules = route.rules
        found = self.sums.setdefault(event.model, TierSum())
        failed = event.status >= 500
        is_small = rules is not None and event.route in {target.route for target in rules.small}
        if is_small:
            found.small += 1
            found.small_failed += failed
        else:
            found.large += 1
            found.large_failed += failed
        if ESCALATED in event.flags:
            found.escalated += 1
        if is_small or ESCALATED in event.flags:
            usage = Usage(
                input_tokens=event.input_tokens,
                output_tokens=event.output_tokens,
                cached_input_tokens=event.cached_tokens,
                reasoning_tokens=event.reasoning_tokens,
            ).mended()
            found.saved_nanos += cost_nanos(route.targets[0].price, usage) - event.cost_nanos
