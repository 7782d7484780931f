"""A real Redis and a real PostgreSQL for the tests, and the harm that a fault test may do to them.

Promise: each server runs in a temporary folder on a free loopback port, is ready when `start` returns, keeps its port
and its data across `kill` and `start`, and is gone with everything it wrote when the tests end, even if pytest itself
is killed. Nothing here skips: a missing program raises, and its message is the remedy (tests/programs.py).

    shared_redis().fresh()      → URL of an empty logical database
    shared_postgres().fresh()   → DSN of an empty database
    RedisServer(options={...})  → one of your own, for a test that kills, pauses or starves it
"""

from __future__ import annotations

import abc
import asyncio
import atexit
import functools
import itertools
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Self

import asyncpg
import psutil
import redis

from tests.programs import identity, postgres_programs, redis_program, unprivileged_account

START_S = 30.0
STOP_S = 15.0

# Holds the read end of a pipe whose write end dies with pytest: then the server goes too, whatever killed pytest.
GUARD = 'read -r _; kill -CONT "$1" 2>/dev/null; kill -QUIT "$1" 2>/dev/null; sleep 1; rm -rf "$2"'


class ServiceFailed(RuntimeError):
    """A server did not start or stop in time; the message ends with its log."""


def free_port() -> int:
    """Return a loopback TCP port that nothing listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server(abc.ABC):
    """One server process and its folder; subclasses say how to start it and when it is ready."""

    name: ClassVar[str]

    def __init__(self, options: Mapping[str, str] | None = None) -> None:
        """Make the folder and choose the port; `options` are settings of the server, by its own names."""
        self.folder = Path(tempfile.mkdtemp(prefix=f"penstock-{self.name}-"))
        self.port = free_port()
        self.options = dict(options or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        atexit.register(self.close)

    def __enter__(self) -> Self:
        """Start, for `with RedisServer() as server`."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop and remove every trace."""
        self.close()

    @abc.abstractmethod
    def command(self) -> list[str]:
        """Return the program and its arguments."""

    @abc.abstractmethod
    def ready(self) -> bool:
        """Tell whether this very process takes work (another program may have been given the port meanwhile)."""

    def account(self) -> str | None:
        """Return the account to run as, or None for our own."""
        return None

    @property
    def pid(self) -> int:
        """The process id; an error when it is not running."""
        if self._process is None:
            msg = f"{self.name} is not running"
            raise ServiceFailed(msg)
        return self._process.pid

    @property
    def log(self) -> str:
        """The end of what the server has said."""
        file = self.folder / "log"
        return file.read_text(errors="replace")[-3000:] if file.exists() else ""

    def start(self) -> None:
        """Start on the same port with the same data; return when it takes work. Running already: nothing to do."""
        if self._process is not None and self._process.poll() is None:
            return
        account = self.account()
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self.command(),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **identity(account),
            )
        self._watch()
        deadline = time.monotonic() + START_S
        while not self.ready():
            if self._process.poll() is not None:
                self._forget()
                msg = f"{self.name} ended while starting:\n{self.log}"
                raise ServiceFailed(msg)
            if time.monotonic() > deadline:
                self.kill()
                msg = f"{self.name} was not ready after {START_S:.0f} s:\n{self.log}"
                raise ServiceFailed(msg)
            time.sleep(0.01)

    def stop(self) -> None:
        """Shut down in order, everything written (SIGCONT first if paused). Not running: nothing to do."""
        if self._process is None:
            return
        self._signal_all(signal.SIGCONT)
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()
            msg = f"{self.name} did not stop in {STOP_S:.0f} s:\n{self.log}"
            raise ServiceFailed(msg) from None
        self._forget()

    def kill(self) -> None:
        """`kill -9` the server and every process it made, as a crash of the machine would."""
        if self._process is None:
            return
        self._signal_all(signal.SIGKILL)
        self._process.wait(STOP_S)
        self._forget()

    def pause(self) -> None:
        """Freeze it (SIGSTOP): the port still accepts connections and nothing ever answers, like a black hole."""
        self._signal_all(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on (SIGCONT)."""
        self._signal_all(signal.SIGCONT)

    def close(self) -> None:
        """Kill it and remove its folder; safe to repeat."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
        atexit.unregister(self.close)

    def _signal_all(self, number: signal.Signals) -> None:
        """Signal the server first, so that it cannot replace its children, then the children."""
        try:
            main = psutil.Process(self.pid)
            family = [main, *main.children(recursive=True)]
        except psutil.NoSuchProcess:
            return
        for member in family:
            try:
                member.send_signal(number)
            except psutil.NoSuchProcess:
                continue

    def _watch(self) -> None:
        """Leave a guard behind that ends the server when this Python ends."""
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", GUARD, "guard", str(self.pid), str(self.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _forget(self) -> None:
        """Drop the dead process and its guard."""
        self._process = None
        guard, self._guard = self._guard, None
        if guard is not None:
            guard.kill()
            guard.wait()
            if guard.stdin is not None:
                guard.stdin.close()


class RedisServer(Server):
    """A Redis of 64 logical databases that persists nothing and evicts nothing, unless `options` say otherwise."""

    name = "redis"
    databases = 64

    def __init__(self, options: Mapping[str, str] | None = None) -> None:
        """`options` are redis.conf directives, e.g. ``{"maxmemory": "10mb", "appendonly": "yes"}``."""
        super().__init__(options)
        self._numbers = itertools.cycle(range(self.databases))

    @property
    def url(self) -> str:
        """URL of logical database 0."""
        return f"redis://127.0.0.1:{self.port}/0"

    def fresh(self) -> str:
        """Return the URL of an empty logical database; the 65th call reuses the first."""
        url = f"redis://127.0.0.1:{self.port}/{next(self._numbers)}"
        with redis.Redis.from_url(url) as client:
            client.flushdb()
        return url

    def command(self) -> list[str]:
        """Redis in the foreground; `options` come last and win."""
        settings = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "dir": str(self.folder),
            "databases": str(self.databases),
            "save": "",
            "appendonly": "no",
            "maxmemory-policy": "noeviction",
            **self.options,
        }
        pairs = itertools.chain.from_iterable((f"--{key}", value) for key, value in settings.items())
        return [redis_program(), *pairs]

    def ready(self) -> bool:
        """It answers with its own process id and is not loading its files any more."""
        try:
            with redis.Redis(port=self.port, socket_timeout=1, retry=None) as client:
                info = client.info()
        except redis.RedisError:
            return False
        return info["process_id"] == self.pid and not info["loading"]


