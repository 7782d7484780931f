"""Which operations have ended: for ever, in bounded memory, without an index on the hot path.

Operations that ended since the last snapshot are a dictionary; older ones are rows of the file's `settled` table, into
which each snapshot moves a thousand at a time (1.3 µs each on the writer's thread). Identifiers are time-ordered, so a
new one is greater than every row with its prefix and needs no look-up; one that is not is looked up, and the answer
is right either way.
"""

from __future__ import annotations

from collections.abc import Iterable

from penstock.adapters.ledger.store import Store

PREFIX = 4  # characters of an operation that tell one source of identifiers from another
MAX_PREFIXES = 64  # beyond these an operation is always looked up


class Ended:
    """The memory of endings. `count` is the number of rows in the file's table."""

    __slots__ = ("_moving", "_recent", "_store", "count", "highs")

    def __init__(self, store: Store, count: int, highs: dict[str, str], recent: Iterable[str]) -> None:
        self._store = store
        self.count = count
        self.highs = highs
        self._recent: dict[str, None] = dict.fromkeys(recent)
        self._moving: dict[str, None] = {}

    def __len__(self) -> int:
        """How many endings the next snapshot would move to the file."""
        return len(self._recent)

    def __contains__(self, operation: str) -> bool:
        """Whether the operation ended, however long ago."""
        if operation in self._recent or operation in self._moving:
            return True
        high = self.highs.get(operation[:PREFIX])
        if high is None:
            return len(self.highs) >= MAX_PREFIXES and self._store.is_settled(operation)
        return operation <= high and self._store.is_settled(operation)

    def add(self, operation: str) -> None:
        """Remember an ending."""
        self._recent[operation] = None

    def move(self) -> list[str]:
        """Return what a snapshot must write; until `moved` it is remembered here as well."""
        self._moving, self._recent = self._recent, {}
        for operation in self._moving:
            prefix = operation[:PREFIX]
            if operation > self.highs.get(prefix, "") and (
                prefix in self.highs or len(self.highs) < MAX_PREFIXES
            ):
                self.highs[prefix] = operation
        self.count += len(self._moving)
        return list(self._moving)

    def moved(self, *, written: bool) -> None:
        """Hear whether the snapshot was written; if not, the endings stay in memory."""
        if not written:
            self.count -= len(self._moving)
            self._recent = self._moving | self._recent
        self._moving = {}
