"""What the overview looks at besides what every route has: rate limits, the data folder's disk, what waits to be kept.

Promise: it is imported with the management API and not before; a figure that cannot be read is left out.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence

from penstock.gateway.management.meters import Meters
from penstock.gateway.management.pressures import Disk, Queue
from penstock.gateway.management.sight import Sight
from penstock.wiring.platform import Platform

DISK_STEP_BYTES = 100_000_000
"""Finer than this a disk is not told, or each write would be news to whoever looks at the overview live."""


def sight(platform: Platform) -> Sight:
    """Return how the overview sees a platform."""
    return Sight(
        meters=Meters(platform.plans, platform.stores.state).read,
        disk=lambda: disk(platform.settings.store.data),
        queues=lambda: queues(platform),
    )


def disk(folder: str) -> Disk | None:
    """Return how full the disk of a folder is, for whoever is not root; None when that cannot be told."""
    try:
        found = shutil.disk_usage(folder)
    except OSError:
        return None
    # What is kept for root is as good as used.
    free_bytes = found.free // DISK_STEP_BYTES * DISK_STEP_BYTES
    return Disk(used_bytes=found.total - free_bytes, total_bytes=found.total)


def queues(platform: Platform) -> Sequence[Queue]:
    """Return what waits to be kept besides the audit."""
    if platform.trace_feed is None:
        return ()
    waiting, capacity = platform.trace_feed.room
    remedy = "See whether the store of traces is slow (penstock doctor), or lower traces.per_s."
    return (Queue(name="traces", waiting=waiting, capacity=capacity, setting="traces.per_s", remedy=remedy),)
