"""The names of the lake's files. They alone say what is in the lake: there is no list beside them that could be wrong.

    audit/day=2026-11-21/hour=13-000000000042       the rows of one hour of batch 42
    audit/day=2026-11-21/all-000000000090-1of2      the rows of every batch up to 90, in two files
    audit/day=2026-08-01/kept-000000000090-1of1     what is kept for ever of those, the rest forgotten

Promises: a merged set counts once it is whole, and from then on instead of all that it was made of, whatever a crash
left lying about; of two sets the one of later batches counts. Pure functions; a name that is not ours is none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from typing import Final

import msgspec

PREFIX: Final = "audit/"
TENANT_BYTES: Final = 64
_NAME: Final = re.compile(
    r"audit/day=(?P<day>\d{4}-\d\d-\d\d)/"
    r"(?:hour=(?P<hour>\d\d)|(?P<kind>all|kept))-(?P<batch>\d{12})(?:-(?P<number>\d+)of(?P<of>\d+))?"
)


class LakeFile(msgspec.Struct, frozen=True, order=True):
    """What a name says. `kind` is "hour", "all" or "kept"; `batch` the one it is of, or the last one it is of."""

    day: str
    batch: int
    kind: str
    number: int
    of: int
    name: str


class DayFiles(msgspec.Struct, frozen=True, kw_only=True):
    """One day: the files that count, in order, and the last batch in them; those that something else counts for."""

    day: str
    counted: tuple[LakeFile, ...]
    superseded: tuple[LakeFile, ...]
    last_batch: int

    @property
    def small(self) -> int:
        """How many of the files that count are of single batches."""
        return sum(file.kind == "hour" for file in self.counted)

    @property
    def is_kept_only(self) -> bool:
        """Whether nothing counts but what is kept for ever."""
        return all(file.kind == "kept" for file in self.counted)


def tenant_of(org: str) -> str:
    """Return the tenant under which an organisation's files are: never one that anything else writes to."""
    tenant = f"audit:{org}"
    if org and len(tenant.encode(errors="replace")) <= TENANT_BYTES and not org.startswith("~"):
        return tenant
    return f"audit:~{blake2b(org.encode(errors='replace'), digest_size=16).hexdigest()}"


def hour_name(day: str, hour: int, batch: int) -> str:
    """Name the rows of an hour of one batch."""
    return f"{PREFIX}day={day}/hour={hour:02d}-{batch:012d}"


def merged_name(day: str, kind: str, last_batch: int, number: int, of: int) -> str:
    """Name a piece of a merge."""
    return f"{PREFIX}day={day}/{kind}-{last_batch:012d}-{number}of{of}"


def by_day(names: Iterable[str], settled: int | None = None) -> Iterator[DayFiles]:
    """Yield the days that names tell of, in order; with `settled`, as they are of the batches up to that one."""
    days: dict[str, list[LakeFile]] = {}
    for name in names:
        if (match := _NAME.fullmatch(name)) is not None:
            kind = match["kind"] or "hour"
            file = LakeFile(
                match["day"],
                int(match["batch"]),
                kind,
                int(match["number"] or 1),
                int(match["of"] or 1),
                name,
            )
            if settled is None or file.batch <= settled:
                days.setdefault(file.day, []).append(file)
    for day in sorted(days):
        yield _day(day, sorted(days[day]))


def _day(day: str, files: list[LakeFile]) -> DayFiles:
    """Tell what counts of a day: the latest whole set (of two, what is kept for ever), and the batches after it."""
    sets: dict[tuple[int, bool, int], list[LakeFile]] = {}
    for file in files:
        if file.kind != "hour":
            sets.setdefault((*_rank(file), file.of), []).append(file)
    best = max((key for key, pieces in sets.items() if len(pieces) == key[2]), default=(0, False, 0))
    counted = (*sets.get(best, ()), *(file for file in files if file.kind == "hour" and file.batch > best[0]))
    over = (file for file in files if file not in counted and _rank(file) <= best[:2])
    last = max((file.batch for file in counted), default=0)
    return DayFiles(day=day, counted=counted, superseded=tuple(over), last_batch=last)


def _rank(file: LakeFile) -> tuple[int, bool]:
    return file.batch, file.kind == "kept"
