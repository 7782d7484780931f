"""A ledger against a dictionary: Hypothesis plays holds, top-ups, settlements, crashes and clocks, and compares.

Promise: after every step each account of the ledger has what the model says, each refusal is the model's refusal, and
at the end of every example the books verify. The engine under test comes in as a `Stage`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import shutil
import tempfile
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import uvloop
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from penstock.adapters.ledger.sqlite import SqliteLedger
from penstock.kernel.clock import ManualClock
from penstock.kernel.errors import Conflict, NotFound, OverBudget
from penstock.kernel.ids import new_id
from penstock.ports.ledger import NO_LIMIT, Hold, Ledger, Line, Posting
from tests.contracts.ledger_engines import Fleet

ACCOUNTS = 4
LIMITS = (NO_LIMIT, 0, 50, 100, 100, 300)
AMOUNTS = st.sampled_from((0, 1, 10, 25, 50, 99, 100, 101))
HOUR_S = 3_600
_LOOPS: list[asyncio.AbstractEventLoop] = []


def loop() -> asyncio.AbstractEventLoop:
    """Return the one loop that all machines of this process run on."""
    if not _LOOPS:
        _LOOPS.append(uvloop.new_event_loop())
    return _LOOPS[0]


def wait(work: Coroutine) -> object:
    """Run `work` to its end."""
    return loop().run_until_complete(work)


class Stage(Protocol):
    """One store under one manual clock."""

    clock: ManualClock

    async def start(self) -> Ledger: ...
    async def crash(self, dying: Ledger) -> Ledger: ...
    async def close(self, ledger: Ledger) -> None: ...
    async def advance(self, seconds: float) -> None: ...


class SqliteStage:
    """A fresh file; a crash goes on in a copy of it as it stood."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.folder = Path(tempfile.mkdtemp(prefix="ledger-machine-"))
        self.numbers = itertools.count()
        self.path = self.folder / "0" / "ledger.sqlite"

    async def start(self) -> Ledger:
        return await SqliteLedger.open(self.path, self.clock)

    async def crash(self, dying: SqliteLedger) -> Ledger:
        target = self.folder / str(next(self.numbers) + 1)
        shutil.copytree(self.path.parent, target)
        self.path = target / self.path.name
        await dying.abandon()
        return await self.start()

    async def close(self, ledger: SqliteLedger) -> None:
        await ledger.close()
        shutil.rmtree(self.folder)

    async def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)


class PostgresStage:
    """A writer of its own in a shared database."""

    dsn = ""

    def __init__(self) -> None:
        self.fleet = Fleet(self.dsn)
        self.clock = self.fleet.clock
        self.writer = new_id("w")

    async def start(self) -> Ledger:
        return await self.fleet.start(self.writer)

    async def crash(self, dying: Ledger) -> Ledger:
        return await self.fleet.crash(dying, self.writer)

    async def close(self, ledger: Ledger) -> None:
        await self.fleet.stop()

    async def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)
        await self.fleet.living[-1].beat()


@dataclass(slots=True)
class Known:
    """What the model knows of an operation."""

    lines: tuple[Line, ...]
    amounts: dict[int, int]
    until_s: float
    checkpoint: int = -1
    dispatched: bool = False
    state: str = "pending"


@dataclass(slots=True)
class Model:
    """The books as dictionaries."""

    posted: dict[str, int] = field(default_factory=dict)
    held: dict[str, int] = field(default_factory=dict)
    operations: dict[str, Known] = field(default_factory=dict)

    def lacks_room(self, lines: tuple[Line, ...], amount: int) -> bool:
        return any(
            line.limit_nanos >= 0
            and self.posted.get(line.account, 0) + self.held.get(line.account, 0) + amount > line.limit_nanos
            for line in lines
        )

    def take(self, lines: tuple[Line, ...], amount: int) -> None:
        for line in lines:
            self.held[line.account] = self.held.get(line.account, 0) + amount

    def settle(self, known: Known, outcome: str, amount: int) -> tuple[int, int]:
        """Settle; returns what is released and overrun."""
        total = sum(known.amounts.values())
        known.state = outcome
        for line in known.lines:
            self.held[line.account] -= total
            self.posted[line.account] = self.posted.get(line.account, 0) + amount
        return max(0, total - amount), max(0, amount - total)


