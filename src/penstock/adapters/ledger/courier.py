"""The courier: carries what this process asks of the shared ledger in batches, one at a time, each applied once.

    hold, post, checkpoint ──▶ queue ──▶ batch n ──▶ ledger_apply(writer, incarnation, n, entries) ──▶ answers
                                            │ no answer
                                            └──▶ holds are refused; batch n is asked again until it is answered

A batch that got no answer may or may not have been applied. It is repeated under the same number, which the database
applies at most once, with its holds withdrawn: if they turn out to have been taken, they are voided. So a settlement
is never lost nor doubled, and nobody is left holding for a caller that was refused.

Bounds: MAX_BATCH entries in a batch, MAX_QUEUE entries waiting before holds are refused; settlements are bounded by
the operations that were held. While the database does not answer, holds are refused at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import cast

import msgspec

from penstock.adapters.ledger.journal import HOLD, Entry
from penstock.adapters.ledger.postgres_link import Link, is_retryable
from penstock.kernel.errors import Broken, Invalid, Overloaded, Unavailable

MAX_BATCH = 256
MAX_QUEUE = 10_000
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 1.0
ATTEMPTS = 5  # at a batch that the database rolls back in favour of others

WITHDRAW = 6
APPLY = "SELECT ledger_apply($1, $2, $3, $4::text::jsonb)"

Answer = list[object]

log = logging.getLogger("penstock.ledger")
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(list[list[object]]).decode


class Parcel:
    """One entry on its way, with the future that waits for its answer, if anybody does."""

    __slots__ = ("answer", "entry", "is_withdrawn", "operation", "payload")

    def __init__(self, entry: Entry, answer: asyncio.Future[Answer] | None) -> None:
        self.entry = entry
        self.operation = cast("str", entry[1])
        self.answer = answer
        self.is_withdrawn = False
        self.payload = encoded(entry)

    def is_hold(self) -> bool:
        """Whether it takes money, rather than settling or noting."""
        return self.entry[0] == HOLD


def encoded(entry: Entry) -> bytes:
    """Return the JSON of an entry; raises Invalid for text that PostgreSQL cannot store."""
    try:
        payload = _encode(entry)
    except (UnicodeEncodeError, TypeError) as error:
        raise Invalid(f"The entry cannot be written down: {error}.", field="operation") from error
    if b"\\u0000" in payload:
        raise Invalid("PostgreSQL stores no NUL character.", field="operation")
    return payload


class Courier:
    """The queue between this process and PostgreSQL. `heard(parcel, answer)` hears every answer; `orphaned(entry)` of
    each hold that was taken although its caller had been refused or had left.
    """

    def __init__(
        self,
        link: Link,
        writer: str,
        incarnation: int,
        batch: int,
        *,
        timeout_s: float,
        heard: Callable[[Parcel, Answer], None],
        orphaned: Callable[[Entry], None],
    ) -> None:
        self._link = link
        self._writer = writer
        self._incarnation = incarnation
        self._batch = batch
        self._timeout_s = timeout_s
        self._heard = heard
        self._orphaned = orphaned
        self._loop = asyncio.get_running_loop()
        self._queue: deque[Parcel] = deque()
        self._flying: list[Parcel] = []
        self._wake = asyncio.Event()
        self._pause_s = FIRST_PAUSE_S
        self.down: Unavailable | None = None
        self.groups = self.entries = self.failures = 0
        self._task = self._loop.create_task(self._run())

    def admit(self) -> None:
        """Raise Unavailable while the database does not answer, or Overloaded when too much waits for it."""
        if self.down is not None:
            raise Unavailable(
                self.down.message, code=self.down.reason, remedy=self.down.remedy, retry_after_s=self._pause_s
            )
        if self.crowded():
            raise Overloaded(
                "Too much waits for the ledger's PostgreSQL.", limit=MAX_QUEUE, retry_after_s=self._timeout_s
            )

    def crowded(self) -> bool:
        """Whether so much is queued that only settlements may be added."""
        return len(self._queue) >= MAX_QUEUE

    def queue(self) -> int:
        """Return how many entries were not answered yet."""
        return len(self._queue) + len(self._flying)

    def send(self, entry: Entry) -> None:
        """Queue an entry whose answer only `heard` hears."""
        self._enqueue(Parcel(entry, None))

    def ask(self, entry: Entry) -> asyncio.Future[Answer]:
        """Queue an entry; the future carries its answer."""
        answer: asyncio.Future[Answer] = self._loop.create_future()
        self._enqueue(Parcel(entry, answer))
        return answer

    async def answered(self, answer: asyncio.Future[Answer]) -> Answer:
        """Await a settlement's answer, or raise Unavailable after the timeout: it stays queued and is not lost."""
        try:
            async with asyncio.timeout(self._timeout_s):
                return await asyncio.shield(answer)
        except TimeoutError:
            raise Unavailable(
                "The settlement is queued, but PostgreSQL has not taken it yet.", code="settlement_queued"
            ) from None

    async def drain(self) -> None:
        """Return when everything queued so far was answered; raises Unavailable after the timeout."""
        if self.queue():
            await self.answered(self.ask((WITHDRAW, "")))

    async def stop(self) -> None:
        """Stop carrying; what is queued stays undelivered."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._link.drop()

    def _enqueue(self, parcel: Parcel) -> None:
        self._queue.append(parcel)
        self._wake.set()

    async def _run(self) -> None:
        while True:
            try:
                await self._carry()
            except Exception:  # because settlements must go on being tried whatever a bug does
                log.exception("the ledger's courier stumbled")
                await asyncio.sleep(self._pause_s)

    async def _carry(self) -> None:
        """Carry one batch, or knock on the door while the database is down and nothing waits."""
        if not self._flying and self.down is None:
            if not self._queue:
                self._wake.clear()
                await self._wake.wait()
            self._batch += 1
            self._flying = [self._queue.popleft() for _ in range(min(MAX_BATCH, len(self._queue)))]
        try:
            if self._flying:
                answers = await self._apply()
            else:
                await self._link.fetch("SELECT 1")
                answers = []
        except Unavailable as error:
            self._fail(error)
            await asyncio.sleep(self._pause_s)
            self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
            return
        self._deliver(answers)

    async def _apply(self) -> list[Answer]:
        body = b"[" + b",".join([parcel.payload for parcel in self._flying]) + b"]"
        for attempt in range(ATTEMPTS):
            try:
                rows = await self._link.fetch(
                    APPLY, self._writer, self._incarnation, self._batch, body.decode()
                )
                return _decode(rows[0][0])
            except Exception as error:  # because what was surely undone, or counts once, may be asked again
                lost = isinstance(error, Unavailable) and error.reason == "connection_lost"
                if not (lost or is_retryable(error)):
                    raise
                log.warning("a batch of the ledger is asked again, attempt %d: %s", attempt, error)
        raise Unavailable("The ledger's PostgreSQL is contended.", code="ledger_contended", retry_after_s=1.0)

    def _deliver(self, answers: list[Answer]) -> None:
        flying, self._flying = self._flying, []
        if self.down is not None:
            log.warning("the ledger's PostgreSQL answers again")
            self.down = None
            self._pause_s = FIRST_PAUSE_S
        if len(answers) != len(flying):
            raise Broken(
                "The ledger answered another batch than it was asked.", asked=len(flying), got=len(answers)
            )
        if flying:
            self.groups += 1
            self.entries += len(flying)
        for parcel, answer in zip(flying, answers, strict=True):
            future = parcel.answer
            if parcel.is_withdrawn or (parcel.is_hold() and (future is None or future.done())):
                if answer[0] == "held" and answer[1]:
                    self._orphaned(parcel.entry)
                continue
            self._heard(parcel, answer)
            if future is not None and not future.done():
                future.set_result(answer)

    def _fail(self, error: Unavailable) -> None:
        """Refuse the holds: those that may have been taken are withdrawn, those that wait are dropped."""
        self.failures += 1
        if self.down is None:
            log.error("the ledger refuses holds: %s", error)
        self.down = error
        for parcel in self._flying:
            if parcel.is_hold():
                parcel.is_withdrawn = True
                parcel.payload = encoded((WITHDRAW, parcel.operation))
        waiting = [parcel for parcel in self._queue if parcel.is_hold()]
        self._queue = deque(parcel for parcel in self._queue if not parcel.is_hold())
        for parcel in (*self._flying, *waiting):
            if parcel.is_hold() and parcel.answer is not None and not parcel.answer.done():
                parcel.answer.set_exception(
                    Unavailable(
                        error.message, code=error.reason, remedy=error.remedy, retry_after_s=self._pause_s
                    )
                )
