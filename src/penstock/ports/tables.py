"""Tables: records of requests packed into column files, and asked about in SQL.

Promises
1. `pack` puts every record that is one into exactly one part, by organisation, day and hour (UTC) of its end: the first
   with its `request_id`, unless `known` holds that already. What is no record is left out and counted.
2. The same records and the same `known` give parts with the same places and the same rows, whenever they are packed.
3. `merge` keeps every row once, in order of time; with `flags` only rows that carry one of those.
4. `ask` sees the files it is given as the table `audit`, and nothing else: no file, no network, no setting, no
   environment; it changes nothing.
5. An answer holds at most `rows` rows and `answer_bytes` bytes, and says when there was more.
6. A question that takes too much time or memory ends with an error; it takes no other work with it.
7. A field that a record does not name has its default, in every file, also one packed before the field was known.

Errors: Invalid (`query_invalid`: the SQL is wrong or no question; `query_too_slow`, `query_too_large`: it takes or is
given too much), Unavailable (the engine does not work).
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Sequence
from typing import Protocol

import msgspec

RECORDS_MOST = 50_000
"""Records in one call of `pack`."""
SQL_BYTES_MOST = 16_384


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A file of the rows of one organisation and hour. `day` is ``YYYY-MM-DD``, `hour` 0 to 23, both UTC."""

    org: str
    day: str
    hour: int
    rows: int
    value: bytes


class Packed(msgspec.Struct, frozen=True, kw_only=True):
    """The parts, and how many records were left out: `repeated` ids, and `rejected` ones that are no records."""

    parts: tuple[Part, ...]
    repeated: int
    rejected: int


class Piece(msgspec.Struct, frozen=True, kw_only=True):
    """One of the `of` files that a merge comes to; `number` counts from 1."""

    number: int
    of: int
    value: bytes


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """What one question may take: rows and bytes of its answer, seconds, bytes of memory, bytes of files."""

    rows: int = 1_000
    answer_bytes: int = 4 << 20
    time_s: float = 10.0
    memory_bytes: int = 512 << 20
    files_bytes: int = 2 << 30


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What SQL gives: the columns' names and types, rows, and whether there were more.

    Values are as JSON has them; times are ISO 8601, decimals and bytes (hexadecimal) are text.
    """

    columns: tuple[str, ...]
    types: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]
    truncated: bool


class Tables(Protocol):
    """Column files of request records. See the promises above."""

    async def pack(self, records: Sequence[bytes], known: Sequence[bytes] = ()) -> Packed:
        """Pack JSON records (1 to `RECORDS_MOST`); those in `known` were packed before."""
        ...

    def merge(self, files: AsyncIterable[bytes], *, flags: Sequence[str] = ()) -> AsyncIterator[Piece]:
        """Merge files into few; yields nothing when no row is left."""
        ...

    async def ask(self, files: AsyncIterable[bytes], sql: str, bounds: Bounds) -> Answer:
        """Answer one SELECT over the files."""
        ...
