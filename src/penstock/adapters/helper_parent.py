"""A helper process: work that would hold the event loop up, or may crash or hang, at the other end of two pipes.

    engine = Helper(worker("penstock.adapters.encoder.worker"), name="encoder", start=b"the start message")
    hello = await engine.start()               # not needed: the first exchange starts it
    answer = await engine.exchange(question)   # bytes to bytes; as many at a time as the caller likes
    await engine.close()

The module named runs `helper_process.serve(begin)`: the same frames seen from the other end. Every frame has a number,
so exchanges are pipelined and may be answered in any order.

Promises
1. At most `waiting_most` exchanges and `waiting_bytes_most` of questions are under way; one more is `Overloaded` at
   once. A caller who gives up does not confuse the next one's answer.
2. A process that dies, answers nonsense, or says nothing for `answer_timeout_s` while something is under way is killed:
   all that was under way is told `Unavailable`, and it is started anew, two starts at least `again_s` apart and twice
   as long after each that answered nothing (at most `AGAIN_MOST_S`). Who comes while it starts waits for it; who comes
   during the pause is told `Unavailable`, with the time.
3. What the process refuses (it raised ValueError) is `Invalid` with its words; what fails in it otherwise is
   `Unavailable` with them. Neither ends it.
4. It has an empty environment but for `environment` and the place of this package, ends when its parent dies, however
   that dies, and with `idle`, once it is ready, takes processor time that nobody else wants (SCHED_IDLE).
5. `close` is idempotent: stdin ends, and what has not ended by itself after `grace_s` is killed. Nothing is left.

One `Helper` belongs to one event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

from penstock.adapters.helper_process import ANSWER, DONE, QUESTION, REFUSED
from penstock.kernel.errors import Invalid, Overloaded, PenstockError, Unavailable

AGAIN_MOST_S: Final = 30.0
LAST_WORDS_BYTES: Final = 2_000
"""So much of what it wrote to stderr is told when it does not start."""
LAST_WORDS_S: Final = 0.2
"""So long they are waited for after its end, where a child of its own keeps the pipe open."""
_HOME: Final = str(Path(__file__).parents[2])


def worker(module: str) -> tuple[str, ...]:
    """Return the command that runs a module of this package as a helper: without user site or working directory."""
    return (sys.executable, "-s", "-P", "-m", module)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What a helper may take: of memory, and of time."""

    waiting_most: int = 64
    waiting_bytes_most: int = 64 << 20
    answer_bytes_most: int = 64 << 20
    start_timeout_s: float = 60.0
    answer_timeout_s: float = 30.0
    again_s: float = 1.0
    grace_s: float = 2.0


BOUNDS: Final = Bounds()


