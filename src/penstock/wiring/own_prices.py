"""Organisations' own prices against the models on offer: a price that nobody can be billed by is a mistake.

Promise: nothing is called a mistake that may be right. What a provider serves is known where the configuration lists
it, and of a vendor found by its key, which serves what is priced; one that is asked may serve anything.
"""

from __future__ import annotations

from collections.abc import Iterator

from penstock.kernel.settings import ProviderSettings, RouteSettings, Settings
from penstock.mechanisms.price_data import matches, read_table
from penstock.wiring.discovery import FOUND, LOCAL_SERVERS, VENDORS

_FOUND = frozenset([name for name, _ in LOCAL_SERVERS]) | {each.name for each in VENDORS}


def not_offered(settings: Settings, providers: tuple[ProviderSettings, ...]) -> Iterator[str]:
    """Yield the organisations' prices that are for a model none of `providers` offers, and what would help."""
    named = [each for route in settings.routes for each in _named(route)]
    for price in settings.prices:
        if not price.org:
            continue
        where = f"prices of org {price.org!r}: {price.provider}/{price.model}"
        sellers = [each for each in providers if each.billed_by == price.provider]
        if not sellers:
            if not (settings.discover and price.provider in _FOUND):
                known = ", ".join(sorted({each.billed_by for each in providers})) or "none"
                yield f"{where}: no provider has this vendor id (known: {known})"
        elif all(each.models or each.secret.startswith(FOUND) for each in sellers):
            served = [model for each in sellers for model in each.models]
            names = {each.name for each in sellers}
            served += [model for provider, model in named if provider in names]
            if not all(each.models for each in sellers):
                served += _priced(settings, price.provider, price.model)
            if not any(matches(price.model, model.lower()) for model in served):
                yield f"{where}: no provider offers this model; list it under its models"


def _priced(settings: Settings, vendor: str, model: str) -> Iterator[str]:
    """Yield names under which a vendor's models are priced for everybody, `model` itself if it is one of them."""
    yield from (
        each.model.rstrip("*") for each in settings.prices if each.provider == vendor and not each.org
    )
    table, _ = read_table()
    if table.find(vendor, model.lower()) is not None:
        yield model
    listing = table.providers.get(table.aliases.get(vendor, vendor))
    yield from () if listing is None else listing.ids


def _named(route: RouteSettings) -> Iterator[tuple[str, str]]:
    """Yield every provider and model that a route names."""
    for each in (*route.targets, *route.canary.targets, *route.complexity.small):
        yield each.provider, each.model
    for name in route.fallbacks:
        provider, _, model = name.partition("/")
        yield provider, model