class PostgresServer(Server):
    """A PostgreSQL cluster of one superuser `penstock` without a password, on loopback TCP only.

    By default it does not wait for the disk, which a test of our own crashes does not need. `durable=True` keeps
    PostgreSQL's own settings, for a test that kills PostgreSQL.
    """

    name = "postgres"

    def __init__(self, options: Mapping[str, str] | None = None, *, durable: bool = False) -> None:
        """Make a cluster. `options` are postgresql.conf settings, e.g. ``{"max_connections": "20"}``."""
        hurry = {} if durable else {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        super().__init__(hurry | dict(options or {}))
        self._counter = itertools.count(1)
        self._data = self.folder / "data"
        self._programs = postgres_programs(self.account())
        if (account := self.account()) is not None:
            shutil.chown(self.folder, account)
        self._initialise(account)

    def account(self) -> str | None:
        """PostgreSQL refuses to run as root: then it runs as `postgres` or `nobody`."""
        return unprivileged_account()

    @property
    def dsn(self) -> str:
        """DSN of the database `postgres`."""
        return self._dsn("postgres")

    def fresh(self) -> str:
        """Return the DSN of a new, empty database."""
        name = f"fresh_{next(self._counter)}"
        asyncio.run(self._execute(f'CREATE DATABASE "{name}" TEMPLATE template0'))
        return self._dsn(name)

    def command(self) -> list[str]:
        """PostgreSQL in the foreground; `options` come last and win."""
        settings = {
            "port": str(self.port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "max_connections": "200",
            "shared_buffers": "64MB",
            "jit": "off",
            "timezone": "UTC",
            **self.options,
        }
        pairs = itertools.chain.from_iterable(("-c", f"{key}={value}") for key, value in settings.items())
        return [str(self._programs / "postgres"), "-D", str(self._data), *pairs]

    def ready(self) -> bool:
        """Its own pid file, in the line where PostgreSQL keeps its state, says `ready`."""
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) >= 8 and lines[0] == str(self.pid) and lines[7].strip() == "ready"

    def _dsn(self, database: str) -> str:
        return f"postgresql://penstock@127.0.0.1:{self.port}/{database}"

    async def _execute(self, statement: str) -> None:
        connection = await asyncpg.connect(self.dsn, timeout=START_S)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    def _initialise(self, account: str | None) -> None:
        """Make the empty cluster."""
        initdb = [str(self._programs / "initdb"), "-D", str(self._data), "-U", "penstock", "-A", "trust"]
        made = subprocess.run(
            [*initdb, "-E", "UTF8", "--locale=C", "--no-sync"],
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            **identity(account),
        )
        if made.returncode:
            msg = f"initdb failed:\n{made.stdout}{made.stderr}"
            raise ServiceFailed(msg)


@functools.cache
def shared_redis() -> RedisServer:
    """Return the one Redis of this test session, started at the first call."""
    server = RedisServer()
    server.start()
    return server


@functools.cache
def shared_postgres() -> PostgresServer:
    """Return the one PostgreSQL of this test session, started at the first call."""
    server = PostgresServer()
    server.start()
    return server
