"""A retry budget: what is tried again, hedges among it, stays a share of what was asked (Google SRE book, ch. 21).

Promise: over any run of N requests at most `share` x N + `RETRY_MOST` further attempts are made, and over the whole
life of a process at most `share` x N + `RETRY_RESERVE`: at 20 % that is an amplification of 1.2.
"""

from __future__ import annotations

RETRY_RESERVE = 10.0
RETRY_MOST = 100.0


class RetryBudget:
    """Retries as a share of requests: each request earns `share`, each retry spends 1, a small reserve to
    start with.
    """

    __slots__ = ("_balance", "_share", "refused")

    def __init__(self, share_percent: int) -> None:
        """Allow `share_percent` retries per hundred requests."""
        self._share = share_percent / 100
        self._balance = RETRY_RESERVE
        self.refused = 0

    def earn(self) -> None:
        """Note a first attempt."""
        if self._balance < RETRY_MOST:
            self._balance += self._share

    def spend(self) -> bool:
        """Take one retry; False when the budget is used up."""
        if self._balance < 1:
            self.refused += 1
            return False
        self._balance -= 1
        return True

    def give_back(self) -> None:
        """Put back one retry that was not made after all."""
        self._balance += 1
