"""How full the budgets are: read from the ledger off the request path, told as gauges and as one warning per threshold.

Promises: a budget that crosses one of its `warn_percent` marks is told once per window, soft budgets included; the
reading costs one ledger call per tick however many callers there are, over at most `WATCHED_MAX` accounts, and what
is left out is counted.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime

import msgspec

from penstock.kernel.clock import Clock
from penstock.kernel.context import Cap
from penstock.kernel.money import format_dollars
from penstock.mechanisms.limits import Plans, account_name
from penstock.ports.ledger import Ledger

WATCHED_MAX = 1_000
REMEMBERED_WARNINGS = 10_000
_log = logging.getLogger("penstock.budget")


class Fill(msgspec.Struct, frozen=True, gc=False):
    """How full one budget is; amounts in nano-dollars."""

    account: str
    posted_nanos: int
    held_nanos: int
    limit_nanos: int
    hard: bool = True

    @property
    def percent(self) -> int:
        """Return the settled share of the budget, rounded down; 100 for a budget of nothing."""
        return self.posted_nanos * 100 // self.limit_nanos if self.limit_nanos else 100


class Headroom:
    """Watches the budgets of the callers seen today."""

    def __init__(self, plans: Plans, ledger: Ledger, clock: Clock) -> None:
        """Watch the accounts of `plans` in `ledger`."""
        self._plans = plans
        self._ledger = ledger
        self._clock = clock
        self._told: set[tuple[str, int]] = set()
        self.fills: tuple[Fill, ...] = ()
        """Fullest first."""
        self.left_out = 0
        """Accounts beyond `WATCHED_MAX` at the last reading."""
        self.warnings = 0

    async def tick(self) -> None:
        """Read the balances once and warn of marks crossed."""
        caps = self._watched()
        if not caps:
            return
        balances = await self._ledger.balance(accounts=tuple(caps))
        fills = [
            Fill(b.account, b.posted_nanos, b.held_nanos, caps[b.account].limit_nanos, caps[b.account].hard)
            for b in balances
        ]
        fills.sort(key=lambda fill: fill.percent, reverse=True)
        self.fills = tuple(fills)
        for fill in fills:
            self._warn(fill, caps[fill.account])

    def _watched(self) -> dict[str, Cap]:
        today = datetime.fromtimestamp(self._clock.wall_s(), UTC)
        caps: dict[str, Cap] = {}
        self.left_out = 0
        for plan in self._plans.seen():
            for scope in plan.principal.scopes:
                for cap in scope.caps:
                    name = account_name(scope.path, cap.window, today)
                    if len(caps) < WATCHED_MAX or name in caps:
                        caps[name] = cap
                    else:
                        self.left_out += 1
        return caps

    def _warn(self, fill: Fill, cap: Cap) -> None:
        for mark in cap.warn_percent:
            if fill.percent >= mark and (fill.account, mark) not in self._told:
                if len(self._told) >= REMEMBERED_WARNINGS:
                    self._told.clear()
                self._told.add((fill.account, mark))
                self.warnings += 1
                _log.warning(
                    "budget %s is at %d %%: %s of %s spent",
                    fill.account,
                    fill.percent,
                    format_dollars(fill.posted_nanos),
                    format_dollars(fill.limit_nanos),
                )
