"""What vendors allow a minute by model and usage tier, and so what a back end's limits are before its vendor told them.

The figures are dated data (`data/vendor_quotas.json`), each table with its source and the day it was read.

Promise: nothing here is guessed. A model that the data does not know at a tier has no figures, and reads as whole until
its vendor tells.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import date
from functools import lru_cache
from importlib.resources import files
from typing import Final

import msgspec

from penstock.kernel.errors import Invalid
from penstock.kernel.settings_gateway import ProviderSettings

_DATED: Final = re.compile(r"-20[0-9]{2}-?[0-9]{2}-?[0-9]{2}$", re.ASCII)


class TierQuota(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one tier may use of one model a minute; 0 is not known. `tokens_per_minute` counts both directions."""

    requests_per_minute: int = 0
    tokens_per_minute: int = 0
    input_tokens_per_minute: int = 0
    output_tokens_per_minute: int = 0


class QuotaTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The tiers of some models of a vendor, all alike; `date` is the day `source` was read."""

    vendor: str
    models: tuple[str, ...]
    source: str
    date: date
    tiers: dict[str, TierQuota]


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    date: date
    notes: tuple[str, ...]
    tables: tuple[QuotaTable, ...]


@lru_cache(maxsize=1)
def tables() -> tuple[QuotaTable, ...]:
    """Read the shipped tables, once."""
    raw = (files("penstock.mechanisms") / "data" / "vendor_quotas.json").read_bytes()
    return msgspec.json.decode(raw, type=_File).tables


def tiers(vendor: str) -> tuple[str, ...]:
    """Return the names of a vendor's known tiers, the least first."""
    return tuple(dict.fromkeys(tier for table in tables() if table.vendor == vendor for tier in table.tiers))


def tier_quota(vendor: str, model: str, tier: str) -> TierQuota | None:
    """Return what a tier may use of a model (a dated snapshot of one is that one), None when nobody told."""
    name = _DATED.sub("", model.lower())
    found = (table for table in tables() if table.vendor == vendor and name in table.models)
    return next((table.tiers[tier] for table in found if tier in table.tiers), None)


def mistake(provider: ProviderSettings) -> str:
    """Return what is wrong with the tier that a provider names, "" when nothing is."""
    known = tiers(provider.billed_by)
    if not provider.tier or provider.tier in known:
        return ""
    if not known:
        return f"no tiers of vendor {provider.billed_by!r} are known; name its figures in `quota`"
    return f"vendor {provider.billed_by!r} has no tier {provider.tier!r} (known: {', '.join(known)})"


class StartingQuotas:
    """The limits that providers' settings come to, by label (``provider/model``) and key."""

    def __init__(self, providers: Iterable[ProviderSettings]) -> None:
        """Keep those that name a tier or a quota. Raises Invalid for a tier that nobody knows."""
        named = (each for each in providers if each.tier or each.quota.is_named)
        self._named = {each.name: each for each in sorted(named, key=lambda each: -len(each.name))}
        for each in self._named.values():
            if told := mistake(each):
                raise Invalid(
                    f"Provider {each.name}: {told}.",
                    field="providers.tier",
                    value=each.tier,
                    limit=", ".join(tiers(each.billed_by)),
                    remedy="Name a known tier, or the figures of your contract in `quota`.",
                )

    def __bool__(self) -> bool:
        """Tell whether any provider names its limits."""
        return bool(self._named)

    def __call__(self, label: str) -> Mapping[str, Mapping[str, int]]:
        """Return the limits of each key of a back end, by name (requests, tokens, input_tokens), a minute; a key is the
        name of its secret, "" where there is only one.
        """
        provider = next((each for name, each in self._named.items() if label.startswith(f"{name}/")), None)
        if provider is None:
            return {}
        figures = _figures(provider, label.removeprefix(f"{provider.name}/"))
        secrets = tuple(dict.fromkeys(each for each in (provider.secret, *provider.secrets) if each))
        return dict.fromkeys(secrets if len(secrets) > 1 else ("",), figures) if figures else {}


def _figures(provider: ProviderSettings, model: str) -> Mapping[str, int]:
    """Return the figures of a provider's tier, and its own over them."""
    tier = tier_quota(provider.billed_by, model, provider.tier) or TierQuota()
    own = provider.quota
    figures = {"requests": own.requests_per_minute or tier.requests_per_minute}
    if own.tokens_per_minute:
        figures["tokens"] = own.tokens_per_minute
    else:
        figures["tokens"] = tier.tokens_per_minute
        figures["input_tokens"] = tier.input_tokens_per_minute
    return {name: figure for name, figure in figures.items() if figure}
