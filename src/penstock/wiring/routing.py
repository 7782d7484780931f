"""The routing configuration and its versions, over the catalogue.

Promise: a stored version that cannot be used, or a store that does not answer, takes no node down at its start.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AsyncExitStack

from penstock.gateway.load import Loads
from penstock.gateway.management.routing_part import RoutingPart
from penstock.gateway.tiers import Tiers
from penstock.kernel.clock import Clock
from penstock.kernel.errors import Unavailable
from penstock.kernel.settings import ProviderSettings, RoutingDocument, Settings
from penstock.mechanisms.config_versions import ConfigVersions
from penstock.mechanisms.quotas import Quotas
from penstock.mechanisms.resilience import Resilience
from penstock.mechanisms.vendor_quotas import StartingQuotas
from penstock.ports.providers import ChatProvider
from penstock.ports.secrets import Secrets
from penstock.wiring.catalogue import Catalogue, price_book
from penstock.wiring.platform import Stores

_log = logging.getLogger("penstock.wiring")


async def open_catalogue(
    settings: Settings,
    providers: tuple[ProviderSettings, ...],
    kept: Secrets,
    resilience: Resilience,
    clock: Clock,
    opening: AsyncExitStack,
    *,
    beside: Callable[[ChatProvider], ChatProvider] | None = None,
) -> Catalogue:
    """Open the providers and the table over them; routes see how back ends are through `catalogue.loads`. `beside` is
    `Catalogue`'s.
    """
    quotas = Quotas(clock, settings.overload.near_quota_percent, StartingQuotas(providers) or None)
    loads = Loads(lambda label: resilience.breaker(label).ready, quotas)
    catalogue = Catalogue(settings, price_book(settings, providers), clock, loads, beside)
    opening.push_async_callback(catalogue.close)
    await catalogue.open(providers, kept)
    return catalogue


async def open_routing(settings: Settings, stores: Stores, catalogue: Catalogue, clock: Clock) -> RoutingPart:
    """Return the versions with the newest usable one in force; whoever opens it runs `versions.watch`."""
    file = RoutingDocument(routes=settings.routes, residency=settings.residency, features=settings.features)
    versions = ConfigVersions(stores.records, stores.signals, clock, catalogue, file)
    try:
        await versions.start()
    except Unavailable as error:
        _log.warning("the stored routing configuration could not be read, the file's is used: %s", error)
    return RoutingPart(versions, catalogue.current, Tiers(catalogue.current))
