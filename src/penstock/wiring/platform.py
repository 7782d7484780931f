"""The running platform as one value: what was opened, joined together, and how it is let go.

Promise: `drain` loses no request that was admitted; `close` lets the server go first and the stores last, so that
nothing is settled into a closed ledger.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from penstock.edge.auth import Authenticator
from penstock.edge.routes import Routes
from penstock.embedding.catalog.library import Library
from penstock.embedding.search.late_interaction import LateInteraction
from penstock.embedding.serving.service import EmbeddingService
from penstock.gateway.admission import Admission
from penstock.gateway.cached_answers import CachedAnswers
from penstock.gateway.contents import ContentCare
from penstock.gateway.http import Chats
from penstock.gateway.management.oversight_part import OversightPart
from penstock.gateway.management.routing_part import RoutingPart
from penstock.gateway.pipeline import Choices, Inspection
from penstock.gateway.places import Places
from penstock.gateway.quota_rooms import QuotaRooms
from penstock.gateway.rollouts import Canaries
from penstock.gateway.semantic import SemanticCache
from penstock.kernel.clock import Clock
from penstock.kernel.settings import Settings
from penstock.mechanisms.audit import AuditPipe
from penstock.mechanisms.changes import Changes
from penstock.mechanisms.feedback import Feedback
from penstock.mechanisms.headroom import Headroom
from penstock.mechanisms.limits import Plans
from penstock.mechanisms.metering import Metering
from penstock.mechanisms.passwords import Passwords
from penstock.mechanisms.people import People
from penstock.mechanisms.prompt_savings import PromptSavings
from penstock.mechanisms.recent import Recent
from penstock.mechanisms.resilience import Resilience
from penstock.mechanisms.sessions import Sessions
from penstock.mechanisms.span_feed import SpanFeed
from penstock.mechanisms.telemetry import Metrics
from penstock.mechanisms.tenancy import Tenancy
from penstock.mechanisms.trace_feed import TraceFeed
from penstock.net.server import Server
from penstock.wiring.catalogue import Catalogue
from penstock.wiring.guard import Guard
from penstock.wiring.health import Health
from penstock.wiring.parts import BookedLedger, KeptRecords, KeptSignals, KeptState, KeptStream, KeptTraces

if TYPE_CHECKING:
    from penstock.edge.machines import Machines
    from penstock.edge.oidc import OidcClient


@dataclass(slots=True)
class Stores:
    """Every adapter that keeps something."""

    ledger: BookedLedger
    records: KeptRecords
    state: KeptState
    signals: KeptSignals
    stream: KeptStream


@dataclass(frozen=True, slots=True)
class Waiting:
    """Where calls wait: for a place in this process, and for room in a vendor's quota."""

    places: Places
    rooms: QuotaRooms | None
    """None where back ends tell nobody of their quotas."""


@dataclass(slots=True)
class Platform:
    """A running Penstock. Made by `start`."""

    settings: Settings
    clock: Clock
    stores: Stores
    tenancy: Tenancy
    passwords: Passwords
    people: People
    sessions: Sessions
    changes: Changes
    feedback: Feedback
    machines: Machines | None
    authenticator: Authenticator
    oidc: OidcClient | None
    """None when people sign in by password only."""
    catalogue: Catalogue
    embedding: EmbeddingService
    """The embedding models in this machine; none where there are none."""
    late: LateInteraction | None
    """What compares their token vectors; None where there are none."""
    routing: RoutingPart
    admission: Admission
    resilience: Resilience
    audit: AuditPipe
    metering: Metering | None
    """None when settlements are told to nobody."""
    metrics: Metrics
    plans: Plans
    headroom: Headroom
    recent: Recent
    traces: KeptTraces | None
    """None when traces are not kept, and so is their feed."""
    trace_feed: TraceFeed | None
    span_feed: SpanFeed | None
    """None when there is no collector."""
    routes: Routes
    server: Server
    chats: Chats
    contents: ContentCare | None
    """None when nothing is known of contents."""
    waiting: Waiting
    chosen: Choices
    """What is on the way of a chat here, beside the mandatory steps."""
    health: Health
    resources: AsyncExitStack
    background: list[asyncio.Task[None]] = field(default_factory=list[asyncio.Task[None]])
    guard: Guard | None = None
    """None until it is opened, and where nothing is shed."""
    settings_file: str = ""
    """Where the settings were read from; "" when no file was."""
    draining: bool = False
    oversight: OversightPart | None = None
    """None until it is opened, last of all; so are the canaries' judge and its evidence."""
    canaries: Canaries | None = None
    library: Library | None = None
    """Collections and who works on them; None until they are opened, and where their extras are not installed."""
    semantic: SemanticCache | None = None
    """None until it is opened, and where nobody is opted in."""
    prompt_savings: PromptSavings = field(default_factory=PromptSavings)

    @property
    def answers(self) -> CachedAnswers | None:
        """The cache of answers; None when none are kept."""
        return self.chosen.answers

    @property
    def inspections(self) -> tuple[Inspection, ...]:
        """What looks into requests before they are admitted."""
        return self.chosen.inspections

    @property
    def port(self) -> int:
        """The port served."""
        return self.server.port

    async def drain(self) -> None:
        """Stop taking new work, finish what runs within `server.drain_s`, and let everything go."""
        self.draining = True
        self.recent.close()  # whoever looks on live is let go at once: nobody's work ends with that
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
