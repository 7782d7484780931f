"""Price book promises: no model is silently free, prices are dated and pinned, and they are the source's own."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import ROUND_CEILING
from random import Random

import msgspec
import pytest
from genai_prices import Usage as SourceUsage
from genai_prices.data import providers as source_providers
from genai_prices.types import TimeOfDateConstraint

from penstock.kernel.errors import Invalid, PolicyRefused
from penstock.kernel.money import Usage, cost_nanos, rates
from penstock.mechanisms import prices as prices_module
from penstock.mechanisms.price_data import (
    SELF_HOSTED_FREE,
    FreeRule,
    ModelLimits,
    PriceOverride,
    PriceOverrides,
    TierOverride,
    read_limits,
    read_table,
)
from penstock.mechanisms.prices import PriceBook
from scripts import build_prices

TODAY = date(2026, 11, 20)
LONG_AGO = date(2020, 1, 1)
BOOK = PriceBook.load()


def book(**overrides: object) -> PriceBook:
    return PriceBook.load(PriceOverrides(**overrides))


def test_the_shipped_table_is_what_the_script_builds_from_the_installed_source():
    shipped, _ = read_table()
    assert build_prices.build(shipped.built) == shipped, (
        "run scripts/build_prices.py and review the difference"
    )


def test_a_dated_model_name_has_the_price_of_its_model():
    dated = BOOK.require("openai", "gpt-4o-2024-08-06", TODAY)
    assert dated.rates == rates(input=2_500_000_000, cached_input=1_250_000_000, output=10_000_000_000)
    assert dated.version == BOOK.require("openai", "gpt-4o", TODAY).version
    assert BOOK.require("openai", "gpt-4o-2024-05-13", TODAY).rates.input == 5_000_000_000


@pytest.mark.parametrize(
    ("provider", "name", "model"),
    [
        ("openai", "GPT-4o", "gpt-4o"),
        ("openai", "gpt-5-20250807", "gpt-5"),
        ("anthropic", "claude-sonnet-4-5-20250929", "claude-sonnet-4-5"),
        ("anthropic", "claude-opus-5-20991231", "claude-opus-5"),
        ("gemini", "gemini-2.5-flash", "gemini-2.5-flash"),
        ("xai", "grok-4.3-20990101", "grok-4.3"),
        ("azure", "gpt-4o", "gpt-4o"),
        ("cohere", "embed-v4.0", "embed-v4.0"),
        ("openrouter", "openai/gpt-4o", "openai/gpt-4o"),
    ],
)
def test_spellings_aliases_and_resellers_find_the_model(provider: str, name: str, model: str):
    price = BOOK.require(provider, name, TODAY)
    assert (price.provider, price.model) == (provider, model)


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "gpt-4o-but-not-really"),
        ("openai", "whisper-1"),
        ("openai", ""),
        ("nobody", "gpt-4o"),
        ("ollama", "llama3"),
        ("openrouter", "gpt-4o:free-of-charge"),
        ("openai", "gpt-4o" * 1_000),
    ],
)
def test_a_model_without_a_price_is_refused_with_its_name_and_the_remedy(provider: str, model: str):
    assert BOOK.price(provider, model, TODAY) is None
    with pytest.raises(PolicyRefused) as refusal:
        BOOK.require(provider, model, TODAY)
    assert refusal.value.reason == "model_without_price"
    assert refusal.value.value == model
    assert "prices.overrides" in refusal.value.remedy
    assert "prices.free" in refusal.value.remedy


def test_no_row_of_the_table_is_free_without_saying_so():
    table, _ = read_table()
    free = {
        (provider, model.id)
        for provider, listing in table.providers.items()
        for model in listing.models
        for dated in model.standard
        if dated.row.free
    }
    assert ("openai", "moderation") in free
    assert all(model.endswith(":free") for _, model in free - {("openai", "moderation")})


def test_prices_change_on_their_day():
    before, after = (BOOK.require("openai", "o3", day) for day in (date(2025, 6, 9), date(2025, 6, 10)))
    assert (before.rates.input, after.rates.input) == (10_000_000_000, 2_000_000_000)
    assert before.version != after.version
    assert BOOK.require("openai", "o3", LONG_AGO).version == before.version


def test_a_pinned_version_is_found_again_in_another_process():
    pinned = [
        BOOK.require("openai", "o3", LONG_AGO),
        BOOK.require("xai", "grok-4.3", TODAY),
        BOOK.require("azure", "gpt-4o", TODAY),
        BOOK.require("openai", "gpt-5", TODAY, "flex"),
    ]
    reloaded = PriceBook.load()
    for price in pinned:
        found = reloaded.by_version(price.version)
        assert found is not None
        assert (found.rates, found.tiers, found.model) == (price.rates, price.tiers, price.model)
    assert reloaded.by_version("unheard of") is None
    assert reloaded.version == BOOK.version


def test_equal_versions_are_equal_prices():
    seen: dict[str, object] = {}
    for price in BOOK.rows(TODAY):
        said = (price.provider, price.model, price.rates, price.tiers, price.per_request_nanos)
        assert seen.setdefault(price.version, said) == said


def test_another_class_of_service_has_its_own_price_or_none():
    assert BOOK.require("openai", "gpt-4o", TODAY, "priority").rates.input == 4_250_000_000
    assert BOOK.require("openai", "gpt-4o", TODAY, "batch").rates.output == 5_000_000_000
    assert BOOK.require("openai", "gpt-4o", TODAY, "default") == BOOK.require("openai", "gpt-4o", TODAY)
    with pytest.raises(PolicyRefused, match="service priority"):
        BOOK.require("openai", "gpt-3.5-turbo", TODAY, "priority")


def test_batch_without_a_row_of_its_own_is_the_ratio_or_the_plain_price():
    plain = BOOK.require("openai", "gpt-4o", LONG_AGO)
    assert BOOK.require("openai", "gpt-4o", LONG_AGO, "batch").rates == plain.rates
    told = book(prices=(PriceOverride(provider="openai", model="mine", input="2", output="4", batch="1/2"),))
    assert told.require("openai", "mine", TODAY, "batch").rates == rates(input=10**9, output=2 * 10**9)


def test_an_override_goes_before_the_table_from_its_day_on():
    told = book(
        prices=(
            PriceOverride(provider="openai", model="gpt-4o", input="1", output="2"),
            PriceOverride(
                provider="openai", model="gpt-4o", input="0.5", output="1", effective_from=date(2027, 1, 1)
            ),
            PriceOverride(
                provider="openai", model="gpt-4o-mini", input="7", output="7", effective_from=date(2027, 1, 1)
            ),
        )
    )
    assert told.require("openai", "gpt-4o", TODAY).rates.input == 1_000_000_000
    assert told.require("openai", "gpt-4o", date(2027, 1, 1)).rates.input == 500_000_000
    assert told.require("openai", "gpt-4o-mini", TODAY) == BOOK.require("openai", "gpt-4o-mini", TODAY)
    assert told.version != BOOK.version


def test_an_override_carries_tiers_fees_and_prefixes():
    tier = TierOverride(above_input_tokens=1_000, input="2", output="4", cached_input="1")
    told = book(
        prices=(
            PriceOverride(
                provider="corp", model="big-*", input="1", output="2", per_request="0.001", tiers=(tier,)
            ),
        )
    )
    price = told.require("corp", "BIG-7b", TODAY)
    assert (
        cost_nanos(price, Usage(input_tokens=1_001, cached_input_tokens=1))
        == 1_000 * 2_000 + 1_000 + 1_000_000
    )
    assert told.price("corp", "small", TODAY) is None
    pinned = told.by_version(price.version)
    assert pinned is not None
    assert pinned.rates == price.rates


def test_free_is_declared_by_provider_or_model_and_a_price_goes_before_it():
    told = book(
        free=(*SELF_HOSTED_FREE, FreeRule(provider="openai", model="gpt-4o-mini*")),
        prices=(PriceOverride(provider="ollama", model="llama3:70b", input="0.1", output="0.1"),),
    )
    assert told.require("ollama", "llama3", TODAY).free
    assert told.require("vllm", "anything", TODAY).free
    assert not told.require("ollama", "llama3:70b", TODAY).free
    assert told.require("openai", "gpt-4o-mini", TODAY).free
    assert not told.require("openai", "gpt-4o", TODAY).free
    assert told.by_version(told.require("vllm", "anything", TODAY).version) is not None


def test_all_mistakes_of_the_overrides_are_reported_at_once():
    with pytest.raises(Invalid) as refusal:
        book(
            prices=(
                PriceOverride(provider="a", model="m", input="one", output="2"),
                PriceOverride(provider="b", model="m", input="0", output="0"),
                PriceOverride(provider="c", model="m", input="1", output="1", batch="half"),
                PriceOverride(provider="d", model="*-m", input="1", output="1"),
            ),
            free=(FreeRule(provider="*"), FreeRule(provider="")),
        )
    listed = str(refusal.value)
    for mistake in ("prices[0]", "prices[1]", "prices[2]", "prices[3]", "free[0]", "free[1]"):
        assert mistake in listed


def test_an_unknown_key_in_an_override_is_refused():
    with pytest.raises(msgspec.ValidationError, match="imput"):
        msgspec.convert({"provider": "a", "model": "m", "imput": "1", "output": "1"}, PriceOverride)


def test_limits_and_capabilities_come_with_the_price_also_at_a_reseller():
    for provider, model in (
        ("openai", "gpt-4o-mini"),
        ("azure", "gpt-4o-mini"),
        ("openrouter", "openai/gpt-4o-mini"),
    ):
        price = BOOK.require(provider, model, TODAY)
        assert (price.context_window, price.max_output_tokens, price.image_tokens_max) == (
            128_000,
            16_384,
            48_169,
        )
        assert "vision" in price.capabilities
    assert BOOK.require("openai", "text-embedding-3-small", TODAY).capabilities == {"embedding"}


def test_limits_may_be_told():
    told = book(
        free=SELF_HOSTED_FREE,
        limits=(ModelLimits(provider="vllm", model="qwen*", context_window=32_768, max_output_tokens=8_192),),
    )
    price = told.require("vllm", "qwen3-8b", TODAY)
    assert (price.context_window, price.max_output_tokens) == (32_768, 8_192)


def test_no_shipped_limit_hides_behind_an_earlier_prefix():
    limits = read_limits().limits
    for position, limit in enumerate(limits):
        name = limit.model.rstrip("*")
        for earlier in limits[:position]:
            shadowed = earlier.provider == limit.provider and earlier.model.endswith("*")
            assert not (shadowed and name.startswith(earlier.model[:-1])), (
                f"{earlier.model} hides {limit.model}"
            )


def test_what_a_price_does_not_carry_is_named():
    assert BOOK.require("google", "gemini-2.5-flash", TODAY).unpriced == {"audio", "web_search"}


def test_hourly_prices_are_held_at_the_dearest_hour():
    price = BOOK.require("deepseek", "deepseek-flash", TODAY)
    assert price.rates == rates(input=300_000_000, cached_input=6_000_000, output=1_200_000_000)


def test_rows_list_every_model_once_overrides_first():
    told = book(
        prices=(PriceOverride(provider="corp", model="m", input="1", output="1"),), free=SELF_HOSTED_FREE
    )
    listed = [(price.provider, price.model) for price in told.rows(TODAY)]
    assert listed[0] == ("corp", "m")
    assert ("openai", "gpt-4o") in listed
    assert ("ollama", "*") in listed
    assert len(listed) == len(set(listed))


def test_the_memo_is_bounded_whatever_names_callers_invent(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(prices_module, "MEMO_ENTRIES_MAX", 10)
    fresh = PriceBook.load()
    for number in range(35):
        assert fresh.price("openai", f"invented-{number}", TODAY) is None
        assert len(fresh._memo) <= 10
    assert fresh.price("openai", "x" * 257, TODAY) is None
    assert not any(len(key[1]) > 256 for key in fresh._memo)


@pytest.mark.parametrize("day", [date(2025, 3, 1), TODAY])
def test_every_price_of_the_table_bills_what_the_source_would(day: date):
    """An oracle: the source's own calculator, in decimals, over every model and a few usages of each."""
    draw = Random(20_261_120)
    moment = datetime.combine(day, time(12), UTC)
    compared = 0
    for provider in source_providers:
        if provider.id not in build_prices.PROVIDERS:
            continue
        for model in provider.models:
            price = BOOK.price(provider.id, model.id, day)
            told = BOOK._table.find(provider.id, model.id.lower())
            hourly = isinstance(model.prices, list) and any(
                isinstance(entry.constraint, TimeOfDateConstraint) for entry in model.prices
            )
            if price is None or told is None or told[1].id != model.id or price.free or hourly:
                continue
            for total in (1, 1_000, 199_999, 200_001, 300_000):
                cached = draw.randint(0, total)
                written = draw.randint(0, total - cached)
                output = draw.randint(0, 10_000)
                bill = model.calc_price(
                    SourceUsage(
                        input_tokens=total,
                        cache_read_tokens=cached,
                        cache_write_tokens=written,
                        output_tokens=output,
                    ),
                    provider,
                    genai_request_timestamp=moment,
                )
                ours = cost_nanos(
                    price,
                    Usage(
                        input_tokens=total,
                        cached_input_tokens=cached,
                        cache_write_tokens=written,
                        output_tokens=output,
                    ),
                )
                theirs = int((bill.total_price * 10**9).to_integral_value(ROUND_CEILING))
                # A nano-dollar more where the source's rate is finer than ours and was rounded up.
                assert ours - theirs in {0, 1}, (provider.id, model.id, total)
                compared += 1
    assert compared > 5_000
