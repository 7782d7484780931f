"""Routes at an organisation's own prices: whatever a request can come to, and whatever looks at a price."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.gateway.routing import Endpoint, RouteAsk, RouteTable, Target
from penstock.gateway.tiers import Tiers
from penstock.kernel.context import Principal
from penstock.kernel.errors import Forbidden, Invalid
from penstock.kernel.events import RequestEvent
from penstock.kernel.settings import RoutingDocument
from penstock.mechanisms.config_versions import read_document
from penstock.mechanisms.price_data import PriceOverride, PriceOverrides
from penstock.mechanisms.prices import PriceBook
from tests.unit.gateway.doubles import NamedProvider

ENDPOINTS = {
    "sim": Endpoint(provider=NamedProvider("sim"), models=("small", "large")),
    "alt": Endpoint(provider=NamedProvider("alt"), models=("small",)),
}
TWO = [{"provider": "sim", "model": "small"}, {"provider": "alt", "model": "small"}]
GENERAL = (("sim", "small", "2"), ("sim", "large", "30"), ("alt", "small", "3"))


def table(*own: tuple[str, str, str], **route: Any) -> RouteTable:
    """Build a table with the route `gpt` and the route `spare`; `own` are acme's (provider, model, output)."""
    prices = [PriceOverride(provider=p, model=m, input="1", output=o) for p, m, o in GENERAL]
    prices += [PriceOverride(provider=p, model=m, input="1", output=o, org="acme") for p, m, o in own]
    spare = {"model": "spare", "targets": [{"provider": "sim", "model": "large"}]}
    document: RoutingDocument = read_document({"routes": [{"model": "gpt", "targets": TWO} | route, spare]})
    return RouteTable(
        ENDPOINTS, document.routes, PriceBook.load(PriceOverrides(prices=tuple(prices))), 20_000
    )


def who(org: str) -> Principal:
    """Return a caller of an organisation."""
    return Principal(key_id="k", org=org, team="t", project="p", user="u")


def chosen(routes: RouteTable, org: str, draw: int = 1, **more: Any) -> tuple[Target, ...]:
    """Choose for `gpt`."""
    return routes.find("gpt", who(org)).choose(RouteAsk(draw, who(org), **more)).targets


def outputs(targets: tuple[Target, ...]) -> dict[str, int]:
    """Return dollars per million output tokens by label."""
    return {target.label: target.price.rates.output // 10**9 for target in targets}


def test_targets_of_every_draw_have_the_callers_price_and_other_routes_stay_the_very_same() -> None:
    routes = table(("sim", "small", "7"))
    for draw in range(20):
        assert outputs(chosen(routes, "acme", draw)) == {"sim/small": 7, "alt/small": 3}
        assert outputs(chosen(routes, "globex", draw)) == {"sim/small": 2, "alt/small": 3}
    general = routes.find("spare")
    assert routes.find("spare", who("acme")) is general
    assert routes.find("gpt", who("globex")) is routes.find("gpt")
    assert outputs(routes.find("sim/small", who("acme")).targets) == {"sim/small": 7}


def test_fallbacks_canaries_and_small_models_have_it_too() -> None:
    large = [{"provider": "sim", "model": "large"}]
    behind = table(("sim", "large", "70"), fallbacks=["spare"])
    assert outputs(chosen(behind, "acme"))["sim/large"] == 70
    assert outputs(chosen(behind, "globex"))["sim/large"] == 30
    canary = table(("sim", "large", "70"), canary={"percent": 100, "targets": large})
    assert outputs(chosen(canary, "acme")[:1]) == {"sim/large": 70}
    complexity = {"by": "cascade", "small": large, "words": ["proof"]}
    cascade = table(("sim", "large", "70"), ("alt", "small", "8"), complexity=complexity)
    ask = RouteAsk(1, who("acme"), text=lambda: "hi")
    choice = cascade.find("gpt", who("acme")).choose(ask)
    assert outputs(choice.targets)["sim/large"] == 70
    assert outputs(choice.larger) == {"sim/small": 2, "alt/small": 8}


def test_the_cheapest_is_the_cheapest_for_the_caller() -> None:
    routes = table(("sim", "small", "7"), strategy="cheapest")
    ask = {"input_tokens": 10, "output_tokens": 100}
    assert [each.label for each in chosen(routes, "acme", **ask)] == ["alt/small", "sim/small"]
    assert [each.label for each in chosen(routes, "globex", **ask)] == ["sim/small", "alt/small"]


def test_a_ceiling_is_held_against_the_callers_price() -> None:
    ceilings = [{"tier": "standard", "output": "2.5"}]
    routes = table(("sim", "small", "7"), ("alt", "small", "1"), ceilings=ceilings)
    assert [each.label for each in chosen(routes, "acme")] == ["alt/small"]
    assert [each.label for each in chosen(routes, "globex")] == ["sim/small"]
    with pytest.raises(Forbidden):
        chosen(table(("sim", "small", "7"), ceilings=ceilings), "acme")


def test_a_class_of_service_is_priced_for_the_caller_too() -> None:
    general = PriceBook.load()
    price = PriceOverride(provider="openai", model="gpt-4o", input="1", output="1", org="acme")
    endpoints = {"openai": Endpoint(provider=NamedProvider("openai"), models=("gpt-4o",))}
    routes = RouteTable(endpoints, (), PriceBook.load(PriceOverrides(prices=(price,))), 20_760)
    [target] = routes.find("gpt-4o", who("globex")).targets
    assert general.price("openai", "gpt-4o", routes._at, "priority") is not None
    [dearer] = routes.in_service((target,), "priority", "globex")
    assert dearer.price.rates.output > target.price.rates.output
    with pytest.raises(Invalid, match="service tier"):
        routes.in_service(routes.find("gpt-4o", who("acme")).targets, "priority", "acme")


def test_what_small_models_save_is_counted_at_the_callers_price() -> None:
    complexity = {"by": "heuristic", "small": [{"provider": "sim", "model": "large"}]}
    tiers = Tiers(lambda: table(("sim", "small", "7"), complexity=complexity))

    def event(org: str) -> RequestEvent:
        return RequestEvent(
            request_id="r", at_s=1.0, org=org, model="gpt", provider="sim", route="sim/large",
            output_tokens=1_000_000, cost_nanos=0,
        )  # fmt: skip

    tiers([event("acme")])
    assert tiers.sums["gpt"].saved_nanos == 7 * 10**9
    tiers([event("globex")])
    assert tiers.sums["gpt"].saved_nanos == 9 * 10**9
