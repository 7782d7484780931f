"""Doubles that script what real stores do only in trouble: refuse, fail, remember what they were asked."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.kernel.errors import OverBudget, Unavailable
from penstock.ports.ledger import Hold, Posting
from penstock.ports.providers import CallTimers, ChatCall, ChatReplyStream
from penstock.ports.state import Ask, Taken


class ScriptedLedger:
    """A ledger with `room_nanos` in every account; remembers holds and postings."""

    def __init__(self, room_nanos: int = 10**12, *, down: bool = False) -> None:
        self.room_nanos = room_nanos
        self.down = down
        self.holds: list[Hold] = []
        self.postings: list[Posting] = []
        self.checkpoints: list[tuple[str, int]] = []

    async def hold(self, hold: Hold) -> None:
        if self.down:
            raise Unavailable("the ledger is down")
        if hold.amount_nanos > self.room_nanos:
            raise OverBudget(field=hold.lines[0].account, value=hold.amount_nanos, limit=self.room_nanos)
        self.room_nanos -= hold.amount_nanos
        self.holds.append(hold)

    def checkpoint(self, operation: str, amount_nanos: int, *, dispatched: bool = True) -> None:
        self.checkpoints.append((operation, amount_nanos))

    def post_soon(self, posting: Posting) -> None:
        self.postings.append(posting)


class ScriptedState:
    """A state store that refuses the ask with the index `refuse`, or is down; remembers takes and give-backs."""

    def __init__(self, refuse: int = -1, *, down: bool = False) -> None:
        self.refuse = refuse
        self.down = down
        self.taken: list[Sequence[Ask]] = []
        self.given_back: list[Sequence[Ask]] = []

    async def take(self, asks: Sequence[Ask], holder: str) -> Taken:
        if self.down:
            raise Unavailable("the state store is down")
        self.taken.append(asks)
        if self.refuse >= 0:
            return Taken(self.refuse, (0,) * len(asks), (1.0,) * len(asks), 1.5)
        return Taken(-1, tuple(ask.limit - ask.amount for ask in asks), (0.0,) * len(asks))

    async def give_back(self, asks: Sequence[Ask], holder: str) -> None:
        if self.down:
            raise Unavailable("the state store is down")
        self.given_back.append(asks)


class NamedProvider:
    """A provider that is only named, for pure routing."""

    dialect = "openai"
    limit_name = "max_tokens"

    def __init__(self, name: str = "sim") -> None:
        self.name = name
        self.vendor = name

    async def chat(self, call: ChatCall) -> ChatReplyStream:
        raise AssertionError(f"nothing may be called here: {call.request_id}")

    async def close(self) -> None:
        return


TIMERS = CallTimers()
