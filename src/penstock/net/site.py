"""What every connection of one server shares: the handler, the bounds, the counters, the cached heads.

Promise: whatever a handler does, its request ends: answered, or cut. `in_flight` counts running handlers, so it is
zero exactly when nothing of ours is still working for a client, and the body's bytes are accounted until then.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any

from penstock.kernel.errors import Broken, Overloaded, PenstockError
from penstock.net.cors import Cors
from penstock.net.http1 import status_line
from penstock.net.limits import ServerLimits
from penstock.net.request import HeadParser, Request
from penstock.net.responder import Responder

Handler = Callable[[Request, Responder], Coroutine[Any, Any, None]]
ErrorRenderer = Callable[[PenstockError, str], tuple[int, bytes, bytes]]
Door = Callable[[Request], tuple[int, bytes, bytes] | None]
"""Looks at a complete request before anything is done for it: None lets it in, else it is answered with this (status,
header lines, body) and no more. It must not raise."""

_log = logging.getLogger("penstock.net")


@dataclass(slots=True)
class Stats:
    """Counters since start, and three gauges (`connections`, `in_flight`, `buffered_body_bytes`)."""

    connections: int = 0
    accepted: int = 0
    requests: int = 0
    in_flight: int = 0
    refused: int = 0
    """Requests or connections turned away by the server itself."""
    timed_out: int = 0
    """Connections closed because a head, a body or a keep-alive took too long."""
    clients_gone: int = 0
    """Clients that vanished before their reply was complete."""
    clients_cut: int = 0
    """Clients that took none of the bytes waiting for them."""
    failed: int = 0
    """Handlers that ended in an unforeseen error."""
    buffered_body_bytes: int = 0


class Site:
    """The shared state of a server's connections, all on one loop."""

    __slots__ = (
        "_date", "_prefixes", "cors", "door", "draining", "error_renderer", "handler", "heads", "limits", "loop",
        "quiet", "stats", "tasks",
    )  # fmt: skip

    def __init__(
        self,
        handler: Handler,
        limits: ServerLimits,
        *,
        allowed_hosts: frozenset[str] | None,
        cors: Cors | None,
        error_renderer: ErrorRenderer,
        named_below: tuple[str, ...] = (),
    ) -> None:
        """Hold what connections need; `loop` is set when the server starts."""
        self.handler = handler
        self.limits = limits
        self.cors = cors
        self.door: Door | None = None
        """Stands before every request while it is there; None lets everything in."""
        self.error_renderer = error_renderer
        self.heads = HeadParser(limits, allowed_hosts, named_below)
        self.stats = Stats()
        self.tasks: set[asyncio.Task[None]] = set()
        self.draining = False
        self.quiet = asyncio.Event()
        """Set while draining, once no connection is open and no handler runs."""
        self.loop: asyncio.AbstractEventLoop
        self._prefixes: dict[int, bytes] = {}
        self._date = b""
        self.renew_date()

    def renew_date(self) -> None:
        """Read the clock for the `date` line (RFC 9110 section 6.6.1); called every second."""
        self._date = f"date: {formatdate(usegmt=True)}\r\n".encode()
        self._prefixes.clear()

    def prefix(self, status: int) -> bytes:
        """Status line and date line, cached until the second changes."""
        known = self._prefixes.get(status)
        if known is None:
            known = self._prefixes[status] = status_line(status) + self._date
        return known

    def render(self, error: PenstockError, path: str) -> tuple[int, bytes, bytes]:
        """The error as (status, header lines, body), by the edge's renderer or plainly when that fails."""
        try:
            return self.error_renderer(error, path)
        except Exception as failure:  # because an error must be answered even when its rendering is broken
            _log.error("the error renderer failed: %s", type(failure).__name__)
            return error.status, b"content-type: text/plain; charset=utf-8\r\n", error.message.encode()

    def spawn(self, request: Request, responder: Responder) -> None:
        """Run the handler in a task of its own, or answer 503 when a bound is met."""
        stats, limits = self.stats, self.limits
        stats.requests += 1
        if stats.in_flight >= limits.in_flight:
            stats.refused += 1
            busy = Overloaded("Too many requests are in flight.", limit=limits.in_flight, retry_after_s=1.0)
            responder.send(*self.render(busy, request.path))
            return
        stats.in_flight += 1
        stats.buffered_body_bytes += len(request.body)
        task = self.loop.create_task(self._handle(request, responder))
        responder.task = task
        self.tasks.add(task)

    async def _handle(self, request: Request, responder: Responder) -> None:
        size = len(request.body)
        try:
            await self.handler(request, responder)
            if not responder.complete and not responder.gone:
                self._fail(request, responder, Broken("A handler returned without completing its reply."))
        except asyncio.CancelledError:
            # the server cancels handlers only at a drain's deadline or at close
            leaving = Overloaded("The server is shutting down.", code="draining", retry_after_s=1.0)
            self._fail(
                request,
                responder,
                leaving if self.draining else Broken("A handler's own work was cancelled."),
            )
        except PenstockError as error:
            self._fail(request, responder, error)
        except Exception as error:  # because any handler's fault must end in a reply, not in a hang
            self.stats.failed += 1
            _log.error("a handler failed: %s at %s", type(error).__name__, _where(error))
            self._fail(request, responder, Broken("A request could not be handled."))
        finally:
            stats = self.stats
            stats.in_flight -= 1
            stats.buffered_body_bytes -= size
            if responder.task is not None:
                self.tasks.discard(responder.task)
                responder.task = None  # its frame holds the responder: reference counting frees both
            if self.draining:
                self.note_quiet()

    def note_quiet(self) -> None:
        """While draining: a handler or a connection ended; say so if it was the last."""
        if not self.stats.in_flight and not self.stats.connections:
            self.quiet.set()

    def _fail(self, request: Request, responder: Responder, error: PenstockError) -> None:
        """Answer with the error while that is possible; cut the connection once bytes have left."""
        if responder.complete or responder.gone:
            return
        if responder.started:
            responder.abort()
        else:
            responder.send(*self.render(error, request.path))


def _where(error: BaseException) -> str:
    """The frames of an error as `file:line`, innermost last; never its message, which may quote a secret."""
    frames = traceback.extract_tb(error.__traceback__)
    return " > ".join(f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno}" for frame in frames[-5:])
