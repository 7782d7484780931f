"""The replay: rebuilds the books from journal entries, and collects whatever does not add up.

Used twice: to open the embedded ledger after a crash, and by `verify` on either engine.

Promise: `problems` stays empty exactly while every chain link holds, every hold fitted its limits when it was granted,
every operation was settled at most once and with figures that conserve (held = posted from the hold + released), and
both sides of each posting, accounts and vendor, are equal. Memory: accounts and pending operations, not history.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import cast

from penstock.adapters.ledger.books import Account, Books
from penstock.adapters.ledger.journal import ACCOUNT, CHECKPOINT, HOLD, SETTLE, genesis, link
from penstock.kernel.errors import OverBudget
from penstock.ports.ledger import Verdict

MAX_PROBLEMS = 100
IN_DOUBT = -inf  # a deadline that has passed: nobody alive owns what a replay finds pending
_COST = 3  # position of cost_nanos in an attempt
_PROVIDER = 1


class Replay:
    """Books rebuilt entry by entry. `find` returns an account by its number or name, or None if it is unknown."""

    __slots__ = (
        "accounts",
        "books",
        "entries",
        "find",
        "heads",
        "operations",
        "posted_nanos",
        "problems",
        "seqs",
        "settled",
        "settled_now",
        "vendors",
    )

    def __init__(self, find: Callable[[object], Account | None] = lambda _reference: None) -> None:
        self.find = find
        self.accounts: dict[object, Account] = {}
        self.books = Books()
        self.entries = 0
        self.operations = 0
        self.posted_nanos = 0
        self.settled = 0
        self.settled_now: list[str] = []
        self.vendors: dict[str, int] = {}
        self.heads: dict[str, bytes] = {}
        self.seqs: dict[str, int] = {}
        self.problems: list[str] = []

    def chain(self, writer: str, seq: int, body: bytes, digest: bytes) -> None:
        """Check that group `seq` of `writer` follows the last one and that its digest is right."""
        if seq != self.seqs.get(writer, 0) + 1:
            self.problem(f"{writer}:{seq} does not follow {writer}:{self.seqs.get(writer, 0)}")
        if link(self.heads.get(writer) or genesis(writer), writer, seq, body) != digest:
            self.problem(f"{writer}:{seq} breaks the chain: its bytes or those before it were changed")
        self.heads[writer] = digest
        self.seqs[writer] = seq

    def group(self, writer: str, seq: int, entries: list[list[object]]) -> None:
        """Carry out the entries of one group."""
        for number, entry in enumerate(entries):
            self.apply(f"{writer}:{seq}#{number}", entry)

    def apply(self, where: str, entry: list[object]) -> None:
        """Carry out one entry; `where` names it in problems."""
        self.entries += 1
        try:
            kind = entry[0]
            if kind == HOLD:
                self._hold(entry)
            elif kind == SETTLE:
                self._settle(where, entry)
            elif kind == CHECKPOINT:
                self._checkpoint(entry)
            elif kind == ACCOUNT:
                self._account(entry)
            else:
                self.problem(f"{where} is of no known kind: {kind!r}")
        except OverBudget as error:
            self.problem(f"{where} overspent {error.field}: {error.value} granted with room {error.limit}")
        except (KeyError, IndexError, TypeError, ValueError) as error:
            self.problem(f"{where} makes no sense: {error!r}")

    def account(self, reference: object) -> Account:
        """Return the account by number or name, from the table of accounts if it was not met yet."""
        account = self.accounts.get(reference)
        if account is None:
            account = self.find(reference)
            if account is None:
                raise KeyError(reference)
            self.accounts[reference] = account
        return account

    def problem(self, text: str) -> None:
        """Note what does not add up; the first hundred are kept."""
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(text)

    def verdict(self) -> Verdict:
        """Return what was found."""
        pending = self.books.pending.values()
        return Verdict(
            entries=self.entries,
            operations=self.operations,
            pending=len(pending),
            posted_nanos=self.posted_nanos,
            held_nanos=sum(one.held_nanos for one in pending),
            heads={writer: head.hex() for writer, head in self.heads.items()},
            problems=tuple(self.problems),
        )

    def _account(self, entry: list[object]) -> None:
        _, number, name = cast("tuple[int, int, str]", entry)
        if number in self.accounts:
            raise ValueError(f"account {number} is named twice")
        self.accounts[number] = Account(number, name)

    def _hold(self, entry: list[object]) -> None:
        _, operation, sequence, amount_nanos, _timeout_s, _facts, references, limits = cast(
            "tuple[int, str, int, int, int, str, list[object], list[int]]", entry
        )
        accounts = [self.account(reference) for reference in references]
        pending = self.books.pending.get(operation)
        if pending is None:
            if sequence != 0:
                raise ValueError(f"top-up {sequence} of {operation}, which is not pending")
            self.books.open(operation, amount_nanos, accounts, limits, IN_DOUBT)
            self.operations += 1
        elif sequence in pending.amounts or pending.accounts != accounts:
            raise ValueError(f"hold {sequence} of {operation} repeats or moves an earlier one")
        else:
            self.books.top_up(pending, sequence, amount_nanos, limits, IN_DOUBT)

    def _checkpoint(self, entry: list[object]) -> None:
        _, operation, amount_nanos, dispatched = cast("tuple[int, str, int, bool]", entry)
        pending = self.books.pending[operation]
        pending.checkpoint_nanos = max(pending.checkpoint_nanos, amount_nanos)
        pending.dispatched = pending.dispatched or dispatched

    def _settle(self, where: str, entry: list[object]) -> None:
        _, operation, outcome, amount_nanos, released_nanos, overrun_nanos, estimated, attempts = cast(
            "tuple[int, str, str, int, int, int, bool, list[list[object]]]", entry
        )
        pending = self.books.pending.get(operation)
        if pending is None:
            self.problem(f"{where} settles {operation}, which is not pending: twice, or never held")
            return
        if pending.held_nanos != amount_nanos - overrun_nanos + released_nanos:
            self.problem(f"{where} does not conserve: {operation} held {pending.held_nanos}")
        if attempts and sum(cast("int", attempt[_COST]) for attempt in attempts) != amount_nanos:
            self.problem(f"{where} charges {operation} another amount than its vendors were owed")
        for attempt in attempts:
            provider = cast("str", attempt[_PROVIDER])
            self.vendors[provider] = self.vendors.get(provider, 0) + cast("int", attempt[_COST])
        self.books.settle(operation, outcome, amount_nanos, estimated=estimated)
        self.posted_nanos += amount_nanos
        self.settled += 1
        self.settled_now.append(operation)
