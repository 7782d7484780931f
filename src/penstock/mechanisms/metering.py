"""Settlements for whoever bills: one record of each, off the request path, into the stream's topic "metering".

    audit pipe ──▶ requests that were settled ──┐
    ledger     ──▶ holds that it let expire ────┴─▶ pipe of its own ──▶ stream topic "metering"

Promises: hearing never blocks and never raises; at any moment ``produced == delivered + dropped + queued``, those among
them that the audit pipe dropped before anybody heard. A settlement is delivered at least once, under its `operation`,
which the ledger settles exactly once: whoever keeps one record of each, an expired one before a posted one, has the
ledger's postings to the nano-dollar. Both may come: a node that was cut off from the ledger tells how its request ended
while another has let the hold expire, and what expired is told only by whom the ledger let settle it.
What ends a process at once takes with it what was queued: the ledger remains the authority on money.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from penstock.kernel.clock import Clock
from penstock.kernel.events import RequestEvent
from penstock.mechanisms.audit import Pipe, encoded
from penstock.ports.ledger import Settled
from penstock.ports.stream import Stream

TOPIC: Final = "metering"
EXPIRED_MOST: Final = 10_000
"""Operations that expired and are remembered, lest their request, ending after all, is told as another settlement."""
_LEVELS: Final = re.compile(r"/(?=(?:team|project|user|key):)")


class Settlement(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How one operation was settled. `operation` is the id to drop duplicates by, and the request's id.

    `at_s` is wall time when the request ended, or when its hold was let expire; `outcome` which of the two it was.
    `cost_nanos` is what the ledger posted, in nano-dollars under `price_version`; `estimated` whether a vendor did not
    say what was used. Of one that expired only who pays and the amount are known.
    """

    operation: str
    at_s: float
    outcome: Literal["posted", "expired"]
    org: str = ""
    team: str = ""
    project: str = ""
    user: str = ""
    key_id: str = ""
    feature: str = ""
    provider: str = ""
    model_used: str = ""
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    cost_nanos: int = 0
    estimated: bool = False
    price_version: str = ""


class Metering:
    """A listener of the audit pipe, told of what expires too. Its own `pipe` is closed after that one."""

    def __init__(
        self,
        stream: Stream,
        clock: Clock,
        *,
        capacity: int = 10_000,
        unpaid: frozenset[str] = frozenset(),
        every_s: float = 0.1,
        sink_timeout_s: float = 5.0,
    ) -> None:
        """Hold at most `capacity` (> 1,000) settlements; requests with a flag among `unpaid` held no money."""
        self._clock = clock
        self._unpaid = unpaid
        self._expired: dict[str, None] = {}
        self.pipe: Pipe[Settlement] = Pipe(
            stream,
            clock,
            topic=TOPIC,
            encode=encoded,
            capacity=capacity,
            every_s=every_s,
            sink_timeout_s=sink_timeout_s,
        )
        """What waits, and what became of the rest."""

    def __call__(self, events: Sequence[RequestEvent]) -> None:
        """Hear a batch of events; about 2 µs each."""
        for event in events:
            if self._is_settled(event):
                self.pipe.offer(_posted(event))

    def missed(self, event: RequestEvent) -> None:
        """Count the settlement of an event that nobody will hear."""
        if self._is_settled(event):
            self.pipe.produced += 1
            self.pipe.lose(_posted(event))

    def expired(self, settled: Sequence[Settled]) -> None:
        """Hear what the ledger's `expire` has settled."""
        for one in settled:
            while len(self._expired) >= EXPIRED_MOST:
                del self._expired[next(iter(self._expired))]
            self._expired[one.operation] = None
            self.pipe.offer(_expired(one, self._clock.wall_s()))

    def _is_settled(self, event: RequestEvent) -> bool:
        """Tell whether a request was admitted, its money held, and its hold still there when it ended."""
        if not event.admitted_ms or event.request_id in self._expired:
            return False
        return self._unpaid.isdisjoint(event.flags)


def _posted(event: RequestEvent) -> Settlement:
    return Settlement(
        operation=event.request_id,
        at_s=event.at_s,
        outcome="posted",
        org=event.org,
        team=event.team,
        project=event.project,
        user=event.user,
        key_id=event.key_id,
        feature=event.feature,
        provider=event.provider or (event.calls[-1].provider if event.calls else ""),
        model_used=event.model_used or (event.calls[-1].model if event.calls else ""),
        input_tokens=event.input_tokens,
        cached_tokens=event.cached_tokens,
        output_tokens=event.output_tokens,
        reasoning_tokens=event.reasoning_tokens,
        cost_nanos=event.cost_nanos,
        estimated=event.estimated,
        price_version=event.price_version,
    )


def _expired(settled: Settled, at_s: float) -> Settlement:
    levels: dict[str, str] = {}
    for account in settled.accounts:
        for part in _LEVELS.split(account.rpartition("@")[0]):
            level, _, name = part.partition(":")
            levels[level] = name
    return Settlement(
        operation=settled.operation,
        at_s=at_s,
        outcome="expired",
        org=levels.get("org", ""),
        team=levels.get("team", ""),
        project=levels.get("project", ""),
        user=levels.get("user", ""),
        key_id=levels.get("key", ""),
        cost_nanos=settled.amount_nanos,
        estimated=settled.estimated,
    )
