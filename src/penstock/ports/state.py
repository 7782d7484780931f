"""Shared short-lived state: rate limits taken in one step, and leases. Losing it costs accuracy, never money.

Promises
1. `take` takes every ask or none: a refused ask leaves all the others untouched.
2. A token bucket (GCRA) admits `limit` at once and refills continuously at `limit` per `period_s`; at the bound it
   admits, one over it refuses. `retry_after_s` of a refusal is exact: just before it still refuses, after it admits.
3. A sliding window never admits more than `limit` in any `period_s` long interval.
4. A concurrency slot is held by `holder` until given back, or until `period_s` passes without renewal.
5. `give_back` returns unused amounts and slots; never more than was taken: a bucket never exceeds its limit.
6. `claim` gives a key to exactly one owner at a time, with a fencing token that grows with each change of owner;
   it lapses after `ttl_s` unless renewed; `renew` and `release` by a former owner change nothing and return False.
7. `peek` tells what is left without taking.
8. Keys of different tenants never meet: the tenant is the first part of every key and hashes to one slot.
9. An unreachable store raises Unavailable within its socket timeout; nothing hangs.
10. Time is monotonic: a wall clock set back neither refills nor drains.

Errors: Unavailable, Invalid (an ask larger than its limit can ever admit).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

Kind = Literal["bucket", "window", "slots"]


class Ask(msgspec.Struct, frozen=True, gc=False):
    """One limit of one request. `key` starts with the tenant, e.g. ``acme|team:search|rpm``.

    `limit` per `period_s` for bucket and window; for slots `limit` holders at once, each lapsing after `period_s`.
    """

    key: str
    kind: Kind
    limit: int
    period_s: int
    amount: int = 1


class Taken(msgspec.Struct, frozen=True):
    """The answer to `take`. `refused` is the index of the first ask without room, or -1 when all were taken.

    `remaining[i]` is what is left of ask i after this request, `reset_s[i]` the seconds until it is whole again;
    `retry_after_s` the seconds until the refused ask could be admitted.
    """

    refused: int
    remaining: tuple[int, ...]
    reset_s: tuple[float, ...]
    retry_after_s: float = 0.0


class Claim(msgspec.Struct, frozen=True):
    """A lease on a key. `fence` grows with each change of owner, so that a late writer can be told from the owner."""

    key: str
    owner: str
    fence: int


class State(Protocol):
    """Limits and leases. See the promises above."""

    async def take(self, asks: Sequence[Ask], holder: str) -> Taken:
        """Take all asks for `holder` (the request id) in one round trip, or none."""
        ...

    async def give_back(self, asks: Sequence[Ask], holder: str) -> None:
        """Return `amount` of each bucket ask and the slot of each slots ask; windows are history and stay."""
        ...

    async def claim(self, key: str, owner: str, ttl_s: float) -> Claim | None:
        """Lease `key`, or return None when another owner holds it. Claiming one's own lease renews it."""
        ...

    async def renew(self, claim: Claim, ttl_s: float) -> bool:
        """Extend a lease; False when it was lost."""
        ...

    async def release(self, claim: Claim) -> bool:
        """Give a lease up; False when it was lost already."""
        ...

    async def peek(self, asks: Sequence[Ask]) -> Taken:
        """Tell what `take` would leave now, taking nothing (amounts are ignored)."""
        ...
