"""The three ways to count, exactly and in integers: a bucket that drains, a window that slides, slots that are held.

Promises: times are whole microseconds of a clock that never runs backwards; memory of a meter is bounded; `take`
returns what `undo` needs to restore the meter, or None when there was no room and nothing changed.

A bucket is GCRA (ATM Forum TM 4.0, "generic cell rate algorithm", continuous-state leaky bucket form): its `level` is
what was taken and has not drained yet, in units of 1/period_us, so that it drains `limit` units per microsecond and no
fraction is ever rounded. A window groups events that lie within period/32 of each other; a group counts until its
youngest event is a period old, so it never forgets early, and a lone event or burst leaves exactly on time.
"""

from __future__ import annotations

from collections import deque

from penstock.adapters.state.limits import MICROS, WINDOW_PARTS
from penstock.ports.state import Ask


class Bucket:
    """Admits `limit` at once and refills `limit` per period."""

    __slots__ = ("at_us", "cap", "level", "limit", "per_s", "period_s", "period_us")
    kind = "bucket"

    def __init__(self, ask: Ask, now_us: int) -> None:
        """Start whole."""
        self.level = 0
        self.at_us = now_us
        self._follow(ask)

    def configure(self, ask: Ask, now_us: int) -> None:
        """Follow a changed limit or period; what was taken and has not drained stays taken."""
        self.settle(now_us)
        former_us = self.period_us
        self._follow(ask)
        self.level = self.level * self.period_us // former_us

    def _follow(self, ask: Ask) -> None:
        period_us = ask.period_s * MICROS
        self.limit = ask.limit
        self.period_s = ask.period_s
        self.period_us = period_us
        self.cap = ask.limit * period_us
        self.per_s = ask.limit * MICROS

    def take(self, amount: int, now_us: int, holder: str) -> int | None:
        """Take `amount` (0 or more) when it fits."""
        level = self.level - (now_us - self.at_us) * self.limit
        if level < 0:  # noqa: PLR1730 - calling max() here would cost a tenth of the hot path
            level = 0
        self.at_us = now_us
        taken = level + amount * self.period_us
        if level <= taken <= self.cap:
            self.level = taken
            return 0
        self.level = level
        return None

    def draw(self, amount: int, now_us: int) -> tuple[int, float] | None:
        """Take `amount` when it fits; returns what `left` and `reset_s` then say. One call where `take` needs three."""
        period_us = self.period_us
        level = self.level - (now_us - self.at_us) * self.limit
        if level < 0:  # noqa: PLR1730 - as in `take`
            level = 0
        self.at_us = now_us
        taken = level + amount * period_us
        if level <= taken <= self.cap:
            self.level = taken
            return (self.cap - taken) // period_us, taken / self.per_s
        self.level = level
        return None

    def undo(self, token: int, amount: int, holder: str) -> None:
        """Put back what `take` took."""
        self.level -= amount * self.period_us

    def give_back(self, amount: int, now_us: int, holder: str) -> None:
        """Put back `amount`, never more than is missing."""
        level = self.level - (now_us - self.at_us) * self.limit - amount * self.period_us
        self.at_us = now_us
        self.level = level if level > 0 else 0  # noqa: FURB136 - calling max() here would cost more than the rest

    def settle(self, now_us: int) -> bool:
        """Drain; tell whether the bucket is whole again."""
        self.take(0, now_us, "")
        return not self.level

    def left(self) -> int:
        """Whole units left, as of the last take or settle."""
        room = self.cap - self.level
        return room // self.period_us if room > 0 else 0

    def reset_s(self, now_us: int) -> float:
        """Seconds until whole."""
        return self.level / self.per_s

    def retry_us(self, amount: int, now_us: int) -> int:
        """Microseconds until `amount` fits, rounded up."""
        return -((self.cap - self.level - amount * self.period_us) // self.limit)


class Window:
    """Admits `limit` in any period."""

    __slots__ = ("groups", "limit", "period_s", "period_us", "total", "width_us")
    kind = "window"

    def __init__(self, ask: Ask, now_us: int) -> None:
        """Start empty. A group is [first event, youngest event, amount]."""
        self.groups: deque[list[int]] = deque()
        self.total = 0
        self.configure(ask, now_us)

    def configure(self, ask: Ask, now_us: int) -> None:
        """Follow a changed limit or period."""
        self.limit = ask.limit
        self.period_s = ask.period_s
        self.period_us = ask.period_s * MICROS
        self.width_us = -(-self.period_us // WINDOW_PARTS)

    def take(self, amount: int, now_us: int, holder: str) -> int | None:
        """Count `amount` (0 or more) when it fits; the token is the group's former youngest event, -1 for a new one."""
        self.settle(now_us)
        total = self.total + amount
        if not self.total <= total <= self.limit:
            return None
        if not amount:
            return 0
        self.total = total
        groups = self.groups
        if groups and now_us - groups[-1][0] < self.width_us:
            group = groups[-1]
            youngest, group[1] = group[1], now_us
            group[2] += amount
            return youngest
        groups.append([now_us, now_us, amount])
        return -1

    def undo(self, token: int, amount: int, holder: str) -> None:
        """Uncount the last `take`."""
        if not amount:
            return
        self.total -= amount
        if token < 0:
            self.groups.pop()
            return
        group = self.groups[-1]
        group[1] = token
        group[2] -= amount

    def give_back(self, amount: int, now_us: int, holder: str) -> None:
        """A window is history: nothing returns."""

    def settle(self, now_us: int) -> bool:
        """Forget what is a period old; tell whether the window is empty."""
        groups = self.groups
        oldest = now_us - self.period_us
        while groups and groups[0][1] <= oldest:
            self.total -= groups.popleft()[2]
        return not groups

    def left(self) -> int:
        """Units left, as of the last take or settle."""
        return max(0, self.limit - self.total)

    def reset_s(self, now_us: int) -> float:
        """Seconds until empty."""
        return (self.groups[-1][1] + self.period_us - now_us) / MICROS if self.groups else 0.0

    def retry_us(self, amount: int, now_us: int) -> int:
        """Microseconds until enough has been forgotten for `amount`."""
        excess = self.total + amount - self.limit
        for _, youngest, count in self.groups:
            excess -= count
            if excess <= 0:
                return youngest + self.period_us - now_us
        return 0


class Slots:
    """Admits `limit` holders at a time; each lapses a period after it last took its slot."""

    __slots__ = ("holders", "limit", "period_s", "period_us")
    kind = "slots"

    def __init__(self, ask: Ask, now_us: int) -> None:
        """Start free. `holders` maps a holder to the time its slot lapses, in the order of taking."""
        self.holders: dict[str, int] = {}
        self.configure(ask, now_us)

    def configure(self, ask: Ask, now_us: int) -> None:
        """Follow a changed limit or period; slots held keep their lease."""
        self.limit = ask.limit
        self.period_s = ask.period_s
        self.period_us = ask.period_s * MICROS

    def take(self, amount: int, now_us: int, holder: str) -> int | None:
        """Give `holder` a slot, or renew the one it has; the token is the former lapse time, -1 for none."""
        holders = self.holders
        if holders and holders[next(iter(holders))] <= now_us:
            self.settle(now_us)
        former = holders.get(holder, -1)
        if amount < 0:
            return None
        if former >= 0:
            del holders[holder]  # taken anew below, so that the order stays that of lapsing
        elif len(holders) >= self.limit and not self._freed(now_us):
            return None
        holders[holder] = now_us + self.period_us
        return former

    def _freed(self, now_us: int) -> bool:
        """Free lapsed slots wherever they stand (a shortened period breaks the order); tell whether there is room."""
        self.settle(now_us)
        return len(self.holders) < self.limit

    def undo(self, token: int, amount: int, holder: str) -> None:
        """Free the slot, or restore its former lease."""
        if token < 0:
            del self.holders[holder]
        else:
            self.holders[holder] = token

    def give_back(self, amount: int, now_us: int, holder: str) -> None:
        """Free the slot of `holder`, if it has one."""
        self.holders.pop(holder, None)

    def settle(self, now_us: int) -> bool:
        """Free lapsed slots; tell whether all are free."""
        holders = self.holders
        for lapsed in [holder for holder, until_us in holders.items() if until_us <= now_us]:
            del holders[lapsed]
        return not holders

    def left(self) -> int:
        """Slots free, as of the last take or settle."""
        return max(0, self.limit - len(self.holders))

    def reset_s(self, now_us: int) -> float:
        """Seconds until the last slot would lapse by itself."""
        holders = self.holders
        return (holders[next(reversed(holders))] - now_us) / MICROS if holders else 0.0

    def retry_us(self, amount: int, now_us: int) -> int:
        """Microseconds until the first slot would lapse by itself."""
        return min(self.holders.values(), default=now_us) - now_us


Meter = Bucket | Window | Slots
METERS: dict[str, type[Meter]] = {"bucket": Bucket, "window": Window, "slots": Slots}
