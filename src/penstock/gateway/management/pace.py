"""How fast money goes, and when a budget is used up at that pace. Pure.

Promises: the pace is that of the last `PACE_S` seconds, of an organisation exactly, of what is below it by its share of
the latest requests; a budget that is used up, whose window ends before it would be, or on which nothing is spent has no
time left to tell (0).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from math import ceil
from typing import Final

from penstock.kernel.events import RequestEvent
from penstock.mechanisms.scopes import scope_paths
from penstock.mechanisms.windows import Bucket
from penstock.ports.traces import DAY_S

PACE_S: Final = 60.0


def lately(series: Sequence[Bucket], now_s: float) -> tuple[Sequence[Bucket], float]:
    """Return the buckets that began in the last `PACE_S` seconds, and how many seconds they are of."""
    bucket_s = series[1].at_s - series[0].at_s if len(series) > 1 else PACE_S
    first_s = ceil((now_s - PACE_S) / bucket_s) * bucket_s
    return [bucket for bucket in series if bucket.at_s >= first_s], max(now_s - first_s, 1.0)


def pace(series: Sequence[Bucket], now_s: float) -> float:
    """Return how many nano-dollars a second were spent lately."""
    buckets, seconds = lately(series, now_s)
    return sum(bucket.cost_nanos for bucket in buckets) / seconds


def shares(events: Iterable[RequestEvent]) -> dict[str, float]:
    """Return what share (0 to 1) of what an organisation's requests cost went to each path of the tenancy below it."""
    by_key: Counter[tuple[str, str, str, str, str]] = Counter()
    for event in events:
        by_key[event.org, event.team, event.project, event.user, event.key_id] += event.cost_nanos
    costs: Counter[str] = Counter()
    for names, nanos in by_key.items():
        if nanos:
            for _, path in scope_paths(*names):
                costs[path] += nanos
    total_nanos = by_key.total()
    return {path: nanos / total_nanos for path, nanos in costs.items()}


def eta_s(room_nanos: int, nanos_per_s: float, left_s: float) -> float:
    """Return in how many seconds the room is spent; 0 when it is none, or not within `left_s` (0: no end)."""
    if room_nanos <= 0 or nanos_per_s <= 0:
        return 0.0
    until_s = room_nanos / nanos_per_s
    return 0.0 if left_s and until_s > left_s else until_s


def left_s(window: str, now_s: float) -> float:
    """Return the seconds until a window ("day", "month", "total") ends (UTC); 0 for one without an end."""
    if window == "day":
        return DAY_S - now_s % DAY_S
    if window != "month":
        return 0.0
    now = datetime.fromtimestamp(now_s, UTC)
    year, month = (now.year + 1, 1) if now.month == 12 else (now.year, now.month + 1)
    return datetime(year, month, 1, tzinfo=UTC).timestamp() - now_s


def percent(used: float, limit: float) -> float:
    """Return how full something is; 100 for a bound of nothing."""
    return 100.0 * used / limit if limit else 100.0


def path_of(account: str) -> str:
    """Return the path of a ledger account (``path@window``)."""
    return account.rpartition("@")[0]


def window_of(account: str) -> str:
    """Return the window of a ledger account: "day", "month" or "total"."""
    suffix = account.rpartition("@")[2]
    return "total" if suffix == "total" else "month" if len(suffix) == len("2026-11") else "day"


def pace_of(path: str, org: str, nanos_per_s: float, share_of: Mapping[str, float]) -> float:
    """Return the pace of a path, given its organisation's and the shares below it; 0 for another organisation's."""
    return nanos_per_s * (1.0 if path == f"org:{org}" else share_of.get(path, 0.0))
