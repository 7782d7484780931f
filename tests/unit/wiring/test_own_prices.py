"""Organisations' own prices in the settings: whose they become, and those that nobody can be billed by."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from penstock.kernel.errors import Invalid
from penstock.kernel.settings import PriceSettings, ProviderSettings, RouteSettings, Settings, TargetSettings
from penstock.wiring.catalogue import price_book

MILL = ProviderSettings(name="mill", kind="openai", base_url="http://mill/v1", models=("llama-3",))
ASKED = ProviderSettings(name="asked", kind="openai", base_url="http://asked/v1")
GENERAL = PriceSettings(provider="mill", model="*", input="1", output="2")


def own(provider: str = "mill", model: str = "llama-3", **more: Any) -> PriceSettings:
    """Return a price of acme's."""
    return PriceSettings(**{"org": "acme", "provider": provider, "model": model, "output": "1", **more})


def settings(*prices: PriceSettings, **more: Any) -> Settings:
    """Return settings with these prices after a general one."""
    return Settings(providers=(MILL, ASKED), prices=(GENERAL, *prices), **more)


def test_a_price_of_the_settings_is_its_organisations_with_its_window() -> None:
    told = settings(own(context_window=77), own(model="llama*", free=True, org="globex"))
    book = price_book(told, told.providers)
    found = [book.price("mill", "llama-3", date(2026, 1, 1), org=org) for org in ("acme", "globex", "")]
    assert [
        price and (price.org, price.rates.output, price.free, price.context_window) for price in found
    ] == [
        ("acme", 10**9, False, 77),
        ("globex", 0, True, 0),
        ("", 2 * 10**9, False, 0),
    ]


def test_prices_of_what_nobody_offers_are_told_at_once_with_the_other_mistakes() -> None:
    told = settings(own(model="gpt-9"), own("nobody", "m"), own(output="1.x"), own(), discover=False)
    with pytest.raises(Invalid) as refusal:
        price_book(told, told.providers)
    listed = str(refusal.value)
    for mistake in (
        "prices of org 'acme': mill/gpt-9: no provider offers this model",
        "prices of org 'acme': nobody/m: no provider has this vendor id (known: asked, mill)",
        "prices[3]",
        "mill/llama-3 has 2 prices",
    ):
        assert mistake in listed


def test_what_may_be_offered_is_no_mistake() -> None:
    """A provider that is asked, one that may be found, and a model that only a route names."""
    behind = RouteSettings(
        model="fast",
        targets=(TargetSettings(provider="mill", model="llama-4"),),
        fallbacks=("mill/llama-5",),
    )
    prices = (own("asked", "any"), own("openai", "gpt-4o"), own(model="llama-4"), own(model="llama-5"))
    told = settings(*prices, own(model="LLAMA*"), routes=(behind,))
    assert price_book(told, told.providers).orgs == {"acme"}


def test_a_vendor_found_by_its_key_offers_what_is_priced() -> None:
    found = ProviderSettings(
        name="openai", kind="openai", base_url="https://api.openai.com/v1", secret="env.OPENAI_API_KEY"
    )
    sound = settings(own("openai", "gpt-4o"), own("openai", "gpt-4*"))
    assert price_book(sound, (MILL, found)).orgs == {"acme"}
    with pytest.raises(Invalid, match="openai/gpt-9x: no provider offers this model"):
        price_book(settings(own("openai", "gpt-9x")), (MILL, found))
