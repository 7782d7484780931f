"""The one thread that writes the stream's files, and the queue in front of it.

Promises: jobs are done in order of arrival per topic; appends that arrive while the disk is busy share the next write
of their topic (group commit); what waits is bounded (Overloaded past it); every job's future ends, with a result or
with the port's error. Bounded loss at a power cut: the disk is forced at most `sync_s` seconds after a write.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from penstock.adapters.stream.segments import TopicLog
from penstock.kernel.errors import Broken, Overloaded, PenstockError, Unavailable

MAX_PENDING_BYTES = 16 << 20
"""Bytes accepted and not yet written, and so the bound of one append too."""
MAX_PENDING_JOBS = 10_000

Outcome = int | BaseException


@dataclass(slots=True, eq=False)
class _Job:
    """Work for the thread: `values` to append to `log`, or a `call`; either ends in an int."""

    done: asyncio.Future[int]
    log: TopicLog | None = None
    values: Sequence[bytes] = ()
    size: int = 0
    call: Callable[[], int] | None = None


def translated(error: BaseException) -> PenstockError:
    """Return the port's error for what the system said."""
    if isinstance(error, PenstockError):
        return error
    if isinstance(error, OSError):
        fault = Unavailable(
            f"The stream's disk refused: {error.strerror}.", remedy="Free space or check the disk."
        )
    else:
        fault = Broken(f"The stream's writer failed: {error!r}.")
    fault.__cause__ = error
    return fault


class Writer:
    """Groups jobs and performs them on one thread; made and called on the event loop."""

    def __init__(self, sync_s: float, written: Callable[[Iterable[TopicLog]], None]) -> None:
        """Force the disk `sync_s` seconds after a write (0: before an append ends); tell `written` which logs grew."""
        self.sync_s = sync_s
        self.sound = True
        """Whether the last forcing of the disk went well."""
        self.pending_bytes = 0
        self._written = written
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="stream-writer")
        self._pending: list[_Job] = []
        self._busy = False
        self._closed = False
        self._timer: asyncio.TimerHandle | None = None
        self._to_sync: set[TopicLog] = set()

    def append(self, log: TopicLog, values: Sequence[bytes], size: int) -> Awaitable[int]:
        """Append values of `size` bytes together to `log`; ends in the offset of the last."""
        if self.pending_bytes + size > MAX_PENDING_BYTES:
            raise Overloaded("The stream's disk is behind.", limit=MAX_PENDING_BYTES, retry_after_s=0.1)
        return self._submit(_Job(self._loop.create_future(), log=log, values=values, size=size))

    def call(self, call: Callable[[], int]) -> Awaitable[int]:
        """Run `call` on the thread, after what was submitted before."""
        return self._submit(_Job(self._loop.create_future(), call=call))

    def _submit(self, job: _Job) -> Awaitable[int]:
        if self._closed:
            raise Unavailable("The stream is closed.")
        if len(self._pending) >= MAX_PENDING_JOBS:
            raise Overloaded("The stream's disk is behind.", limit=MAX_PENDING_JOBS, retry_after_s=0.1)
        self._pending.append(job)
        self.pending_bytes += job.size
        if not self._busy:
            self._turn()
        return job.done

    def _turn(self) -> None:
        jobs, self._pending = self._pending, []
        self._busy = bool(jobs)
        if jobs:
            outcomes = self._loop.run_in_executor(self._thread, self._perform, jobs)
            outcomes.add_done_callback(lambda ended: self._settle(jobs, ended))

    def _perform(self, jobs: list[_Job]) -> list[Outcome]:
        """On the thread: one write per log, then the calls in order."""
        outcomes: dict[_Job, Outcome] = {}
        by_log: dict[TopicLog, list[_Job]] = {}
        for job in jobs:
            if job.log is not None:
                by_log.setdefault(job.log, []).append(job)
        for log, group in by_log.items():
            try:
                lasts: list[int] = log.append([job.values for job in group], sync=self.sync_s <= 0)
                outcomes.update(zip(group, lasts, strict=True))
            except Exception as error:  # because it belongs to the futures of this group, not to the thread
                outcomes.update(dict.fromkeys(group, error))
        for job in jobs:
            if job.call is not None:
                try:
                    outcomes[job] = job.call()
                except Exception as error:  # because it belongs to the future of this call
                    outcomes[job] = error
        return [outcomes[job] for job in jobs]

    def _settle(self, jobs: list[_Job], ended: asyncio.Future[list[Outcome]]) -> None:
        """Back on the loop: tell who waits, then start the next turn."""
        fault = ended.exception()
        outcomes: list[Outcome] = [fault] * len(jobs) if fault is not None else list(ended.result())
        grown: set[TopicLog] = set()
        for job, outcome in zip(jobs, outcomes, strict=True):
            self.pending_bytes -= job.size
            if isinstance(outcome, int) and job.log is not None:
                grown.add(job.log)
            if job.done.done():
                continue
            if isinstance(outcome, int):
                job.done.set_result(outcome)
            else:
                job.done.set_exception(translated(outcome))
        if grown:
            self._written(grown)
            self._sync_later(grown)
        self._turn()

    def _sync_later(self, logs: set[TopicLog]) -> None:
        if self.sync_s > 0 and not self._closed:
            self._to_sync |= logs
            if self._timer is None:
                self._timer = self._loop.call_later(self.sync_s, self._sync)

    def _sync(self) -> None:
        """Force the disk, outside the queue's order but on its thread."""
        logs, self._to_sync, self._timer = self._to_sync, set(), None

        def force() -> None:
            for log in logs:
                log.sync()

        def judged(ended: Future[None]) -> None:
            self.sound = ended.exception() is None

        self._thread.submit(force).add_done_callback(judged)

    async def close(self, last: Callable[[], int]) -> None:
        """Finish what is pending, run `last`, end the thread; repeating it changes nothing."""
        if self._closed:
            return
        ended = self.call(last)
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        try:
            await asyncio.shield(ended)
        finally:
            self._thread.shutdown(wait=False)
