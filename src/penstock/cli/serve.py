"""`penstock serve`: serve what the settings say, in this process or under a supervisor."""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import Annotated

import msgspec
import uvloop
from cyclopts import Parameter

from penstock.cli.deployment import DEFAULTS, Deployment
from penstock.kernel.errors import Invalid
from penstock.kernel.settings import Settings
from penstock.wiring import safety
from penstock.wiring.logs import logs_on_stderr
from penstock.wiring.owner import ADMIN_KEY
from penstock.wiring.service import inherited, listen, run
from penstock.wiring.supervisor import Supervisor

Descriptor = Annotated[int | None, Parameter(show_default=False)]


def serve(
    *,
    port: Annotated[int | None, Parameter(show_default=False)] = None,
    workers: int = 1,
    fd: Descriptor = None,
    control_fd: Annotated[int | None, Parameter(show=False)] = None,
    deployment: Deployment = DEFAULTS,
) -> None:
    """Serve until SIGTERM, then drain. With several workers, SIGHUP replaces them one at a time.

    Parameters
    ----------
    port
        TCP port, instead of `server.port`.
    workers
        Processes; more than one needs PostgreSQL and Redis.
    fd
        Take over a listening socket that this process inherited, so that two processes share one accept queue.
    """
    settings = with_port(deployment.settings(), port)
    env = deployment.environment()
    if workers < 1:
        raise Invalid("At least one process serves.", field="--workers", value=workers, limit=1)
    safety.check(settings, workers=workers, admin_key=env.get(ADMIN_KEY, ""))
    listening = listen(settings.server.host, settings.server.port) if fd is None else inherited(fd)
    if workers == 1:
        control = None if control_fd is None else socket.socket(fileno=control_fd)
        run(settings, env, listening, control=control, file=deployment.file())
        return
    command = [
        sys.executable,
        "-P",
        "-m",
        "penstock.cli",
        "serve",
    ]  # -P: nothing is imported from this folder
    if (file := deployment.file()) is not None:
        command.append(f"--config={file}")
    supervisor = Supervisor(command, listening, workers, settings.server.drain_s)
    with (
        logs_on_stderr(settings.audit),
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        runner.run(supervisor.run())


def with_port(settings: Settings, port: int | None) -> Settings:
    """Return settings that serve on `port`, if one is given. Raises Invalid past 65,535."""
    if port is None:
        return settings
    if not 0 <= port <= 65_535:
        raise Invalid("There is no such port.", field="--port", value=port, limit="0 to 65535")
    return msgspec.structs.replace(settings, server=msgspec.structs.replace(settings.server, port=port))
