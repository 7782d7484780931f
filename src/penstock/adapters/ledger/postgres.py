"""The shared ledger: many processes, one PostgreSQL (14 or later), money checked and taken under row locks.

    hold ──▶ courier (batches) ──▶ ledger_apply in postgres_001.sql ──▶ accounts, operations, journal: one transaction

Keeps every promise of `ports.ledger`; how, where it is not obvious:

- Promise 2: a batch locks its operations and accounts in the order of their names, so two processes neither overspend
  together nor wait for each other in a circle. Read replicas are never asked.
- Promise 5 for ever: an operation's row stays. Promise 11: one chain per writer, its digests computed in the database.
- Promises 9 and 13 use no wall clock at all, neither ours nor the database's: a process times out its own holds by its
  monotonic clock; a living process counts a beat on every second, and one whose beat did not move for LOST_S on the
  observer's monotonic clock is dead. A process that starts under the name of a former one is its successor.
- Promise 12: while the database does not answer, holds are refused at once and settlements wait in memory.
"""

# asyncpg ships no stubs: what crosses this border is typed by hand.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import cast

import msgspec

from penstock.adapters.ledger import rules
from penstock.adapters.ledger.courier import Answer, Courier, Parcel
from penstock.adapters.ledger.journal import CHECKPOINT, HOLD, SETTLE, Entry, attempt_rows
from penstock.adapters.ledger.postgres_link import Link
from penstock.adapters.ledger.postgres_reads import Reads, register
from penstock.adapters.ledger.watch import BEAT_S, Watch
from penstock.kernel.clock import Clock
from penstock.kernel.errors import Conflict, Invalid, NotFound, PenstockError, Unavailable
from penstock.ports.ledger import Balance, Hold, Posting, Settled, Verdict

EXPIRE = 5  # an entry that asks for an operation in doubt to be settled
MAX_EXPIRED = 1_000
MAX_BALANCES = 1_000

log = logging.getLogger("penstock.ledger")


