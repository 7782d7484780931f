"""Choosing: arms, tiers, strategies and constraints. Pure, so each promise is a table of asks and answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from penstock.gateway.choosing import RouteAsk
from penstock.gateway.complexity import Cascade, Judge, last_words, shipped
from penstock.gateway.load import Reading
from penstock.gateway.routing import Choice, Endpoint, RouteTable
from penstock.gateway.tiers import Tiers
from penstock.kernel.chat import ChatReply, ChatRequest, Message, Text
from penstock.kernel.context import Principal
from penstock.kernel.errors import Forbidden, Invalid
from penstock.kernel.events import RequestEvent
from penstock.kernel.settings import ResidencySettings, RoutingDocument
from penstock.mechanisms.config_versions import read_document
from penstock.mechanisms.price_data import FreeRule, PriceOverride, PriceOverrides
from penstock.mechanisms.prices import PriceBook
from scripts import train_complexity
from tests.unit.gateway.doubles import NamedProvider

ENDPOINTS = {
    "sim": Endpoint(provider=NamedProvider("sim"), models=("small", "large"), region="us"),
    "alt": Endpoint(provider=NamedProvider("alt"), models=("small",), region="eu"),
    "own": Endpoint(provider=NamedProvider("own"), models=("llama",), region="eu"),
}


NOWHERE = {name: msgspec.structs.replace(each, region="") for name, each in ENDPOINTS.items()}
"""The same without regions: a route over them has no rules but weights."""


def prices(sim: str = "2") -> PriceBook:
    """Return a price book in which sim/small costs `sim` dollars per million output tokens."""
    listed = (("sim", "small", sim), ("sim", "large", "30"), ("alt", "small", "3"))
    return PriceBook.load(
        PriceOverrides(
            prices=tuple(
                PriceOverride(provider=provider, model=model, input="1", output=output)
                for provider, model, output in listed
            ),
            free=(FreeRule(provider="own"),),
        )
    )


class Told:
    """Load as a test tells it."""

    def __init__(self, **readings: Reading) -> None:
        self.readings = readings

    def reading(self, label: str, /) -> Reading:
        return self.readings.get(label.partition("/")[0], Reading())

    @property
    def any_scarce(self) -> bool:
        return any(reading.scarce for reading in self.readings.values())


def table(
    *,
    load: Told | None = None,
    book: PriceBook | None = None,
    residency: Any = (),
    endpoints: Mapping[str, Endpoint] = ENDPOINTS,
    **more: Any,
) -> RouteTable:
    """Build a table with one route, `gpt`, to sim/small and alt/small, and one to own/llama."""
    route = {
        "model": "gpt",
        "targets": [{"provider": "sim", "model": "small"}, {"provider": "alt", "model": "small"}],
        **more,
    }
    spare = {"model": "spare", "targets": [{"provider": "own", "model": "llama"}]}
    document: RoutingDocument = read_document({"routes": [route, spare]})
    return RouteTable(
        endpoints, document.routes, book or prices(), 20_000, residency=residency, load=load or Told()
    )


def who(user: str = "anna", org: str = "acme", tier: str = "standard") -> Principal:
    """Return a caller."""
    return Principal(key_id=f"key-{user}", org=org, team="t", project="p", user=user, tier=tier)


def chosen(routes: RouteTable, draw: int = 1, **more: Any) -> Choice:
    """Choose for `gpt`."""
    return routes.find("gpt").choose(RouteAsk(draw, more.pop("principal", who()), **more))


def labels(choice: Choice) -> list[str]:
    """Return labels in the order of trying."""
    return [target.label for target in choice.targets]


def firsts(routes: RouteTable, users: int = 2_000) -> dict[str, str]:
    """Return whom each of many users is sent to."""
    return {f"u{n}": chosen(routes, n, principal=who(f"u{n}")).targets[0].route for n in range(users)}


CANARY = {"targets": [{"provider": "sim", "model": "large"}], "percent": 5}


def test_a_canary_gets_its_percent_of_draws_and_its_arm_is_in_the_route_the_header_and_the_reason() -> None:
    routes = table(canary=CANARY)
    arms = Counter(chosen(routes, draw).targets[0].arm for draw in range(10_000))
    assert 450 <= arms["canary"] <= 550
    assert arms["production"] + arms["canary"] == 10_000
    first = next(c for c in (chosen(routes, draw) for draw in range(100)) if c.targets[0].arm == "canary")
    assert first.targets[0].route == "sim/large#canary"
    assert first.targets[0].headers == b"x-penstock-route: sim/large#canary; canary 5 %\r\n"
    assert [target.arm for target in first.targets] == ["canary", "production", "production"]


def test_production_never_falls_back_to_the_canary() -> None:
    routes = table(canary={**CANARY, "percent": 0})
    assert all("sim/large" not in labels(chosen(routes, draw)) for draw in range(200))


def test_a_sticky_caller_stays_where_it_is_and_a_growing_canary_keeps_whom_it_has() -> None:
    at = [firsts(table(sticky="user", canary={**CANARY, "percent": percent})) for percent in (5, 5, 25)]
    assert at[0] == at[1]
    small = {user for user, route in at[0].items() if route.endswith("#canary")}
    large = {user for user, route in at[2].items() if route.endswith("#canary")}
    assert small < large
    assert 0.03 < len(small) / 2_000 < 0.07
    assert 0.22 < len(large) / 2_000 < 0.28


def test_a_change_of_weights_moves_only_whom_it_must() -> None:
    def weighted(sim: int) -> dict[str, str]:
        targets = [
            {"provider": "sim", "model": "small", "weight": sim},
            {"provider": "alt", "model": "small", "weight": 100},
            {"provider": "own", "model": "llama", "weight": 100},
        ]
        return firsts(table(sticky="user", targets=targets))

    before, after = weighted(100), weighted(200)
    moved = {user for user in before if before[user] != after[user]}
    assert all(after[user] == "sim/small" for user in moved)
    assert 0.10 < len(moved) / 2_000 < 0.24  # a third grows to a half: a sixth must move


def test_sticky_by_user_is_of_the_user_and_by_key_of_the_key() -> None:
    one = replace_key(who("anna"), "key-2")
    by_user, by_key = table(sticky="user"), table(sticky="key")
    assert labels(chosen(by_user)) == labels(chosen(by_user, 9, principal=one))
    spread = {labels(chosen(by_key, principal=replace_key(who(), f"k{n}")))[0] for n in range(50)}
    assert spread == {"sim/small", "alt/small"}


def replace_key(principal: Principal, key_id: str) -> Principal:
    """Return the same user under another key."""
    return Principal(
        key_id=key_id, org=principal.org, team="t", project="p", user=principal.user, tier=principal.tier
    )


def test_a_price_rise_moves_spend_with_no_change_on_any_side_but_the_price() -> None:
    cheap = chosen(table(strategy="cheapest"), output_tokens=100)
    dear = chosen(table(strategy="cheapest", book=prices("4")), output_tokens=100)
    assert (labels(cheap)[0], labels(dear)[0]) == ("sim/small", "alt/small")
    assert "cheapest" in cheap.why


def test_fastest_takes_the_shorter_wait_of_two_and_measures_who_was_never_measured() -> None:
    slow, quick = Reading(first_token_ms=900), Reading(first_token_ms=300)
    assert labels(chosen(table(strategy="fastest", load=Told(sim=slow, alt=quick))))[0] == "alt/small"
    busy = Reading(first_token_ms=300, in_flight=5)
    assert labels(chosen(table(strategy="fastest", load=Told(sim=slow, alt=busy))))[0] == "sim/small"
    assert labels(chosen(table(strategy="fastest", load=Told(sim=slow))))[0] == "alt/small"


@pytest.mark.parametrize("endpoints", [ENDPOINTS, NOWHERE])
@pytest.mark.parametrize(
    ("bad", "why"), [(Reading(scarce=True), "near its quota"), (Reading(well=False, scarce=True), "ill")]
)
def test_what_is_ill_or_spent_goes_last_but_is_never_left_out(
    bad: Reading, why: str, endpoints: Mapping[str, Endpoint]
) -> None:
    found = chosen(table(load=Told(sim=bad), endpoints=endpoints))
    assert labels(found) == ["alt/small", "sim/small"]
    assert found.why == (f"sim/small is {why}",)
    assert f"alt/small; sim/small is {why}".encode() in found.targets[0].headers
    assert len(labels(chosen(table(load=Told(sim=bad, alt=bad), endpoints=endpoints)))) == 2


def test_who_is_near_its_quota_still_goes_before_who_is_ill() -> None:
    routes = table(load=Told(sim=Reading(well=False), alt=Reading(scarce=True)))
    assert labels(chosen(routes)) == ["alt/small", "sim/small"]


def test_without_rules_nothing_is_read_while_nobody_is_near_its_quota() -> None:
    """Who is ill is passed over by its breaker then (`mechanisms/resilience`)."""
    routes = table(load=Told(sim=Reading(well=False)), endpoints=NOWHERE)
    assert labels(chosen(routes)) == ["sim/small", "alt/small"]


SPILL = {
    "targets": [{"provider": "sim", "model": "small"}, {"provider": "own", "model": "llama"}],
    "spill_in_flight": 4,
}


@pytest.mark.parametrize(("in_flight", "urgent", "first"), [
    (0, False, "own/llama"), (3, False, "own/llama"), (4, False, "sim/small"), (0, True, "sim/small"),
])  # fmt: skip
def test_own_fleet_comes_first_while_it_has_room_and_nothing_is_urgent(
    in_flight: int, urgent: bool, first: str
) -> None:
    routes = table(load=Told(own=Reading(in_flight=in_flight)), **SPILL)
    for draw in range(4):
        assert labels(chosen(routes, draw * 50, urgent=urgent))[0] == first


def test_a_demand_for_a_region_is_kept_or_refused_by_header_by_route_and_by_organisation() -> None:
    assert labels(chosen(table(), 0, region="eu")) == ["alt/small"]
    assert labels(chosen(table(regions=["eu"]))) == ["alt/small"]
    eu = (ResidencySettings(org="acme", regions=("eu",)),)
    assert labels(chosen(table(residency=eu))) == ["alt/small"]
    assert len(labels(chosen(table(residency=eu), principal=who(org="other")))) == 2
    with pytest.raises(Forbidden) as refused:
        chosen(table(residency=eu), region="us")
    assert refused.value.reason == "no_back_end_allowed"
    # An organisation's demand holds for a provider's own models too, which no route mentions.
    with pytest.raises(Forbidden):
        table(residency=eu).find("sim/large").choose(RouteAsk(1, who()))


def test_a_fallback_keeps_the_region_too() -> None:
    routes = table(fallbacks=["spare", "sim/large"])
    assert labels(chosen(routes, 0)) == ["sim/small", "alt/small", "own/llama", "sim/large"]
    assert labels(chosen(routes, 0, region="eu")) == ["alt/small", "own/llama"]


@pytest.mark.parametrize(("ceiling", "left"), [("3", 2), ("2.999", 1), ("1", 0)])
def test_a_tier_is_served_at_its_ceiling_and_never_above(ceiling: str, left: int) -> None:
    routes = table(ceilings=[{"tier": "standard", "output": ceiling}])
    assert len(chosen(routes, principal=who(tier="gold")).targets) == 2
    if left:
        assert len(chosen(routes).targets) == left
    else:
        with pytest.raises(Forbidden):
            chosen(routes)


SMALL = [{"provider": "own", "model": "llama"}]


def tiered(**more: Any) -> RouteTable:
    """Return a table whose route has sim/large for what is hard."""
    return table(
        targets=[{"provider": "sim", "model": "large"}], complexity={"small": SMALL, "threshold": 0.5, **more}
    )


@pytest.mark.parametrize(("task", "tier"), [("label", "small"), ("legal", "large"), ("", "large")])
def test_a_task_tag_decides_and_the_large_model_stands_behind_the_small(task: str, tier: str) -> None:
    found = chosen(tiered(by="tag", small_tasks=["label"]), task=task)
    assert found.tier == tier
    assert labels(found) == (["own/llama", "sim/large"] if tier == "small" else ["sim/large"])
    assert f"{tier}: task {task or 'not given'}" in found.why


@pytest.mark.parametrize(("tokens", "text", "tier"), [
    (500, "hello", "small"), (501, "hello", "large"), (5, "please PROVE it", "large"),
])  # fmt: skip
def test_the_heuristic_knows_length_and_words(tokens: int, text: str, tier: str) -> None:
    routes = tiered(by="heuristic", words=["prove"], easy_tokens=500)
    assert chosen(routes, input_tokens=tokens, text=lambda: text).tier == tier


def test_the_shipped_classifier_is_as_right_as_its_file_says_on_texts_it_was_not_trained_on() -> None:
    _, held = train_complexity.parted(train_complexity.labelled())
    model = shipped()
    assert (round(train_complexity.accuracy(model, held), 3), len(held)) == (model.accuracy, model.held_out)
    assert model.accuracy >= 0.9
    judge = Judge(by="classifier", threshold=0.5)
    assert judge.is_easy("", 5, lambda: "What is the capital of Peru?")[0]
    assert not judge.is_easy("", 5, lambda: "Prove it, then compare both and explain why step by step.")[0]


def test_a_cascade_asks_the_small_model_and_keeps_the_large_one_ready() -> None:
    found = chosen(tiered(by="cascade"))
    assert (found.tier, labels(found)[0]) == ("small", "own/llama")
    assert [target.label for target in found.larger] == ["sim/large"]
    assert found.larger[0].headers == b"x-penstock-route: sim/large; escalated\r\n"


def answer(text: str = "Lima.", finish: str = "stop") -> ChatReply:
    """Return a whole answer."""
    said = Message(role="assistant", content=(Text(text),))
    return ChatReply(id="r", model="m", created_s=0, choices=(said,), finishes=(finish,))


@pytest.mark.parametrize(("reply", "logprobs", "fits", "why"), [
    (answer(), None, True, None),
    (answer(), [-0.1, -0.2], True, None),
    (answer(), [-0.9, -0.9], True, "confidence 0.41"),
    (answer(), None, False, "does not fit its schema"),
    (answer(finish="length"), None, True, "cut at its length"),
    (answer(finish="content_filter"), None, True, "filtered"),
    (answer("  "), None, True, "empty"),
    (answer("I'm sorry, I can't help with that."), None, True, "refused"),
    (answer("x" * 300 + " I cannot"), None, True, None),
])  # fmt: skip
def test_a_cascade_says_why_an_answer_is_not_good_enough(
    reply: ChatReply, logprobs: list[float] | None, fits: bool, why: str | None
) -> None:
    assert Cascade(0.5).next(reply, logprobs, fits=fits) == why


def test_what_a_judge_looks_at_is_what_the_user_said_last() -> None:
    turns = [("user", "one"), ("assistant", "two"), ("user", "three"), ("tool", "four")]
    messages = tuple(Message(role=role, content=(Text(text),)) for role, text in turns)
    assert last_words(ChatRequest(model="m", messages=messages)) == "three"


def test_savings_are_what_the_large_model_would_have_cost_less_what_was_paid() -> None:
    routes = tiered(by="cascade")
    tiers = Tiers(lambda: routes)
    event = RequestEvent(
        request_id="r",
        at_s=0,
        model="gpt",
        provider="own",
        route="own/llama",
        input_tokens=1_000,
        output_tokens=100,
    )
    dear = RequestEvent(
        request_id="r", at_s=0, model="gpt", provider="sim", route="sim/large", input_tokens=1_000,
        output_tokens=100, cost_nanos=4_500_000, flags=("escalated",),
    )  # fmt: skip
    tiers(
        [event, dear, RequestEvent(request_id="x", at_s=0, model="spare", provider="own", route="own/llama")]
    )
    found = tiers.sums["gpt"]
    assert (found.small, found.large, found.escalated) == (1, 1, 1)
    assert found.saved_nanos == 4_000_000 + (4_000_000 - 4_500_000)
    assert list(tiers.sums) == ["gpt"]


def test_a_plain_route_is_chosen_by_weight_alone() -> None:
    bare = {name: Endpoint(provider=each.provider, models=each.models) for name, each in ENDPOINTS.items()}
    document = read_document(
        {"routes": [{"model": "gpt", "targets": [{"provider": "sim", "model": "small"}]}]}
    )
    route = RouteTable(bare, document.routes, prices(), 20_000).find("gpt")
    assert route.rules is None
    assert route.choose(RouteAsk(1, who())).targets is route.order(1)


@pytest.mark.parametrize(("route", "told"), [
    ({"fallbacks": ["gpt"]}, "gpt → gpt"),
    ({"fallbacks": ["nowhere"]}, "'nowhere'"),
    ({"canary": {"percent": 5}}, "canary.targets: missing"),
    ({"regions": ["moon"]}, "'moon'"),
    ({"complexity": {"by": "tag", "small": SMALL}}, "small_tasks: missing"),
    ({"complexity": {"small": SMALL}}, "complexity.by: missing"),
    ({"ceilings": [{"tier": "a", "output": "1"}, {"tier": "a", "output": "2"}]}, "more than once"),
    ({"targets": [{"provider": "own", "model": "llama"}] * 2}, "2 times"),
])  # fmt: skip
def test_a_mistake_is_told_where_it_is(route: dict[str, Any], told: str) -> None:
    with pytest.raises(Invalid) as refused:
        table(**route)
    assert told in str(refused.value)
