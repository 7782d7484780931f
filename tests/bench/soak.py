"""A million requests through one process: memory must stay flat.

    python -m tests.bench soak [--requests 1000000] [--target penstock]

Promise: resident memory is read after every slice of full replies and streams; the verdict compares the last quarter
with the second one, since caches and pools may fill in the first. Growth above `GROWTH_MB` or any error fails.
"""

from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass

from tests.bench import load, meter
from tests.bench.peers.base import Target
from tests.bench.peers.catalogue import TARGETS
from tests.bench.peers.upstream import UpstreamProcess

GROWTH_MB = 4.0
_SLICE_S = 4
_STREAM_S = 1
_MIN_SLICES = 8  # two in each quarter: fewer tell nothing
_MAX_SLICES = 1_000


@dataclass(slots=True, frozen=True)
class Soak:
    """What was seen: resident memory after each slice, how much it grew, errors counted."""

    target: str
    answers: int
    errors: int
    idle_mb: float
    resident_mb: list[float]
    growth_mb: float

    @property
    def flat(self) -> bool:
        """Whether the promise held."""
        return self.errors == 0 and len(self.resident_mb) >= _MIN_SLICES and self.growth_mb <= GROWTH_MB


def soak(name: str, requests: int) -> Soak:
    """Load one target until it has answered `requests` times."""
    kind = next(kind for kind in TARGETS if kind.name == name)
    with UpstreamProcess().running() as upstream, kind(upstream.port).running() as target:
        return _soaked(target, upstream.pid or 0, requests)


def _soaked(target: Target, upstream_pid: int, requests: int) -> Soak:
    pid = target.pid or 0
    idle_mb, answers, errors, resident_mb = meter.rss_mb(pid), 0.0, 0.0, list[float]()
    while (answers < requests or len(resident_mb) < _MIN_SLICES) and len(resident_mb) < _MAX_SLICES:
        for kind, seconds in ((load.FULL_64, _SLICE_S), (load.BURST, _STREAM_S)):
            seen = load.measure(target, upstream_pid, kind, seconds, rounds=0)
            answers, errors = answers + seen["answers"], errors + seen["errors"]
        resident_mb.append(meter.rss_mb(pid))
        print(f"{answers:>12,.0f} answers  {resident_mb[-1]:7.1f} MB  {errors:.0f} errors", flush=True)
    return Soak(target.name, int(answers), int(errors), idle_mb, resident_mb, _growth(resident_mb))


def _growth(resident_mb: list[float]) -> float:
    """Median of the last quarter less median of the second."""
    quarter = len(resident_mb) // 4
    return statistics.median(resident_mb[-quarter:]) - statistics.median(resident_mb[quarter : 2 * quarter])


def main(name: str, requests: int) -> int:
    """Run and say the verdict; the exit code is 1 when memory grew or something failed."""
    load.install()
    seen = soak(name, requests)
    print({**asdict(seen), "flat": seen.flat})
    return 0 if seen.flat else 1
