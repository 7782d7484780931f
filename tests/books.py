"""What the embedded ledger wrote down, read from its file and nothing else: every operation with its settlements.

Promise: read-only and independent of the running ledger's memory, so that a test sees what an auditor would see.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, cast

import apsw

from penstock.adapters.ledger.journal import ACCOUNT, HOLD, SETTLE, decode_group
from penstock.ports.ledger import Attempt


@dataclass(frozen=True)
class Settlement:
    """One settlement of an operation: "posted", "voided" or "expired"."""

    outcome: str
    amount_nanos: int
    estimated: bool
    attempts: tuple[Attempt, ...] = ()


@dataclass(slots=True)
class Operation:
    """One paid request in the books. `held_nanos` is all it ever reserved."""

    id: str
    accounts: tuple[str, ...] = ()
    held_nanos: int = 0
    settlements: list[Settlement] = field(default_factory=list[Settlement])

    def is_of(self, key_id: str) -> bool:
        """Tell whether the key with this id made it."""
        return any(f"/key:{key_id}@" in account for account in self.accounts)


class Books:
    """The operations of one journal, in the order they were opened."""

    def __init__(self, path: Path) -> None:
        """Read the whole file."""
        self.operations: dict[str, Operation] = {}
        self._names: dict[int, str] = {}
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            for (body,) in connection.execute("SELECT body FROM journal ORDER BY seq"):
                for entry in decode_group(cast("bytes", body)):
                    read = self._READERS.get(cast("int", entry[0]))
                    if read is not None:
                        read(self, entry)
        finally:
            connection.close()

    def of(self, key_id: str) -> list[Operation]:
        """Return what a key did."""
        return [operation for operation in self.operations.values() if operation.is_of(key_id)]

    def _account(self, entry: list[Any]) -> None:
        self._names[entry[1]] = entry[2]

    def _hold(self, entry: list[Any]) -> None:
        operation = self.operations.setdefault(entry[1], Operation(entry[1]))
        operation.held_nanos += entry[3]
        operation.accounts = operation.accounts or tuple(self._names.get(number, "") for number in entry[6])

    def _settle(self, entry: list[Any]) -> None:
        operation = self.operations.setdefault(entry[1], Operation(entry[1]))
        attempts = tuple(Attempt(*row) for row in entry[7])
        operation.settlements.append(Settlement(entry[2], entry[3], entry[6], attempts))

    _READERS: ClassVar[dict[int, Callable[..., None]]] = {ACCOUNT: _account, HOLD: _hold, SETTLE: _settle}
