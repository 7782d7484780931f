"""Several processes behind one listening socket, restarted one at a time without losing a request.

    supervisor ── binds the socket once ──┬── worker ── accepts from the shared queue
                                          └── worker

The socket outlives every worker, so a connection that waits in its queue is taken by whoever accepts next. Each worker
holds one end of a pair of sockets: it says "ready" on it, and drains when the other end is gone.

Promises: a worker that dies is started again, after a pause that doubles from `PAUSE_S` to `PAUSE_MAX_S` and is
forgotten after `STEADY_S` of life; SIGHUP replaces the workers one by one, the new one ready before the old one is told
to drain, and a worker that does not get ready ends the replacing with the old ones in place; SIGTERM drains all, and
whoever is not gone after the drain is killed. The first start is all or nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from asyncio.subprocess import Process
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from penstock.kernel.errors import Unavailable
from penstock.wiring.service import READY

_log = logging.getLogger("penstock.wiring")
PAUSE_S: Final = 0.1
PAUSE_MAX_S: Final = 10.0
STEADY_S: Final = 30.0
READY_S: Final = 60.0
"""A worker that is not ready by then is killed."""
KILL_AFTER_S: Final = 10.0
"""On top of the drain: time for stores to close."""


@dataclass(slots=True, eq=False)
class Worker:
    """A process and the line to it."""

    process: Process
    line: socket.socket
    born_s: float

    async def ready(self) -> bool:
        """Wait until the process serves; False when it ends before, or takes too long."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(READY_S):
                return await loop.sock_recv(self.line, len(READY)) == READY
        except (OSError, TimeoutError):
            return False

    def tell(self, number: signal.Signals) -> None:
        """Send a signal, if the process is still there."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)


@dataclass(slots=True, eq=False)
class Supervisor:
    """Keeps `count` workers of `command` alive. `command` ends with what each worker is told besides its sockets."""

    command: Sequence[str]
    listening: socket.socket
    count: int
    drain_s: float
    _slots: list[Worker] = field(default_factory=list[Worker])
    _alive: set[Worker] = field(default_factory=set[Worker])
    _change: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT. Raises Unavailable when the first workers do not start."""
        loop = asyncio.get_running_loop()
        stop, roll = asyncio.Event(), asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        loop.add_signal_handler(signal.SIGHUP, roll.set)
        stopping = asyncio.create_task(stop.wait(), name="stop")
        tending = asyncio.create_task(self._tend(roll), name="tend")
        try:
            await asyncio.wait((stopping, tending), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (stopping, tending):
                task.cancel()
            await asyncio.gather(stopping, tending, return_exceptions=True)
            await asyncio.gather(*(self._end(worker) for worker in tuple(self._alive)))
        if tending.done() and not tending.cancelled() and (error := tending.exception()) is not None:
            raise error

    async def _tend(self, roll: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as starting:
            started = [starting.create_task(self._start()) for _ in range(self.count)]
        workers = [task.result() for task in started]
        if None in workers:
            raise Unavailable(
                "A worker did not start.", code="worker_failed", remedy="Its own message is above."
            )
        self._slots = [worker for worker in workers if worker is not None]
        _log.info("%d workers serve", self.count)
        async with asyncio.TaskGroup() as keeping:
            for slot in range(self.count):
                keeping.create_task(self._keep(slot))
            keeping.create_task(self._rolls(roll))

    async def _keep(self, slot: int) -> None:
        """Start the worker of a slot again whenever it dies."""
        pause_s = PAUSE_S
        loop = asyncio.get_running_loop()
        while True:
            worker = self._slots[slot]
            status = await worker.process.wait()
            if self._slots[slot] is not worker:
                continue  # it was replaced
            if loop.time() - worker.born_s >= STEADY_S:
                pause_s = PAUSE_S
            _log.error("worker %d died with status %d; again in %g s", worker.process.pid, status, pause_s)
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, PAUSE_MAX_S)
            async with self._change:
                if self._slots[slot] is worker and (fresh := await self._start()) is not None:
                    self._slots[slot] = fresh

    async def _rolls(self, roll: asyncio.Event) -> None:
        """Replace every worker each time it is asked for; asking meanwhile is one more round."""
        while True:
            await roll.wait()
            roll.clear()
            for slot in range(self.count):
                if not await self._replace(slot):
                    _log.error("rolling restart given up at worker %d of %d", slot + 1, self.count)
                    break
            else:
                _log.info("rolling restart done: %d workers replaced", self.count)

    async def _replace(self, slot: int) -> bool:
        async with self._change:
            fresh = await self._start()
            if fresh is None:
                return False
            old, self._slots[slot] = self._slots[slot], fresh
        await self._end(old)
        return True

    async def _start(self) -> Worker | None:
        """Start a worker and wait until it serves; None when it does not."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:
            descriptors = (self.listening.fileno(), theirs.fileno())
            process = await asyncio.create_subprocess_exec(
                *self.command,
                f"--fd={descriptors[0]}",
                f"--control-fd={descriptors[1]}",
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=descriptors,
                start_new_session=True,  # a Ctrl-C at the terminal is for the supervisor alone
            )
        worker = Worker(process, ours, asyncio.get_running_loop().time())
        self._alive.add(worker)  # whatever happens from here, `run` ends it
        if await worker.ready():
            return worker
        await self._end(worker, drain_s=0.0)
        return None

    async def _end(self, worker: Worker, *, drain_s: float | None = None) -> None:
        """Have a worker drain, wait for its end, and kill it when it takes too long."""
        worker.tell(signal.SIGTERM)
        try:
            async with asyncio.timeout((self.drain_s if drain_s is None else drain_s) + KILL_AFTER_S):
                await worker.process.wait()
        except TimeoutError:
            _log.error("worker %d did not end in time and is killed", worker.process.pid)
            worker.tell(signal.SIGKILL)
            await worker.process.wait()
        worker.line.close()
        self._alive.discard(worker)
