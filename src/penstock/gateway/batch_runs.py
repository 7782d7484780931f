"""The work on batches: validated whole, answered line by line beside the traffic, written out, and taken up again.

    validating → in_progress → finalizing → completed        failed: a line is no request; nothing was spent
                 in_progress → cancelling → cancelled        expired: a day has passed

Promises: nothing is spent before every line is known to be a request; a batch is complete only when each of its lines
has ended; what ended before a crash, a cancellation or the day's end is in its files, and what did not is named there;
no more is asked than one file of answers holds; one process works on a batch at one time (a lease), and another takes
it up when that one is gone; a batch spends as its key, and ends with it; owners take turns (`gateway/batch_turns`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from math import inf

import msgspec

from penstock.dialects.openai_batches import Counts, Line, LineError
from penstock.gateway.batch_lines import Asked, Lines
from penstock.gateway.batch_turns import AtWork, Turns
from penstock.gateway.batches import BatchBook, BatchDoc
from penstock.gateway.files import Files
from penstock.kernel.clock import Clock
from penstock.kernel.context import Principal
from penstock.kernel.errors import Invalid, NotFound, PenstockError, Unauthenticated
from penstock.kernel.ids import new_id
from penstock.mechanisms.background import let_end, woken
from penstock.mechanisms.tenancy import Tenancy

_log = logging.getLogger("penstock.gateway")
LOOK_S = 5.0
"""Seconds between two looks for work nobody told of."""
BEAT_S = 1.0
"""Seconds between two looks at a batch while it is worked on."""
LEASE_S = 30.0
"""Seconds until a batch whose process is gone is taken up by another."""
GRACE_S = 10.0
"""Seconds that lines under way are given when the process ends."""
OUTPUT_BYTES_MAX = 192 << 20
"""Bytes of answers from which on no more lines are sent: one file holds 256 MiB, and what is under way is kept too."""
FULL = "full"
"""The end of a batch whose answers fill its file; it is told as completed."""
WORDS = {
    "cancelled": ("batch_cancelled", "The batch was cancelled before this request was sent."),
    "expired": ("batch_expired", "The batch's day was over before this request was sent."),
    FULL: ("batch_output_full", "The answers before this request fill the batch's file: it was not sent."),
}


class _Run:
    """One batch being worked on. `end` is the state it goes to, `size` the bytes of its answers so far."""

    __slots__ = ("doc", "end", "ended", "lines", "makes_way", "principal", "size")

    def __init__(self, doc: BatchDoc, lines: list[Line], ended: dict[int, bool], size: int = 0) -> None:
        self.doc = doc
        self.lines = lines
        self.ended = ended
        self.principal: Principal | None = None
        """Whose money is spent; found out at each beat."""
        self.end = "completed"
        self.makes_way = False
        """Whether another's turn has come: what is under way is finished, and the rest taken up later."""
        self.size = 0
        self.grow(size)

    def grow(self, size: int) -> None:
        """Note more bytes of answers; no more lines are sent once they fill a file."""
        self.size += size
        if self.size >= OUTPUT_BYTES_MAX and self.end == "completed":
            self.end = FULL

    def counts(self) -> Counts:
        good = sum(self.ended.values())
        return Counts(total=len(self.lines), completed=good, failed=len(self.ended) - good)


