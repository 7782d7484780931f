"""A routing document as people read it: who gets which share of a route, and what one version changed. Pure.

Promises: shares add up to the whole of a route's traffic, a canary's included; a change is told route by route, with
targets as words, so that one added in front does not look like all of them changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from penstock.console.differences import Difference, difference
from penstock.console.filters import Sought

Table = Mapping[str, Any]
EVERYBODY: Final = "*"
STRATEGIES: Final = {
    "weighted": "by weight",
    "cheapest": "the cheapest first",
    "fastest": "the quicker of two drawn",
}
COMPLEXITIES: Final = {
    "tag": "the task that the caller names",
    "heuristic": "length and words",
    "classifier": "a small classifier",
    "cascade": "asking the small model first",
}


@dataclass(frozen=True, slots=True)
class BackEnd:
    """A back end of a route: its share of the route's traffic (percent), and the requests it answered in a day."""

    label: str
    kind: str
    share: float
    requests: int | None
    link: str


@dataclass(frozen=True, slots=True)
class RouteLine:
    """A route: its back ends, and its rules in words."""

    model: str
    back_ends: tuple[BackEnd, ...]
    rules: tuple[str, ...]
    fallbacks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RouteChange:
    """What became of one route, or of where an organisation may be served. `kind` is "new", "gone" or "changed"."""

    name: str
    kind: str
    what: Difference


def label_of(target: Table) -> str:
    """Return a back end's name."""
    return f"{target['provider']}/{target['model']}"


def requests_of(label: str, org: str = "") -> str:
    """Return the address of what a back end answered in the last day, to an organisation (`EVERYBODY`: to each)."""
    provider, _, model = label.partition("/")
    at = {"org": org} if org else {}
    return Sought({**at, "provider": provider, "model": model}, "24h").requests()


def route_lines(routes: Sequence[Table], traffic: Mapping[tuple[str, str], int]) -> list[RouteLine]:
    """Return the routes of a document; `traffic` is what each back end answered in a day, empty when nobody knows."""
    return [
        RouteLine(
            model=str(route["model"]),
            back_ends=tuple(back_ends(route, traffic)),
            rules=tuple(_rules(route)),
            fallbacks=tuple(route.get("fallbacks", ())),
        )
        for route in routes
    ]


def back_ends(route: Table, traffic: Mapping[tuple[str, str], int]) -> list[BackEnd]:
    """Return a route's back ends: production, its canary, those of easy requests."""
    canary, complexity = route.get("canary", {}), route.get("complexity", {})
    percent = float(canary.get("percent", 0.0)) if canary.get("targets") else 0.0
    groups = (
        ("", route["targets"], 100.0 - percent),
        ("canary", canary.get("targets", ()), percent),
        ("easy requests", complexity.get("small", ()), 0.0),
    )
    found: list[BackEnd] = []
    for kind, targets, whole in groups:
        weights = sum(int(each.get("weight", 100)) for each in targets)
        found += [_back_end(each, kind, whole, weights, traffic) for each in targets]
    return found


def _back_end(
    target: Table, kind: str, whole: float, weights: int, traffic: Mapping[tuple[str, str], int]
) -> BackEnd:
    weight = int(target.get("weight", 100))
    name = (str(target["provider"]), str(target["model"]))
    return BackEnd(
        label=label_of(target),
        kind=kind or ("" if weight else "fallback only"),
        share=whole * weight / weights if weights else 0.0,
        requests=traffic.get(name, 0) if traffic else None,
        link=requests_of(label_of(target), EVERYBODY),
    )


def _rules(route: Table) -> list[str]:
    complexity = route.get("complexity", {}).get("by", "none")
    told = [
        STRATEGIES.get(route.get("strategy", "weighted"), str(route.get("strategy"))),
        f"each {route.get('sticky')} stays" if route.get("sticky", "none") != "none" else "",
        f"self-hosted first below {route.get('spill_in_flight')} at a time"
        if route.get("spill_in_flight")
        else "",
        f"only in {', '.join(route.get('regions', ()))}" if route.get("regions") else "",
        *(f"{each['tier']}: at most ${each['output']} per million out" for each in route.get("ceilings", ())),
        _rate(route.get("rate", {})),
        f"easy ones by {COMPLEXITIES.get(complexity, complexity)}" if complexity != "none" else "",
    ]
    return [each for each in told if each]


def _rate(rate: Table) -> str:
    """Return what each organisation may use of a route's model, "" where nothing limits it."""
    a_minute = [
        f"{int(rate[name]):,} {what}"
        for name, what in (("requests_per_minute", "requests"), ("tokens_per_minute", "tokens"))
        if rate.get(name)
    ]
    told = f"{' and '.join(a_minute)} {'in any' if rate.get('window') else 'a'} minute" if a_minute else ""
    at_once = f"{int(rate['concurrency']):,} at one time" if rate.get("concurrency") else ""
    limits = ", ".join(each for each in (told, at_once) if each)
    return f"each organisation: {limits}" if limits else ""


# -------------------------------------------------------------------------------------------------- what was changed


def changed_routes(before: Table, after: Table) -> list[RouteChange]:
    """Return what differs between two documents, route by route, in the order of the later one."""
    was, now = _by_name(before), _by_name(after)
    names = [*now, *(name for name in was if name not in now)]
    return [
        RouteChange(
            name=name,
            kind="new" if name not in was else "gone" if name not in now else "changed",
            what=difference(was.get(name), now.get(name)),
        )
        for name in names
        if was.get(name) != now.get(name)
    ]


def _by_name(document: Table) -> dict[str, dict[str, Any]]:
    routes = {str(route["model"]): _told(route) for route in document.get("routes", ())}
    residency = {
        f"where {each['org']} may be served": {"regions": list(each["regions"])}
        for each in document.get("residency", ())
    }
    return routes | residency


def _told(route: Table) -> dict[str, Any]:
    """Return a route with its targets as words."""
    canary, complexity = route.get("canary", {}), route.get("complexity", {})
    told = {name: value for name, value in route.items() if name not in ("model", "canary", "complexity")}
    told["targets"] = _words(route["targets"])
    if canary.get("targets"):
        told["canary"] = {"percent": canary.get("percent", 0.0), "targets": _words(canary["targets"])}
    if complexity.get("by", "none") != "none":
        told["easy requests"] = {**complexity, "small": _words(complexity.get("small", ()))}
    return told


def _words(targets: Sequence[Table]) -> list[str]:
    return [f"{label_of(each)} × {each.get('weight', 100)}" for each in targets]
