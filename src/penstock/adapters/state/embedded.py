"""State inside the process: every limit and lease of one machine, in memory.

Promises, beyond the port's: no verb ever suspends, so each is atomic on its event loop; memory is bounded by
`max_keys` meters and as many leases. Each new key looks at two older ones and forgets those that are whole again, so
upkeep costs a constant per call; when all `max_keys` are in use a new one is refused with Overloaded and counted
in `refused_keys`, because forgetting a limit in use would be the wrong answer. After `close` every verb raises
Unavailable.

State dies with the process, and so does every holder: nobody is left to be limited.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

from penstock.adapters.state.limits import MICROS, check_ask, check_key, check_ttl
from penstock.adapters.state.meters import METERS, Bucket, Meter
from penstock.kernel.clock import Clock
from penstock.kernel.errors import Invalid, Overloaded, Unavailable
from penstock.ports.state import Ask, Claim, Taken

MAX_KEYS = 200_000
SWEEP_STEP = 2
SWEEP_WHEN_FULL = 64


class _Forgettable(Protocol):
    """Something that need not be kept once it is whole."""

    def settle(self, now_us: int) -> bool: ...


E = TypeVar("E", bound=_Forgettable)


class _Table(Generic[E]):
    """A bounded dict that forgets what is whole again, a few keys per insertion, in turns."""

    __slots__ = ("entries", "most", "refused", "turns")

    def __init__(self, most: int) -> None:
        self.entries: dict[str, E] = {}
        self.turns: deque[str] = deque()
        self.most = most
        self.refused = 0

    def add(self, key: str, entry: E, now_us: int) -> bool:
        """Keep `entry`; False, counted, when the table is full of entries in use."""
        self._sweep(now_us, SWEEP_STEP if len(self.entries) < self.most else SWEEP_WHEN_FULL)
        if len(self.entries) >= self.most:
            self.refused += 1
            return False
        self.entries[key] = entry
        self.turns.append(key)
        return True

    def _sweep(self, now_us: int, steps: int) -> None:
        turns, entries = self.turns, self.entries
        for _ in range(min(steps, len(turns))):
            key = turns.popleft()
            if entries[key].settle(now_us):
                del entries[key]
            else:
                turns.append(key)


class _Lease:
    """Who holds a key, and until when."""

    __slots__ = ("fence", "owner", "until_us")

    def __init__(self, owner: str, fence: int, until_us: int) -> None:
        self.owner = owner
        self.fence = fence
        self.until_us = until_us

    def settle(self, now_us: int) -> bool:
        """Tell whether it has lapsed."""
        return self.until_us <= now_us


class EmbeddedState:
    """The State port in process memory."""

    def __init__(self, clock: Clock, *, max_keys: int = MAX_KEYS) -> None:
        """Count time by `clock.monotonic_s`; keep at most `max_keys` meters and `max_keys` leases."""
        self._now_s = clock.monotonic_s
        self._wall_s = clock.wall_s
        self._table: _Table[Meter] = _Table(max_keys)
        self._meters = self._table.entries
        self._leases: _Table[_Lease] = _Table(max_keys)
        self._fence = 0

    @property
    def refused_keys(self) -> int:
        """How many new keys were refused because the tables were full of keys in use."""
        return self._table.refused + self._leases.refused

    async def take(self, asks: Sequence[Ask], holder: str) -> Taken:
        """Take all asks or none. See ports/state.py."""
        now_us = int(self._now_s() * 1e6 + 0.5)
        meters = self._meters
        tokens: list[int] = []
        remaining: list[int] = []
        resets: list[float] = []
        for ask in asks:
            meter = meters.get(ask.key)
            if (
                meter is None
                or meter.limit != ask.limit
                or meter.period_s != ask.period_s
                or meter.kind != ask.kind
            ):
                meter = self._prepare(ask, now_us)
            if isinstance(meter, Bucket):  # nearly all asks: a third of the calls
                drawn = meter.draw(ask.amount, now_us)
                if drawn is None:
                    return self._refuse(asks, tokens, holder, now_us)
                tokens.append(0)
                remaining.append(drawn[0])
                resets.append(drawn[1])
                continue
            token = None if meter is None else meter.take(ask.amount, now_us, holder)
            if meter is None or token is None:
                return self._refuse(asks, tokens, holder, now_us)
            tokens.append(token)
            remaining.append(meter.left())
            resets.append(meter.reset_s(now_us))
        return Taken(-1, tuple(remaining), tuple(resets))

    async def give_back(self, asks: Sequence[Ask], holder: str) -> None:
        """Return unused amounts and slots. See ports/state.py."""
        now_us = self._now_us()
        meters = self._meters
        for ask in asks:
            if ask.amount < 0:
                check_ask(ask)
            meter = meters.get(ask.key)
            if meter is not None and meter.kind == ask.kind:
                meter.give_back(ask.amount, now_us, holder)

    async def peek(self, asks: Sequence[Ask]) -> Taken:
        """Tell what is left. See ports/state.py."""
        return self._view(asks, self._now_us())

    async def claim(self, key: str, owner: str, ttl_s: float) -> Claim | None:
        """Lease `key`. Fences follow the wall clock's microseconds, so they also grow across restarts."""
        check_key(key, "key")
        until_us = check_ttl(ttl_s) + (now_us := self._now_us())
        lease = self._leases.entries.get(key)
        if lease is None:
            lease = _Lease(owner, self._next_fence(), until_us)
            if not self._leases.add(key, lease, now_us):
                raise _full(self._leases.most)
        elif lease.until_us <= now_us:
            lease.owner, lease.fence = owner, self._next_fence()
        elif lease.owner != owner:
            return None
        lease.until_us = until_us
        return Claim(key, owner, lease.fence)

    async def renew(self, claim: Claim, ttl_s: float) -> bool:
        """Extend a lease that is still held under `claim`."""
        until_us = check_ttl(ttl_s) + (now_us := self._now_us())
        lease = self._held(claim, now_us)
        if lease is None:
            return False
        lease.until_us = until_us
        return True

    async def release(self, claim: Claim) -> bool:
        """End a lease that is still held under `claim`; the sweep forgets it."""
        lease = self._held(claim, now_us := self._now_us())
        if lease is None:
            return False
        lease.until_us = now_us
        return True

    async def healthy(self) -> bool:
        """Tell whether the state is open."""
        return self._now_s is not _closed

    async def close(self) -> None:
        """Forget everything; later calls raise Unavailable."""
        self._now_s = _closed
        self._meters.clear()
        self._leases.entries.clear()

    def _now_us(self) -> int:
        return int(self._now_s() * MICROS + 0.5)

    def _next_fence(self) -> int:
        self._fence = max(self._fence + 1, int(self._wall_s() * MICROS))
        return self._fence

    def _held(self, claim: Claim, now_us: int) -> _Lease | None:
        lease = self._leases.entries.get(claim.key)
        if (
            lease is None
            or lease.owner != claim.owner
            or lease.fence != claim.fence
            or lease.until_us <= now_us
        ):
            return None
        return lease

    def _prepare(self, ask: Ask, now_us: int) -> Meter | None:
        """Return the meter of a new or changed ask; None when the ask is invalid or the table is full."""
        if not _sensible(ask):
            return None
        meter = self._meters.get(ask.key)
        if meter is not None and meter.kind == ask.kind:
            meter.configure(ask, now_us)
            return meter
        fresh = METERS[ask.kind](ask, now_us)
        if meter is not None:
            self._meters[ask.key] = fresh
            return fresh
        return fresh if self._table.add(ask.key, fresh, now_us) else None

    def _refuse(self, asks: Sequence[Ask], tokens: list[int], holder: str, now_us: int) -> Taken:
        """Undo what was taken before the refused ask; say what is left and when there is room."""
        refused = len(tokens)
        for index in range(refused - 1, -1, -1):
            # A meter made after it may have swept away one that is whole: that one has nothing to undo.
            if taken := self._meters.get(asks[index].key):
                taken.undo(tokens[index], asks[index].amount, holder)
        for ask in asks:
            check_ask(ask)
        meter = self._meters.get(asks[refused].key)
        if meter is None:
            raise _full(self._table.most)
        view = self._view(asks, now_us)
        retry_s = meter.retry_us(asks[refused].amount, now_us) / MICROS
        return Taken(refused, view.remaining, view.reset_s, retry_s)

    def _view(self, asks: Sequence[Ask], now_us: int) -> Taken:
        """Say what is left of each ask, making no meter for one that was never taken."""
        remaining: list[int] = []
        resets: list[float] = []
        for ask in asks:
            meter = self._meters.get(ask.key)
            if meter is None or meter.kind != ask.kind or meter.settle(now_us):
                remaining.append(ask.limit)
                resets.append(0.0)
            else:
                remaining.append(min(meter.left(), ask.limit))
                resets.append(meter.reset_s(now_us))
        return Taken(-1, tuple(remaining), tuple(resets))


def _sensible(ask: Ask) -> bool:
    """Tell whether `check_ask` would pass, for the loop that must undo before it raises."""
    try:
        check_ask(ask)
    except Invalid:
        return False
    return True


def _full(most: int) -> Overloaded:
    return Overloaded(
        "Too many limits are in use at the same time on this node.",
        limit=most,
        remedy="Use the Redis state, or wait until some limits are whole again.",
        retry_after_s=1.0,
    )


def _closed() -> float:
    """Stand in for the clock once the state is closed."""
    raise Unavailable("The state was closed.")
