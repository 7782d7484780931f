"""Durable rows: documents with a version, found by id or by a declared index, changed all together or not at all.

Promises
1. `transact` applies every write or none, durably, before it returns.
2. A write with an `expected` version that is not the current one raises StaleVersion and applies nothing;
   `expected=0` means "must not exist".
3. `find` returns exactly the rows whose declared index has that value, in id order, in pages; `latest` the same rows
   from the last id backwards.
4. `scan` returns every row of a collection and tenant in id order, in pages, none twice, none missed.
5. A tenant never sees, counts or overwrites another tenant's row, whatever the ids are.
6. Versions count 1, 2, 3, … per row; a deleted row that is made again starts above its last version.
7. A value returns byte for byte. Ids and index values are opaque text up to 512 bytes; the value at most 1 MiB.
8. A unique index admits one row per value and tenant: a second raises Conflict(code="duplicate").
9. An unreachable store raises Unavailable in bounded time.

Errors: StaleVersion, Conflict, Invalid (undeclared collection or index, over a bound), Unavailable.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec


class Collection(msgspec.Struct, frozen=True, kw_only=True):
    """A declared kind of row with the names of its indexes."""

    name: str
    indexes: tuple[str, ...] = ()
    unique: tuple[str, ...] = ()


class Row(msgspec.Struct, frozen=True):
    """One stored row."""

    id: str
    value: bytes
    version: int
    indexed: dict[str, str] = {}


class Write(msgspec.Struct, frozen=True, kw_only=True):
    """One change. `value` None deletes. `expected` None writes whatever the version, 0 demands a new row."""

    collection: str
    tenant: str
    id: str
    value: bytes | None
    indexed: dict[str, str] = {}
    expected: int | None = None


class Records(Protocol):
    """Durable rows. See the promises above."""

    async def transact(self, writes: Sequence[Write]) -> Sequence[int]:
        """Apply all writes (1 to 100) or none; returns the new version of each row (0 for a deleted one)."""
        ...

    async def get(self, collection: str, tenant: str, id: str) -> Row | None:
        """Return the row, or None."""
        ...

    async def find(
        self, collection: str, tenant: str, index: str, value: str, *, after: str = "", limit: int = 100
    ) -> Sequence[Row]:
        """Return up to `limit` (1 to 1,000) rows with that index value, ids greater than `after`."""
        ...

    async def latest(
        self, collection: str, tenant: str, index: str, value: str, *, before: str = "", limit: int = 100
    ) -> Sequence[Row]:
        """Return up to `limit` (1 to 1,000) rows with that index value, ids less than `before`, the greatest first."""
        ...

    async def scan(self, collection: str, tenant: str, *, after: str = "", limit: int = 100) -> Sequence[Row]:
        """Return up to `limit` (1 to 1,000) rows, ids greater than `after`."""
        ...

    async def count(self, collection: str, tenant: str) -> int:
        """Return the number of rows."""
        ...
