"""What the harness needs of a target: a port, a model name, headers, its processes; started, checked, stopped.

Promises: `running()` gives a target that has answered one full reply and one whole stream (64 chunks, usage,
[DONE]) or raises `NotRunnable` with the tail of its log; on the way out its whole process group is gone, by TERM and
then by KILL after ten seconds. Children get a bare environment: no proxy, no key, no setting of ours leaks in.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from tests.bench import payload

ROOT = Path(__file__).resolve().parents[3]
BENCH_VENV = ROOT / ".venv-bench"
PRODUCT_PYTHON = ROOT / ".venv" / "bin" / "python"
_STOP_LIMIT_S = 10.0
_LOG_TAIL_BYTES = 2000


class NotRunnable(Exception):
    """A target is not installed, did not start, or does not answer rightly. The message says which, with its log."""


class Target(ABC):
    """One thing to measure. A subclass says how it is started and what its callers must send."""

    name = ""
    title = ""
    does = ""  # what it did during the measurement, in the reader's words
    start_limit_s = 60.0
    model = payload.UPSTREAM_MODEL
    path = payload.CHAT_PATH

    def __init__(self, upstream_port: int) -> None:
        self.upstream_port = upstream_port
        self.port = 0
        self.folder = Path()
        self._process: subprocess.Popen[bytes] | None = None

    # ---- what a subclass says

    def requires(self) -> Sequence[Path]:
        """Files that must be there; a missing one makes the target not runnable."""
        return ()

    @abstractmethod
    def command(self) -> Sequence[str]:
        """The program and its arguments. `self.port` and `self.folder` are set; config files go into the folder."""

    def environment(self) -> Mapping[str, str]:
        """Variables on top of the bare environment."""
        return {}

    def headers(self) -> Mapping[str, str]:
        """Headers every caller sends."""
        return {}

    def body(self, *, stream: bool, paced: bool = False) -> bytes:
        """The JSON every caller sends."""
        return payload.request_body(self.model, stream=stream, paced=paced)

    def discover(self) -> None:
        """Called until it raises no OSError: the place to learn a port that the target chose itself."""
        return

    def after_start(self) -> None:
        """Called once the port is open, before the first request: the place to make keys over its own API."""
        return

    # ---- what the harness uses

    @property
    def pid(self) -> int | None:
        """Root of the tree of processes whose CPU and memory are the target's; None when it has none."""
        return None if self._process is None else self._process.pid

    @property
    def engine_pids(self) -> Sequence[int]:
        """Roots of the engines that the target keeps its state in: measured beside it, not as part of it."""
        return ()

    @contextmanager
    def running(self) -> Iterator[Target]:
        """Start on a free port, prove both kinds of answer, stop."""
        missing = [str(path.relative_to(ROOT)) for path in self.requires() if not path.exists()]
        if missing:
            raise NotRunnable(f"{self.name}: not installed, missing {', '.join(missing)}")
        with tempfile.TemporaryDirectory(prefix=f"bench-{self.name}-") as folder:
            self.folder = Path(folder)
            self.port = free_port()
            try:
                self._start()
                self._wait()
                yield self
            finally:
                self.stop()

    def prove(self) -> None:
        """One full reply and one whole stream, both checked; raises `NotRunnable` with what was wrong."""
        status, body = self._ask(self.body(stream=False))
        if (
            status != 200
            or json.loads(body)["usage"]["total_tokens"] != payload.PROMPT_TOKENS + payload.CHUNKS
        ):
            raise NotRunnable(f"{self.name}: full reply: {status} {body[:500]!r}")
        status, body = self._ask(self.body(stream=True))
        text, usage = _read_stream(body)
        if status != 200 or text != payload.CHUNKS or not usage or b"[DONE]" not in body:
            raise NotRunnable(f"{self.name}: stream: {status}, {text} chunks, usage {usage}, {body[-500:]!r}")

    def stop(self) -> None:
        """End the whole process group. Idempotent."""
        process, self._process = self._process, None
        if process is None:
            return
        for sign in (signal.SIGTERM, signal.SIGKILL):
            _signal_group(process.pid, sign)
            try:
                process.wait(_STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                continue
            break
        _signal_group(process.pid, signal.SIGKILL)  # what outlived its parent

    def log(self) -> str:
        """The last words of the target."""
        path = self.folder / "log"
        return path.read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace") if path.exists() else ""

    def _start(self) -> None:
        command = self.command()
        bare = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "LANG": "C.UTF-8",
            "NO_PROXY": "127.0.0.1",
        }
        with (self.folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**bare, **self.environment()},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _wait(self) -> None:
        deadline = time.monotonic() + self.start_limit_s
        while True:
            if self._process is not None and self._process.poll() is not None:
                raise NotRunnable(f"{self.name}: ended with {self._process.returncode}: {self.log()}")
            try:
                self.discover()
                with socket.create_connection(("127.0.0.1", self.port), timeout=1.0):
                    break
            except OSError as error:
                if time.monotonic() > deadline:
                    raise NotRunnable(
                        f"{self.name}: no port after {self.start_limit_s:g} s: {self.log()}"
                    ) from error
                time.sleep(0.1)
        try:
            self.after_start()
            self.prove()
        except (OSError, HTTPException, ValueError, LookupError) as error:
            raise NotRunnable(f"{self.name}: {error!r}: {self.log()}") from error

    def _ask(self, body: bytes) -> tuple[int, bytes]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=self.start_limit_s)
        try:
            headers = {"Content-Type": "application/json", **self.headers()}
            connection.request("POST", self.path, body, headers)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _read_stream(body: bytes) -> tuple[int, bool]:
    """How many chunks carried text, and whether one carried usage."""
    chunks = [json.loads(line[6:]) for line in body.splitlines() if line.startswith(b"data: {")]
    text = sum(1 for chunk in chunks for choice in chunk.get("choices", ()) if choice["delta"].get("content"))
    return text, any(chunk.get("usage") for chunk in chunks)


def _signal_group(pid: int, sign: signal.Signals) -> None:
    try:
        os.killpg(pid, sign)
    except ProcessLookupError:
        pass