class Helper:
    """A process that answers questions. See the promises above."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        name: str,
        start: bytes = b"",
        idle: bool = False,
        environment: Mapping[str, str] | None = None,
        bounds: Bounds = BOUNDS,
    ) -> None:
        """Prepare; nothing runs yet. `name` is for people: "The encoder has ended."."""
        self.name = name
        self.starts = 0
        self._command = command
        self._start = start
        self._idle = idle
        self._environment = {"PYTHONPATH": _HOME, **(environment or {})}
        self._bounds = bounds
        self._process: _Process | None = None
        self._alive: set[_Process] = set()
        self._starting: asyncio.Task[_Process] | None = None
        self._again: asyncio.TimerHandle | None = None
        self._again_at_s = 0.0
        self._pause_s = bounds.again_s
        self._patient = 0
        self._closed = False

    @property
    def running(self) -> bool:
        """Tell whether it is ready."""
        return self._process is not None

    @property
    def pid(self) -> int | None:
        """Return the process's id; None while it is not ready."""
        return self._process.pid if self._process is not None else None

    @property
    def under_way(self) -> int:
        """Return how many exchanges wait: for their answer, or for the process to start."""
        return self._patient + (len(self._process.waiting) if self._process is not None else 0)

    @property
    def away_s(self) -> float:
        """Return for how many seconds it cannot be asked, so soon after its last start; 0 when it can be."""
        if self._process is not None or self._starting is not None:
            return 0.0
        return max(self._again_at_s - asyncio.get_running_loop().time(), 0.0)

    def wake(self) -> None:
        """Start it in the background, unless it runs or cannot be asked."""
        if not self.away_s:
            self._begin()

    async def start(self) -> bytes:
        """Start it unless it runs, wait until it is ready, and return what it said then. Raises Unavailable."""
        return (self._process or await self._ready()).hello

    async def exchange(self, question: bytes) -> bytes:
        """Return the answer to a question. Raises Unavailable, Overloaded, Invalid."""
        process = self._process or await self._ready()
        size = process.waiting_bytes + len(question)
        if len(process.waiting) >= self._bounds.waiting_most or (
            size > self._bounds.waiting_bytes_most and process.waiting
        ):
            raise self._too_many("busy")
        return await process.ask(question)

    def _too_many(self, why: str) -> Overloaded:
        most, again_s = self._bounds.waiting_most, self._bounds.again_s
        return Overloaded(f"The {self.name} is {why}.", limit=most, retry_after_s=again_s)

    async def close(self) -> None:
        """End the process and let everything go; exchanges under way are told Unavailable."""
        self._closed = True
        if self._again is not None:
            self._again.cancel()
        for process in list(self._alive):
            if process is self._process:
                process.let_go()
            else:
                process.kill(f"The {self.name} is closed.")
        under_way: list[asyncio.Future[Any]] = [process.ended for process in self._alive]
        if self._starting is not None:
            under_way.append(self._starting)
        if under_way:
            await asyncio.wait(under_way, timeout=self._bounds.grace_s)
            for process in list(self._alive):
                process.kill(f"The {self.name} is closed.")
            await asyncio.wait(under_way)

    # ------------------------------------------------------------------------------------------- starting and ending

    async def _ready(self) -> _Process:
        """Wait for the start under way, or begin one."""
        if self._closed:
            raise Unavailable(f"The {self.name} is closed.")
        if self._patient >= self._bounds.waiting_most:
            raise self._too_many("starting, and enough wait for it")
        if pause_s := self.away_s:
            raise Unavailable(f"The {self.name} has ended.", retry_after_s=pause_s)
        self._begin()
        starting = cast("asyncio.Task[_Process]", self._starting)
        self._patient += 1
        try:
            await asyncio.wait([starting])
        finally:
            self._patient -= 1
        return starting.result()

    def _begin(self) -> None:
        self._again = None
        if self._starting is None and self._process is None and not self._closed:
            self._starting = asyncio.create_task(self._started(), name=f"start of the {self.name}")
            self._starting.add_done_callback(self._began)

    def _began(self, starting: asyncio.Task[_Process]) -> None:
        self._starting = None
        if not starting.cancelled():
            starting.exception()  # is told to those who wait, if anybody does

    async def _started(self) -> _Process:
        loop = asyncio.get_running_loop()
        for dying in list(self._alive):  # what it held (files, locks) it lets go of only now
            await dying.ended
        self.starts += 1
        self._again_at_s = loop.time() + self._pause_s
        self._pause_s = min(2 * self._pause_s, max(AGAIN_MOST_S, self._bounds.again_s))
        try:
            make = partial(_Process, self.name, self._bounds, self._lost)
            _, process = await loop.subprocess_exec(make, *self._command, env=self._environment, cwd="/")
        except OSError as error:
            raise Unavailable(f"The {self.name} does not start: {error.strerror}.") from error
        self._alive.add(process)
        process.ended.add_done_callback(lambda _: self._alive.discard(process))
        if self._closed:
            process.kill(f"The {self.name} is closed.")
        try:
            process.hello = await process.ask(self._start)
        except PenstockError as error:
            process.let_go()
            await asyncio.wait([process.ended], timeout=self._bounds.grace_s)
            process.kill(f"The {self.name} did not start.")
            await process.ended
            raise Unavailable(
                f"The {self.name} does not start: {error.message}{process.last_words}"
            ) from error
        if process.lost:
            raise Unavailable(f"The {self.name} has ended.")
        if self._idle:  # only now: on a busy machine it would not get ready else
            process.yield_to_others()
        process.expect(self._bounds.answer_timeout_s)
        self._process = process
        return process

    def _lost(self, process: _Process) -> None:
        """Forget a process that answers no more; one that was ready is started anew."""
        if process.answered:
            self._pause_s = self._bounds.again_s
        if self._process is process:
            self._process = None
            if not self._closed:
                loop = asyncio.get_running_loop()
                self._again = loop.call_at(max(self._again_at_s, loop.time()), self._begin)


