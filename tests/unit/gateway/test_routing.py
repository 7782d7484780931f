"""Routing: a table and a draw in, an ordered tuple of targets out."""

from __future__ import annotations

import pytest

from penstock.gateway.routing import Endpoint, RouteTable
from penstock.kernel.context import Rate, Scope
from penstock.kernel.errors import Invalid, NotFound
from penstock.kernel.settings import RouteSettings, TargetSettings
from penstock.kernel.settings_routes import ModelRateSettings
from penstock.mechanisms.price_data import FreeRule, PriceOverride, PriceOverrides
from penstock.mechanisms.prices import PriceBook
from tests.unit.gateway.doubles import NamedProvider

PRICES = PriceBook.load(
    PriceOverrides(
        prices=(PriceOverride(provider="sim", model="small", input="1", output="2"),),
        free=(FreeRule(provider="own"),),
    )
)
ENDPOINTS = {
    "sim": Endpoint(provider=NamedProvider("sim"), models=("small", "nameless")),
    "own": Endpoint(provider=NamedProvider("own"), models=("llama",)),
}


def table(*routes: RouteSettings) -> RouteTable:
    """Build a table over the two providers."""
    return RouteTable(ENDPOINTS, routes, PRICES, day=20_000)


def split(**weights: int) -> RouteSettings:
    """Return a route named gpt with the given weights for sim/small and own/llama."""
    models = {"sim": "small", "own": "llama"}
    targets = tuple(
        TargetSettings(provider=name, model=models[name], weight=weight) for name, weight in weights.items()
    )
    return RouteSettings(model="gpt", targets=targets)


def test_providers_models_are_served_under_their_plain_and_their_qualified_name() -> None:
    assert [route.model for route in table().models()] == ["small", "sim/small", "llama", "own/llama"]


def test_a_models_qualified_name_is_under_the_limit_of_its_plain_name() -> None:
    """Whoever asks for sim/small instead of small finds the same limit, not none, and not one more."""
    limited = RouteSettings(
        model="small",
        targets=(TargetSettings(provider="own", model="llama"),),
        rate=ModelRateSettings(requests_per_minute=2),
    )
    found = table(limited)
    plain, qualified = (found.find(name).targets[0] for name in ("small", "sim/small"))
    assert plain.limited == Scope(level="model", path="model:small", rate=Rate(requests_per_minute=2))
    assert qualified.limited == plain.limited
    assert [found.find(name).targets[0].limited for name in ("llama", "own/llama")] == [None, None]


@pytest.mark.parametrize("behind", ["other", "own/llama"])
def test_what_stands_in_for_a_route_is_under_the_limit_of_the_name_that_was_asked_for(behind: str) -> None:
    """Rules may leave only those behind: the limit asked for holds all the same, and theirs is not touched."""
    asked = RouteSettings(
        model="asked",
        targets=(TargetSettings(provider="sim", model="small"),),
        fallbacks=(behind,),
        rate=ModelRateSettings(requests_per_minute=2),
    )
    other = RouteSettings(
        model="other",
        targets=(TargetSettings(provider="own", model="llama"),),
        rate=ModelRateSettings(requests_per_minute=9),
    )
    free = RouteSettings(model="free", targets=asked.targets, fallbacks=asked.fallbacks)
    found = table(asked, other, free)
    rules, unlimited = found.find("asked").rules, found.find("free").rules
    assert rules is not None
    assert unlimited is not None
    assert [target.limited for target in rules.behind] == [found.find("asked").targets[0].limited]
    assert [target.limited for target in unlimited.behind] == [None]


def test_a_route_of_a_qualified_name_has_its_own_limit_or_none() -> None:
    target = (TargetSettings(provider="sim", model="small"),)
    limited = RouteSettings(model="small", targets=target, rate=ModelRateSettings(requests_per_minute=2))
    found = table(limited, RouteSettings(model="sim/small", targets=target))
    assert found.find("sim/small").targets[0].limited is None


def test_a_rate_that_only_says_how_to_count_limits_nothing() -> None:
    how = RouteSettings(
        model="gpt",
        targets=(TargetSettings(provider="sim", model="small"),),
        rate=ModelRateSettings(window=True),
    )
    assert table(how).find("gpt").targets[0].limited is None


def test_a_model_without_a_price_is_refused_and_says_so_rather_than_costing_nothing() -> None:
    with pytest.raises(Invalid) as caught:
        table().find("nameless")
    assert caught.value.reason == "model_without_price"


def test_an_unknown_model_is_not_found_and_the_message_lists_what_is_served() -> None:
    with pytest.raises(NotFound, match="small"):
        table().find("gpt-9")


@pytest.mark.parametrize(("sim", "own"), [(95, 5), (1, 1), (100, 0), (300, 300), (1_000, 3_000)])
def test_draws_split_by_weight_in_every_stretch(sim: int, own: int) -> None:
    """No back end gets its share in one go: one that is sick would have all of a hundred requests, and the retries."""
    route = table(split(sim=sim, own=own)).find("gpt")
    winners = [route.order(draw)[0].provider.name for draw in range(2_000)]
    for start in range(0, 1_900, 7):
        seen = winners[start : start + 100].count("sim")
        assert abs(seen - 100 * sim / (sim + own)) <= 2


def test_every_target_stays_in_the_order_as_fallback() -> None:
    route = table(split(sim=100, own=0)).find("gpt")
    assert [target.label for target in route.order(7)] == ["sim/small", "own/llama"]


def test_all_mistakes_are_told_at_once() -> None:
    ghost = RouteSettings(model="ghost", targets=(TargetSettings(provider="nobody", model="m"),))
    weightless = RouteSettings(
        model="none", targets=(TargetSettings(provider="sim", model="small", weight=0),)
    )
    priceless = RouteSettings(model="dear", targets=(TargetSettings(provider="sim", model="nameless"),))
    with pytest.raises(Invalid) as caught:
        table(ghost, weightless, priceless, split(sim=1), split(sim=1))
    told = str(caught.value)
    assert all(word in told for word in ("nobody", "none", "no price", "twice"))
    assert caught.value.value == 4


def test_a_service_tier_without_a_price_is_refused_and_a_standard_one_changes_nothing() -> None:
    routes = table()
    targets = routes.find("small").targets
    assert routes.in_service(targets, "auto") is targets
    with pytest.raises(Invalid) as caught:
        routes.in_service(targets, "priority")
    assert caught.value.field == "service_tier"


def test_a_model_name_that_could_end_a_header_line_cannot() -> None:
    name = "llama\r\nset-cookie: a=1\u2028é"
    endpoints = {"own": Endpoint(provider=NamedProvider("own"), models=(name,))}
    [target] = RouteTable(endpoints, (), PRICES, day=20_000).find(name).targets
    assert target.headers == b"x-penstock-route: own/llama??set-cookie: a=1??\r\n"


@pytest.mark.parametrize(
    ("left_s", "total_s"), [(1e12, 600), (600, 600), (599.9, 600), (599, 599), (0.2, 1), (0, 1)]
)
def test_a_call_may_take_what_is_left_of_the_request_in_whole_seconds(left_s: float, total_s: float) -> None:
    [target] = table().find("small").targets
    timers = target.within(left_s)
    assert timers.total_s == total_s
    assert (timers is target.timers) == (total_s == 600)
