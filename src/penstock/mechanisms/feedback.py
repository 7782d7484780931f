"""What people say of answers: one score a request, kept for a while, and told to whoever judges by it.

Promises: a request is scored once, whichever node is told and however often; what is kept is the score and who gave it,
never a word of the answer; a score counts from when it is kept, so that one that was refused was nowhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from penstock.kernel.clock import Clock
from penstock.kernel.errors import Conflict, StaleVersion
from penstock.kernel.events import RequestEvent
from penstock.ports.records import Collection, Records, Write

COLLECTIONS: Final = (Collection(name="feedback", indexes=("day",)),)
PLATFORM: Final = "*"
DAY_S: Final = 86_400
LATE_DAYS: Final = 7
"""So many days past their time scores are looked for when they are forgotten."""
PAGE: Final = 100
PAGES: Final = 100

Judge = Callable[[RequestEvent, float], None]


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """How good an answer was, from 0 to 1, said by the key or person `by` at a wall time."""

    score: float
    by: str
    at_s: float


class Feedback:
    """Takes scores. One per process."""

    def __init__(self, records: Records, clock: Clock, *, days: int) -> None:
        """Keep scores in `records` for `days` whole days."""
        self.given = 0
        """Scores taken since the start of this process."""
        self.sum = 0.0
        """Their sum."""
        self._records = records
        self._clock = clock
        self._days = days
        self._judges: tuple[Judge, ...] = ()

    def listen(self, judge: Judge) -> None:
        """Tell one more of every score from now on."""
        self._judges = (*self._judges, judge)

    async def give(self, event: RequestEvent, score: float, by: str) -> None:
        """Take a score of a request's answer. Raises Conflict when it was scored before."""
        now_s = self._clock.wall_s()
        value = msgspec.json.encode(Score(score=score, by=by, at_s=now_s))
        try:
            await self._records.transact([_write(event.request_id, value, int(now_s) // DAY_S)])
        except StaleVersion:
            raise Conflict(
                "This request was scored before.",
                code="already_scored",
                field="request_id",
                value=event.request_id,
            ) from None
        self.given += 1
        self.sum += score
        for judge in self._judges:
            judge(event, score)

    async def of(self, request_id: str) -> Score | None:
        """Return what was said of a request; None when nobody said anything."""
        row = await self._records.get("feedback", PLATFORM, request_id)
        return None if row is None else msgspec.json.decode(row.value, type=Score)

    async def trim(self) -> int:
        """Forget scores past their time, at most `PAGES` pages of each day; returns how many."""
        last = int(self._clock.wall_s()) // DAY_S - self._days - 1
        gone = 0
        for day in range(last - LATE_DAYS, last + 1):
            for _ in range(PAGES):
                rows = await self._records.find("feedback", PLATFORM, "day", str(day), limit=PAGE)
                if not rows:
                    break
                await self._records.transact([_write(row.id, None, day) for row in rows])
                gone += len(rows)
        return gone


def _write(request_id: str, value: bytes | None, day: int) -> Write:
    return Write(
        collection="feedback",
        tenant=PLATFORM,
        id=request_id,
        value=value,
        indexed={} if value is None else {"day": str(day)},
        expected=None if value is None else 0,
    )
