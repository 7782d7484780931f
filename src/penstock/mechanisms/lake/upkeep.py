"""The upkeep of the lake: the small files of a day become few, and what is past its time is forgotten.

Promises: a row is never gone and never there twice, whenever this stops: files that replace others are named whole
before those end. What is kept for ever by its flags outlives its day. One organisation's trouble does not stop the
others; it is counted and tried again at the next round.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from penstock.kernel.clock import Clock
from penstock.kernel.errors import PenstockError, StaleVersion
from penstock.kernel.events import FLAGGED
from penstock.mechanisms.lake.intake import PLATFORM, settled_batch
from penstock.mechanisms.lake.names import PREFIX, DayFiles, LakeFile, by_day, merged_name
from penstock.ports.blobs import Blobs
from penstock.ports.records import Records, Write
from penstock.ports.tables import Tables

SMALL_MOST: Final = 96
"""Files of single batches that a day under way may have; more are merged before it is over."""
SETTLED_S: Final = 3_600
"""A day is over so long after its last second: until then its records may be on their way."""
GRACE_S: Final = 3_600
"""Bytes without a name stay so long: a question may be reading them."""
EVERY_S: Final = 3_600.0
TURN: Final = "turn"
"""The row that says when the last round began."""
PAGE: Final = 1_000
_log = logging.getLogger("penstock.lake")


class Retention(msgspec.Struct, frozen=True, kw_only=True):
    """How many days records are kept; one that carries one of `flags` for ever."""

    record_days: int = 90
    flags: tuple[str, ...] = (FLAGGED,)


PRESETS: Final = {"standard": Retention(), "cold-year": Retention(record_days=365)}
"""`standard`, and `cold-year`: records for a year, merged and rarely read."""


class LakeUpkeep:
    """Merges and forgets. Call `round` as often as you like, from any process."""

    def __init__(
        self,
        tables: Tables,
        blobs: Blobs,
        records: Records,
        clock: Clock,
        *,
        retention: Retention = PRESETS["standard"],
    ) -> None:
        """Keep things as `retention` says."""
        self.merged = 0
        """Files that were merged into others, since this object was made; so are the other figures."""
        self.forgotten_days = 0
        self.failures = 0
        self._tables = tables
        self._blobs = blobs
        self._records = records
        self._clock = clock
        self._retention = retention

    async def round(self) -> bool:
        """Look after every organisation once; False when that was done within `EVERY_S`, by whatever process."""
        if not await self._is_due():
            return False
        settled = await settled_batch(self._records, self._clock.wall_s())
        after = ""
        while rows := await self._records.scan("lake_orgs", PLATFORM, after=after, limit=PAGE):
            for row in rows:
                await self._look_after(row.id, settled)
            after = rows[-1].id
        return True

    async def _is_due(self) -> bool:
        """Take the turn, if it is time for one."""
        row = await self._records.get("lake", PLATFORM, TURN)
        now_s = self._clock.wall_s()
        if row is not None and msgspec.json.decode(row.value, type=float) > now_s - EVERY_S:
            return False
        version = 0 if row is None else row.version
        value = msgspec.json.encode(now_s)
        try:
            await self._records.transact(
                [Write(collection="lake", tenant=PLATFORM, id=TURN, value=value, expected=version)]
            )
        except StaleVersion:
            return False
        return True

    async def _look_after(self, tenant: str, settled: int) -> None:
        try:
            ended = 0
            for day in by_day(await listed(self._blobs, tenant), settled):
                ended += await self._tend(tenant, day)
            if ended:
                await self._blobs.expire(tenant, self._clock.wall_s() - GRACE_S)
        except PenstockError as error:
            self.failures += 1
            _log.warning("the lake's upkeep of %r waits: %s", tenant, error)

    async def _tend(self, tenant: str, day: DayFiles) -> int:
        """Merge or forget what is due of a day; returns how many names ended."""
        over = day.superseded
        if day.day < self._day(self._retention.record_days):
            if not day.is_kept_only:
                over += await self._forget(tenant, day)
        elif day.small > SMALL_MOST or (day.day < self._day(0, SETTLED_S) and day.small):
            over += await self._merge(tenant, day, "all", ())
        for file in over:
            await self._blobs.unname(tenant, file.name)
        return len(over)

    async def _forget(self, tenant: str, day: DayFiles) -> tuple[LakeFile, ...]:
        """Put what is kept for ever, if anything, in the place of what counts; returns that."""
        self.forgotten_days += 1
        flags = self._retention.flags
        return await self._merge(tenant, day, "kept", flags) if flags else day.counted

    def _day(self, days: int, seconds: float = 0.0) -> str:
        """Return the day that was so long ago."""
        then = datetime.fromtimestamp(self._clock.wall_s(), UTC) - timedelta(days=days, seconds=seconds)
        return f"{then:%Y-%m-%d}"

    async def _merge(
        self, tenant: str, day: DayFiles, kind: str, flags: Sequence[str]
    ) -> tuple[LakeFile, ...]:
        """Put a new set in the place of what counts; returns that."""
        async for piece in self._tables.merge(contents(self._blobs, tenant, day.counted), flags=flags):
            name = merged_name(day.day, kind, day.last_batch, piece.number, piece.of)
            await self._blobs.name(tenant, name, piece.value)
        self.merged += len(day.counted)
        return day.counted


async def listed(blobs: Blobs, tenant: str, day: str = "") -> list[str]:
    """Return the names of an organisation's files, of one day or of all."""
    prefix = f"{PREFIX}day={day}/" if day else PREFIX
    names: list[str] = []
    while page := await blobs.list(tenant, prefix, after=names[-1] if names else "", limit=PAGE):
        names += page
    return names


async def contents(blobs: Blobs, tenant: str, files: Sequence[LakeFile]) -> AsyncIterator[bytes]:
    """Yield the bytes of files, one at a time."""
    for file in files:
        yield await blobs.get(tenant, file.name)
