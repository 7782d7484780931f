"""The books as they lie on disk: every group of the journal read from outside the gateways, each once.

Promise: nothing is taken from a gateway's memory; what is reckoned here is reckoned from the journal alone, entry by
entry, so `peaks` is the most that was ever posted + held on an account at any moment the journal knows of. On a ledger
of several writers that holds for a journal read once, at the end: rows read while they are written may come late.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import asyncpg
import msgspec

from penstock.adapters.ledger.journal import ACCOUNT, CHECKPOINT, HOLD, SETTLE, decode_group
from penstock.ports.ledger import Verdict
from penstock.wiring.books import verify_offline
from tests.fleet.config import settings_of

Group = tuple[str, int, list[Any]]

_NEW_ROWS = """
SELECT j.writer, j.seq, j.body FROM ledger_journal j
LEFT JOIN unnest($1::text[], $2::bigint[]) AS known(writer, seq) ON known.writer = j.writer
WHERE j.seq > coalesce(known.seq, 0) ORDER BY j.id
"""


class Held(msgspec.Struct):
    """An operation under way: its accounts, what it holds, and its last checkpoint (-1: none)."""

    accounts: list[str]
    amount_nanos: int
    checkpoint_nanos: int = -1


class Ended(msgspec.Struct):
    """An operation that was settled: how, for how much, and in how many entries (1, or the books are wrong)."""

    outcome: str
    amount_nanos: int
    estimated: bool
    times: int = 1
    checkpointed: bool = False
    """Settled in doubt, at a checkpoint of a stream rather than at its full hold."""


class Journal:
    """Reads the journal of one deployment. `held` and `ended` are by operation."""

    def __init__(self, config: Path) -> None:
        """Read what the gateways of this configuration write."""
        self._settings = settings_of(config)
        self._read_up_to: dict[str, int] = {}
        self._names: dict[object, str] = {}
        self.held: dict[str, Held] = {}
        self.ended: dict[str, Ended] = {}
        self.used: dict[str, int] = {}
        self.peaks: dict[str, int] = {}
        self.problems: list[str] = []

    async def read(self) -> None:
        """Read the groups written since the last call."""
        url = self._settings.ledger.url
        groups = self._sqlite_groups() if url.startswith("sqlite:") else await self._postgres_groups(url)
        for writer, sequence, entries in groups:
            self._read_up_to[writer] = sequence
            for entry in entries:
                self._apply(entry)

    async def verify(self) -> Verdict:
        """Have the product walk the whole journal, as `penstock ledger verify` does without a server."""
        return await verify_offline(self._settings)

    def _sqlite_groups(self) -> Sequence[Group]:
        path = Path(self._settings.store.data) / "ledger.sqlite"
        after = max(self._read_up_to.values(), default=0)
        with closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
            connection.set_busy_timeout(5_000)
            rows = connection.execute(
                "SELECT writer, seq, body FROM journal WHERE seq > ? ORDER BY seq", (after,)
            )
            return [(writer, seq, decode_group(body)) for writer, seq, body in rows]

    async def _postgres_groups(self, url: str) -> Sequence[Group]:
        """Read by writer, because a row with a smaller id may be committed later."""
        connection = await asyncpg.connect(url, timeout=10)
        try:
            rows = await connection.fetch(_NEW_ROWS, list(self._read_up_to), list(self._read_up_to.values()))
        finally:
            await connection.close()
        return [(row["writer"], row["seq"], msgspec.json.decode(row["body"])[2]) for row in rows]

    def _apply(self, entry: list[Any]) -> None:
        kind, *facts = entry
        if kind == ACCOUNT:
            number, name = facts
            self._names[number] = name
        elif kind == HOLD:
            operation, _, amount_nanos, _, _, references, _ = facts
            self._hold(operation, amount_nanos, [self._names.get(ref, str(ref)) for ref in references])
        elif kind == CHECKPOINT:
            operation, amount_nanos, _ = facts
            if operation in self.held:
                self.held[operation].checkpoint_nanos = amount_nanos
        elif kind == SETTLE:
            operation, outcome, amount_nanos, _, _, estimated, _ = facts
            self._settle(operation, Ended(outcome, amount_nanos, estimated))

    def _hold(self, operation: str, amount_nanos: int, accounts: list[str]) -> None:
        held = self.held.setdefault(operation, Held(accounts, 0))
        held.amount_nanos += amount_nanos
        self._use(accounts, amount_nanos)

    def _settle(self, operation: str, ended: Ended) -> None:
        if (before := self.ended.get(operation)) is not None:
            before.times += 1
            return
        self.ended[operation] = ended
        held = self.held.pop(operation, None)
        if held is None:
            self.problems.append(f"{operation} was settled and never held")
        else:
            ended.checkpointed = ended.outcome == "expired" and held.checkpoint_nanos >= 0
            self._use(held.accounts, ended.amount_nanos - held.amount_nanos)

    def _use(self, accounts: list[str], amount_nanos: int) -> None:
        for account in accounts:
            used = self.used[account] = self.used.get(account, 0) + amount_nanos
            if used > self.peaks.get(account, 0):
                self.peaks[account] = used
