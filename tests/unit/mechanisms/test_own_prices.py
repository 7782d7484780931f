"""Prices of one organisation's own: before everybody's, from their day on, and nobody else's."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from penstock.kernel.errors import Invalid
from penstock.mechanisms import prices as prices_module
from penstock.mechanisms.price_data import FreeRule, ModelLimits, PriceOverride, PriceOverrides
from penstock.mechanisms.prices import PriceBook

TODAY = date(2026, 11, 1)
LATER = date(2027, 1, 1)


def own(output: str = "1", model: str = "gpt-4o", org: str = "acme", **more: Any) -> PriceOverride:
    """Return an organisation's price of an OpenAI model."""
    return PriceOverride(provider="openai", model=model, input="1", output=output, org=org, **more)


def book(*prices: PriceOverride, **more: Any) -> PriceBook:
    """Return the shipped table with these on top."""
    return PriceBook.load(PriceOverrides(prices=prices, **more))


def test_an_organisation_is_told_its_own_price_and_everybody_else_the_general_one() -> None:
    general = PriceBook.load().require("openai", "gpt-4o", TODAY)
    told = book(own("1"), own("2", org="globex"), own("9", org="", model="gpt-4o-mini"))
    found = {org: told.price("openai", "gpt-4o", TODAY, org=org) for org in ("acme", "globex", "initech", "")}
    assert {org: price and (price.org, price.rates.output) for org, price in found.items()} == {
        "acme": ("acme", 10**9),
        "globex": ("globex", 2 * 10**9),
        "initech": ("", general.rates.output),
        "": ("", general.rates.output),
    }
    assert found["initech"] == general
    mini = told.price("openai", "gpt-4o-mini", TODAY, org="acme")
    assert mini and (mini.org, mini.rates.output) == ("", 9 * 10**9)


def test_an_own_price_begins_on_its_day() -> None:
    told = book(own("1", effective_from=LATER))
    before, since = (told.price("openai", "gpt-4o", day, org="acme") for day in (TODAY, LATER))
    assert before == told.require("openai", "gpt-4o", TODAY)
    assert since and (since.org, since.rates.output) == ("acme", 10**9)


def test_equal_figures_of_two_owners_have_versions_of_their_own_and_are_found_again() -> None:
    told = book(own(), own(org="globex"), own(org=""))
    found = [told.price("openai", "gpt-4o", TODAY, org=org) for org in ("acme", "globex", "")]
    versions = [price.version for price in found if price]
    assert len(set(versions)) == 3
    assert [(told.by_version(each) or found[0]) for each in versions] == found
    alone = book(own(org="")).require("openai", "gpt-4o", TODAY)
    assert versions[2] == alone.version


def test_a_model_may_be_free_for_one_organisation() -> None:
    told = book(free=(FreeRule(provider="openai", model="gpt-4o*", org="acme"),))
    mine, general = (told.price("openai", "gpt-4o", TODAY, org=org) for org in ("acme", "globex"))
    assert mine and general
    assert (mine.free, mine.org, general.free) == (True, "acme", False)
    assert told.by_version(mine.version) == told.price("openai", "gpt-4o*", TODAY, org="acme")


def test_its_limits_are_its_own_too_and_what_it_does_not_say_stays() -> None:
    told = book(own(), limits=(ModelLimits(provider="openai", model="gpt-4o", org="acme", context_window=9),))
    mine, general = (told.price("openai", "gpt-4o", TODAY, org=org) for org in ("acme", ""))
    assert mine and general
    assert (mine.context_window, general.context_window) == (9, 128_000)
    assert mine.max_output_tokens == general.max_output_tokens > 0
    assert mine.capabilities == general.capabilities


def test_a_class_of_service_without_an_own_price_has_none_rather_than_the_general_one() -> None:
    told = book(own(batch="1/2"))
    batch = told.price("openai", "gpt-4o", TODAY, "batch", "acme")
    assert batch and batch.rates.output == 500_000_000
    assert told.price("openai", "gpt-4o", TODAY, "priority", "acme") is None


def test_rows_say_whose_each_is() -> None:
    told = book(own(), free=(FreeRule(provider="openai", model="o1", org="globex"),))
    rows = [price for price in told.rows(TODAY) if price.provider == "openai"]
    listed = [(price.org, price.model) for price in rows if price.model in ("gpt-4o", "o1")]
    assert sorted(listed) == [("", "gpt-4o"), ("", "o1"), ("acme", "gpt-4o"), ("globex", "o1")]


def test_two_prices_for_the_same_day_are_told_with_every_other_mistake() -> None:
    twice = (own(), own(model="GPT-4o"), own(effective_from=LATER), own(org="globex"))
    dated = (own(model="o1", effective_from=LATER), own(model="o1", effective_from=LATER))
    with pytest.raises(Invalid) as refusal:
        PriceBook.load(
            PriceOverrides(
                prices=(*twice, *dated, own("none", model="o3")),
                free=(FreeRule(provider="openai", model="gpt-4o", org="globex"),),
            ),
            ("found before",),
        )
    told = str(refusal.value)
    for mistake in (
        "prices of org 'acme': openai/gpt-4o has 2 prices,",
        "prices of org 'acme': openai/o1 has 2 prices from 2027-01-01 on",
        "prices of org 'globex': openai/gpt-4o has 2 prices",
        "prices[6]",
        "found before",
    ):
        assert mistake in told


def test_organisations_without_own_prices_do_not_fill_the_memo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prices_module, "MEMO_ENTRIES_MAX", 10)
    told = book(own())
    for number in range(20):
        assert told.price("openai", "gpt-4o", TODAY, org=f"org-{number}")
    assert len(told._memo) == 1
