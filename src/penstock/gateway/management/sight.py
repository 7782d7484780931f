"""What the live views and the overview need besides what every route works with, as one value that wiring fills.

Promise: each part has a stand-in that tells nothing, so that a deployment without it shows what it has.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from penstock.gateway.management.fresh import Fresh
from penstock.gateway.management.live import Seats
from penstock.gateway.management.money_models import BudgetRow
from penstock.gateway.management.pressures import Disk, Meter, Queue
from penstock.kernel.allowance import Allowance
from penstock.kernel.clock import SystemClock

DROPS_SHOWN_S: Final = 900.0
DRAWING_SHARE: Final = 0.01


@dataclass(frozen=True, slots=True)
class Slow:
    """What is read from the stores for an overview; `books` False when the ledger did not answer."""

    budgets: Sequence[BudgetRow]
    today_nanos: int
    month_nanos: int
    meters: Sequence[Meter]
    books: bool = True


class Picture(NamedTuple):
    """An overview as it is sent, what of it must change before another is, and how long it is to be shown (seconds)."""

    data: bytes
    changing: bytes
    every_s: float


class Drops:
    """Which drops go on: the counters that grew in the last `DROPS_SHOWN_S` seconds."""

    def __init__(self) -> None:
        """Have seen nothing yet; what was dropped before the first look counts as new then."""
        self._seen: dict[str, tuple[int, float]] = {}

    def recent(self, dropped: Mapping[str, int], now_s: float) -> dict[str, int]:
        """Return those of the counters that grew lately (monotonic seconds)."""
        for name, count in dropped.items():
            before, grew_s = self._seen.get(name, (0, now_s))
            self._seen[name] = (count, now_s if count > before else grew_s)
        return {
            name: count
            for name, count in dropped.items()
            if count and now_s - self._seen[name][1] < DROPS_SHOWN_S
        }


async def _no_meters(_org: str) -> Sequence[Meter]:
    return ()


def _no_disk() -> Disk | None:
    return None


def _no_queues() -> Sequence[Queue]:
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """`meters` tells an organisation's rate limits, `disk` the data folder's, `queues` what waits besides the audit."""

    meters: Callable[[str], Awaitable[Sequence[Meter]]] = _no_meters
    disk: Callable[[], Disk | None] = _no_disk
    queues: Callable[[], Sequence[Queue]] = _no_queues
    seats: Seats = field(default_factory=Seats)
    drops: Drops = field(default_factory=Drops)
    slow: Fresh[Slow] = field(default_factory=Fresh[Slow])
    shown: Fresh[Picture] = field(default_factory=Fresh[Picture])
    drawing: Allowance = field(default_factory=lambda: Allowance(SystemClock(), DRAWING_SHARE))
    """What drawing pictures for live views may take of the event loop."""
