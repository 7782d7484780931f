"""The watch: shows that this process lives, and finds what dead ones left behind, without trusting any wall clock.

Promise: a writer counts as dead only after its beat stood still for LOST_S seconds of this process's own monotonic
clock, between two looks of this process; one that was replaced under its name is dead at once.
"""

# asyncpg ships no stubs: what crosses this border is typed by hand.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

import asyncio

from penstock.adapters.ledger.postgres_link import Link
from penstock.kernel.clock import Clock

BEAT_S = 1.0
LOST_S = 3.0
FORGET_AFTER_S = 3_600.0

_BEAT = """
INSERT INTO ledger_beats(writer) SELECT $1 FROM ledger_writers WHERE writer = $1 AND incarnation = $2
ON CONFLICT (writer) DO UPDATE SET beat = ledger_beats.beat + 1
"""
_BEATS = "SELECT writer, beat FROM ledger_beats"
_LEFT_BEHIND = """
SELECT o.operation, o.writer, coalesce(b.beat, -1) FROM ledger_operations o
JOIN ledger_writers w USING (writer) LEFT JOIN ledger_beats b USING (writer)
WHERE o.state = 'pending' AND NOT (o.writer = $1 AND o.incarnation = $2)
    AND (o.incarnation < w.incarnation OR b.writer IS NULL
        OR (o.writer, b.beat) IN (SELECT * FROM unnest($3::text[], $4::bigint[])))
LIMIT $5
"""
_FORGET = """
DELETE FROM ledger_beats b USING unnest($1::text[], $2::bigint[]) AS gone(writer, beat)
WHERE b.writer = gone.writer AND b.beat = gone.beat
    AND NOT EXISTS (SELECT FROM ledger_operations o WHERE o.writer = b.writer AND o.state = 'pending')
"""


class Watch:
    """One process's view of all writers."""

    def __init__(self, link: Link, writer: str, incarnation: int, clock: Clock) -> None:
        self._link = link
        self._writer = writer
        self._incarnation = incarnation
        self._now_s = clock.monotonic_s
        self._turn = asyncio.Lock()
        self._seen: dict[
            str, tuple[int, float]
        ] = {}  # writer → its beat, and when this process first saw that

    async def beat(self) -> None:
        """Count on, and look at the others. Raises Unavailable."""
        async with self._turn:
            await self._link.fetch(_BEAT, self._writer, self._incarnation)
            await self._look()

    async def left_behind(self, limit: int) -> list[tuple[str, str, int]]:
        """Return up to `limit` pending operations of dead writers, with the writer and its last beat."""
        async with self._turn:
            await self._look()
            writers, beats = self._still_for(LOST_S)
            rows = await self._link.fetch(
                _LEFT_BEHIND, self._writer, self._incarnation, writers, beats, limit
            )
            forgotten = self._still_for(FORGET_AFTER_S)
            if not rows and forgotten[0]:
                await self._link.fetch(_FORGET, *forgotten)
            return [(row[0], row[1], row[2]) for row in rows]

    def stop(self) -> None:
        """Close the connection."""
        self._link.drop()

    async def _look(self) -> None:
        rows = await self._link.fetch(_BEATS)
        now_s, before = self._now_s(), self._seen
        self._seen = {}
        for writer, beat in rows:
            last = before.get(writer)
            self._seen[writer] = last if last is not None and last[0] == beat else (beat, now_s)

    def _still_for(self, seconds: float) -> tuple[list[str], list[int]]:
        now_s = self._now_s()
        lost = [
            (writer, beat)
            for writer, (beat, since_s) in self._seen.items()
            if now_s - since_s > seconds and writer != self._writer
        ]
        return [writer for writer, _ in lost], [beat for _, beat in lost]