class _Process(asyncio.SubprocessProtocol):
    """One process, from its start to its end."""

    def __init__(self, name: str, bounds: Bounds, lost: Callable[[_Process], None]) -> None:
        self.hello = b""
        self.hello_came = False
        self.answered = False
        self.lost = False
        self._exited = False
        self._silent = False
        self._patience_s = bounds.start_timeout_s
        self.waiting: dict[int, tuple[asyncio.Future[bytes], int]] = {}
        self.waiting_bytes = 0
        self.pid = 0
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[None] = self._loop.create_future()
        self._name = name
        self._answer_bytes_most = bounds.answer_bytes_most
        self._tell_lost = lost
        self._number = 0
        self._inbox = bytearray()
        self._stderr = bytearray()
        self._heard_at_s = 0.0
        self._watch: asyncio.TimerHandle | None = None
        self._why = f"The {name} has ended."

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.SubprocessTransport", transport)
        self._stdin = cast("asyncio.WriteTransport", self._transport.get_pipe_transport(0))
        self.pid = self._transport.get_pid()

    @property
    def last_words(self) -> str:
        """Return the end of what it complained of, on a line of its own."""
        said = self._stderr.decode(errors="replace").strip()
        return f"\n{said}" if said else ""

    def yield_to_others(self) -> None:
        """Give all its threads only the processor time that nobody else wants; what they start later inherits that."""
        for thread in Path(f"/proc/{self.pid}/task").glob("*"):
            with contextlib.suppress(OSError):  # a sandbox may not have it: then it is one among equals
                os.setpriority(os.PRIO_PROCESS, int(thread.name), 19)
                os.sched_setscheduler(int(thread.name), os.SCHED_IDLE, os.sched_param(0))

    def expect(self, patience_s: float) -> None:
        """Take it for stuck, from now on, when it says nothing for so long."""
        self._patience_s = patience_s
        if self._watch is not None:
            self._watch.cancel()
        self._look()

    async def ask(self, question: bytes) -> bytes:
        """Send a question and wait for its answer."""
        if self.lost or self._stdin.is_closing():
            raise Unavailable(self._why)
        if not self.waiting:
            self._heard_at_s = self._loop.time()
            if self._watch is None:
                self._watch = self._loop.call_later(self._patience_s, self._look)
        self._number += 1
        answer: asyncio.Future[bytes] = self._loop.create_future()
        self.waiting[self._number] = answer, len(question)
        self.waiting_bytes += len(question)
        self._stdin.write(QUESTION.pack(len(question), self._number) + question)
        return await answer

    def let_go(self) -> None:
        """End its stdin, at which it ends by itself."""
        self._stdin.close()

    def kill(self, why: str) -> None:
        """End it now; whoever waits is told why."""
        if not self.ended.done():
            self._why = why
            with contextlib.suppress(ProcessLookupError):
                self._transport.kill()
        self._lose()

    # --------------------------------------------------------------------------------------------- what the loop tells

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if fd == 2:
            self._stderr += data
            del self._stderr[:-LAST_WORDS_BYTES]
            return
        self._inbox += data
        while len(self._inbox) >= ANSWER.size:
            length, number, outcome = ANSWER.unpack_from(self._inbox)
            if length > self._answer_bytes_most or number not in self.waiting:
                self.kill(f"The {self._name} answered nonsense and is started anew.")
                return
            whole = ANSWER.size + length
            if len(self._inbox) < whole:
                return
            with memoryview(self._inbox) as view:
                body = bytes(view[ANSWER.size : whole])
            del self._inbox[:whole]
            self._answer(number, outcome, body)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        if fd == 1:  # a process that cannot answer any more is of no use
            self.kill(self._why)
        if fd == 2:
            self._silent = True
            if self._exited:
                self._end()

    def process_exited(self) -> None:
        self._exited = True
        self._lose()
        if self._silent:
            self._end()
        else:
            self._loop.call_later(LAST_WORDS_S, self._end)

    # ------------------------------------------------------------------------------------------------------- its parts

    def _answer(self, number: int, outcome: int, body: bytes) -> None:
        self._heard_at_s = self._loop.time()
        self.answered, self.hello_came = self.hello_came, True
        answer, size = self.waiting.pop(number)
        self.waiting_bytes -= size
        if answer.done():  # its caller gave up
            return
        if outcome == DONE:
            answer.set_result(body)
        elif outcome == REFUSED:
            answer.set_exception(Invalid(body.decode(errors="replace")))
        else:
            answer.set_exception(Unavailable(f"The {self._name} failed: {body.decode(errors='replace')}"))

    def _lose(self) -> None:
        """Tell everybody who waits that no answer will come."""
        if self.lost:
            return
        self.lost = True
        if self._watch is not None:
            self._watch.cancel()
        waiting, self.waiting, self.waiting_bytes = self.waiting, {}, 0
        for answer, _ in waiting.values():
            if not answer.done():
                answer.set_exception(Unavailable(self._why))
        self._tell_lost(self)

    def _end(self) -> None:
        """Let the pipes go, once it has exited and its last words have come."""
        self._transport.close()
        if not self.ended.done():
            self.ended.set_result(None)

    def _look(self) -> None:
        """Kill it if it has said nothing for too long while it should have."""
        self._watch = None
        if not self.waiting:
            return
        left_s = self._heard_at_s + self._patience_s - self._loop.time()
        if left_s <= 0:
            self.kill(f"The {self._name} was stuck and is started anew.")
        else:
            self._watch = self._loop.call_later(left_s, self._look)
