"""The door of the server, and what it goes by.

Promise: the door is there only while the process cannot keep up; refusals are told to the audit before it closes.
"""

from __future__ import annotations

from penstock.edge.auth import Authenticator
from penstock.edge.door import Door
from penstock.edge.routes import Routes
from penstock.kernel.clock import Clock
from penstock.mechanisms.audit import AuditPipe
from penstock.mechanisms.shedding import LoadShedder
from penstock.mechanisms.turned_away import TurnedAway
from penstock.net.server import Server


class Guard:
    """Stands before the server when it must. One per process."""

    def __init__(
        self, server: Server, routes: Routes, authenticator: Authenticator, audit: AuditPipe, clock: Clock
    ) -> None:
        """Put nobody before the server yet; `watch` begins."""
        self._server = server
        self._turned_away = TurnedAway(audit, clock)
        self.shedder = LoadShedder(clock, server.stats, self._turned)
        self._door = Door(routes, authenticator, self.shedder, self._turned_away)

    def watch(self) -> None:
        """Begin, on the running loop."""
        self.shedder.watch()

    async def tick(self) -> None:
        """Tell the audit who was refused; once a second."""
        self._turned_away.tell()

    def close(self) -> None:
        """Let everybody in, and tell the rest. Idempotent."""
        self.shedder.close()
        self._server.guard(None)
        self._turned_away.tell()

    def _turned(self) -> None:
        self._server.guard(self._door if self.shedder.is_shedding else None)