class BatchRuns:
    """Works on batches. One per process."""

    def __init__(
        self,
        book: BatchBook,
        lines: Lines,
        files: Files,
        tenancy: Tenancy,
        clock: Clock,
        *,
        concurrency: int,
        running: int,
    ) -> None:
        """Have `concurrency` lines of a batch under way at one time, and `running` batches."""
        self._book = book
        self._lines = lines
        self._files = files
        self._tenancy = tenancy
        self._clock = clock
        self._concurrency = concurrency
        self._running = running
        self._me = new_id("runner_")
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._at_work: dict[str, AtWork] = {}
        self._making_way: set[str] = set()
        self._turns = Turns()
        self._woken = asyncio.Event()
        self._closing = False
        self.lines_ended = 0
        self.stumbles = 0
        """Times the work on a batch broke off, to be taken up again."""

    @property
    def at_work(self) -> int:
        """Batches worked on here, now."""
        return len(self._tasks)

    def wake(self) -> None:
        """Say that there is work."""
        self._woken.set()

    async def watch(self) -> None:
        """Find work and see to it, for ever."""
        while True:
            try:
                await self._look()
            except Exception as error:  # because whatever it is, the next look may find things in order
                unexpected = not isinstance(error, PenstockError)
                _log.warning("batches cannot be looked at: %s", error, exc_info=unexpected)
            await woken(self._woken, LOOK_S)

    async def forget(self, kept_s: float) -> None:
        """Forget files that have expired, and batches made more than `kept_s` seconds ago."""
        await self._files.forget()
        for batch_id in await self._book.forget(self._clock.wall_s() - kept_s):
            await self._lines.forget(batch_id)

    async def close(self) -> None:
        """Begin no more lines; wait a little for those under way."""
        self._closing = True
        await let_end(list(self._tasks.values()), GRACE_S)

    async def _look(self) -> None:
        waiting = {doc.id: doc for doc in await self._book.unfinished(self._is_free, self._running)}
        now_s = self._clock.monotonic_s()
        while waiting and not self._closing:
            turns = self._turns.next(waiting.values(), self._at_work)
            if len(self._tasks) >= self._running:
                if not self._making_way:
                    self._making_way |= {
                        self._turns.makes_way(turns[0].owner, self._at_work, now_s) or ""
                    } - {""}
                return
            doc = waiting.pop(turns[0].id)
            self._turns.began(doc.owner, now_s)
            self._at_work[doc.id] = AtWork(doc.owner)
            self._tasks[doc.id] = asyncio.create_task(self._run(doc.id), name=f"batch {doc.id}")

    def _is_free(self, doc: BatchDoc) -> bool:
        is_mine = doc.runner == self._me or doc.leased_until_s <= self._clock.wall_s()
        return is_mine and doc.id not in self._tasks

    async def _run(self, batch_id: str) -> None:
        try:
            doc = await self._book.change(batch_id, self._leased)
            if doc is not None:
                await self._work(doc)
        except (
            Exception
        ):  # because a batch that stumbles is taken up again, and must not take the others with it
            self.stumbles += 1
            _log.exception("the work on %s broke off", batch_id)
        finally:
            del self._tasks[batch_id], self._at_work[batch_id]
            if batch_id in self._making_way:
                self._making_way.discard(batch_id)
                self.wake()

    def _leased(self, doc: BatchDoc) -> BatchDoc | None:
        """Take a batch that nobody works on."""
        now_s = self._clock.wall_s()
        if doc.runner != self._me and doc.leased_until_s > now_s:
            return None
        return _changed(doc, runner=self._me, leased_until_s=now_s + LEASE_S)

    def _let_go(self, doc: BatchDoc) -> BatchDoc | None:
        """Leave a batch to whoever takes it up next."""
        return _changed(doc, leased_until_s=0.0) if doc.runner == self._me else None

    # ---------------------------------------------------------------------------------------------------- one batch

    async def _work(self, doc: BatchDoc) -> None:
        if doc.status == "cancelling" and "in_progress" not in doc.entered:
            await self._enter(doc.id, "cancelled")
            return
        run = await self._prepared(doc)
        if run is None:
            return
        await self._answer(run)
        if self._closing or (run.makes_way and len(run.ended) < len(run.lines)):
            await self._book.change(doc.id, self._let_go)
        else:
            await self._finish(run)

    async def _prepared(self, doc: BatchDoc) -> _Run | None:
        """Return the batch ready to be worked on; None when it cannot be."""
        try:
            content = await self._files.content(await self._files.doc(doc.place, doc.input_file_id))
            if doc.status != "validating":
                lines = self._lines.parsed(content, doc.endpoint)
                return _Run(doc, lines, *await self._lines.kept(doc.id))
            principal = await self._tenancy.principal_of(doc.key_id)
        except (NotFound, Unauthenticated) as error:
            await self._fail(doc, [LineError(code=error.reason, message=error.message)])
            return None
        lines, errors = await self._lines.read(content, doc.endpoint, principal)
        if errors:
            await self._fail(doc, errors)
            return None
        await self._enter(doc.id, "in_progress", after="validating", counts=Counts(total=len(lines)))
        return _Run(doc, lines, {})

    async def _answer(self, run: _Run) -> None:
        """Have the lines answered that have not ended, until all have or the batch stops."""
        waiting = iter([number for number in range(len(run.lines)) if number not in run.ended])
        under_way: set[asyncio.Task[None]] = set()
        beat_s = self._clock.monotonic_s()
        try:
            await self._beat(run)
            while True:
                under_way |= self._begun(run, waiting, self._concurrency - len(under_way))
                if not under_way:
                    return
                done, under_way = await asyncio.wait(
                    under_way, timeout=BEAT_S, return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    task.result()
                if self._clock.monotonic_s() - beat_s >= BEAT_S:
                    beat_s = self._clock.monotonic_s()
                    await self._beat(run)
        except asyncio.CancelledError:
            for task in under_way:
                task.cancel()
            raise
        finally:
            await asyncio.gather(*under_way, return_exceptions=True)

    def _begun(self, run: _Run, waiting: Iterator[int], room: int) -> set[asyncio.Task[None]]:
        begun: set[asyncio.Task[None]] = set()
        while len(begun) < room and run.principal is not None and self._goes_on(run):
            number = next(waiting, None)
            if number is None:
                break
            if self._at_work[run.doc.id].since_s == inf:
                self._at_work[run.doc.id] = AtWork(run.doc.owner, self._clock.monotonic_s())
            begun.add(asyncio.create_task(self._line(run, number, run.principal)))
        return begun

    def _goes_on(self, run: _Run) -> bool:
        run.makes_way = run.makes_way or run.doc.id in self._making_way
        return run.end == "completed" and not self._closing and not run.makes_way

    async def _line(self, run: _Run, number: int, principal: Principal) -> None:
        asked = Asked(run.lines[number], run.doc.endpoint, principal)
        answered = await self._lines.answer(run.doc.id, number, asked, lambda: self._goes_on(run))
        if answered is None:
            return
        await self._lines.keep(run.doc.id, answered)
        run.ended[number] = answered.good
        run.grow(len(answered.output))
        self.lines_ended += 1

    async def _beat(self, run: _Run) -> None:
        """Say how far the batch is, keep its lease, and see whether it is to go on. Raises when it is another's."""
        now_s = self._clock.wall_s()

        def told(doc: BatchDoc) -> BatchDoc | None:
            if doc.runner != self._me:
                return None
            return _changed(doc, counts=run.counts(), leased_until_s=now_s + LEASE_S)

        doc = await self._book.change(run.doc.id, told)
        if doc is None:
            raise Invalid("Another process has taken this batch up.", field="runner")
        run.doc = doc
        if doc.status == "cancelling":
            run.end = "cancelled"
        elif doc.expires_s <= now_s:
            run.end = "expired"
        else:
            try:
                run.principal = await self._tenancy.principal_of(doc.key_id)
            except Unauthenticated:
                run.end = "cancelled"

    async def _finish(self, run: _Run) -> None:
        """Write the batch's files and its end."""
        await self._beat(run)
        unended = [line for number, line in enumerate(run.lines) if number not in run.ended]
        if run.end == "completed" and unended:
            return  # refused by a limit as it stopped: it is taken up again
        if run.end in ("completed", FULL):
            await self._enter(run.doc.id, "finalizing", after="in_progress")
        output, errors = await self._lines.outputs(run.doc.id, run.doc.endpoint)
        end = "completed" if run.end == FULL else run.end
        if unended:
            code, message = WORDS[run.end]
            told = [self._lines.unanswered(run.doc.endpoint, line, code, message) for line in unended]
            (output if errors is None else errors).extend(told)
        if run.end == FULL:
            run.ended = {number: run.ended.get(number, False) for number in range(len(run.lines))}
        output_id = await self._written(run, output, "output")
        error_id = await self._written(run, errors or [], "error")
        await self._enter(
            run.doc.id, end, counts=run.counts(), output_file_id=output_id, error_file_id=error_id
        )
        await self._lines.forget(run.doc.id)

    async def _written(self, run: _Run, lines: list[bytes], what: str) -> str | None:
        if not lines:
            return None
        doc, content = run.doc, b"\n".join(lines) + b"\n"
        name = f"{doc.id}_{what}.jsonl"
        return (await self._files.put(doc.org, doc.place, name, "batch_output", content)).id

    async def _fail(self, doc: BatchDoc, errors: list[LineError]) -> None:
        await self._enter(doc.id, "failed", errors=tuple(errors))

    async def _enter(self, batch_id: str, status: str, *, after: str = "", **changes: object) -> None:
        """Bring a batch into a state; with `after`, only from that one."""
        now_s = self._clock.wall_s()

        def entered(doc: BatchDoc) -> BatchDoc | None:
            return None if after and doc.status != after else doc.entering(status, now_s, **changes)

        await self._book.change(batch_id, entered)


def _changed(doc: BatchDoc, **changes: object) -> BatchDoc:
    return msgspec.structs.replace(doc, **changes)