class PostgresLedger:
    """`ports.ledger.Ledger` and `SettlesInBackground` for one process of many. Open it with `open`."""

    def __init__(
        self, dsn: str, clock: Clock, writer: str, pool_size: int, timeout_s: float, place: tuple[int, int]
    ) -> None:
        """Use `open`; `place` is this process's incarnation and the last batch of its predecessor."""
        incarnation, batch = place
        self._now_s = clock.monotonic_s
        self._timeout_s = timeout_s
        self._writer = writer
        self._mine: dict[str, float] = {}  # operations of this process → deadline, monotonic seconds
        self._overruns = self._mistakes = 0
        self._untold: list[Settled] = []
        self._courier = Courier(
            Link(dsn, "writer", timeout_s),
            writer,
            incarnation,
            batch,
            timeout_s=timeout_s,
            heard=self._heard,
            orphaned=self._orphaned,
        )
        self._watch = Watch(Link(dsn, "beat", timeout_s), writer, incarnation, clock)
        self._reads = Reads(dsn, max(1, pool_size - 2), timeout_s)
        self._beating = asyncio.get_running_loop().create_task(self._beat_on())

    @classmethod
    async def open(
        cls, dsn: str, clock: Clock, *, writer: str, pool_size: int = 4, timeout_s: float = 2.0
    ) -> PostgresLedger:
        """Connect, migrate if need be (safe when processes start together) and take over as `writer`.

        `writer` names this process among all; what a former process of that name left pending is in doubt from now
        on. `pool_size` bounds the connections (at least 3), `timeout_s` every wait. Raises Unavailable.
        """
        if not 0 < len(writer) <= rules.MAX_NAME:
            raise Invalid(
                "The writer's name is out of bounds.", field="writer", value=writer, limit=rules.MAX_NAME
            )
        place = await register(dsn, writer, timeout_s)
        return cls(dsn, clock, writer, pool_size, timeout_s, place)

    async def close(self) -> None:
        """Have everything queued answered, then let go. What is pending will be in doubt three seconds later."""
        try:
            await self._courier.drain()
        except Unavailable as error:
            log.warning("the ledger closes with %d entries undelivered: %s", self._courier.queue(), error)
        finally:
            await self.abandon()

    async def abandon(self) -> None:
        """Let go as kill -9 would: nothing queued is delivered."""
        self._beating.cancel()
        await asyncio.gather(self._beating, return_exceptions=True)
        await self._courier.stop()
        self._watch.stop()
        self._reads.stop()

    # ------------------------------------------------------------------------------------------ the port's verbs

    async def hold(self, hold: Hold) -> None:
        """See `ports.ledger`."""
        limits = [line.limit_nanos for line in hold.lines]
        names = [line.account for line in hold.lines]
        rules.check_hold(hold, limits)
        for name in names:
            rules.check_account(name)
        if len(set(names)) != len(names):
            raise Invalid("An account is named twice.", field="lines", value=hold.operation)
        self._courier.admit()
        if len(self._mine) >= rules.MAX_PENDING:
            raise rules.too_many_pending()
        entry = (
            HOLD,
            hold.operation,
            hold.sequence,
            hold.amount_nanos,
            hold.timeout_s,
            hold.facts,
            names,
            limits,
        )
        answer = self._courier.ask(entry)
        try:
            got = await answer
        except asyncio.CancelledError:
            if (
                answer.done()
                and not answer.cancelled()
                and answer.exception() is None
                and answer.result()[0] == "held"
            ):
                self._orphaned(entry)
            raise
        if got[0] != "held":
            raise _refusal(hold, got)

    def checkpoint(self, operation: str, amount_nanos: int, *, dispatched: bool = True) -> None:
        """See `ports.ledger`. An operation that is not pending is past checkpoints, and a crowded queue takes none:
        nothing happens.
        """
        if not self._courier.crowded() and amount_nanos >= 0:
            self._courier.send((CHECKPOINT, operation, min(amount_nanos, rules.MAX_AMOUNT_NANOS), dispatched))

    async def post(self, posting: Posting) -> Settled:
        """See `ports.ledger`. Unavailable(code="settlement_queued") says that it will be in force, but is not yet."""
        return await self._settled(_posting_entry(posting))

    async def void(self, operation: str) -> Settled:
        """See `ports.ledger`."""
        return await self._settled(_void_entry(operation))

    def post_soon(self, posting: Posting) -> None:
        """Queue the settlement before every later hold of this process; a mistake is logged and counted."""
        try:
            self._courier.send(_posting_entry(posting))
        except PenstockError as error:
            self._mistake(posting.operation, str(error))

    async def expire(self) -> Sequence[Settled]:
        """See `ports.ledger`: this process's own by their timeout, and those of writers that are dead."""
        self._courier.admit()
        now_s = self._now_s()
        doubtful: list[Entry] = [
            (EXPIRE, operation, self._writer, -1)
            for operation, until_s in self._mine.items()
            if until_s <= now_s
        ]
        doubtful += [(EXPIRE, *left) for left in await self._watch.left_behind(MAX_EXPIRED)]
        answers = [self._courier.ask(entry) for entry in doubtful[: MAX_EXPIRED - len(self._untold)]]
        for answer in answers:
            await self._courier.answered(answer)
        settled = tuple(self._untold)
        charged = await self._reads.charged([one.operation for one in settled]) if settled else {}
        del self._untold[: len(settled)]
        return [msgspec.structs.replace(one, accounts=charged.get(one.operation, ())) for one in settled]

    async def balance(
        self, *, accounts: Sequence[str] = (), prefix: str = "", after: str = "", limit: int = MAX_BALANCES
    ) -> Sequence[Balance]:
        """See `ports.ledger`. What is queued here is delivered first, so that it includes this process's own."""
        for text in (*accounts, prefix, after):
            rules.check_text(text)
        self._courier.admit()
        await self._courier.drain()
        if accounts:
            return await self._reads.named(accounts)
        return await self._reads.page(prefix, after, max(1, min(limit, MAX_BALANCES)))

    async def verify(self) -> Verdict:
        """See `ports.ledger`: every writer's chain, at one instant."""
        await self._courier.drain()
        return await self._reads.verify()

    def stats(self) -> dict[str, int]:
        """Counts since opening: batches and entries carried, entries queued, failed batches and refused background
        settlements, settlements above their hold; and the operations of this process that are pending.
        """
        courier = self._courier
        return {
            "groups": courier.groups,
            "entries": courier.entries,
            "queue": courier.queue(),
            "failures": courier.failures + self._mistakes,
            "overruns": self._overruns,
            "pending": len(self._mine),
        }

    def healthy(self) -> bool:
        """Whether holds are being accepted."""
        return self._courier.down is None

    async def beat(self) -> None:
        """Show that this process lives, and look who else does; done by itself every second."""
        await self._watch.beat()

    # -------------------------------------------------------------------------------------------------- inside

    async def _beat_on(self) -> None:
        while True:
            try:
                await self.beat()
            except Unavailable as error:
                log.debug("no beat: %s", error)
            await asyncio.sleep(BEAT_S)

    async def _settled(self, entry: Entry) -> Settled:
        operation = str(entry[1])
        got = await self._courier.answered(self._courier.ask(entry))
        if got[0] == "done":
            return _settlement(operation, got)
        raise rules.already_settled(operation) if got[0] == "settled" else rules.unknown_operation(operation)

    def _heard(self, parcel: Parcel, answer: Answer) -> None:
        """Keep the deadlines of what is pending, and count what nobody else hears."""
        operation = parcel.operation
        if answer[0] == "held":
            if answer[1]:
                until_s = self._now_s() + cast("int", parcel.entry[4])
                self._mine[operation] = max(until_s, self._mine.get(operation, until_s))
        elif parcel.entry[0] in {SETTLE, EXPIRE}:
            self._mine.pop(operation, None)
            if answer[0] == "done":
                self._overruns += answer[4] != 0
                if parcel.entry[0] == EXPIRE:
                    self._untold.append(_settlement(operation, answer))
            elif parcel.answer is None:
                self._mistake(operation, str(answer[0]))

    def _orphaned(self, entry: Entry) -> None:
        """A hold was taken for a caller that is gone: void it (a top-up goes with its operation)."""
        if entry[2] == 0:
            self._courier.send(_void_entry(str(entry[1])))

    def _mistake(self, operation: str, reason: str) -> None:
        self._mistakes += 1
        log.error("a background settlement of %s was refused: %s", operation, reason)


def _posting_entry(posting: Posting) -> Entry:
    rules.check_posting(posting)
    attempts = attempt_rows(posting.attempts)
    return (SETTLE, posting.operation, "posted", posting.amount_nanos, posting.estimated, attempts)


def _void_entry(operation: str) -> Entry:
    return (SETTLE, operation, "voided", 0, False, [])


def _settlement(operation: str, answer: Answer) -> Settled:
    _, outcome, amount_nanos, released_nanos, overrun_nanos, estimated = cast(
        "tuple[str, str, int, int, int, bool]", answer
    )
    return Settled(operation, outcome, amount_nanos, released_nanos, overrun_nanos, estimated)


def _refusal(hold: Hold, answer: Answer) -> Conflict | NotFound | PenstockError:
    match answer:
        case ["over", str(account), int(room_nanos)]:
            return rules.over_budget(account, hold.amount_nanos, room_nanos)
        case ["differs", int(first_nanos)]:
            return rules.hold_differs(hold.operation, hold.amount_nanos, first_nanos)
        case ["lines"]:
            return rules.lines_differ(hold.operation)
        case ["settled"]:
            return rules.already_settled(hold.operation)
        case _:
            return rules.unknown_operation(hold.operation)
