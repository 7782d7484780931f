"""The stage of the lake's tests: embedded stores that outlive the intake, and an engine of tables whose files are JSON.

`Plain` does in memory what DuckDB does in its helper (tests/contracts/test_tables.py holds that one to the port's
promises), so that a test of what dies when can run it a hundred times. A test says where it dies by `Dying`.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from penstock.adapters.blobs.embedded import FileBlobs
from penstock.adapters.records.sqlite import SqliteRecords
from penstock.adapters.stream.embedded import SegmentStream
from penstock.kernel.clock import ManualClock
from penstock.kernel.errors import NotFound
from penstock.kernel.events import RequestEvent
from penstock.mechanisms.audit import encoded
from penstock.mechanisms.lake.intake import COLLECTIONS, TOPIC, LakeIntake
from penstock.mechanisms.lake.names import by_day, tenant_of
from penstock.mechanisms.lake.upkeep import LakeUpkeep, Retention, listed
from penstock.ports.stream import Message
from penstock.ports.tables import Answer, Bounds, Packed, Part, Piece
from tests.support import run

DAY_S = 86_400.0
NOON_S = 1_795_219_200.0 + 12 * 3_600
"""2026-11-21T12:00:00Z, when every test begins."""
PIECE_ROWS = 40


def event(id: str, **facts: object) -> bytes:
    return encoded(RequestEvent(**{"org": "acme", "at_s": NOON_S, **facts, "request_id": id}))


class Killed(BaseException):
    """The process is gone: nothing of ours catches it."""


class Plain:
    """Tables whose files are lists of events in JSON."""

    async def pack(self, records: Sequence[bytes], known: Sequence[bytes] = ()) -> Packed:
        seen = {_event(line).request_id for line in known if _event(line)}
        rows: dict[tuple[str, str, int], list[RequestEvent]] = {}
        repeated = rejected = 0
        for line in records:
            event = _event(line)
            if event is None:
                rejected += 1
            elif event.request_id in seen:
                repeated += 1
            else:
                seen.add(event.request_id)
                at = datetime.fromtimestamp(event.at_s, UTC)
                rows.setdefault((event.org, f"{at:%Y-%m-%d}", at.hour), []).append(event)
        parts = (
            Part(org=org, day=day, hour=hour, rows=len(some), value=msgspec.json.encode(some))
            for (org, day, hour), some in rows.items()
        )
        return Packed(parts=tuple(parts), repeated=repeated, rejected=rejected)

    async def merge(self, files: AsyncIterable[bytes], *, flags: Sequence[str] = ()) -> AsyncIterator[Piece]:
        rows = {event.request_id: event async for value in files for event in rows_of(value)}
        some = sorted(
            (event for event in rows.values() if not flags or set(flags) & set(event.flags)),
            key=lambda event: (event.at_s, event.request_id),
        )
        pieces = [some[start : start + PIECE_ROWS] for start in range(0, len(some), PIECE_ROWS)]
        for number, piece in enumerate(pieces, 1):
            yield Piece(number=number, of=len(pieces), value=msgspec.json.encode(piece))

    async def ask(self, files: AsyncIterable[bytes], sql: str, bounds: Bounds) -> Answer:
        ids = [(event.request_id,) async for value in files for event in rows_of(value)]
        return Answer(columns=("request_id",), types=("VARCHAR",), rows=tuple(ids), truncated=False)


def rows_of(value: bytes) -> list[RequestEvent]:
    return msgspec.json.decode(value, type=list[RequestEvent])


def _event(line: bytes) -> RequestEvent | None:
    try:
        return msgspec.json.decode(line, type=RequestEvent)
    except msgspec.MsgspecError:
        return None


class Dying:
    """Passes calls on to a store, until the one with number `at` of those named: that kills, before or after it."""

    def __init__(self, store: object, verbs: set[str], at: int, *, after: bool) -> None:
        self._store, self._verbs, self._left, self._after = store, verbs, at, after

    def __getattr__(self, verb: str) -> object:
        honest = getattr(self._store, verb)
        if verb not in self._verbs:
            return honest

        async def called(*args: object, **named: object) -> object:
            self._left -= 1
            if self._left == 0 and not self._after:
                raise Killed
            answer = await honest(*args, **named)
            if self._left == 0:
                raise Killed
            return answer

        return called

    @property
    def is_spent(self) -> bool:
        """Whether it has killed."""
        return self._left <= 0


class Stage:
    """Stores on a folder, and intakes that come and go."""

    def __init__(
        self, stream: SegmentStream, records: SqliteRecords, blobs: FileBlobs, clock: ManualClock
    ) -> None:
        self.stream, self.records, self.blobs, self.clock = stream, records, blobs, clock
        self.tables = Plain()

    def intake(self, **options: object) -> LakeIntake:
        stores = {name: options.pop(name, getattr(self, name)) for name in ("stream", "blobs", "records")}
        return LakeIntake(
            stores["stream"], self.tables, stores["blobs"], stores["records"], self.clock, **options
        )

    def upkeep(self, **options: object) -> LakeUpkeep:
        stores = {name: options.pop(name, getattr(self, name)) for name in ("blobs", "records")}
        retention = options.pop("retention", Retention())
        return LakeUpkeep(self.tables, stores["blobs"], stores["records"], self.clock, retention=retention)

    async def told(self, *ids: str, **facts: object) -> None:
        """Append events that end now."""
        facts.setdefault("at_s", self.clock.wall_s())
        await self.stream.append(TOPIC, [event(id, **facts) for id in ids])

    async def ids(self, org: str = "acme") -> list[str]:
        """Return the ids in an organisation's lake, in order, as often as they are there."""
        tenant = tenant_of(org)
        files = [file for day in by_day(await listed(self.blobs, tenant)) for file in day.counted]
        values = [await self.blobs.get(tenant, file.name) for file in files]
        return sorted(event.request_id for value in values for event in rows_of(value))


class Stream:
    """A stream of fixed messages, of which the first ones may be forgotten."""

    def __init__(self, *values: bytes, first: int = 0) -> None:
        self.values, self.first = values, first
        self.committed: list[int] = []

    async def read(self, topic: str, offset: int, limit: int = 1000) -> list[Message]:
        if offset < self.first:
            raise NotFound(limit=self.first)
        chosen = self.values[offset : offset + limit]
        return [Message(offset + place, value, 0.0) for place, value in enumerate(chosen)]

    async def commit(self, topic: str, group: str, offsets: Sequence[int]) -> None:
        self.committed += offsets


def staged(folder: Path, case: Callable[[Stage], Awaitable[None]]) -> None:
    """Run a case on stores of its own."""

    async def opened() -> None:
        clock = ManualClock(wall_s=NOON_S)
        records = await SqliteRecords.open(folder / "records.sqlite", COLLECTIONS, clock)
        stream = await SegmentStream.open(folder / "stream", clock)
        blobs = FileBlobs(folder / "blobs", clock)
        try:
            await case(Stage(stream, records, blobs, clock))
        finally:
            await blobs.close()
            await stream.close()
            await records.close()

    run(opened())
