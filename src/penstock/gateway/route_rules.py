"""Settings of routes → targets and rules ready to choose by. Every mistake of every route is found, none is fatal here.

A mistake reads like the others of the configuration: where it is, what was found, what is expected.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from itertools import combinations

import msgspec

from penstock.gateway.choosing import CANARY, PRODUCTION, Rules
from penstock.gateway.complexity import Judge
from penstock.gateway.targets import Endpoint, Target, route_header
from penstock.kernel.context import Rate, Scope
from penstock.kernel.errors import Invalid, PenstockError
from penstock.kernel.money import parse_dollars
from penstock.kernel.settings_routes import (
    ComplexitySettings,
    ResidencySettings,
    RouteSettings,
    TargetSettings,
)
from penstock.mechanisms.prices import PriceBook


class RouteBuilder:
    """Turns the routes of one configuration into targets and rules. `mistakes` are those that no one route has."""

    def __init__(
        self,
        endpoints: Mapping[str, Endpoint],
        routes: Sequence[RouteSettings],
        prices: PriceBook,
        at: date,
        residency: Sequence[ResidencySettings] = (),
    ) -> None:
        """Build over `endpoints` at the prices of the day `at`."""
        self._endpoints = endpoints
        self._prices = prices
        self._at = at
        self._named = {route.model: route for route in routes}
        self._residency = {each.org: frozenset(each.regions) for each in residency}
        self._regions = {endpoint.region for endpoint in endpoints.values() if endpoint.region}
        self.mistakes = list(self._of_residency(residency))

    def route(self, settings: RouteSettings, mistakes: list[str]) -> tuple[tuple[Target, ...], Rules | None]:
        """Return a route's targets and its rules, None when weights are all it looks at; adds what is wrong."""
        arm = PRODUCTION if settings.canary.targets else ""
        where = f"routes[{settings.model}]"
        targets = self._group(f"{where}.targets", settings.targets, arm, mistakes, of=settings)
        if self._is_plain(settings):
            return targets, None
        canary = self._group(
            f"{where}.canary.targets", settings.canary.targets, CANARY, mistakes, of=settings
        )
        if settings.canary.targets and not sum(each.weight for each in settings.canary.targets):
            mistakes.append(f"{where}.canary.targets: expected at least one with a weight")
        if settings.canary.percent and not settings.canary.targets:
            mistakes.append(f"{where}.canary.targets: missing, though canary.percent is not 0")
        small = self._group(
            f"{where}.complexity.small", settings.complexity.small, arm, mistakes, of=settings
        )
        mistakes.extend(_of_complexity(where, settings.complexity))
        mistakes.extend(self._unknown_regions(f"{where}.regions", settings.regions))
        rules = Rules(
            sticky=settings.sticky,
            strategy=settings.strategy,
            spill_in_flight=settings.spill_in_flight,
            regions=frozenset(settings.regions),
            ceilings=_ceilings(where, settings, mistakes),
            residency=self._residency,
            canary=canary,
            canary_percent=settings.canary.percent,
            small=small,
            judge=_judge(settings.complexity),
            behind=tuple(self._behind(settings, where, mistakes)),
        )
        return targets, rules

    def _is_plain(self, settings: RouteSettings) -> bool:
        """Whether nothing but weights decides; where providers have regions, callers may ask for one."""
        bare = RouteSettings(
            model=settings.model,
            targets=settings.targets,
            hedge=settings.hedge,
            resume=settings.resume,
            rate=settings.rate,
        )
        return settings == bare and not self._regions and not self._residency

    def _group(
        self,
        where: str,
        settings: Sequence[TargetSettings],
        arm: str,
        mistakes: list[str],
        *,
        of: RouteSettings | None = None,
    ) -> tuple[Target, ...]:
        found: list[Target] = []
        for each in settings:
            try:
                found.append(self._target(where, each, arm, of=of))
            except PenstockError as error:
                mistakes.append(_told(where, error))
        for label, times in Counter(target.label for target in found).items():
            if times > 1:
                mistakes.append(f"{where}: {label} is there {times} times")
        return tuple(found)

    def _target(self, where: str, settings: TargetSettings, arm: str, *, of: RouteSettings | None) -> Target:
        endpoint = self._endpoints.get(settings.provider)
        if endpoint is None:
            raise Invalid(
                "A route names an unknown provider.",
                field=f"{where}.provider",
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
            headers=route_header(f"{label}#{arm}" if arm else label),
            arm=arm,
            region=endpoint.region,
            hedge=of is not None and of.hedge,
            resume=of is not None and of.resume,
            limited=None if of is None else self._limited(of),
        )

    def _limited(self, settings: RouteSettings) -> Scope | None:
        """Return what limits a route's public name for each organisation, None where nothing does.

        A route that nobody defined offers a model as ``provider/model``: it is under the limit of the plain name.
        """
        if settings.model not in self._named:
            settings = self._named.get(settings.targets[0].model, settings)
        rate = Rate(**msgspec.structs.asdict(settings.rate))
        return Scope(level="model", path=f"model:{settings.model}", rate=rate) if rate.is_set else None

    def _behind(self, settings: RouteSettings, where: str, mistakes: list[str]) -> Iterator[Target]:
        """Yield the targets of every route that stands in for this one, nearest first; tells a way back to itself."""
        waiting: list[tuple[str, tuple[str, ...]]] = [
            (name, (settings.model,)) for name in reversed(settings.fallbacks)
        ]
        done: set[str] = set()
        limited = self._limited(settings)  # of the name that is asked for, whoever answers
        while waiting:
            name, way = waiting.pop()
            if name in way:
                mistakes.append(f"{where}.fallbacks: a cycle, {' → '.join((*way, name))}")
                continue
            if name in done:
                continue
            done.add(name)
            route = self._named.get(name)
            if route is not None:
                for target in self._group(f"{where}.fallbacks", route.targets, "", [], of=route):
                    yield msgspec.structs.replace(target, limited=limited)
                waiting.extend((each, (*way, name)) for each in reversed(route.fallbacks))
            elif (target := self._named_target(name, where, mistakes)) is not None:
                yield msgspec.structs.replace(target, limited=limited)

    def _named_target(self, name: str, where: str, mistakes: list[str]) -> Target | None:
        """Return the target behind a qualified name, ``provider/model``."""
        provider, _, model = name.partition("/")
        if provider not in self._endpoints or not model:
            mistakes.append(f"{where}.fallbacks: {name!r} is neither a route nor provider/model")
            return None
        found = self._group(
            f"{where}.fallbacks", [TargetSettings(provider=provider, model=model)], "", mistakes
        )
        return found[0] if found else None

    def _of_residency(self, residency: Sequence[ResidencySettings]) -> Iterator[str]:
        for org, times in Counter(each.org for each in residency).items():
            if times > 1:
                yield f"residency: org {org!r} is there more than once"
        for each in residency:
            yield from self._unknown_regions(f"residency[{each.org}].regions", each.regions)

    def _unknown_regions(self, where: str, regions: Sequence[str]) -> Iterator[str]:
        known = ", ".join(sorted(self._regions)) or "none"
        for region in regions:
            if region not in self._regions:
                yield f"{where}: no provider is in region {region!r} (known: {known})"


