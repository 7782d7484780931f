"""Seals over the audit of admin writes: who changes, removes or backdates a row of it afterwards can be seen to have.

    rows of one organisation, a minute old ──▶ content = HMAC of the rows ──▶ chain = HMAC of this seal and the last

Each organisation has a chain of its own, so that its readers can verify theirs. Linked time-stamping after Haber and
Stornetta (1991), keyed: a store alone does not hold what makes a seal.

Promises: rows are sealed `SETTLE_S` to a few seconds more after they were made, each once, however many nodes do it; a
row that was changed, removed or made for an earlier time is named by its seal; so is a seal. What is not seen: the
newest rows gone together with all of their seals, unless the head of an earlier time is known; so heads are logged.
"""

from __future__ import annotations

import hmac
import logging
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from hashlib import sha256
from typing import Final

import msgspec

from penstock.kernel.errors import StaleVersion
from penstock.mechanisms.change_rows import (
    CHANGES,
    PLATFORM,
    US_PER_S,
    after_us,
    index_value,
    made_us,
)
from penstock.ports.records import Collection, Records, Row, Write

SEALS: Final = "change_seals"
COLLECTIONS: Final = (Collection(name=SEALS),)
MARK: Final = "mark"
SETTLE_S: Final = 60.0
"""Longer than any transaction takes: a row is made before its transaction begins."""
ROWS_MOST: Final = 5_000
"""Rows sealed at one time."""
ORGS_MOST: Final = 90
"""Organisations sealed at one time: one transaction writes a seal for each."""
PAGE: Final = 1_000
PROBLEMS_MOST: Final = 100
VERIFIED_MOST: Final = 100_000
"""The latest rows that are held to their seals."""
_NUMBERS: Final = 1 << 48

_log = logging.getLogger("penstock.changes")


class Seal(msgspec.Struct, frozen=True, kw_only=True):
    """One seal: of the rows made after `since_us` and until `until_us` (microseconds since 1970)."""

    number: int
    since_us: int
    until_us: int
    rows: int
    content: str
    before: str
    """The chain of the seal before, "" for the first."""
    chain: str


