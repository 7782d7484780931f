"""Questions to the lake: SQL over one organisation's records of some days.

Promises: the engine is given the files of that organisation and no others, so nothing that SQL can say reaches
another's; what an answer may take is bounded, and so is how many are answered at a time: one more is refused at once.
Files that are merged while they are read are found again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from typing import Final

from penstock.kernel.clock import Clock
from penstock.kernel.errors import Invalid, NotFound, Overloaded
from penstock.mechanisms.lake.names import LakeFile, by_day, tenant_of
from penstock.mechanisms.lake.upkeep import contents, listed
from penstock.ports.blobs import Blobs
from penstock.ports.tables import Answer, Bounds, Tables

DAYS_MOST: Final = 366
FILES_MOST: Final = 2_000
AT_ONCE: Final = 4
AGAIN: Final = 3


class LakeQuestions:
    """Answers SQL about the table `audit`."""

    def __init__(self, tables: Tables, blobs: Blobs, clock: Clock, *, bounds: Bounds | None = None) -> None:
        """Every answer keeps to `bounds`."""
        self._tables = tables
        self._blobs = blobs
        self._clock = clock
        self._bounds = bounds or Bounds()
        self._under_way = 0

    async def ask(
        self, org: str, sql: str, *, since: date | None = None, until: date | None = None
    ) -> Answer:
        """Answer `sql` from the records of the days `since` to `until`, both included (UTC; the last seven without).

        Raises Invalid when the question is wrong or takes too much, Overloaded, Unavailable.
        """
        until = until or datetime.fromtimestamp(self._clock.wall_s(), UTC).date()
        since = since or until - timedelta(days=6)
        if not 0 <= (until - since).days < DAYS_MOST:
            raise Invalid(
                "These are no days to ask about.", field="days", value=f"{since} to {until}", limit=DAYS_MOST
            )
        if self._under_way >= AT_ONCE:
            raise Overloaded("Too many questions are being answered.", limit=AT_ONCE, retry_after_s=1.0)
        self._under_way += 1
        try:
            for _ in range(AGAIN):
                try:
                    return await self._tables.ask(self._files(org, since, until), sql, self._bounds)
                except NotFound:
                    continue  # files were merged meanwhile
            raise Overloaded("The files change faster than they are read.", retry_after_s=1.0)
        finally:
            self._under_way -= 1

    async def days(self, org: str) -> list[str]:
        """Return the days (``YYYY-MM-DD``, UTC) that an organisation has records of, in order. Raises Unavailable."""
        return [each.day for each in by_day(await listed(self._blobs, tenant_of(org))) if each.counted]

    async def _files(self, org: str, since: date, until: date) -> AsyncIterator[bytes]:
        """Yield the files that count of an organisation's days."""
        tenant = tenant_of(org)
        chosen: list[LakeFile] = []
        for day in by_day(await listed(self._blobs, tenant)):
            if f"{since}" <= day.day <= f"{until}":
                chosen += day.counted
        if len(chosen) > FILES_MOST:
            raise Invalid(
                "The days asked for are in too many files.",
                code="query_too_large",
                field="days",
                value=len(chosen),
                limit=FILES_MOST,
                remedy="Ask for fewer days.",
            )
        async for value in contents(self._blobs, tenant, chosen):
            yield value
