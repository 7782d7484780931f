"""Which back end answers a model name. Pure: a table and a request go in, an ordered tuple of targets comes out.

Promises: the table is built whole or not at all, with every mistake listed at once; a target without a price (and not
declared free) never enters it; the order depends only on the route, the request and the load it is shown, so a choice
can be explained and repeated (`gateway/choosing`); the same table serves `/v1/models`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from operator import is_
from typing import Final

import msgspec

from penstock.gateway.choosing import Choice, RouteAsk, Rules, as_drawn, choose, drawn_point
from penstock.gateway.features import Features, Known, Means, mistakes_of
from penstock.gateway.load import Idle, Load
from penstock.gateway.route_rules import RouteBuilder, mixed_models
from penstock.gateway.targets import Endpoint, Target
from penstock.kernel.context import Principal
from penstock.kernel.errors import Invalid, NotFound
from penstock.kernel.settings_features import FeatureSettings
from penstock.kernel.settings_routes import ResidencySettings, RouteSettings, TargetSettings
from penstock.mechanisms.prices import STANDARD_SERVICES, PriceBook

__all__ = ["Choice", "Endpoint", "Route", "RouteAsk", "RouteTable", "Target"]

DAY_S: Final = 86_400
TOLD_MOST: Final = 8
"""Models that a refusal names."""


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """A public model name. `orders[i]` is the order of targets when target i wins the draw; `rules` is None for a route
    that looks at weights alone.
    """

    model: str
    targets: tuple[Target, ...]
    total_weight: int
    orders: tuple[tuple[Target, ...], ...]
    rules: Rules | None = None
    load: Load = Idle()

    def order(self, draw: int) -> tuple[Target, ...]:
        """Return the targets in the order to try; `draw` is any non-negative integer (a request's own number)."""
        if len(self.targets) == 1:
            return self.targets
        point = drawn_point(draw, self.total_weight)
        for index, target in enumerate(self.targets):
            point -= target.weight
            if point < 0:
                return self.orders[index]
        return self.targets

    def draw(self, draw: int) -> Choice:
        """Return the targets to try by weight alone, those near their quota last: all there is to say without rules."""
        if len(self.targets) == 1:
            return Choice(self.targets)
        return as_drawn(self.order(draw), self.load)

    def choose(self, ask: RouteAsk) -> Choice:
        """Return the targets to try and why, by every rule of the route. Raises Forbidden when nobody may answer."""
        if self.rules is None:
            return self.draw(ask.draw)
        return choose(self.model, self.targets, self.rules, ask, self.load)

    def at(self, priced: Callable[[tuple[Target, ...]], tuple[Target, ...]]) -> Route:
        """Return this route with every target of it as `priced` returns it; this very one where all stay the same."""
        targets, rules = priced(self.targets), self.rules
        same = targets is self.targets
        if rules is not None:
            canary, small, behind = priced(rules.canary), priced(rules.small), priced(rules.behind)
            if not (canary is rules.canary and small is rules.small and behind is rules.behind):
                same = False
                rules = msgspec.structs.replace(rules, canary=canary, small=small, behind=behind)
        if same:
            return self
        return msgspec.structs.replace(self, targets=targets, orders=_orders(targets), rules=rules)


class RouteTable:
    """Every public model name. Rebuilt when prices change day; replaced whole when the configuration changes."""

    def __init__(
        self,
        endpoints: Mapping[str, Endpoint],
        routes: Sequence[RouteSettings],
        prices: PriceBook,
        day: int,
        *,
        residency: Sequence[ResidencySettings] = (),
        features: Sequence[FeatureSettings] = (),
        means: Means | None = None,
        load: Load | None = None,
        missing: Mapping[str, str] | None = None,
        spaces: Mapping[str, bool] | None = None,
    ) -> None:
        """Build the table for the UTC `day` (days since 1970); raises Invalid listing every mistake. Rules of
        `features` are checked against `means`; None takes them as they are. `missing` says of models that could be
        here what would bring them; `spaces` has the models whose vectors are kept, and whether each is in this machine
        under that very name: whatever answers for such a one must be one model.
        """
        self._prices = prices
        self._at = datetime.fromtimestamp(day * DAY_S, UTC).date()
        self._builder = RouteBuilder(endpoints, routes, prices, self._at, residency)
        self._load = load or Idle()
        self._missing = missing or {}
        self._spaces = spaces or {}
        self.day = day
        self.unpriced: dict[str, str] = {}
        self._routes: dict[str, Route] = {}
        self.tiered: dict[str, Route] = {}
        """The routes that tell easy requests from hard ones, by public name."""
        found = list(self._builder.mistakes)
        for settings in routes:
            self._add(settings, found)
        for name, endpoint in endpoints.items():
            for model in endpoint.models:
                self._offer(name, model)
        if features and means is not None:
            served = {route.model: route.targets for route in self._routes.values()}
            whole = all(endpoint.models for endpoint in endpoints.values())
            found.extend(mistakes_of(features, Known(served, whole), means))
        if found:
            raise Invalid(
                "The routes cannot be used: " + "; ".join(found),
                code="invalid_routes",
                field="routes",
                value=len(found),
            )
        self._own: dict[str, dict[str, Route]] = {org: self._routes_of(org) for org in sorted(prices.orgs)}
        self.features = Features(features) if features else None
        """The rules of features, None when there are none."""

    def find(self, model: str, principal: Principal | None = None) -> Route:
        """Return the route of a public model name, at the prices of a `principal`, or raise NotFound that names what is
        served, to a `principal` no more than what it may use.
        """
        route = self._routes.get(model)
        if route is not None:
            if self._own and principal is not None and (own := self._own.get(principal.org)) is not None:
                return own.get(model, route)
            return route
        if model in self.unpriced:
            raise Invalid(
                f"The model {model!r} has no price, so it cannot be billed.",
                code="model_without_price",
                field="model",
                value=model,
                remedy="Ask the operator to add a price, or to declare the model free, under [[prices]].",
            )
        remedy = self._missing.get(model)
        told = [each for each in self._routes if principal is None or principal.may_use(each)]
        known = ", ".join(told[:TOLD_MOST])
        none = "None of those served is this key's." if self._routes else "No model is configured yet."
        raise NotFound(
            f"The model {model!r} does not exist here.",
            code="model_not_found",
            field="model",
            value=model,
            remedy=remedy or (f"Models served: {known}." if known else none),
        )

    def narrow(self, choice: Choice, model: str, principal: Principal, feature: str) -> Choice:
        """Return a choice without the back ends that a caller's feature may not use. Raises PolicyRefused when none is
        left.
        """
        if self.features is None:
            return choice
        rules = self.features.of(principal, feature)
        return choice if rules is None else rules.narrow(choice, model)

    def of_org(self, route: Route, org: str) -> Route:
        """Return a route at the prices of an organisation."""
        return self._own.get(org, {}).get(route.model, route)

    def in_service(self, targets: tuple[Target, ...], service: str, org: str = "") -> tuple[Target, ...]:
        """Return `targets` at the price of a vendor's class of service ("flex", "priority", …) for an organisation, or
        raise Invalid.
        """
        if service in STANDARD_SERVICES:
            return targets
        priced: list[Target] = []
        for target in targets:
            price = self._prices.price(target.provider.vendor, target.model, self._at, service, org)
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

    def _routes_of(self, org: str) -> dict[str, Route]:
        """Return the routes that cost an organisation something else, by public name."""

        def priced(targets: tuple[Target, ...]) -> tuple[Target, ...]:
            own = tuple([self._priced(target, org) for target in targets])
            return targets if all(map(is_, own, targets)) else own

        every = [(model, route, route.at(priced)) for model, route in self._routes.items()]
        return {model: own for model, route, own in every if own is not route}

    def _priced(self, target: Target, org: str) -> Target:
        price = self._prices.price(target.provider.vendor, target.model, self._at, org=org)
        return target if price is None or not price.org else msgspec.structs.replace(target, price=price)

    def _offer(self, provider: str, model: str) -> None:
        """Serve a provider's own models under their plain and their qualified name, unless a route has the name."""
        qualified = f"{provider}/{model}" if not model.startswith(f"{provider}/") else model
        target = (TargetSettings(provider=provider, model=model),)
        for public in dict.fromkeys((model, qualified)):
            if public not in self._routes:
                mistakes: list[str] = []
                self._add(RouteSettings(model=public, targets=target), mistakes)
                if mistakes:
                    self.unpriced[public] = mistakes[0]

    def _add(self, settings: RouteSettings, mistakes: list[str]) -> None:
        """Add a route, or what is wrong with it."""
        model = settings.model
        before = len(mistakes)
        if model in self._routes:
            mistakes.append(f"routes[{model}]: a route is defined twice")
        targets, rules = self._builder.route(settings, mistakes)
        weights = sum(target.weight for target in targets)
        if targets and not weights:
            mistakes.append(f"routes[{model}].targets: expected at least one target with a weight")
        if model in self._spaces:
            mistakes.extend(mixed_models(model, targets, rules, is_here=self._spaces[model]))
        if len(mistakes) == before:
            route = self._routes[model] = Route(
                model=model,
                targets=targets,
                total_weight=weights,
                orders=_orders(targets),
                rules=rules,
                load=self._load,
            )
            if rules is not None and rules.judge is not None:
                self.tiered[model] = route


def _orders(targets: tuple[Target, ...]) -> tuple[tuple[Target, ...], ...]:
    """Return, for each target, the order when it wins the draw."""
    return tuple((first, *(t for t in targets if t is not first)) for first in targets)
