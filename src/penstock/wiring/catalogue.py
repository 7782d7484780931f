"""The models on offer: providers opened, asked what they serve, and joined into the route table of the day.

Promise: a provider that does not answer at start is kept and asked again later; the table is replaced whole,
never mended in place, so a request sees one table from beginning to end; prices that change at midnight UTC, and
keys of vendors that are rotated, need no restart.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, cast

import msgspec

from penstock.gateway.features import Means
from penstock.gateway.key_pool import KeyPool
from penstock.gateway.load import Loads
from penstock.gateway.moderations import DEFAULT_MODEL
from penstock.gateway.routing import Endpoint, RouteTable
from penstock.kernel.clock import Clock
from penstock.kernel.errors import PenstockError
from penstock.kernel.settings import PriceSettings, ProviderSettings, RoutingDocument, Settings
from penstock.mechanisms.price_data import (
    SELF_HOSTED_FREE,
    FreeRule,
    ModelLimits,
    PriceOverride,
    PriceOverrides,
)
from penstock.mechanisms.prices import PriceBook
from penstock.ports.providers import CallTimers, ChatProvider
from penstock.ports.secrets import Secrets
from penstock.wiring import adapters
from penstock.wiring.discovery import FOUND
from penstock.wiring.own_prices import not_offered
from penstock.wiring.upstream_keys import UpstreamKeys

if TYPE_CHECKING:
    from penstock.ports.providers import ListsModels

_log = logging.getLogger("penstock.wiring")
DAY_S = 86_400
CALLED = {"moderation": DEFAULT_MODEL}
"""Rows of the price table that stand for a family of models, and what its vendor calls the one to ask."""


class Catalogue:
    """Providers and the table over them."""

    def __init__(
        self,
        settings: Settings,
        prices: PriceBook,
        clock: Clock,
        loads: Loads | None = None,
        beside: Callable[[ChatProvider], ChatProvider] | None = None,
    ) -> None:
        """Start without any provider; `open` brings them. `loads` tell routes how back ends are; `beside` puts what
        else is in this machine beside a provider of kind `local`.
        """
        self._beside = beside
        self._document = RoutingDocument(
            routes=settings.routes, residency=settings.residency, features=settings.features
        )
        self._means = _means(settings)
        self._declared = frozenset([each.name for each in settings.embedding_models])
        self.loads = loads
        self._aged = False
        self._clock = clock
        self.prices = prices
        self._endpoints: dict[str, Endpoint] = {}
        self._silent: dict[str, ProviderSettings] = {}
        self._asking: asyncio.Task[None] | None = None
        self._keys = UpstreamKeys(clock)
        self.table = RouteTable({}, (), prices, self._today())

    def current(self) -> RouteTable:
        """Return the table in force."""
        return self.table

    async def open(self, providers: tuple[ProviderSettings, ...], kept: Secrets) -> None:
        """Open `providers` and build the table. Raises Invalid for routes that cannot be."""
        for settings in providers:
            provider = await _opened(settings, kept, self._clock, self._keys)
            if self._beside is not None and settings.kind == "local":
                provider = self._beside(provider)
            self._endpoints[settings.name] = Endpoint(
                provider=provider, models=(), timers=_timers(settings), region=settings.region
            )
        await asyncio.gather(*[self._ask(settings) for settings in providers])
        self._rebuild(sound=False)

    async def tick(self) -> None:
        """Follow the day and the keys, and have silent providers asked again. Called each second; waits for nobody."""
        self._keys.tick()
        if self._silent and (self._asking is None or self._asking.done()):
            self._asking = asyncio.create_task(self._ask_again(), name="catalogue")
        if self._aged or self.table.day != self._today():
            self._aged = False
            self._rebuild()

    async def close(self) -> None:
        """Close every provider."""
        await self._keys.close()
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)
        for endpoint in self._endpoints.values():
            await endpoint.provider.close()

    def providers(self) -> Mapping[str, Endpoint]:
        """Return the endpoints by name."""
        return self._endpoints

    async def _ask_again(self) -> None:
        """Ask every silent provider what it serves, at the same time; offer what those serve that answer now."""
        before = set(self._silent)
        await asyncio.gather(*[self._ask(settings) for settings in tuple(self._silent.values())])
        if before - set(self._silent):
            self._rebuild()

    async def _ask(self, settings: ProviderSettings) -> None:
        endpoint = self._endpoints[settings.name]
        models = await self._models(settings, endpoint.provider)
        self._endpoints[settings.name] = msgspec.structs.replace(endpoint, models=models)

    def built(self, document: RoutingDocument, *, sound: bool = False) -> RouteTable:
        """Return the table that a routing document comes to today; raises Invalid listing every mistake. What was found
        `sound` before is not held to what providers serve by now.
        """
        return RouteTable(
            self._endpoints,
            document.routes,
            self.prices,
            self._today(),
            residency=document.residency,
            features=document.features,
            means=None if sound else self._means,
            load=self.loads,
            missing=self._missing(),
            spaces=self._spaces(),
        )

    def _spaces(self) -> Mapping[str, bool]:
        """Return the models whose vectors collections keep, and whether each is in this machine."""
        here = [name for each in self._endpoints.values() for name in getattr(each.provider, "encoders", ())]
        return dict.fromkeys(here, True) | dict.fromkeys(self._declared, False)

    def _missing(self) -> dict[str, str]:
        """Return models that could be here, and what would bring them."""
        found: dict[str, str] = {}
        for endpoint in self._endpoints.values():
            found.update(getattr(endpoint.provider, "missing", {}))
        return found

    def adopt(self, document: RoutingDocument, table: RouteTable) -> None:
        """Route by `document` from now on. `table` is what it came to when it was built: the next tick builds it anew,
        with what providers serve and cost by now.
        """
        self._document = document
        self.table = table
        self._aged = True

    def _rebuild(self, *, sound: bool = True) -> None:
        self.table = self.built(self._document, sound=sound)
        for model, reason in self.table.unpriced.items():
            _log.warning("model %s is not served: %s", model, reason)

    async def _models(self, settings: ProviderSettings, provider: ChatProvider) -> tuple[str, ...]:
        """Return what a provider serves: as configured, as the price table lists a vendor, or as the server
        says.
        """
        if settings.models:
            return settings.models
        if settings.secret.startswith(FOUND):
            today = datetime.fromtimestamp(self._clock.wall_s(), UTC).date()
            vendor = settings.billed_by
            every = [p for p in self.prices.rows(today) if p.provider == vendor and not p.org]
            rows = [CALLED.get(p.model, p.model) for p in every]
            # Some rows are patterns (fine-tuned models): what is not priced under its own name is not offered.
            return tuple(model for model in rows if self.prices.price(vendor, model, today) is not None)
        if not hasattr(provider, "models"):
            return ()
        try:
            models = tuple(await cast("ListsModels", provider).models())
        except PenstockError as error:
            if settings.name not in self._silent:
                _log.warning("provider %s did not list its models: %s", settings.name, error)
            self._silent[settings.name] = settings
            return ()
        self._silent.pop(settings.name, None)
        return models

    def _today(self) -> int:
        return int(self._clock.wall_s()) // DAY_S


async def _opened(
    settings: ProviderSettings, kept: Secrets, clock: Clock, upstream_keys: UpstreamKeys
) -> ChatProvider:
    """Open a provider; one with several keys as a pool of as many. Each key is followed from then on."""
    names = tuple(dict.fromkeys(name for name in (settings.secret, *settings.secrets) if name))
    keys: dict[str, ChatProvider] = {}
    for name in names or ("",):
        keys[name] = await adapters.provider(msgspec.structs.replace(settings, secret=name), kept, clock)
        if name:
            upstream_keys.follow(name, keys[name], kept)
    if len(keys) == 1:
        return next(iter(keys.values()))
    _log.warning(
        "provider %s calls under %d keys: vendors limit organisations, not keys, and some forbid several accounts to "
        "get around a limit; read your contract with this one",
        settings.name,
        len(keys),
    )
    return KeyPool(keys, clock)


def _means(settings: Settings) -> Means:
    """Return what features can fall back to here."""
    webhooks = {each.name: frozenset(each.orgs) for each in settings.webhooks}
    return Means(stale=bool(settings.cache.url and settings.cache.stale_s), webhooks=webhooks)


def price_book(settings: Settings, providers: tuple[ProviderSettings, ...]) -> PriceBook:
    """Load the price table with the configuration's own prices, free providers and limits on top."""
    priced = [p for p in settings.prices if not p.free]
    free = [FreeRule(provider=p.provider, model=p.model, org=p.org) for p in settings.prices if p.free]
    free.extend(FreeRule(provider=p.billed_by) for p in providers if p.free)
    limits = [
        ModelLimits(
            provider=p.provider,
            model=p.model,
            context_window=p.context_window,
            max_output_tokens=p.max_output,
            org=p.org,
        )
        for p in settings.prices
        if p.context_window or p.max_output
    ]
    return PriceBook.load(
        PriceOverrides(
            prices=tuple(_override(p) for p in priced), free=(*free, *SELF_HOSTED_FREE), limits=tuple(limits)
        ),
        tuple(not_offered(settings, providers)),
    )


def _override(settings: PriceSettings) -> PriceOverride:
    return PriceOverride(
        provider=settings.provider,
        model=settings.model,
        input=settings.input,
        output=settings.output,
        cached_input=settings.cached_input or None,
        per_request=settings.per_request,
        org=settings.org,
        effective_from=date.fromisoformat(settings.from_date) if settings.from_date else date.min,
    )


def _timers(settings: ProviderSettings) -> CallTimers:
    return CallTimers(
        connect_s=settings.connect_s,
        first_byte_s=settings.first_byte_s,
        between_chunks_s=settings.between_chunks_s,
        total_s=settings.total_s,
    )
