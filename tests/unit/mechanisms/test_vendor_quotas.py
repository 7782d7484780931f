"""Vendors' tier quotas: dated data, and what a provider's settings make of it."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import structs

from penstock.kernel.errors import Invalid
from penstock.kernel.settings_gateway import ProviderSettings, QuotaSettings
from penstock.mechanisms.vendor_quotas import StartingQuotas, TierQuota, tables, tier_quota, tiers


def provider(**fields: Any) -> ProviderSettings:
    """An OpenAI account."""
    return structs.replace(ProviderSettings(name="openai", kind="openai"), **fields)


def test_every_figure_has_its_source_its_date_and_one_table_only() -> None:
    named = [(table.vendor, model) for table in tables() for model in table.models]
    assert len(named) == len(set(named))
    for table in tables():
        assert table.source
        assert table.date.year >= 2026
        assert set(table.tiers) == set(tiers(table.vendor))
        for quota in table.tiers.values():
            assert quota.requests_per_minute > 0
            assert quota.tokens_per_minute or (
                quota.input_tokens_per_minute and quota.output_tokens_per_minute
            )


@pytest.mark.parametrize("model", ["gpt-4o", "GPT-4o", "gpt-4o-2024-08-06"])
def test_a_snapshot_has_the_quota_of_its_model(model: str) -> None:
    assert tier_quota("openai", model, "tier-2") == TierQuota(
        requests_per_minute=5_000, tokens_per_minute=450_000
    )


@pytest.mark.parametrize(
    ("vendor", "model", "tier"),
    [
        ("openai", "gpt-4o-audio-preview", "tier-2"),
        ("openai", "gpt-4o", "start"),
        ("google", "gpt-4o", "tier-2"),
    ],
)
def test_what_nobody_told_has_no_figures(vendor: str, model: str, tier: str) -> None:
    assert tier_quota(vendor, model, tier) is None


def test_a_tier_names_the_limits_of_each_key_and_model() -> None:
    claude = provider(name="claude", kind="anthropic", tier="start", secrets=("one", "two"))
    found = StartingQuotas((claude, provider(tier="tier-1"), provider(name="silent")))
    figures = {"requests": 1_000, "input_tokens": 2_000_000}
    assert found("claude/claude-sonnet-4-5-20250929") == {"one": figures, "two": figures}
    assert found("openai/gpt-4o") == {"": {"requests": 500, "tokens": 30_000}}
    assert StartingQuotas((provider(name="a/b", quota=QuotaSettings(requests_per_minute=1)),))("a/b/c") == {
        "": {"requests": 1}
    }
    assert (found("openai/unheard-of"), found("silent/gpt-4o"), found("nobody/gpt-4o")) == ({}, {}, {})


@pytest.mark.parametrize(
    ("quota", "tier", "comes_to"),
    [
        (QuotaSettings(requests_per_minute=7), "", {"requests": 7}),
        (QuotaSettings(requests_per_minute=7), "tier-1", {"requests": 7, "tokens": 30_000}),
        (QuotaSettings(tokens_per_minute=9), "tier-1", {"requests": 500, "tokens": 9}),
        (QuotaSettings(tokens_per_minute=9), "", {"tokens": 9}),
    ],
)
def test_figures_of_ones_own_go_before_the_tiers(
    quota: QuotaSettings, tier: str, comes_to: dict[str, int]
) -> None:
    assert StartingQuotas((provider(quota=quota, tier=tier),))("openai/gpt-4o") == {"": comes_to}


def test_nothing_named_is_nothing_kept() -> None:
    assert not StartingQuotas((provider(), provider(name="second")))
    assert StartingQuotas((provider(quota=QuotaSettings(requests_per_minute=1)),))


def test_an_unknown_tier_is_refused_by_name_and_the_known_ones_are_listed() -> None:
    with pytest.raises(
        Invalid, match=r"no tier 'tier-9' \(known: tier-1, tier-2, tier-3, tier-4, tier-5\)"
    ) as told:
        StartingQuotas((provider(tier="tier-9"),))
    assert (told.value.field, told.value.value) == ("providers.tier", "tier-9")
    with pytest.raises(Invalid, match="no tiers of vendor 'google' are known; name its figures in `quota`"):
        StartingQuotas((provider(name="gemini", kind="gemini", tier="tier-1"),))
