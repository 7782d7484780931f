"""Presidio's recognisers, in a helper process: national identifiers, and names where a spaCy model is installed.

Why a process: loading takes 0.8 s of Python during which a thread would hold the event loop up, and 108 MB; a model's
native code may fail or hang, and a thread cannot be ended. Once loaded the two hold the loop up alike (with patterns on
2 KB texts all the time: 99th percentile 0.5 ms in a process, 0.7 ms on a thread; 0.3 ms idle).

Promises: one question at a time goes to the process, at most `WAITING_MOST` wait, more are refused at once; a caller
who gives up does not confuse the next one's answer; a process that ends is started anew, at most every `AGAIN_S`, and
until it is ready everybody is told `Unavailable`; entities whose model is not installed are not among `entities`.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, cast

import msgspec

from penstock.kernel.errors import Unavailable
from penstock.kernel.findings import Finding

WORKER: Final = Path(__file__).with_name("worker.py")
WAITING_MOST: Final = 64
TEXT_CHARS_MOST: Final = 1 << 20
"""Of one question; longer ones are refused."""
ANSWER_BYTES_MOST: Final = 64 << 20
START_TIMEOUT_S: Final = 60.0
ANSWER_TIMEOUT_S: Final = 30.0
"""After which the process is taken for stuck, and ended."""
AGAIN_S: Final = 5.0
NAMES: Final = frozenset({"PERSON", "LOCATION", "ORGANIZATION", "NRP"})


class _Hello(msgspec.Struct, frozen=True):
    entities: frozenset[str]
    error: str = ""


class _Answer(msgspec.Struct, frozen=True):
    found: list[list[tuple[int, int, str, float]]]


class PresidioRecogniser:
    """Presidio behind two pipes. `models` names an installed spaCy model by language; without any, no name is found."""

    def __init__(
        self,
        languages: Sequence[str] = ("en",),
        models: Mapping[str, str] | None = None,
        *,
        command: Sequence[str] = (),
    ) -> None:
        """`command` starts the process (a test's, or Presidio's). Raises ModuleNotFoundError if Presidio is missing."""
        if not command and find_spec("presidio_analyzer") is None:
            raise ModuleNotFoundError("No module named 'presidio_analyzer'", name="presidio_analyzer")
        start = msgspec.json.encode({"languages": list(languages), "models": dict(models or {})}).decode()
        self._command = (*(command or (sys.executable, "-I", str(WORKER))), start)
        self._entities: frozenset[str] = frozenset()
        self._process: Process | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()
        self._exchanges: set[asyncio.Task[_Answer]] = set()
        self.starts = 0

    @property
    def entities(self) -> frozenset[str]:
        """Return what can be found, empty before the first start."""
        return self._entities

    @property
    def status(self) -> str:
        """Return one line for people: whether it runs, and whether names are found."""
        running = "running" if self._process is not None else "not running"
        names = (
            "names are found"
            if self._entities & NAMES
            else "no NER model is installed: no names or addresses"
        )
        return f"{running}, {len(self._entities)} entities; {names}"

    async def start(self) -> None:
        """Start the process and wait until it is ready. Raises Unavailable if it does not come up."""
        await self._begin()
        self._keeper = asyncio.create_task(self._keep(), name="recogniser keeper")

    async def close(self) -> None:
        """End the process."""
        under_way: list[asyncio.Task[Any]] = [*self._exchanges, *([self._keeper] if self._keeper else [])]
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        await self._end()

    async def find(
        self, texts: Sequence[str], languages: Sequence[str], entities: frozenset[str]
    ) -> list[list[Finding]]:
        """Return what of `entities` is found in each text. Raises Unavailable."""
        if sum(map(len, texts)) > TEXT_CHARS_MOST:
            raise Unavailable("The text is too long for the recogniser.", limit=TEXT_CHARS_MOST)
        if self._process is None or len(self._exchanges) >= WAITING_MOST:
            raise Unavailable(
                "The recogniser is not ready." if self._process is None else "The recogniser is busy."
            )
        question = {"texts": texts, "languages": languages, "entities": sorted(entities)}
        exchange = asyncio.create_task(self._ask(msgspec.json.encode(question)))
        self._exchanges.add(exchange)
        exchange.add_done_callback(self._over)
        answer = await asyncio.shield(exchange)
        return [[Finding(*each) for each in found] for found in answer.found]

    # ------------------------------------------------------------------------------------------------- the process

    def _over(self, exchange: asyncio.Task[_Answer]) -> None:
        self._exchanges.discard(exchange)
        if not exchange.cancelled():
            exchange.exception()  # a caller who gave up does not want it

    async def _ask(self, question: bytes) -> _Answer:
        """Send one question and read its answer, whoever still waits for it."""
        try:
            async with self._turn:
                process = self._process
                if process is None:
                    raise Unavailable("The recogniser is not ready.")
                async with asyncio.timeout(ANSWER_TIMEOUT_S):
                    pipe = cast("asyncio.StreamWriter", process.stdin)
                    pipe.write(struct.pack(">I", len(question)) + question)
                    await pipe.drain()
                    return msgspec.json.decode(await _message(process), type=_Answer)
        except (OSError, EOFError, TimeoutError, msgspec.DecodeError) as error:
            await self._end()
            raise Unavailable(f"The recogniser failed ({type(error).__name__}).") from error

    async def _begin(self) -> None:
        self.starts += 1
        process = await asyncio.create_subprocess_exec(
            *self._command, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, env={}, limit=1 << 20
        )
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                hello = msgspec.json.decode(await _message(process), type=_Hello)
        except (OSError, EOFError, TimeoutError, msgspec.DecodeError) as error:
            await _ended(process)
            raise Unavailable(
                "The recogniser does not start.", remedy="Run its command by hand to see why."
            ) from error
        if hello.error:
            await _ended(process)
            raise Unavailable(f"The recogniser does not start: {hello.error}")
        self._entities = hello.entities
        self._process = process

    async def _keep(self) -> None:
        """Start the process anew whenever it has ended."""
        while True:
            if self._process is not None:
                await self._process.wait()
            self._process = None
            await asyncio.sleep(AGAIN_S)
            with contextlib.suppress(Unavailable):
                await self._begin()

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            await _ended(process)


async def _message(process: Process) -> bytes:
    """Return the next message of the process. Raises EOFError if it has ended or says too much."""
    pipe = cast("asyncio.StreamReader", process.stdout)
    (length,) = struct.unpack(">I", await pipe.readexactly(4))
    if length > ANSWER_BYTES_MOST:
        raise EOFError("the answer is too long")
    return await pipe.readexactly(length)


async def _ended(process: Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.wait()
