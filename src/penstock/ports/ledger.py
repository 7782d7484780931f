"""The ledger: the only authority on money. Reserve before, settle after; never lost, never doubled.

Amounts are integer nano-dollars. An *operation* is one paid request, whatever attempts it takes; it is held
once, topped up if needed, and settled exactly once. A *line* is an account that the operation must fit into;
an account's room is ``limit - posted - held``. The verbs follow TigerBeetle's two-phase transfers (pending →
post | void | expire).

Promises
1. `hold` takes every line or none: if one account lacks room it raises OverBudget naming it and changes
nothing.
2. At no moment does posted + held exceed an account's limit, whatever runs at the same time.
3. A hold that was granted survives a crash of the process from the moment `hold` returned.
4. Room is never refused while it exists: an amount equal to the room is granted.
5. An operation settles exactly once: a second post or void raises Conflict(code="already_settled"), changing
nothing.
6. Repeating a hold with the same operation and sequence is answered as the first was, taking nothing more;
with
   another amount it raises Conflict.
7. `post` releases the rest of the hold. More than was held is recorded in full (money spent is never hidden)
and
   reported as `overrun_nanos`.
8. `void` releases the whole hold.
9. `expire` settles what nobody will settle any more (its timeout passed, or its writer died): at the last
checkpoint
   if there is one, void if the checkpoint says nothing was dispatched, else at the full hold; always flagged
   as estimated. A live operation is left alone.
10. Conservation: for each account held-ever = posted-from-holds + released + still held, and both sides of
every
    posting (accounts and vendor) are equal.
11. The journal is append-only and hash-chained per writer; `verify` finds any changed, missing or reordered
byte.
12. An unreachable or full store raises Unavailable in bounded time and grants nothing.
13. Timeouts are intervals: a wall clock that jumps neither expires a hold early nor keeps it longer.

Errors: OverBudget, Conflict, NotFound (unknown operation), Unavailable.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

NO_LIMIT = -1


class Line(msgspec.Struct, frozen=True, gc=False):
    """One account an operation is charged to. `limit_nanos` NO_LIMIT means attribution only.

    The account name carries scope and window, e.g. ``org:acme/team:search@2026-11-20``.
    """

    account: str
    limit_nanos: int = NO_LIMIT


class Hold(msgspec.Struct, frozen=True):
    """A reservation. `sequence` 0 opens the operation, 1, 2, … top it up. `facts` is a short note kept in
    the journal (price version, provider, model).
    """

    operation: str
    amount_nanos: int
    lines: tuple[Line, ...]
    timeout_s: int = 900
    sequence: int = 0
    facts: str = ""


class Attempt(msgspec.Struct, frozen=True, gc=False):
    """One call to a vendor under an operation: who, what it used, what it cost, how it ended."""

    number: int
    provider: str
    model: str
    cost_nanos: int
    input_tokens: int = 0
    cached_input_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    outcome: str = "ok"
    estimated: bool = False


class Posting(msgspec.Struct, frozen=True):
    """A settlement: what is charged to the operation's lines (`amount_nanos` = sum over the attempts)."""

    operation: str
    amount_nanos: int
    attempts: tuple[Attempt, ...] = ()
    estimated: bool = False


class Settled(msgspec.Struct, frozen=True):
    """How an operation ended: "posted", "voided" or "expired" (settled by `expire`, which alone names the
    `accounts` that it charged).
    """

    operation: str
    outcome: str
    amount_nanos: int
    released_nanos: int = 0
    overrun_nanos: int = 0
    estimated: bool = False
    accounts: tuple[str, ...] = ()


class Balance(msgspec.Struct, frozen=True):
    """An account now: settled and reserved nano-dollars, and the counts behind them."""

    account: str
    posted_nanos: int
    held_nanos: int
    postings: int = 0


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What `verify` found. `problems` is empty when the books are whole; `heads` maps writer → last chain
    digest.
    """

    entries: int
    operations: int
    pending: int
    posted_nanos: int
    held_nanos: int
    heads: dict[str, str]
    problems: tuple[str, ...]


class Ledger(Protocol):
    """Money, reserved before and settled after. See the promises above."""

    async def hold(self, hold: Hold) -> None:
        """Reserve `hold.amount_nanos` on every line, durably, or raise OverBudget (field = account, value =
        amount, limit = room in nano-dollars).
        """
        ...

    def checkpoint(self, operation: str, amount_nanos: int, *, dispatched: bool = True) -> None:
        """Note the cost so far (absolute, never decreasing) for `expire`; journalled with the next group,
        never waits.
        """
        ...

    async def post(self, posting: Posting) -> Settled:
        """Settle; returns when the settlement is durable. Callers on the request path do not await it.

        A store that cannot write now raises Unavailable(code="settlement_queued"): the settlement is kept and will be
        written; posting again is a Conflict.
        """
        ...

    async def void(self, operation: str) -> Settled:
        """Release everything: nothing was or will be billed."""
        ...

    async def expire(self) -> Sequence[Settled]:
        """Settle what is in doubt (bounded batch, at most 1,000 a call); returns what was settled, each once: what a
        call settled that then failed, a later one returns.
        """
        ...

    async def balance(
        self, *, accounts: Sequence[str] = (), prefix: str = "", after: str = "", limit: int = 1000
    ) -> Sequence[Balance]:
        """Return the named accounts (zero if never used), or up to `limit` accounts that start with
        `prefix`, after the name `after`, in order.
        """
        ...

    async def verify(self) -> Verdict:
        """Walk the whole journal: chains, conservation, and that the balances are what the journal says."""
        ...


class SettlesInBackground(Protocol):
    """A ledger that takes settlements without making the caller wait: the reply is never delayed by its
    books.
    """

    def post_soon(self, posting: Posting) -> None:
        """Settle as `post` does: in force at once for every later hold, durable with the next group.

        Never raises and never drops: what cannot be written now is kept, bounded by the operations held, and
        written when the store is back; a contradiction (already settled) is counted and logged.
        """
        ...