class Mark(msgspec.Struct, frozen=True):
    """How far rows are sealed, and before when they may have been forgotten."""

    until_us: int = 0
    trimmed_us: int = 0


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What `verify` found. `head` is the chain of the last seal; `problems` is empty when nothing was touched."""

    seals: int
    rows: int
    unsealed: int
    head: str
    problems: tuple[str, ...]


class _Where(msgspec.Struct):
    org: str


class Seals:
    """Seals and verifies. One per process."""

    def __init__(self, records: Records, secret: bytes) -> None:
        """Seal what is in `records` under `secret`."""
        self._records = records
        self._secret = secret

    async def seal(self, now_s: float) -> int:
        """Seal what was made until `SETTLE_S` before now (wall clock); returns how many rows. Raises Unavailable."""
        mark, version = await self._mark()
        since_us, until_us = mark.until_us, int((now_s - SETTLE_S) * US_PER_S)
        rows = await self._rows(since_us, until_us)
        settled = len(rows)
        while len(rows) > ROWS_MOST:  # they are the latest: the older come first
            older = await self._rows(since_us, made_us(rows[0].id) - 1)
            if not older:
                break
            rows = older
        if too_many_us := _too_many_us(rows):
            rows = [row for row in rows if made_us(row.id) < too_many_us]
        if rows and settled > len(rows):
            until_us = made_us(rows[-1].id)
        if not rows:
            return 0
        by_org = _by_org(rows)
        seals = {org: await self._next(org, own, since_us, until_us) for org, own in by_org.items()}
        moved = msgspec.structs.replace(mark, until_us=until_us)
        writes = [_write(_id(org, seal.number), seal, 0) for org, seal in seals.items()]
        try:
            await self._records.transact([_write(MARK, moved, version), *writes])
        except StaleVersion:
            return 0  # another node has sealed them
        for org, seal in seals.items():
            _log.info(
                "changes of %s sealed: %d rows, seal %d, head %s", org, seal.rows, seal.number, seal.chain
            )
        return len(rows)

    async def verify(self, org: str, *, head: str = "") -> Verdict:
        """Hold an organisation's rows to their seals; a `head` that was noted once must be among them."""
        mark, _ = await self._mark()
        seals = await self._seals(org)
        problems = self._broken(seals)
        if head and head not in {seal.chain for seal in seals}:
            problems.append(f"no seal has the head {head[:16]}… that was given")
        rows = await self._own(org)
        made = [made_us(row.id) for row in rows]
        floor_us = max(mark.trimmed_us, made[0] if len(rows) >= VERIFIED_MOST else 0)
        whole = [seal for seal in seals if seal.since_us >= floor_us]
        for seal in whole:
            own = rows[bisect_right(made, seal.since_us) : bisect_right(made, seal.until_us)]
            if len(own) != seal.rows:
                problems.append(f"seal {seal.number}: {len(own)} rows, and {seal.rows} when it was made")
            elif self._content(own) != seal.content:
                problems.append(f"seal {seal.number}: a row is another than when it was made")
        windows = [(seal.since_us, seal.until_us) for seal in whole]
        stray = sum(
            windows[0][0] < each <= mark.until_us and not _is_in(each, windows) for each in made if windows
        )
        if stray:
            problems.append(f"{stray} rows of a time that was sealed without them")
        unsealed = sum(each > mark.until_us for each in made)
        return Verdict(
            seals=len(seals),
            rows=len(rows),
            unsealed=unsealed,
            head=seals[-1].chain if seals else "",
            problems=tuple(problems[:PROBLEMS_MOST]),
        )

    async def trim(self, before_s: float) -> None:
        """Note that rows made before `before_s` (wall clock) are forgotten, and forget their seals."""
        before_us = int(before_s * US_PER_S)
        mark, version = await self._mark()
        if before_us <= mark.trimmed_us:
            return
        try:
            await self._records.transact(
                [_write(MARK, msgspec.structs.replace(mark, trimmed_us=before_us), version)]
            )
        except StaleVersion:
            return
        after = ""
        while rows := await self._records.scan(SEALS, PLATFORM, after=after, limit=100):
            after = rows[-1].id
            old = [row.id for row in rows if row.id != MARK and _seal(row).until_us < before_us]
            if old:
                gone = [Write(collection=SEALS, tenant=PLATFORM, id=each, value=None) for each in old]
                await self._records.transact(gone)

    # -------------------------------------------------------------------------------------------- making seals

    async def _next(self, org: str, rows: Sequence[Row], since_us: int, until_us: int) -> Seal:
        """Return the seal of an organisation's rows behind its last."""
        found = await self._records.scan(SEALS, PLATFORM, after=_id(org, _NUMBERS), limit=1)
        last = _seal(found[0]) if found and found[0].id.startswith(f"{index_value(org)}|") else None
        seal = Seal(
            number=1 if last is None else last.number + 1,
            since_us=since_us,
            until_us=until_us,
            rows=len(rows),
            content=self._content(rows),
            before="" if last is None else last.chain,
            chain="",
        )
        return msgspec.structs.replace(seal, chain=self._chain(seal))

    def _content(self, rows: Sequence[Row]) -> str:
        mac = hmac.new(self._secret, digestmod=sha256)
        for row in rows:
            mac.update(b"%d:%b%d:%b" % (len(row.id), row.id.encode(), len(row.value), row.value))
        return mac.hexdigest()

    def _chain(self, seal: Seal) -> str:
        bare = msgspec.structs.replace(seal, chain="")
        return hmac.digest(self._secret, msgspec.json.encode(bare), sha256().name).hex()

    def _broken(self, seals: Sequence[Seal]) -> list[str]:
        """Return what is wrong with the seals themselves; the first may follow one that was forgotten."""
        problems: list[str] = []
        for place, seal in enumerate(seals):
            before = seals[place - 1] if place else None
            if not hmac.compare_digest(self._chain(seal), seal.chain):
                problems.append(f"seal {seal.number} is not as it was made")
            elif before is not None and (seal.number != before.number + 1 or seal.before != before.chain):
                problems.append(f"seal {seal.number} does not follow seal {before.number}")
        return problems

    # -------------------------------------------------------------------------------------------- reading

    async def _mark(self) -> tuple[Mark, int]:
        row = await self._records.get(SEALS, PLATFORM, MARK)
        return (Mark(), 0) if row is None else (msgspec.json.decode(row.value, type=Mark), row.version)

    async def _rows(self, since_us: int, until_us: int) -> list[Row]:
        """Return the rows of a time, oldest first; some of them when they are more than `ROWS_MOST`."""
        rows: list[Row] = []
        after = after_us(until_us + 1)
        while len(rows) <= ROWS_MOST:
            page = await self._records.scan(CHANGES, PLATFORM, after=after, limit=PAGE)
            rows += [row for row in page if made_us(row.id) > since_us]
            if len(page) < PAGE or made_us(page[-1].id) <= since_us:
                break
            after = page[-1].id
        return rows[::-1]

    async def _own(self, org: str) -> list[Row]:
        """Return all of an organisation's rows, oldest first."""
        rows: list[Row] = []
        after = ""
        while len(rows) < VERIFIED_MOST and (
            page := await self._records.find(
                CHANGES, PLATFORM, "org", index_value(org), after=after, limit=PAGE
            )
        ):
            rows += page
            after = page[-1].id
        return rows[::-1]

    async def _seals(self, org: str) -> list[Seal]:
        """Return an organisation's seals, oldest first."""
        found: list[Seal] = []
        prefix = f"{index_value(org)}|"
        after = _id(org, _NUMBERS)
        while page := await self._records.scan(SEALS, PLATFORM, after=after, limit=PAGE):
            own = [_seal(row) for row in page if row.id.startswith(prefix)]
            found += own
            if len(own) < len(page):
                break
            after = page[-1].id
        return found[::-1]


def _is_in(at_us: int, windows: Sequence[tuple[int, int]]) -> bool:
    """Tell whether a time is in one of the windows, which follow one another."""
    place = bisect_left(windows, (at_us, 0)) - 1
    return place >= 0 and windows[place][0] < at_us <= windows[place][1]


def _too_many_us(rows: Sequence[Row]) -> int:
    """Return when the first row was made that is one too many, or of one organisation too many; 0 for none."""
    orgs: set[str] = set()
    for place, row in enumerate(rows):
        orgs.add(_org(row))
        if len(orgs) > ORGS_MOST or place == ROWS_MOST:
            return made_us(row.id)
    return 0


def _org(row: Row) -> str:
    return msgspec.json.decode(row.value, type=_Where).org


def _by_org(rows: Sequence[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(_org(row), []).append(row)
    return found


def _id(org: str, number: int) -> str:
    """Return a seal's id: those of one organisation together, the last first."""
    return f"{index_value(org)}|{_NUMBERS - number:013x}"


def _seal(row: Row) -> Seal:
    return msgspec.json.decode(row.value, type=Seal)


def _write(id: str, value: Seal | Mark, expected: int) -> Write:
    return Write(
        collection=SEALS, tenant=PLATFORM, id=id, value=msgspec.json.encode(value), expected=expected
    )
