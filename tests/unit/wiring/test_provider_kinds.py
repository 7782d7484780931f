"""Settings of a provider → its adapter: each kind on its own wire; what cannot be is told before anything starts."""

from __future__ import annotations

import pytest

from penstock.kernel.clock import ManualClock
from penstock.kernel.errors import Invalid
from penstock.kernel.settings import ProviderSettings, Settings
from penstock.wiring import adapters
from tests.support import run


def made(**settings):
    """Return the provider that `settings` make, closed again."""

    async def make():
        provider = await adapters.provider(
            ProviderSettings(name="mine", **settings), adapters.secrets(Settings(), {}), ManualClock()
        )
        await provider.close()
        return provider

    return run(make())


@pytest.mark.parametrize(
    ("settings", "dialect", "vendor", "limit_name"),
    [
        ({"kind": "openai", "base_url": "http://h/v1"}, "openai", "mine", "max_tokens"),
        ({"kind": "openai", "base_url": "http://h", "vendor": "openai"}, "openai", "openai", "max_completion_tokens"),
        ({"kind": "azure", "base_url": "http://h", "models": ("d",)}, "openai", "azure", "max_completion_tokens"),
        ({"kind": "anthropic"}, "anthropic", "anthropic", "max_tokens"),
        ({"kind": "anthropic", "vendor": "bedrock"}, "anthropic", "bedrock", "max_tokens"),
        ({"kind": "gemini"}, "gemini", "google", "maxOutputTokens"),
    ],
)  # fmt: skip
def test_every_kind_speaks_its_own_wire_under_its_own_price(settings, dialect, vendor, limit_name):
    provider = made(**settings)
    assert (provider.name, provider.dialect) == ("mine", dialect)
    assert (provider.vendor, provider.limit_name) == (vendor, limit_name)


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"kind": "openai"}, "base_url"),
        ({"kind": "azure", "models": ("d",)}, "base_url"),
        ({"kind": "azure", "base_url": "http://h"}, "models"),
        ({"kind": "openai", "base_url": "http://h", "api_version": "1"}, "api_version"),
        ({"kind": "gemini", "api_version": "1"}, "api_version"),
        ({"kind": "anthropic", "api_version": "a\nb: c"}, "api_version"),
    ],
)
def test_what_cannot_be_is_refused_by_its_field(settings, field):
    with pytest.raises(Invalid) as refusal:
        made(**settings)
    assert field in refusal.value.field
