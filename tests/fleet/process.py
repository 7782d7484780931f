"""Processes of a drill: gateways and a simulated provider, each started, killed, frozen and stopped by its handle.

Promise: a process is ready when `ready` returns and says so itself (one JSON line); it dies with the process that
started it, whatever kills that one; what it wrote to standard error is in `log`, and in the message when it fails.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[2]
READY_S = 20.0
STOP_S = 40.0
PEPPER = "5a" * 32


class ProcessFailed(RuntimeError):
    """A process ended, or was not ready in time; the message ends with its log."""


class Child:
    """One process of ours."""

    def __init__(
        self, command: Sequence[str], *, env: Mapping[str, str] | None = None, fds: Sequence[int] = ()
    ) -> None:
        """Say what to run; `fds` are inherited."""
        self._command = list(command)
        self._env = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", **(env or {})}
        self._fds = tuple(fds)
        self._log = Path(tempfile.mkstemp(prefix="penstock-fleet-", suffix=".log")[1])
        self._process: asyncio.subprocess.Process | None = None
        self.facts: dict[str, Any] = {}
        """What it said when it was ready."""

    async def __aenter__(self) -> Self:
        """Start and wait until it is ready."""
        await self.launch()
        await self.ready()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop it; kill it if it does not."""
        await self.close()

    @property
    def process(self) -> asyncio.subprocess.Process:
        """The running process."""
        if self._process is None:
            raise ProcessFailed(f"{self._command[:4]} was not launched")
        return self._process

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    @property
    def port(self) -> int:
        """The port it serves."""
        return int(self.facts["port"])

    @property
    def log(self) -> str:
        """The end of what it wrote to standard error."""
        return self._log.read_text(errors="replace")[-4000:]

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process is not None and self._process.returncode is None

    async def launch(self) -> None:
        """Start it, without waiting for anything."""
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                shutil.which("setpriv") or "setpriv",
                "--pdeathsig",
                "KILL",
                "--",
                *self._command,
                cwd=ROOT,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env=self._env,
                pass_fds=self._fds,
            )

    async def warm(self) -> None:
        """Wait until a spare has imported everything."""
        await self._line()

    def go(self) -> None:
        """Let a warm spare begin."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"go\n")

    async def ready(self) -> Mapping[str, Any]:
        """Wait until it serves; ProcessFailed with its log when it does not."""
        self.facts = await self._line()
        return self.facts

    async def _line(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        try:
            async with asyncio.timeout(READY_S):
                line = await self.process.stdout.readline()
        except TimeoutError:
            line = b""
        if not line:
            await self.kill()
            raise ProcessFailed(f"{' '.join(self._command[:5])} did not begin:\n{self.log}")
        facts: dict[str, Any] = json.loads(line)
        return facts

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if it still runs."""
        if self.is_running:
            self.process.send_signal(number)

    async def kill(self) -> None:
        """`kill -9`; returns when it is dead."""
        self.signal(signal.SIGKILL)
        await self.process.wait()

    def pause(self) -> None:
        """Freeze it."""
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self.signal(signal.SIGCONT)

    async def stop(self) -> int:
        """SIGTERM, and wait for its orderly end; returns its exit status. ProcessFailed after `STOP_S`."""
        self.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_S):
                return await self.process.wait()
        except TimeoutError:
            await self.kill()
            raise ProcessFailed(f"{' '.join(self._command[:5])} did not stop:\n{self.log}") from None

    async def close(self) -> None:
        """End it, orderly if it can, and remove its log."""
        if self.is_running:
            self.resume()
            await self.stop()
        self._log.unlink(missing_ok=True)


def node(config: Path, *options: str, fds: Sequence[int] = ()) -> Child:
    """Return a gateway on `config`, not yet launched; `options` are those of tests/fleet/node.py."""
    command = [sys.executable, "-m", "tests.fleet.node", str(config), *options]
    return Child(command, env={"PENSTOCK_SECRET_PEPPER": PEPPER}, fds=fds)


def provider(*options: str) -> Child:
    """Return a simulated provider, not yet launched; `options` are those of `python -m penstock.simulator`."""
    return Child([sys.executable, "-m", "penstock.simulator", "--port", "0", *options])
