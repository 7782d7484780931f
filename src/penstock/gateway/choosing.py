"""One route's choice of back ends for one request. Pure: route, request and load in, targets and reasons out.

    arm         canary or production, by the caller's lot or the request's
    tier        small or large model, where the route tells easy requests apart      `gateway/complexity`
    allowed     regions the caller may be served in, price ceiling of its tier
    first       by weight, price or speed among the targets with a weight
    pushed back what is ill or near its quota; own fleet first while it has room
    behind      targets without weight, the large tier, production behind a canary, other routes

Promises: the same route, ask and readings give the same choice, in any process; a lot depends on the caller, the route
and the back end only, so that a change of weights moves no more callers than it must (weighted rendezvous hashing:
Schindelhauer and Schomaker, 2005) and a growing canary keeps whom it has; nothing that is ill is tried before what is
well, and nothing is left out for being ill; what the caller may not be served by is never in the answer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Final, NamedTuple

import msgspec

from penstock.gateway.complexity import LARGE, SMALL, Cascade, Judge
from penstock.gateway.load import Idle, Load, Reading
from penstock.gateway.targets import Target
from penstock.kernel.context import Principal
from penstock.kernel.errors import Forbidden
from penstock.kernel.money import worst_case_nanos

PRODUCTION: Final = "production"
CANARY: Final = "canary"
_LOTS: Final = 1 << 64
_GOLDEN: Final = 0x9E3779B97F4A7C15
"""2⁶⁴ over the golden ratio: its multiples spread evenly (Knuth, TAOCP 3, 6.4), so a percent holds for any stretch."""
_SILVER: Final = 0x6A09E667F3BCC908
"""2⁶⁴ times √2 - 1: spreads alike, and independently of the golden ratio's."""
_IDLE: Final = Idle()


def _nothing() -> str:
    return ""


class RouteAsk(NamedTuple):
    """One request, as far as routing looks. `text()` is asked for only by a route that looks into it."""

    draw: int
    principal: Principal
    task: str = ""
    region: str = ""
    urgent: bool = False
    input_tokens: int = 0
    output_tokens: int = 0
    text: Callable[[], str] = _nothing


class Choice(NamedTuple):
    """Targets in the order to try, and why. `tier` is "small" or "large" where the route has both; `larger` are who to
    ask when `cascade` says that the small one's answer will not do.
    """

    targets: tuple[Target, ...]
    why: tuple[str, ...] = ()
    tier: str = ""
    larger: tuple[Target, ...] = ()
    cascade: Cascade | None = None


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What a route looks at besides weights. Values are ready to use; `ceilings` are nano-dollars per million output
    tokens by tier, `residency` regions by organisation.
    """

    sticky: str = "none"
    strategy: str = "weighted"
    spill_in_flight: int = 0
    regions: frozenset[str] = frozenset()
    ceilings: Mapping[str, int] = {}
    residency: Mapping[str, frozenset[str]] = {}
    canary: tuple[Target, ...] = ()
    canary_percent: float = 0.0
    small: tuple[Target, ...] = ()
    judge: Judge | None = None
    behind: tuple[Target, ...] = ()


def choose(
    model: str, targets: tuple[Target, ...], rules: Rules, ask: RouteAsk, load: Load = _IDLE
) -> Choice:
    """Return who answers a request for the public name `model`. Raises Forbidden when nobody may."""
    subject = _subject(rules.sticky, ask.principal)
    groups, tier, why = _groups(model, targets, rules, ask, subject)
    allowed = _allowed(rules, ask)
    ordered: dict[str, Target] = {}
    for group in groups:
        able = [target for target in group if allowed(target)]
        for target in _ranked(model, rules, able, ask, subject, load):
            ordered.setdefault(target.label, target)
    for target in rules.behind:
        if allowed(target):
            ordered.setdefault(target.label, target)
    if not ordered:
        raise _nobody(model, ask)
    if rules.strategy != "weighted":
        why.append(rules.strategy)
    elif subject:
        why.append(f"sticky {rules.sticky}")
    placed = _well_first(list(ordered.values()), load, why)
    told = tuple(why)
    larger = (
        tuple([t.because(("escalated",)) for t in placed if t in targets]) if _asks_twice(rules, tier) else ()
    )
    cascade = Cascade(rules.judge.threshold) if larger and rules.judge is not None else None
    return Choice(tuple([target.because(told) for target in placed]), told, tier, larger, cascade)


def _groups(
    model: str, targets: tuple[Target, ...], rules: Rules, ask: RouteAsk, subject: str
) -> tuple[tuple[tuple[Target, ...], ...], str, list[str]]:
    """Return the groups of targets to try one after the other, the tier of the first, and why."""
    if _is_canary(model, rules, subject, ask.draw):
        return (rules.canary, targets), "", [f"canary {rules.canary_percent:g} %"]
    if rules.judge is None:
        return (targets,), "", []
    easy, reason = rules.judge.is_easy(ask.task, ask.input_tokens, ask.text)
    tier = SMALL if easy else LARGE
    return ((rules.small, targets) if easy else (targets,)), tier, [f"{tier}: {reason}"]


def _asks_twice(rules: Rules, tier: str) -> bool:
    return tier == SMALL and rules.judge is not None and rules.judge.by == "cascade"


def _subject(sticky: str, principal: Principal) -> str:
    """Return who keeps a lot, "" when each request has its own."""
    if sticky == "none":
        return ""
    if sticky == "user" and principal.user:
        return f"{principal.org}/{principal.user}"
    return f"{principal.org}#{principal.key_id}"


def _lot(*of: str) -> float:
    """Return a number in (0, 1) that only `of` decides."""
    digest = blake2b("\0".join(of).encode(), digest_size=8).digest()
    return (int.from_bytes(digest) + 0.5) / _LOTS


def _is_canary(model: str, rules: Rules, subject: str, draw: int) -> bool:
    if not rules.canary or not rules.canary_percent:
        return False
    lot = _lot(subject, model, CANARY) if subject else (draw * _GOLDEN % _LOTS) / _LOTS
    return lot * 100 < rules.canary_percent


def _allowed(rules: Rules, ask: RouteAsk) -> Callable[[Target], bool]:
    """Return whether a target may serve the request, by region and by price."""
    demands = [rules.regions, rules.residency.get(ask.principal.org, frozenset[str]())]
    if ask.region:
        demands.append(frozenset({ask.region}))
    demands = [each for each in demands if each]
    ceiling = rules.ceilings.get(ask.principal.tier)

    def allowed(target: Target) -> bool:
        if any(target.region not in each for each in demands):
            return False
        return ceiling is None or target.price.rates.dearest_output() <= ceiling

    return allowed


def _ranked(
    model: str, rules: Rules, targets: list[Target], ask: RouteAsk, subject: str, load: Load
) -> list[Target]:
    """Return a group in the order of the route's strategy; those without a weight do not compete, and come last."""
    weighty = [target for target in targets if target.weight]
    idle = [target for target in targets if not target.weight]
    if len(weighty) < 2:
        return weighty + idle
    if rules.strategy == "cheapest":
        spoken = max(ask.output_tokens, 1)
        weighty.sort(key=lambda t: worst_case_nanos(t.price, ask.input_tokens, spoken))
    elif subject:
        weighty.sort(key=lambda t: math.log(_lot(subject, model, t.route)) / t.weight, reverse=True)
    else:
        weighty = _by_weight(weighty, ask.draw)
        weighty = _quicker(weighty, load) if rules.strategy == "fastest" else weighty
    if rules.spill_in_flight:
        room = 0 if ask.urgent else rules.spill_in_flight
        weighty.sort(key=lambda t: _spill(t, room, load))
    return weighty + idle


