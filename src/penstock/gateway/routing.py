"""Which back end answers a model name. Pure: a table and a draw go in, an ordered tuple of targets comes out.

Promises: the table is built whole or not at all, with every mistake listed at once; a target without a price (and not
declared free) never enters it; the order depends only on the route, the draw and nothing else, so a choice can be
explained and repeated; the same table serves `/v1/models`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

import msgspec

from penstock.kernel.errors import Invalid, NotFound, PenstockError
from penstock.kernel.money import Price
from penstock.kernel.settings import RouteSettings, TargetSettings
from penstock.mechanisms.prices import STANDARD_SERVICES, PriceBook
from penstock.ports.providers import CallTimers, ChatProvider

DAY_S = 86_400
_UNFIT_FOR_HEADERS = re.compile(r"[^ -~]")


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """One back end of a route, with today's price pinned."""

    provider: ChatProvider
    model: str
    price: Price
    weight: int
    timers: CallTimers
    label: str
    limit_name: str
    """The member this provider reads its answer limit from."""
    headers: bytes
    """Reply headers that say why the request went here, rendered once."""

    def within(self, left_s: float) -> CallTimers:
        """Return the timers of a call that must end in `left_s` seconds, rounded up to a whole one."""
        timers = self.timers
        if timers.total_s <= left_s:
            return timers
        whole_s = max(math.ceil(left_s), 1)
        return timers if timers.total_s <= whole_s else msgspec.structs.replace(timers, total_s=whole_s)


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """A public model name. `orders[i]` is the order of targets when target i wins the draw."""

    model: str
    targets: tuple[Target, ...]
    total_weight: int
    orders: tuple[tuple[Target, ...], ...]

    def order(self, draw: int) -> tuple[Target, ...]:
        """Return the targets in the order to try; `draw` is any non-negative integer (a request's own number)."""
        if len(self.targets) == 1:
            return self.targets
        point = draw % self.total_weight
        for index, target in enumerate(self.targets):
            point -= target.weight
            if point < 0:
                return self.orders[index]
        return self.targets


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A provider as routing sees it: who calls it, which models it serves, how long it may take."""

    provider: ChatProvider
    models: tuple[str, ...]
    timers: CallTimers = CallTimers()


class RouteTable:
    """Every public model name. Rebuilt when prices change day; replaced whole when the configuration changes."""

    def __init__(
        self, endpoints: Mapping[str, Endpoint], routes: Sequence[RouteSettings], prices: PriceBook, day: int
    ) -> None:
        """Build the table for the UTC `day` (days since 1970); raises Invalid listing every mistake."""
        self._endpoints = endpoints
        self._prices = prices
        self._at = datetime.fromtimestamp(day * DAY_S, UTC).date()
        self.day = day
        self.unpriced: dict[str, str] = {}
        mistakes: list[str] = []
        self._routes: dict[str, Route] = {}
        for settings in routes:
            try:
                self._add(settings.model, settings.targets)
            except PenstockError as error:
                mistakes.append(str(error))
        if mistakes:
            raise Invalid(
                "The routes cannot be used: " + "; ".join(mistakes), field="routes", value=len(mistakes)
            )
        for name, endpoint in endpoints.items():
            for model in endpoint.models:
                self._offer(name, model)

    def find(self, model: str) -> Route:
        """Return the route of a public model name, or raise NotFound that names what is served."""
        route = self._routes.get(model)
        if route is not None:
            return route
        if model in self.unpriced:
            raise Invalid(
                f"The model {model!r} has no price, so it cannot be billed.",
                code="model_without_price",
                field="model",
                value=model,
                remedy="Ask the operator to add a price, or to declare the model free, under [[prices]].",
            )
        known = ", ".join(list(self._routes)[:8])
        raise NotFound(
            f"The model {model!r} does not exist here.",
            code="model_not_found",
            field="model",
            value=model,
            remedy=f"Models served: {known}." if known else "No model is configured yet.",
        )

    def in_service(self, targets: tuple[Target, ...], service: str) -> tuple[Target, ...]:
        """Return `targets` at the price of a vendor's class of service ("flex", "priority", …), or raise Invalid."""
        if service in STANDARD_SERVICES:
            return targets
        priced: list[Target] = []
        for target in targets:
            price = self._prices.price(target.provider.vendor, target.model, self._at, service)
            if price is None:
                raise Invalid(
                    f"The service tier {service!r} has no price for {target.label}.",
                    code="service_without_price",
                    field="service_tier",
                    value=service,
                    remedy="Leave service_tier out.",
                )
            priced.append(msgspec.structs.replace(target, price=price))
        return tuple(priced)

    def models(self) -> Iterable[Route]:
        """Return every route, in the order of definition."""
        return self._routes.values()

    def _offer(self, provider: str, model: str) -> None:
        """Serve a provider's own models under their plain and their qualified name, unless a route has the name."""
        qualified = f"{provider}/{model}" if not model.startswith(f"{provider}/") else model
        target = (TargetSettings(provider=provider, model=model),)
        for public in dict.fromkeys((model, qualified)):
            if public in self._routes:
                continue
            try:
                self._add(public, target)
            except PenstockError as error:
                self.unpriced[public] = str(error)

    def _add(self, model: str, settings: Sequence[TargetSettings]) -> None:
        if model in self._routes:
            raise Invalid("A route is defined twice.", field="routes.model", value=model)
        targets = tuple(self._target(model, each) for each in settings)
        weights = sum(target.weight for target in targets)
        if not weights:
            raise Invalid(
                "A route has no target with a weight.", field="routes.targets.weight", value=model, limit=1
            )
        orders = tuple((first, *(t for t in targets if t is not first)) for first in targets)
        self._routes[model] = Route(model=model, targets=targets, total_weight=weights, orders=orders)

    def _target(self, model: str, settings: TargetSettings) -> Target:
        endpoint = self._endpoints.get(settings.provider)
        if endpoint is None:
            raise Invalid(
                "A route names an unknown provider.",
                field=f"routes[{model}].targets.provider",
                value=settings.provider,
                remedy=f"Defined: {', '.join(self._endpoints) or 'none'}.",
            )
        provider = endpoint.provider
        label = f"{settings.provider}/{settings.model}"
        return Target(
            provider=provider,
            model=settings.model,
            weight=settings.weight,
            timers=endpoint.timers,
            label=label,
            limit_name=provider.limit_name,
            price=self._prices.require(provider.vendor, settings.model, self._at),
            headers=b"x-penstock-route: %b\r\n" % _UNFIT_FOR_HEADERS.sub("?", label).encode(),
        )
