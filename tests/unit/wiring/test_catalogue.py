"""The catalogue: one whole table at a time, and a provider that is silent holds nobody up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
import pytest

from penstock.adapters.providers.scripted import ScriptedProvider
from penstock.kernel.clock import ManualClock
from penstock.kernel.errors import Invalid, NotFound
from penstock.kernel.settings import (
    EmbeddingModelSettings,
    PriceSettings,
    ProviderSettings,
    RouteSettings,
    RoutingDocument,
    Settings,
    TargetSettings,
)
from penstock.kernel.settings_routes import CanarySettings, ComplexitySettings
from penstock.ports.providers import ProviderFailure
from penstock.wiring import adapters
from penstock.wiring.catalogue import Catalogue, price_book
from tests.support import run

NIGHT = ManualClock(wall_s=1_800_000_000 // 86_400 * 86_400 + 86_399)
PRICE = PriceSettings(provider="sim", model="*", input="1", output="2")


class Listing(ScriptedProvider):
    """Lists its models when `answers` is set: a tuple of names, a failure, or None to keep everybody waiting."""

    def __init__(self, name: str, answers: tuple[str, ...] | ProviderFailure | None) -> None:
        super().__init__(name=name)
        self.vendor = "sim"
        self.answers = answers
        self.asked = 0
        self.encoders: tuple[str, ...] = ()

    async def models(self) -> Sequence[str]:
        self.asked += 1
        if self.answers is None:
            await asyncio.Event().wait()
        if isinstance(self.answers, ProviderFailure):
            raise self.answers
        assert self.answers is not None
        return self.answers


def silent() -> ProviderFailure:
    return ProviderFailure("nobody there", kind="connect_failed")


def catalogued(
    monkeypatch: pytest.MonkeyPatch,
    case: Callable[[Catalogue, ManualClock], Awaitable[None]],
    *listings: Listing,
    **sections: Any,
) -> None:
    """Open a catalogue over `listings` and run a case."""
    by_name = {each.name: each for each in listings}

    async def provider(settings: ProviderSettings, *_: object) -> Listing:
        return by_name[settings.name]

    monkeypatch.setattr(adapters, "provider", provider)
    providers = tuple(ProviderSettings(name=name, kind="openai") for name in by_name)
    settings = Settings(providers=providers, prices=sections.pop("prices", (PRICE,)), **sections)

    async def opened() -> None:
        clock = ManualClock(wall_s=NIGHT.wall_s())
        catalogue = Catalogue(settings, price_book(settings, providers), clock)
        secrets: Any = None
        await catalogue.open(providers, secrets)
        try:
            await case(catalogue, clock)
        finally:
            await catalogue.close()
        assert all(each.closed for each in listings)

    run(opened())


async def settled() -> None:
    """Let what runs in the background come to rest."""
    for _ in range(10):
        await asyncio.sleep(0)


def test_a_silent_provider_is_asked_again_until_it_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    late = Listing("late", silent())

    async def case(catalogue: Catalogue, _clock: ManualClock) -> None:
        with pytest.raises(NotFound):
            catalogue.current().find("m1")
        await catalogue.tick()
        await settled()
        late.answers = ("m1",)
        await catalogue.tick()
        await settled()
        assert catalogue.current().find("m1").targets[0].provider is late
        assert late.asked == 3
        await catalogue.tick()
        await settled()
        assert late.asked == 3

    catalogued(monkeypatch, case, late)


def test_a_provider_that_keeps_us_waiting_holds_up_no_tick_and_is_asked_once_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slow, well = Listing("slow", silent()), Listing("well", ("m1",))

    async def case(catalogue: Catalogue, clock: ManualClock) -> None:
        slow.answers = None
        for _ in range(3):
            await catalogue.tick()
            await settled()
        assert slow.asked == 2
        clock.advance(1)
        await catalogue.tick()
        assert catalogue.current().day == int(clock.wall_s()) // 86_400
        assert catalogue.current().find("m1").targets[0].provider is well

    catalogued(monkeypatch, case, slow, well)


def test_prices_follow_the_day_without_a_restart_and_a_request_keeps_its_table(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dearer = PriceSettings(provider="sim", model="*", input="9", output="9", from_date="2027-01-16")

    async def case(catalogue: Catalogue, clock: ManualClock) -> None:
        before = catalogue.current()
        await catalogue.tick()
        assert catalogue.current() is before
        clock.advance(1)
        await catalogue.tick()
        rates = [each.find("m1").targets[0].price.rates.input for each in (before, catalogue.current())]
        assert rates == [1_000_000_000, 9_000_000_000]

    catalogued(monkeypatch, case, Listing("well", ("m1",)), prices=(PRICE, dearer))


def test_a_route_that_cannot_be_refuses_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ghost = RouteSettings(model="x", targets=(TargetSettings(provider="nobody", model="m"),))

    async def case(_catalogue: Catalogue, _clock: ManualClock) -> None:
        raise AssertionError("it must not open")

    with pytest.raises(Invalid, match="nobody"):
        catalogued(monkeypatch, case, Listing("well", ("m1",)), routes=(ghost,))


def test_a_model_without_a_price_is_not_offered_and_the_reason_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def case(catalogue: Catalogue, _clock: ManualClock) -> None:
        assert list(catalogue.current().models()) == []
        assert set(catalogue.current().unpriced) == {"m1", "well/m1"}

    catalogued(monkeypatch, case, Listing("well", ("m1",)), prices=())


EMBEDS = EmbeddingModelSettings(name="passages", version="1", dimensions=8)


def answering(*models: str, **more: Any) -> RouteSettings:
    """Return the route of the model whose vectors collections keep."""
    targets = tuple([TargetSettings(provider="sim", model=model) for model in models])
    return RouteSettings(model="passages", targets=targets, **more)


OTHER = TargetSettings(provider="sim", model="bge-small")
MIXED = (
    answering("e5-small", "bge-small"),
    answering("e5-small", fallbacks=("sim/bge-small",)),
    answering("e5-small", canary=CanarySettings(percent=5, targets=(OTHER,))),
    answering("e5-small", complexity=ComplexitySettings(by="words", words=("a",), small=(OTHER,))),
    answering("acme/e5-small", "other/e5-small"),
)


@pytest.mark.parametrize("route", MIXED)
def test_what_answers_for_a_model_whose_vectors_are_kept_is_one_model(
    monkeypatch: pytest.MonkeyPatch, route: RouteSettings
) -> None:
    """Another's vectors of the same length would stand among its own, and nobody would ever know."""
    sim = Listing("sim", ())

    async def case(catalogue: Catalogue, _clock: ManualClock) -> None:
        with pytest.raises(Invalid, match=r"must be one model.*small' and '"):
            catalogue.built(RoutingDocument(routes=(route,)))
        catalogue.built(RoutingDocument(routes=(msgspec.structs.replace(route, model="others"),)))

    catalogued(monkeypatch, case, sim, embedding_models=(EMBEDS,))


def test_one_model_may_be_called_with_the_name_of_its_maker_and_stand_behind_several_back_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sim, more = Listing("sim", ()), Listing("more", ())

    async def case(catalogue: Catalogue, _clock: ManualClock) -> None:
        behind = ("more/e5-small", "sim/intfloat/e5-small")
        table = catalogue.built(RoutingDocument(routes=(answering("e5-small", fallbacks=behind),)))
        assert table.find("passages").targets[0].model == "e5-small"

    catalogued(monkeypatch, case, sim, more, embedding_models=(EMBEDS,))


def test_nothing_but_the_model_in_this_machine_answers_under_its_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sim = Listing("sim", ())
    sim.encoders = ("local/mini",)

    async def case(catalogue: Catalogue, _clock: ManualClock) -> None:
        route = answering("elsewhere")
        with pytest.raises(Invalid, match="'elsewhere' and 'local/mini'"):
            catalogue.built(RoutingDocument(routes=(msgspec.structs.replace(route, model="local/mini"),)))
        catalogue.built(
            RoutingDocument(routes=(msgspec.structs.replace(answering("mini"), model="local/mini"),))
        )

    catalogued(monkeypatch, case, sim)