def mixed_models(
    model: str, targets: Sequence[Target], rules: Rules | None, *, is_here: bool
) -> Iterator[str]:
    """Yield what is wrong with a route of a model whose vectors are kept: another model's would be put among them,
    where its length is the same, and nobody would ever know. `is_here`: the route's name is the model's own.

    Names are of one model where they are the same, or one is the other behind the name of its maker.
    """
    every = [*targets, *([*rules.canary, *rules.small, *rules.behind] if rules is not None else [])]
    called = {target.model for target in every} | ({model} if is_here else set[str]())
    names = sorted(called, key=len)
    for one, other in combinations(names, 2):
        if not other.endswith(f"/{one}"):
            yield (
                f"routes[{model}]: collections keep its vectors, so all that answers must be one model, called alike "
                f"(found {one!r} and {other!r})"
            )
            return


def _told(where: str, error: PenstockError) -> str:
    """Return an error as one mistake among others."""
    return f"{where}: {error.message.rstrip('.')} (found {error.value!r:.60})"


def _of_complexity(where: str, settings: ComplexitySettings) -> Iterator[str]:
    if settings.by == "none":
        if settings.small:
            yield f"{where}.complexity.by: missing, though there are small targets"
        return
    if not sum(each.weight for each in settings.small):
        yield f"{where}.complexity.small: expected at least one target with a weight"
    if settings.by == "tag" and not settings.small_tasks:
        yield f"{where}.complexity.small_tasks: missing, though tasks decide"


def _judge(settings: ComplexitySettings) -> Judge | None:
    if settings.by == "none":
        return None
    return Judge(
        by=settings.by,
        small_tasks=frozenset(settings.small_tasks),
        words=settings.words,
        easy_tokens=settings.easy_tokens,
        threshold=settings.threshold,
    )


def _ceilings(where: str, settings: RouteSettings, mistakes: list[str]) -> dict[str, int]:
    """Return price ceilings by tier, in nano-dollars per million output tokens."""
    found: dict[str, int] = {}
    for each in settings.ceilings:
        if each.tier in found:
            mistakes.append(f"{where}.ceilings: tier {each.tier!r} is there more than once")
        try:
            found[each.tier] = parse_dollars(each.output)
        except PenstockError as error:
            mistakes.append(_told(f"{where}.ceilings.output", error))
    return found
