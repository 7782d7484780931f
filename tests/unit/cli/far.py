"""What the tests of the command line share: a server far away, commands run against it, a terminal to run them in.

Far        a real HTTP server on a thread of its own; answers routes of the management API by a table, remembers queries
terminal   a command in a pseudo-terminal of a given size
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import msgspec
import uvloop

from penstock.edge.errors import render
from penstock.kernel.errors import NotFound, PenstockError
from penstock.net.limits import ServerLimits
from penstock.net.server import Server

ROOT = Path(__file__).resolve().parents[3]
KEY = "pen-canaryId0001-canarysecretcanarysecretcanary"
CEILING_S = 30.0
OWN_TERMINAL = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""
"""Makes the terminal that of the command, so that Ctrl-C is its signal."""
PENSTOCK = (sys.executable, "-m", "penstock.cli")
HOLD = object()
"""As the last part of a stream: keep it open until the client leaves."""


def event(name: str, value: object) -> bytes:
    """Return one event of a stream."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), msgspec.json.encode(value))


class Far:
    """A server. `answers` maps "GET /status" to a value, an error, a function of the query, or a list of streams: one
    for each time that it is asked, the last one for ever after; a stream is a list of pieces, perhaps with HOLD.
    """

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.bodies: dict[str, bytes] = {}
        """The last body of each route."""
        self._started, self._stop = threading.Event(), asyncio.Event()
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),))
        self._thread.start()
        assert self._started.wait(CEILING_S)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def queries(self, name: str) -> list[dict[str, str]]:
        """Return the query of each call of one route."""
        return [query for route, query in self.asked if route == name]

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(CEILING_S)
        self._loop.close()

    async def _serve(self) -> None:
        server = Server(self._handle, ServerLimits(), allowed_hosts=None, cors=None, error_renderer=render)
        await server.start("127.0.0.1", 0)
        self.port = server.port
        self._started.set()
        await self._stop.wait()
        await server.close()

    async def _handle(self, request: Any, responder: Any) -> None:
        name = f"{request.method} {request.path.removeprefix('/api/v1')}"
        query = {key: values[-1] for key, values in parse_qs(request.query.decode()).items()}
        times = len(self.queries(name))
        self.asked.append((name, query))
        self.bodies[name] = bytes(request.body)
        answer = self.answers.get(name, NotFound(f"The script has no {name}."))
        if callable(answer):
            answer = answer(query)
        if isinstance(answer, list):
            answer = answer[min(times, len(answer) - 1)]
            if isinstance(answer, list):
                await self._stream(answer, responder)
                return
        if isinstance(answer, PenstockError):
            raise answer
        responder.send(200, b"content-type: application/json\r\n", msgspec.json.encode(answer))

    async def _stream(self, pieces: list[Any], responder: Any) -> None:
        gone = asyncio.Event()
        responder.on_gone(gone.set)
        responder.begin(200, b"content-type: text/event-stream\r\n")
        for piece in pieces:
            if piece is HOLD:
                await asyncio.wait(
                    [asyncio.ensure_future(gone.wait()), asyncio.ensure_future(self._stop.wait())],
                    return_when=asyncio.FIRST_COMPLETED,
                )
            elif isinstance(piece, int | float):
                await asyncio.sleep(piece)
            else:
                responder.write(piece)
        responder.finish()


def environment(url: str, **more: str) -> dict[str, str]:
    """Return the environment of a command that manages the server at `url`."""
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "TMPDIR")}
    ours = {"PYTHONPATH": str(ROOT / "src"), "PENSTOCK_URL": url, "PENSTOCK_KEY": KEY, "LANG": "C.UTF-8"}
    return kept | ours | {"TERM": "xterm-256color"} | more


class Terminal:
    """A command in a pseudo-terminal of so many columns and rows."""

    def __init__(
        self, command: Sequence[str], env: dict[str, str], columns: int = 80, rows: int = 24
    ) -> None:
        self._mine, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-c", OWN_TERMINAL, *command],
            env=env,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        self.seen = b""

    def until(self, wanted: bytes, times: int = 1) -> None:
        """Read until something was shown so often; AssertionError when it is not within the ceiling."""
        ends_s = time.monotonic() + CEILING_S
        while self.seen.count(wanted) < times:
            assert time.monotonic() < ends_s, f"{wanted!r} not shown:\n{self.seen.decode(errors='replace')}"
            if not self._more():
                break
        assert self.seen.count(wanted) >= times, self.seen.decode(errors="replace")

    def press(self, key: bytes) -> None:
        os.write(self._mine, key)

    def end(self) -> int:
        """Read to the end and return the exit code."""
        while self._more():
            pass
        return self.process.wait(CEILING_S)

    def _more(self) -> bool:
        ready, _, _ = select.select([self._mine], [], [], CEILING_S)
        try:
            data = os.read(self._mine, 65_536) if ready else b""
        except OSError:  # Linux says EIO when the other side is closed
            return False
        self.seen += data
        return bool(data)

    def close(self) -> None:
        self.process.kill()
        self.process.wait(CEILING_S)
        os.close(self._mine)


@contextmanager
def terminal(url: str, *words: str, columns: int = 80, rows: int = 24, **env: str) -> Iterator[Terminal]:
    """Run a command in a terminal; it is killed at the end if it still runs."""
    it = Terminal((*PENSTOCK, *words), environment(url, **env), columns, rows)
    try:
        yield it
    finally:
        it.close()
