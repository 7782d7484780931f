"""The helper process of `IsolatedParser`: the readers are loaded once, and each document is read by a child of it.

A child is a fork: it costs two milliseconds, has the loaded libraries, sees nothing of any other document, and the
kernel bounds its memory and its processor time. What ends it is told as what was wrong with the document; only the
wall clock's end is not, for that may be a busy machine's fault.
"""

from __future__ import annotations

import ctypes
import os
import resource
import select
import signal
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from penstock.adapters.helper_process import serve
from penstock.adapters.parsers.code import read_code
from penstock.adapters.parsers.html import read_html
from penstock.adapters.parsers.kinds import Kind, kind_of
from penstock.adapters.parsers.languages import Languages
from penstock.adapters.parsers.markdown import read_markdown
from penstock.adapters.parsers.pdf import read_pdf
from penstock.adapters.parsers.reading import Bounds, Reading, Unreadable, bounded
from penstock.adapters.parsers.text import read_table, read_text
from penstock.ports.parsers import Parsed

PR_SET_PDEATHSIG: Final = 1
HEAD: Final = struct.Struct(">I")
TOO_MUCH: Final = "Split it into several documents."


class Task(msgspec.Struct, frozen=True):
    """What goes before the bytes of a document."""

    media_type: str
    name: str
    bounds: Bounds


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a document: `parsed`, or why not. `late`: the wall clock ended it."""

    parsed: Parsed | None = None
    code: str = ""
    message: str = ""
    remedy: str = ""
    late: bool = False


READERS: Final[dict[str, Callable[[bytes, str], Reading]]] = {
    "text": read_text,
    "table": read_table,
    "html": read_html,
    "markdown": read_markdown,
}


def read(content: bytes, kind: Kind, charset: str, bounds: Bounds) -> Reading:
    """Read a document. Raises Unreadable."""
    if kind.reader == "pdf":
        return read_pdf(content, bounds)
    if kind.reader == "code":
        return read_code(content, charset, kind.language)
    return READERS[kind.reader](content, charset)


class Nursery:
    """Reads each document in a child of this process."""

    def __init__(self) -> None:
        self._languages = Languages()

    def answer(self, question: bytes) -> bytes:
        """Return the outcome of one document."""
        (length,) = HEAD.unpack_from(question)
        task = msgspec.json.decode(question[HEAD.size : HEAD.size + length], type=Task)
        content = question[HEAD.size + length :]
        try:
            kind, charset = kind_of(content, task.media_type, task.name)
        except Unreadable as error:
            return msgspec.json.encode(Outcome(code=error.code, message=error.message, remedy=error.remedy))
        source, sink = os.pipe()
        child = os.fork()
        if not child:
            os.close(source)
            self._child(sink, content, kind, charset, task.bounds)
        os.close(sink)
        return _heard(source, child, task.bounds)

    def _child(self, sink: int, content: bytes, kind: Kind, charset: str, bounds: Bounds) -> None:
        """Read the document, say what came of it, and end; nothing of the parent's is touched on the way out."""
        code = 1
        try:
            _shut(bounds, bounds.pdf_cpu_s if kind.reader == "pdf" else bounds.cpu_s)
            body = msgspec.json.encode(self._outcome(content, kind, charset, bounds))
            with os.fdopen(sink, "wb") as pipe:
                pipe.write(body)
            code = 0
        except MemoryError:
            code = 2
        finally:
            os._exit(code)

    def _outcome(self, content: bytes, kind: Kind, charset: str, bounds: Bounds) -> Outcome:
        try:
            reading = bounded(read(content, kind, charset, bounds), bounds)
        except Unreadable as error:
            return Outcome(code=error.code, message=error.message, remedy=error.remedy)
        if not reading.blocks:
            return Outcome(code="no_text", message="The document holds no text.")
        language = self._languages.of(_prose(reading)) if reading.prose else ""
        omitted = tuple(reading.omitted)
        return Outcome(
            parsed=Parsed(
                blocks=tuple(reading.blocks), title=reading.title, language=language, omitted=omitted
            )
        )


def _prose(reading: Reading) -> str:
    return "\n".join(block.text for block in reading.blocks[:2_000] if block.kind != "code")


def _shut(bounds: Bounds, cpu_s: int) -> None:
    """Let the kernel bound this process, and end it with its parent."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    room = pages * resource.getpagesize() + bounds.memory_bytes
    resource.setrlimit(resource.RLIMIT_AS, (room, room))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGXCPU, signal.SIG_DFL)


def _heard(source: int, child: int, bounds: Bounds) -> bytes:
    """Return what a child says, or what its end means."""
    said = bytearray()
    until_s = time.monotonic() + bounds.wall_s
    late = False
    try:
        while not late:
            left_s = until_s - time.monotonic()
            late = left_s <= 0 or not select.select([source], [], [], left_s)[0]
            if not late:
                if not (piece := os.read(source, 1 << 20)):
                    break
                said += piece
    finally:
        os.close(source)
        if late:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    if status == 0:
        return bytes(said)
    return msgspec.json.encode(_ended(os.waitstatus_to_exitcode(status), late=late))


def _ended(code: int, *, late: bool) -> Outcome:
    """Return what the end of a child means."""
    if late:
        return Outcome(late=True)
    if code in {-signal.SIGXCPU, -signal.SIGKILL}:
        return Outcome(code="too_large", message="The document takes too long to read.", remedy=TOO_MUCH)
    if code == 2:
        return Outcome(
            code="too_large", message="The document takes too much memory to read.", remedy=TOO_MUCH
        )
    return Outcome(code="unreadable", message="The document cannot be read: its reader failed on it.")


def begin(_: bytes) -> tuple[bytes, Callable[[bytes], bytes]]:
    """Load what all children share."""
    return b"", Nursery().answer


if __name__ == "__main__":
    serve(begin)
