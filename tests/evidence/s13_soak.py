"""S13: a million requests through one process, everything on: resident memory stays flat and below its bound.

Promise: the verdict compares the last quarter of the run with its second one (caches and pools may fill in the first);
any error, growth above `soak.GROWTH_MB`, or more than `RESIDENT_MB` at the end fails it.
"""

from __future__ import annotations

from tests.bench import load, soak
from tests.evidence.registry import Result

ID = "S13"
TITLE = "A million requests: at most 80 MB resident, and flat"
RESIDENT_MB = 80.0
REQUESTS = 1_000_000
QUICK_REQUESTS = 100_000


def produce(quick: bool) -> Result:
    """Load one process until it has answered."""
    load.install()
    seen = soak.soak("penstock", QUICK_REQUESTS if quick else REQUESTS)
    last_mb = seen.resident_mb[-1]
    met = seen.flat and last_mb <= RESIDENT_MB
    grown = f"{last_mb:.1f} MB at the end, {seen.growth_mb:+.1f} MB of growth"
    reason = f"{seen.answers:,} answers, {grown}, {seen.errors} errors"
    figures = {
        "answers": seen.answers,
        "errors": seen.errors,
        "idle_mb": round(seen.idle_mb, 1),
        "resident_at_the_end_mb": round(last_mb, 1),
        "most_resident_mb": round(max(seen.resident_mb), 1),
        "growth_mb": round(seen.growth_mb, 2),
        "slices": len(seen.resident_mb),
    }
    return Result(figures, "met" if met else "missed", reason)
