"""The other end of `helper_parent.Helper`: what a module runs to be a helper process.

    def begin(start: bytes) -> tuple[bytes, Answer]:
        engine = Engine(start)                      # load what takes long; raise to say why it cannot start
        return b"hello", engine.answer              # what to say once ready, and who answers

    if __name__ == "__main__":
        serve(begin)                                # returns when stdin ends: close then what must be closed

Promises: the parent's death ends the process at once, whatever it is doing; what a library prints goes to stderr and
never among the frames; ValueError refuses one question (`Invalid` for who asked), any other exception fails one
(`Unavailable`), and the next one is served. With `threads` above 1 as many questions are answered at a time, in
any order; `answer` must then bear it.

Frames: a question is its length, its number and its bytes; an answer its length, the question's number, an outcome and
its bytes. Integers are big-endian. The first question is the start message, and its answer says that all is ready.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from struct import Struct
from typing import BinaryIO, Final

Answer = Callable[[bytes], "bytes | bytearray | memoryview"]
Begin = Callable[[bytes], tuple[bytes, Answer]]
QUESTION: Final = Struct(">IQ")
ANSWER: Final = Struct(">IQB")
DONE: Final = 0
REFUSED: Final = 1
"""The question is at fault: what follows says why."""
FAILED: Final = 2
"""The process is."""
PR_SET_PDEATHSIG: Final = 1


class _Line:
    """The two pipes to the parent; whole frames only."""

    def __init__(self, source: BinaryIO, sink: BinaryIO) -> None:
        self._source = source
        self._sink = sink
        self._turn = threading.Lock()

    def next(self) -> tuple[int, bytes] | None:
        """Return the next question and its number; None at the end."""
        head = self._source.read(QUESTION.size)
        if len(head) < QUESTION.size:
            return None
        length, number = QUESTION.unpack(head)
        body = self._source.read(length)
        return (number, body) if len(body) == length else None

    def say(self, number: int, outcome: int, body: bytes | bytearray | memoryview) -> None:
        """Send an answer."""
        size = body.nbytes if isinstance(body, memoryview) else len(body)
        with self._turn:
            self._sink.write(ANSWER.pack(size, number, outcome))
            self._sink.write(body)
            self._sink.flush()


def serve(begin: Begin, *, threads: int = 1) -> None:
    """Read the start message, begin, and answer questions until stdin ends."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the parent decides
    line = _Line(sys.stdin.buffer, os.fdopen(os.dup(1), "wb"))
    os.dup2(2, 1)
    if (start := line.next()) is None:
        return
    number, body = start
    try:
        hello, answer = begin(body)
    except Exception as error:  # because whatever stops it is the answer to who started it
        line.say(number, FAILED, _words(error))
        return
    line.say(number, DONE, hello)
    if threads == 1:
        while (question := line.next()) is not None:
            _reply(line, answer, *question)
        return
    with ThreadPoolExecutor(threads) as pool:
        while (question := line.next()) is not None:
            pool.submit(_reply, line, answer, *question)


def _reply(line: _Line, answer: Answer, number: int, question: bytes) -> None:
    try:
        body, outcome = answer(question), DONE
    except ValueError as error:
        body, outcome = str(error).encode(errors="replace"), REFUSED
    except (
        Exception
    ) as error:  # because one question's failure is told to who asked it, and the next is served
        body, outcome = _words(error), FAILED
    line.say(number, outcome, body)


def _words(error: Exception) -> bytes:
    return f"{type(error).__name__}: {error}".encode(errors="replace")
