"""The accounts in memory: found by name, numbered when first held on, forgotten when nobody used them lately.

Promise: an account is either here or, as of the last snapshot, in the file, and never differs in both: it leaves only
when it is written down and no pending operation is on it. At most MAX_RESIDENT stay beside those in use.
"""

from __future__ import annotations

from collections.abc import Iterable

from penstock.adapters.ledger.books import Account
from penstock.adapters.ledger.rules import check_account
from penstock.adapters.ledger.store import Store

MAX_RESIDENT = 50_000  # about 300 bytes each


class Accounts:
    """Accounts by name. `touched` are those that changed since the last snapshot, `numbered` the highest number."""

    __slots__ = ("_store", "numbered", "resident", "touched")

    def __init__(self, store: Store, known: Iterable[Account], numbered: int) -> None:
        self._store = store
        self.resident = {account.name: account for account in known}
        self.touched: set[Account] = set(self.resident.values())
        self.numbered = max([numbered, *(account.id for account in self.touched)])

    def named(self, name: str) -> Account:
        """Return the account, from memory, from the file, or new (number 0). Raises Invalid for an impossible name."""
        account = self.resident.get(name)
        if account is None:
            check_account(name)
            account = self.resident[name] = self._store.find_account(name) or Account(0, name)
        return account

    def number(self, account: Account) -> int:
        """Give a new account the next number."""
        self.numbered = account.id = self.numbered + 1
        return account.id

    def page(self, prefix: str, after: str, limit: int) -> list[Account]:
        """Return up to `limit` used accounts that start with `prefix`, after the name `after`, in order."""
        found = {account.name: account for account in self._store.accounts_from(prefix, after, limit)}
        found |= {
            name: account
            for name, account in self.resident.items()
            if name > after and account.id and name.startswith(prefix)
        }
        return [found[name] for name in sorted(found)[:limit]]

    def forget(self, pending: Iterable[list[Account]]) -> None:
        """Let accounts leave memory that are written down and on no `pending` operation, if there are too many."""
        if len(self.resident) <= MAX_RESIDENT:
            return
        in_use = self.touched.union(*pending)
        for name in [name for name, account in self.resident.items() if account not in in_use]:
            del self.resident[name]
