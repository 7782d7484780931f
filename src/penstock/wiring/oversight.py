"""Opens oversight: the lake, alerts and who is told of them."""

from __future__ import annotations

from contextlib import AsyncExitStack

from penstock.gateway.management.oversight_part import OversightPart
from penstock.mechanisms.lake import intake as lake_intake
from penstock.ports.secrets import Secrets
from penstock.wiring import alerts, lake
from penstock.wiring.latency import BudgetWatch
from penstock.wiring.platform import Platform
from penstock.wiring.sight_features import declare_alerts, declare_lake

COLLECTIONS = (*lake_intake.COLLECTIONS, *alerts.COLLECTIONS)


async def open_oversight(platform: Platform, kept: Secrets, opening: AsyncExitStack) -> OversightPart:
    """Fill the lake and alert, as far as the settings say; `opening` ends both. Raises Invalid."""
    settings, stores, clock, health = platform.settings, platform.stores, platform.clock, platform.health
    opened = await lake.open_lake(settings, stores, clock, health, opening)
    watch = BudgetWatch(
        alerts.rules_of(settings.alerts),
        lambda: platform.catalogue.table.features,
        platform.audit.listen,
        clock,
    )
    sources = (
        *alerts.sources_of(health, platform.headroom, platform.inspections),
        watch.source,
    )
    book, told = await alerts.open_alerts(
        settings, stores, kept, clock, opening, sources=sources, traces=platform.traces
    )
    declare_alerts(platform.metrics, book, told, watch)
    if opened is None:
        return OversightPart(alerts=book, webhooks=told, lake=None)
    intake, questions = opened
    declare_lake(platform.metrics, intake)
    return OversightPart(alerts=book, webhooks=told, lake=questions)
