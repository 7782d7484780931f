"""What stands between a flood and this process, joined: the door that sheds, the places, the rooms before quotas.

Promise: everything that waits or is refused is on the metrics page, by class.
"""

from __future__ import annotations

from contextlib import AsyncExitStack

from penstock.gateway.places import Places
from penstock.gateway.quota_rooms import QuotaRooms
from penstock.kernel.clock import Clock
from penstock.kernel.settings import OverloadSettings
from penstock.mechanisms.audit import AuditPipe
from penstock.mechanisms.priorities import Priority, WaitingBounds
from penstock.wiring.catalogue import Catalogue
from penstock.wiring.guard import Guard
from penstock.wiring.platform import Platform, Waiting


def open_waiting(chosen: OverloadSettings, catalogue: Catalogue, clock: Clock, audit: AuditPipe) -> Waiting:
    """Return where calls wait."""
    bounds = WaitingBounds(waiting_most=chosen.waiting, wait_s=chosen.wait_s, ageing_s=chosen.ageing_s)
    rooms = None
    if catalogue.loads is not None and chosen.near_quota_percent:
        rooms = QuotaRooms(catalogue.loads.quotas, chosen.near_quota_percent / 100, bounds, clock)
    return Waiting(Places(chosen.serving, bounds, clock, audit), rooms)


def open_guard(platform: Platform, opening: AsyncExitStack) -> Guard | None:
    """Watch the process, where the settings want it."""
    if not platform.settings.overload.shed:
        return None
    guard = Guard(platform.server, platform.routes, platform.authenticator, platform.audit, platform.clock)
    opening.callback(guard.close)
    guard.watch()
    return guard


def declare_overload(platform: Platform) -> None:
    """Put what waits and what was refused on the metrics page."""
    metrics, places, guard = platform.metrics, platform.waiting.places, platform.guard
    room = places.room
    metrics.gauge("penstock_places_taken", "Calls for models under way.", lambda: places.taken)
    metrics.gauge(
        "penstock_waiting_requests", "Calls for models that wait for a place.", lambda: room.waiting
    )
    metrics.counter("penstock_waited_requests", "Calls that got a place after a wait.", lambda: room.waited)
    metrics.counter(
        "penstock_wait_refused_requests",
        "Calls that waited in vain, or found no room to wait.",
        lambda: by_class(room.refused),
        ("priority",),
    )
    _declare_rooms(platform)
    if guard is None:
        return
    shedder = guard.shedder
    metrics.gauge("penstock_loop_lag_seconds", "How far the event loop is behind.", lambda: shedder.lag_s)
    metrics.gauge("penstock_shedding", "1 while calls are refused at the door.", lambda: shedder.is_shedding)
    metrics.counter(
        "penstock_shed_requests",
        "Calls refused at the door, before anything was done for them.",
        lambda: by_class(shedder.refused),
        ("priority",),
    )


def _declare_rooms(platform: Platform) -> None:
    metrics, rooms = platform.metrics, platform.waiting.rooms
    if rooms is None:
        return
    metrics.gauge("penstock_quota_waiting_requests", "Calls that wait for a quota.", lambda: rooms.waiting)
    metrics.counter(
        "penstock_quota_waited_requests", "Calls made after a wait for a quota.", lambda: rooms.waited
    )
    metrics.counter(
        "penstock_quota_refused_requests",
        "Calls that waited for a quota in vain, or found no room to wait.",
        lambda: by_class(rooms.refused),
        ("priority",),
    )


def by_class(counts: list[int]) -> dict[tuple[str, ...], float]:
    """Return counts by the names of their classes."""
    return {(priority.name.lower(),): counts[priority] for priority in Priority}
