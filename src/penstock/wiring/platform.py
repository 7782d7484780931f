"""The running platform as one value: what was opened, joined together, and how it is let go.

Promise: `drain` loses no request that was admitted; `close` lets the server go first and the stores last, so that
nothing is settled into a closed ledger.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from penstock.edge.routes import Routes
from penstock.gateway.admission import Admission
from penstock.gateway.http import OpenAiFace
from penstock.kernel.clock import Clock
from penstock.kernel.settings import Settings
from penstock.mechanisms.audit import AuditPipe
from penstock.mechanisms.headroom import Headroom
from penstock.mechanisms.resilience import Resilience
from penstock.mechanisms.telemetry import Metrics
from penstock.mechanisms.tenancy import Tenancy
from penstock.net.server import Server
from penstock.wiring.catalogue import Catalogue
from penstock.wiring.health import Health
from penstock.wiring.parts import BookedLedger, KeptRecords, KeptSignals, KeptState, KeptStream


@dataclass(slots=True)
class Stores:
    """Every adapter that keeps something."""

    ledger: BookedLedger
    records: KeptRecords
    state: KeptState
    signals: KeptSignals
    stream: KeptStream


@dataclass(slots=True)
class Platform:
    """A running Penstock. Made by `start`."""

    settings: Settings
    clock: Clock
    stores: Stores
    tenancy: Tenancy
    catalogue: Catalogue
    admission: Admission
    resilience: Resilience
    audit: AuditPipe
    metrics: Metrics
    headroom: Headroom
    routes: Routes
    server: Server
    face: OpenAiFace
    health: Health
    resources: AsyncExitStack
    background: list[asyncio.Task[None]] = field(default_factory=list[asyncio.Task[None]])
    draining: bool = False

    @property
    def port(self) -> int:
        """The port served."""
        return self.server.port

    async def drain(self) -> None:
        """Stop taking new work, finish what runs within `server.drain_s`, and let everything go."""
        self.draining = True
        await self.server.drain(self.settings.server.drain_s)
        await self.close()

    async def close(self) -> None:
        """Let everything go, the server first and the stores last. Idempotent."""
        await self.server.close()
        for task in self.background:
            task.cancel()
        await asyncio.gather(*self.background, return_exceptions=True)
        self.background.clear()
        await self.resources.aclose()