class LedgerMachine(RuleBasedStateMachine):
    """The game; `stage` makes the store."""

    stage: type[Stage] = SqliteStage
    compared = 0

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.name = new_id("m")

    @initialize()
    def begin(self) -> None:
        self.store = self.stage()
        self.ledger = wait(self.store.start())

    def pick(self, number: int) -> str:
        return list(self.model.operations)[number % len(self.model.operations)]

    def any_operation(self) -> bool:
        return bool(self.model.operations)

    @rule(
        amount=AMOUNTS,
        accounts=st.sets(st.integers(0, ACCOUNTS - 1), min_size=1),
        limits=st.lists(st.sampled_from(LIMITS), min_size=ACCOUNTS, max_size=ACCOUNTS),
        timeout_s=st.sampled_from((60, 600)),
    )
    def hold(self, amount: int, accounts: set[int], limits: list[int], timeout_s: int) -> None:
        lines = tuple(Line(f"{self.name}/{i}", limits[i]) for i in sorted(accounts))
        operation = f"{self.name}-op-{len(self.model.operations):04}"
        work = self.ledger.hold(Hold(operation, amount, lines, timeout_s))
        if self.model.lacks_room(lines, amount):
            self.refused(OverBudget, work)
            return
        wait(work)
        self.model.take(lines, amount)
        self.model.operations[operation] = Known(
            lines, {0: amount}, self.store.clock.monotonic_s() + timeout_s
        )

    @precondition(any_operation)
    @rule(number=st.integers(0, 99), amount=AMOUNTS, sequence=st.integers(0, 3))
    def hold_again(self, number: int, amount: int, sequence: int) -> None:
        operation = self.pick(number)
        known = self.model.operations[operation]
        work = self.ledger.hold(Hold(operation, amount, known.lines, 60, sequence))
        if known.state != "pending" or known.amounts.get(sequence, amount) != amount:
            self.refused(Conflict, work)
        elif sequence in known.amounts:
            wait(work)
        elif self.model.lacks_room(known.lines, amount):
            self.refused(OverBudget, work)
        else:
            wait(work)
            self.model.take(known.lines, amount)
            known.amounts[sequence] = amount
            known.until_s = max(known.until_s, self.store.clock.monotonic_s() + 60)

    @precondition(any_operation)
    @rule(number=st.integers(0, 99), amount=AMOUNTS, dispatched=st.booleans())
    def checkpoint(self, number: int, amount: int, dispatched: bool) -> None:
        operation = self.pick(number)
        known = self.model.operations[operation]
        self.ledger.checkpoint(operation, amount, dispatched=dispatched)
        known.checkpoint = max(known.checkpoint, amount)
        known.dispatched = known.dispatched or dispatched

    @precondition(any_operation)
    @rule(number=st.integers(0, 99), amount=AMOUNTS, verb=st.sampled_from(("post", "post soon", "void")))
    def settle(self, number: int, amount: int, verb: str) -> None:
        operation = self.pick(number)
        known = self.model.operations[operation]
        if verb == "post soon":
            self.ledger.post_soon(Posting(operation, amount))
            if known.state == "pending":
                self.model.settle(known, "posted", amount)
            return
        work = self.ledger.void(operation) if verb == "void" else self.ledger.post(Posting(operation, amount))
        if known.state != "pending":
            self.refused(Conflict, work)
            return
        outcome, amount = ("voided", 0) if verb == "void" else ("posted", amount)
        settled = wait(work)
        assert (settled.released_nanos, settled.overrun_nanos) == self.model.settle(known, outcome, amount)

    @rule()
    def settle_nothing(self) -> None:
        self.refused(NotFound, self.ledger.void(f"{self.name}-never"))

    @rule(
        seconds=st.sampled_from((0, 30, 61, 601)),
        jump_s=st.sampled_from((0, HOUR_S, -HOUR_S, 86_400, -86_400)),
    )
    def expire(self, seconds: int, jump_s: int) -> None:
        self.store.clock.jump_wall(jump_s)
        wait(self.store.advance(seconds))
        settled = {
            one.operation: one for one in wait(self.ledger.expire()) if one.operation.startswith(self.name)
        }
        now_s = self.store.clock.monotonic_s()
        for operation, known in self.model.operations.items():
            if known.state != "pending" or known.until_s > now_s:
                assert operation not in settled
                continue
            amount = known.checkpoint if known.dispatched else 0
            amount = sum(known.amounts.values()) if known.checkpoint < 0 else amount
            one = settled[operation]
            assert (one.outcome, one.estimated, one.amount_nanos) == ("expired", True, amount)
            assert (one.released_nanos, one.overrun_nanos) == self.model.settle(known, "expired", amount)

    @rule()
    def crash(self) -> None:
        wait(self.ledger.balance(accounts=["flush"]))
        with contextlib.suppress(OverBudget):
            # A durable group behind checkpoints and settlements that nobody awaits.
            wait(self.ledger.hold(Hold(new_id("carrier"), 0, (), 1)))
        self.ledger = wait(self.store.crash(self.ledger))
        for known in self.model.operations.values():
            known.until_s = float("-inf")

    @invariant()
    def the_ledger_says_what_the_model_says(self) -> None:
        if not hasattr(self, "ledger"):
            return
        names = [f"{self.name}/{i}" for i in range(ACCOUNTS)]
        told = [(one.posted_nanos, one.held_nanos) for one in wait(self.ledger.balance(accounts=names))]
        type(self).compared += 1
        assert told == [(self.model.posted.get(name, 0), self.model.held.get(name, 0)) for name in names]

    def refused(self, kind: type[Exception], work: Coroutine) -> None:
        try:
            wait(work)
        except kind:
            return
        raise AssertionError(f"expected {kind.__name__}")

    def teardown(self) -> None:
        if not hasattr(self, "ledger"):
            return
        for operation, known in self.model.operations.items():
            if known.state == "pending":
                wait(self.ledger.void(operation))
        verdict = wait(self.ledger.verify())
        wait(self.store.close(self.ledger))
        assert not verdict.problems, verdict.problems


class PostgresMachine(LedgerMachine):
    """The same game on PostgreSQL."""

    stage = PostgresStage
