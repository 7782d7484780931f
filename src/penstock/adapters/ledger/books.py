"""The books: accounts and pending operations in memory, and the arithmetic of money between them.

Pure and synchronous, hence free of races on one event loop: the check and the taking are one step. The embedded ledger
keeps its live balances here, and `replay` rebuilds the same books from a journal, so what serves and what audits is
one piece of code.

Promise: after every call, each account's held amount is the sum of the pending holds on it, and a refused call has
changed nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from penstock.adapters.ledger.rules import MAX_NANOS, over_budget
from penstock.ports.ledger import Settled


class Account:
    """One account's figures in nano-dollars; `id` is its number in the journal, `postings` counts settlements."""

    __slots__ = ("held_nanos", "id", "name", "posted_nanos", "postings")

    def __init__(
        self, id: int, name: str, posted_nanos: int = 0, held_nanos: int = 0, postings: int = 0
    ) -> None:
        self.id = id
        self.name = name
        self.posted_nanos = posted_nanos
        self.held_nanos = held_nanos
        self.postings = postings


class Pending:
    """An operation that is held and not yet settled.

    `amounts` maps hold sequence → nano-dollars and `held_nanos` is their sum. `checkpoint_nanos` is -1 before the
    first checkpoint. `deadline_s` is monotonic. `receipt` is whatever the owner needs to know when it became durable.
    """

    __slots__ = (
        "accounts",
        "amounts",
        "checkpoint_nanos",
        "deadline_s",
        "dispatched",
        "held_nanos",
        "receipt",
    )

    def __init__(self, accounts: list[Account], deadline_s: float) -> None:
        self.accounts = accounts
        self.amounts: dict[int, int] = {}
        self.held_nanos = 0
        self.deadline_s = deadline_s
        self.checkpoint_nanos = -1
        self.dispatched = False
        self.receipt: object = None


class Books:
    """All pending operations, and the moves between held and posted."""

    __slots__ = ("pending",)

    def __init__(self) -> None:
        self.pending: dict[str, Pending] = {}

    def open(
        self,
        operation: str,
        amount_nanos: int,
        accounts: list[Account],
        limits: Sequence[int],
        deadline_s: float,
    ) -> Pending:
        """Hold `amount_nanos` on every account, or raise OverBudget; the operation must not be pending."""
        _require_room(accounts, limits, amount_nanos)
        for account in accounts:
            account.held_nanos += amount_nanos
        self.pending[operation] = pending = Pending(accounts, deadline_s)
        pending.held_nanos = pending.amounts[0] = amount_nanos
        return pending

    def top_up(
        self, pending: Pending, sequence: int, amount_nanos: int, limits: Sequence[int], deadline_s: float
    ) -> None:
        """Hold `amount_nanos` more on every account of the operation, or raise OverBudget."""
        _require_room(pending.accounts, limits, amount_nanos)
        for account in pending.accounts:
            account.held_nanos += amount_nanos
        pending.held_nanos += amount_nanos
        pending.amounts[sequence] = amount_nanos
        pending.deadline_s = max(pending.deadline_s, deadline_s)

    def take_back(self, operation: str, sequence: int) -> bool:
        """Undo a hold that could not be written down. False if the operation was settled meanwhile."""
        pending = self.pending.get(operation)
        if pending is None or sequence not in pending.amounts:
            return False
        amount_nanos = pending.amounts.pop(sequence)
        pending.held_nanos -= amount_nanos
        for account in pending.accounts:
            account.held_nanos -= amount_nanos
        if not pending.amounts:
            del self.pending[operation]
        return True

    def settle(self, operation: str, outcome: str, amount_nanos: int, *, estimated: bool = False) -> Settled:
        """Release the hold and post `amount_nanos` to every account; the operation must be pending."""
        pending = self.pending.pop(operation)
        held_nanos = pending.held_nanos
        count = 0 if outcome == "voided" else 1
        for account in pending.accounts:
            account.held_nanos -= held_nanos
            account.posted_nanos += amount_nanos
            account.postings += count
        return Settled(
            operation,
            outcome,
            amount_nanos,
            held_nanos - amount_nanos if held_nanos > amount_nanos else 0,
            amount_nanos - held_nanos if amount_nanos > held_nanos else 0,
            estimated,
        )


def in_doubt_nanos(pending: Pending) -> int:
    """What `expire` charges: the last checkpoint, nothing if it says nothing was dispatched, else the full hold."""
    if pending.checkpoint_nanos < 0:
        return pending.held_nanos
    return pending.checkpoint_nanos if pending.dispatched else 0


def _require_room(accounts: Sequence[Account], limits: Sequence[int], amount_nanos: int) -> None:
    for account, limit_nanos in zip(accounts, limits, strict=True):
        room_nanos = (
            (limit_nanos if limit_nanos >= 0 else MAX_NANOS) - account.posted_nanos - account.held_nanos
        )
        if amount_nanos > room_nanos:
            raise over_budget(account.name, amount_nanos, room_nanos)
