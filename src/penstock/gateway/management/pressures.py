"""What breaks first right now: everything that has a bound, the most pressing first. Pure: figures in, ranking out.

    pressing = the larger of    how full it is (percent)
                                how soon it is full (100 at once, 0 in an hour or more)

Promises: what is full, down, open or dropping stands at 100 and more, so before everything that is not; what refuses
nothing when it is full (a soft budget) counts half; of two alike the one that fills sooner is first, then the name
decides, so that the order does not flicker; at most `SHOWN_MOST` are told, each with what to do about it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple
from urllib.parse import quote

import msgspec

from penstock.gateway.management.overview_models import Pressure, SpendRow
from penstock.gateway.management.pace import lately, path_of, percent
from penstock.kernel.money import format_dollars
from penstock.mechanisms.windows import Window

SHOWN_MOST: Final = 50
SOON_S: Final = 3_600.0
FAILED_PERCENT: Final = 5.0
"""So many failures of a hundred answers are full."""
FAILED_OF_LEAST: Final = 10
"""Of fewer answers than this, no rate is told."""
KEYS: Final = "/console/keys"
REQUESTS: Final = "/console/requests"
SETTINGS: Final = "/console/settings"
_NEXT: Final = {"day": ", or wait for the next day (UTC)", "month": ", or wait for the next month (UTC)"}


class Weighed(NamedTuple):
    """A pressure, and how much of it counts for its place."""

    pressure: Pressure
    weight: float = 1.0


class Queue(msgspec.Struct, frozen=True, kw_only=True):
    """What waits, and how much may; `setting` is the one to change, `remedy` how ("" raises it)."""

    name: str
    waiting: int
    capacity: int
    setting: str
    remedy: str = ""


class Meter(msgspec.Struct, frozen=True, kw_only=True):
    """A rate limit now: `used` of `limit` are taken. `path` is the level that it limits."""

    path: str
    name: str
    used: int
    limit: int


class Disk(msgspec.Struct, frozen=True, kw_only=True):
    """The disk of the data folder, in bytes."""

    used_bytes: int
    total_bytes: int


class Platform(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of the whole platform. `dropping` is what was dropped lately, of each kind ever."""

    in_flight: int
    in_flight_most: int
    connections: int
    connections_most: int
    queues: Sequence[Queue] = ()
    dependencies: Mapping[str, bool] = {}
    breakers: Mapping[str, str] = {}
    dropping: Mapping[str, int] = {}
    disk: Disk | None = None


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What the ranking is made of. `platform` None: not for this caller."""

    now_s: float
    window: Window
    deadline_s: float
    budgets: Sequence[SpendRow] = ()
    meters: Sequence[Meter] = ()
    platform: Platform | None = None


def ranked(figures: Figures) -> list[Pressure]:
    """Return what is pressed, the most pressing first."""
    found = [
        *map(_budget, figures.budgets),
        *(_meter(meter) for meter in figures.meters),
        *_answers(figures.window, figures.now_s, figures.deadline_s),
        *(() if figures.platform is None else _platform(figures.platform)),
    ]
    found.sort(key=_place)
    return [each.pressure for each in found[:SHOWN_MOST]]


def pressing(pressure: Pressure) -> float:
    """Return how pressing something is."""
    soon = 100.0 * (1.0 - pressure.eta_s / SOON_S) if pressure.eta_s else 0.0
    return max(pressure.percent, soon)


def _place(each: Weighed) -> tuple[float, float, str]:
    pressure = each.pressure
    return -pressing(pressure) * each.weight, pressure.eta_s or float("inf"), pressure.name


def _budget(row: SpendRow) -> Weighed:
    used_nanos = row.posted_nanos + row.held_nanos
    spent = f"{format_dollars(used_nanos)} of {format_dollars(row.limit_nanos)}"
    path = path_of(row.account)
    each = "in all" if row.window == "total" else f"this {row.window}"
    soft = "" if row.hard else " It only warns: it refuses nothing."
    pressure = Pressure(
        name=f"Budget of {spoken(path)}, {each}",
        detail=f"{spent} are spent or held {each}.{soft}",
        used=used_nanos,
        limit=row.limit_nanos,
        unit="nano-dollars",
        percent=row.percent,
        eta_s=row.eta_s,
        remedy=f"Raise the budget{_NEXT.get(row.window, '')}.",
        link=_keys(path),
    )
    return Weighed(pressure, 1.0 if row.hard else 0.5)


def _meter(meter: Meter) -> Weighed:
    return _bound(
        f"{meter.name[:1].upper()}{meter.name[1:]} of {spoken(meter.path)}",
        f"{meter.used} of {meter.limit} are taken.",
        meter.used,
        meter.limit,
        unit="requests" if "requests" in meter.name else "tokens",
        remedy="Raise the limit, or send less at a time.",
        link=_keys(meter.path),
    )


def _answers(window: Window, now_s: float, deadline_s: float) -> Iterator[Weighed]:
    """Yield how many answers fail lately, and how near the slowest come to the deadline."""
    buckets, _ = lately(window.series, now_s)
    failed = sum(bucket.failed for bucket in buckets)
    served = sum(bucket.requests - bucket.refused for bucket in buckets)
    if failed and served >= FAILED_OF_LEAST:
        share = 100.0 * failed / served
        yield _bound(
            "Failed answers",
            f"{failed} of {served} requests of the last minute failed ({share:.3g} %).",
            share,
            FAILED_PERCENT,
            unit="%",
            remedy="See which back end fails, and why.",
            link=f"{REQUESTS}?outcome=failed",
        )
    if window.p95_ms:
        yield _bound(
            "Slow answers",
            f"1 of 20 requests takes longer than {window.p95_ms / 1e3:.3g} s; all end after {deadline_s:g} s.",
            window.p95_ms,
            deadline_s * 1e3,
            unit="ms",
            remedy="Route to a faster model, or raise admission.deadline_s.",
            link=REQUESTS,
        )


def _platform(platform: Platform) -> Iterator[Weighed]:
    yield _bound(
        "Requests at one time",
        f"{platform.in_flight} of {platform.in_flight_most} requests are being served.",
        platform.in_flight,
        platform.in_flight_most,
        unit="requests",
        remedy="Raise server.in_flight, or serve with more processes: penstock serve --workers N.",
        link=f"{SETTINGS}#server.in_flight",
    )
    yield _bound(
        "Connections",
        f"{platform.connections} of {platform.connections_most} client connections are open.",
        platform.connections,
        platform.connections_most,
        unit="connections",
        remedy="Raise server.connections, or serve with more processes: penstock serve --workers N.",
        link=f"{SETTINGS}#server.connections",
    )
    yield from map(_queue, platform.queues)
    for name, works in sorted(platform.dependencies.items()):
        if not works:
            yield _broken(f"The {name} is down", f"The {name} does not answer.", "Ask it: penstock doctor.")
    for name, state in sorted(platform.breakers.items()):
        if state == "open":
            yield _broken(
                f"{name} is given a rest",
                "It failed several times in a row, so it is not called for a while.",
                "See its last failures; requests go to the route's other back ends meanwhile.",
                f"{REQUESTS}?outcome=failed&provider={quote(name.partition('/')[0], safe='')}",
            )
    for name, count in sorted(platform.dropping.items()):
        yield _broken(
            f"Dropped: {name}",
            f"{count} dropped since the start, some of them in the last quarter of an hour.",
            "Find out what is slow: penstock doctor.",
        )
    if platform.disk is not None:
        yield _disk(platform.disk)


def _queue(queue: Queue) -> Weighed:
    return _bound(
        f"Waiting: {queue.name}",
        f"{queue.waiting} of at most {queue.capacity} wait; what comes then is dropped and counted.",
        queue.waiting,
        queue.capacity,
        unit="records",
        remedy=queue.remedy or f"See whether its store is slow (penstock doctor), or raise {queue.setting}.",
        link=f"{SETTINGS}#{queue.setting}",
    )


def _disk(disk: Disk) -> Weighed:
    free = (disk.total_bytes - disk.used_bytes) / 1e9
    return _bound(
        "Disk of the data folder",
        f"{free:.3g} GB of {disk.total_bytes / 1e9:.3g} GB are free.",
        disk.used_bytes,
        disk.total_bytes,
        unit="bytes",
        remedy="Make room, or keep less: traces.retain_days, audit.retain_days.",
        link=f"{SETTINGS}#traces.retain_days",
    )


def _bound(
    name: str, detail: str, used: float, limit: float, *, unit: str, remedy: str, link: str
) -> Weighed:
    return Weighed(
        Pressure(
            name=name,
            detail=detail,
            used=used,
            limit=limit,
            unit=unit,
            percent=percent(used, limit),
            remedy=remedy,
            link=link,
        )
    )


def _broken(name: str, detail: str, remedy: str, link: str = "") -> Weighed:
    return Weighed(
        Pressure(
            name=name, detail=detail, used=1.0, limit=1.0, unit="", percent=100.0, remedy=remedy, link=link
        )
    )


def spoken(path: str) -> str:
    """Return a path as one says it: ``org:acme/team:search`` is "team search of acme"."""
    above, _, last = path.rpartition("/")
    kind, _, name = last.partition(":")
    if kind == "org":
        return f"organisation {name}"
    return f"{kind} {name} of {above.partition('/')[0].removeprefix('org:')}"


def _keys(path: str) -> str:
    return f"{KEYS}#{quote(path, safe=':/')}"


def fullest(rows: Iterable[SpendRow], most: int) -> list[SpendRow]:
    """Return the fullest budgets first."""
    return sorted(rows, key=lambda row: (-row.percent, row.account))[:most]
