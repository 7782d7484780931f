"""One process of Penstock: from settings to served, told to stop, drained.

    SIGTERM, SIGINT   drain: finish what runs within `server.drain_s`; a second one closes at once
    SIGHUP            noted and ignored: a lone process has nobody to hand its work to (see wiring/supervisor)

Promise: a process that was told "ready" is one that has answered for its dependencies; one whose supervisor dies
drains as if told to.
"""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import resource
import signal
import socket
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import uvloop

from penstock.kernel.errors import Invalid, Unavailable
from penstock.kernel.settings import Settings
from penstock.wiring.app import start
from penstock.wiring.logs import logs_on_stderr
from penstock.wiring.owner import ADMIN_KEY, ORG
from penstock.wiring.platform import Platform

_log = logging.getLogger("penstock.wiring")
BACKLOG = 4096
GC_THRESHOLDS = (25_000, 20, 50)
READY = b"ready\n"
Greet = Callable[[Platform], Awaitable[None]]


def run(
    settings: Settings,
    env: dict[str, str],
    listening: socket.socket,
    *,
    control: socket.socket | None = None,
    greet: Greet | None = None,
    file: Path | None = None,
) -> None:
    """Serve on `listening` until told to stop. Raises PenstockError when it cannot start.

    `control` is the line to a supervisor: it is told when we are ready, and its end is an order to drain. `greet` is
    called once the platform serves, for a person at a terminal, who is then told of warnings only. `file` is where the
    settings were read from.
    """
    raise_file_limit()
    with (
        logs_on_stderr(settings.audit, quiet=greet is not None) as listeners,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        starting = partial(start, settings, env, sock=listening, listeners=listeners, file=file)
        runner.run(_serve(starting, control, greet))


async def _serve(
    starting: Callable[[], Awaitable[Platform]], control: socket.socket | None, greet: Greet | None
) -> None:
    orders = _Orders(control)
    platform = await starting()
    try:
        gc.collect()
        gc.freeze()  # what lives as long as the process is not looked at again
        # Requests leave hardly any cycles behind: looking for them every 700 objects cost 5 % of the CPU.
        gc.set_threshold(*GC_THRESHOLDS)
        if greet is not None:
            await greet(platform)
        if not await platform.tenancy.keys(ORG, limit=1):
            _log.warning("no key exists yet: start once with `penstock up`, or with a key in %s", ADMIN_KEY)
        await orders.tell_ready()
        await orders.stop.wait()
        _log.info("draining: up to %g s for the requests under way", platform.settings.server.drain_s)
        draining = asyncio.create_task(platform.drain())
        hurry = asyncio.create_task(orders.hurry.wait())
        await asyncio.wait((draining, hurry), return_when=asyncio.FIRST_COMPLETED)
        for task in (draining, hurry):
            task.cancel()
        await asyncio.gather(draining, hurry, return_exceptions=True)
    finally:
        await platform.close()
        orders.close()


class _Orders:
    """What the outside tells this process."""

    def __init__(self, control: socket.socket | None) -> None:
        self.stop = asyncio.Event()
        self.hurry = asyncio.Event()
        self._control = control
        self._listening: asyncio.Task[None] | None = None
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopped)
        loop.add_signal_handler(signal.SIGHUP, self._told_to_roll)
        if control is not None:
            control.setblocking(False)
            self._listening = asyncio.create_task(self._until_supervisor_is_gone(control))

    async def tell_ready(self) -> None:
        """Tell the supervisor, if there is one."""
        if self._control is not None:
            await asyncio.get_running_loop().sock_sendall(self._control, READY)

    def close(self) -> None:
        """Hear nothing more."""
        if self._listening is not None:
            self._listening.cancel()
        if self._control is not None:
            self._control.close()

    def _stopped(self) -> None:
        if self.stop.is_set():
            self.hurry.set()
        self.stop.set()

    def _told_to_roll(self) -> None:
        _log.warning("SIGHUP ignored: a rolling restart needs `penstock serve --workers` of 2 or more")

    async def _until_supervisor_is_gone(self, control: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            while await loop.sock_recv(control, 64):
                pass
        except OSError:
            pass
        self.stop.set()


def listen(host: str, port: int) -> socket.socket:
    """Bind and listen. Raises Invalid that says why not and what to do."""
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        raise Invalid(
            f"There is no such address: {error.strerror}.", field="server.host", value=host
        ) from None
    listening = socket.socket(family, kind, proto)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise _not_bound(error, host, port) from None
    return listening


def inherited(fd: int) -> socket.socket:
    """Return a listening socket that another process opened. Raises Invalid when `fd` is none."""
    try:
        listening = socket.socket(fileno=fd)
        accepts = listening.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise Invalid(f"That descriptor is not a socket: {error.strerror}.", field="--fd", value=fd) from None
    if not accepts:
        listening.detach()
        raise Invalid("That socket does not listen.", field="--fd", value=fd)
    return listening


def raise_file_limit() -> None:
    """Let this process open as many files as the system allows it: a connection is one, and shells allow 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _not_bound(error: OSError, host: str, port: int) -> Unavailable | Invalid:
    if error.errno == errno.EADDRINUSE:
        return Unavailable(
            "The port is in use; perhaps Penstock runs already.",
            code="port_in_use",
            field="server.port",
            value=f"{host}:{port}",
            remedy="Choose another with --port, or stop what holds it.",
        )
    return Invalid(f"Cannot listen: {error.strerror}.", field="server.port", value=f"{host}:{port}")