def _spill(target: Target, room: int, load: Load) -> int:
    """Return where a target goes: own hardware with room first, without it last."""
    if not target.price.free:
        return 1
    return 0 if load.reading(target.label).in_flight < room else 2


def drawn_point(draw: int, total_weight: int) -> int:
    """Return a number below `total_weight`; those of consecutive draws are spread evenly, so that no back end gets its
    share in one go.
    """
    return (draw * _SILVER % _LOTS) * total_weight >> 64


def _by_weight(targets: Sequence[Target], draw: int) -> list[Target]:
    """Return the target whose share the draw falls in, then the others as they were written."""
    point = drawn_point(draw, sum(target.weight for target in targets))
    for target in targets:
        point -= target.weight
        if point < 0:
            return [target, *(each for each in targets if each is not target)]
    return list(targets)


def _quicker(drawn: list[Target], load: Load) -> list[Target]:
    """Return the better of the first two first (the power of two choices: Mitzenmacher, 2001): whose queue would give
    the first token sooner. One that was never measured is better, so that it is.
    """

    def wait(target: Target) -> float:
        reading = load.reading(target.label)
        return reading.first_token_ms * (reading.in_flight + 1)

    first, second, *rest = drawn
    return [second, first, *rest] if wait(second) < wait(first) else drawn


def as_drawn(targets: tuple[Target, ...], load: Load) -> Choice:
    """Return the choice of a route that looks at weights alone and drew `targets`; what is scarce goes last."""
    if len(targets) == 1 or not load.any_scarce:
        return Choice(targets)
    why: list[str] = []
    placed = _well_first(list(targets), load, why)
    return (
        Choice(tuple([target.because(tuple(why)) for target in placed]), tuple(why))
        if why
        else Choice(targets)
    )


def _well_first(ordered: list[Target], load: Load, why: list[str]) -> list[Target]:
    """Return what is ill, or near its vendor's quota, behind what is well."""
    if len(ordered) == 1:
        return ordered
    readings = {target.label: load.reading(target.label) for target in ordered}
    placed = sorted(ordered, key=lambda target: _trouble(readings[target.label]))
    first = ordered[0].label
    if placed[0] is not ordered[0]:
        why.append(f"{first} is {'near its quota' if readings[first].well else 'ill'}")
    return placed


def _trouble(reading: Reading) -> int:
    """Return how far back a back end goes: a quota nearly used up still answers."""
    return int(reading.scarce) if reading.well else 2


def _nobody(model: str, ask: RouteAsk) -> Forbidden:
    return Forbidden(
        f"No back end of {model!r} may serve this request: region or price ceiling rule out each.",
        code="no_back_end_allowed",
        field="model",
        value=model,
        limit=f"region {ask.region}" if ask.region else f"tier {ask.principal.tier}",
        remedy="Ask without x-penstock-region, for another model, or ask the operator for one in your region.",
    )
