"""Opens oversight: the lake, alerts and who is told of them."""

from __future__ import annotations

from contextlib import AsyncExitStack

from penstock.gateway.management.oversight_part import OversightPart
from penstock.mechanisms.lake import intake
from penstock.ports.secrets import Secrets
from penstock.wiring import alerts, lake
from penstock.wiring.platform import Platform

COLLECTIONS = (*intake.COLLECTIONS, *alerts.COLLECTIONS)


async def open_oversight(platform: Platform, kept: Secrets, opening: AsyncExitStack) -> OversightPart:
    """Fill the lake and alert, as far as the settings say; `opening` ends both. Raises Invalid."""
    settings, stores, clock, health = platform.settings, platform.stores, platform.clock, platform.health
    questions = await lake.open_lake(settings, stores, clock, health, opening)
    sources = alerts.sources_of(health, platform.headroom, platform.inspections)
    book, told = await alerts.open_alerts(
        settings, stores, kept, clock, opening, sources=sources, traces=platform.traces
    )
    return OversightPart(alerts=book, webhooks=told, lake=questions)
