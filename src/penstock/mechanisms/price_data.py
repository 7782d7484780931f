"""The shape of price data: the shipped table, the shipped model limits, and what a configuration may override.

The table (`data/prices.json`, written by `scripts/build_prices.py`) is flattened: a model name is one dictionary
look-up among `ids`, which already holds every exact spelling the source knows; only a name found nowhere there
walks the few `rules` (prefixes and dated suffixes) in order. Dates, services and tiers are rows, never code.

Promise: nothing here is guessed. A row the source does not give is absent, and a mistake in an override is an
`Invalid` that lists all mistakes at once.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import date
from functools import lru_cache
from importlib.resources import files
from typing import Final

import msgspec

from penstock.kernel.errors import Invalid
from penstock.kernel.money import NO_RATES, Price, Rates, Tier, parse_dollars, rates

_DATA: Final = files("penstock.mechanisms") / "data"
_COMPACT_DATE: Final = re.compile(r"-(20[0-9]{2})(0[1-9]|1[0-2])(0[1-9]|[12][0-9]|3[01])$", re.ASCII)
_RATIO: Final = re.compile(r"([0-9]{1,4})/([0-9]{1,4})", re.ASCII)


class Row(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Prices from one day on: rates in nano-dollars per million tokens, fees in nano-dollars."""

    rates: Rates = NO_RATES
    tiers: tuple[Tier, ...] = ()
    per_request_nanos: int = 0
    per_image_nanos: int = 0
    batch_ratio: tuple[int, int] = (1, 1)
    free: bool = False


class DatedRow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A row and the day it comes into force."""

    effective_from: date
    row: Row


class Model(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One model of the table. Histories ascend by date."""

    id: str
    standard: tuple[DatedRow, ...]
    """The vendor's ordinary service."""
    services: dict[str, tuple[DatedRow, ...]] = {}
    """Its other classes of service: batch, flex, priority, fast."""
    context_window: int = 0
    embedding: bool = False
    unpriced: tuple[str, ...] = ()
    """What the vendor sells at a rate the rows do not carry."""
    dearest_hour: bool = False
    """The vendor's price changes with the hour; the rows hold the dearest."""


class Rule(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A model is meant by every name that satisfies all the `(kind, text)` tests; kinds as in `_TESTS`.

    Model -1 claims a name for a model the table leaves out, so that no looser rule prices it as another.
    """

    model: int
    tests: tuple[tuple[str, str], ...]


class Provider(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One provider of the table: its models, and the two ways from a name to a model."""

    models: tuple[Model, ...]
    ids: dict[str, int]
    rules: tuple[Rule, ...] = ()
    fallback: tuple[str, ...] = ()
    """Providers whose list holds when this one's does not (Azure sells OpenAI's models at OpenAI's prices)."""

    def find(self, model: str) -> int | None:
        """Return the index of the model a lower-case name means here, -1 for one left out, None for a stranger."""
        index = self.ids.get(model)
        if index is None:
            return next((rule.model for rule in self.rules if _satisfies(model, rule.tests)), None)
        return index


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """The shipped table."""

    source: str
    built: date
    aliases: dict[str, str]
    providers: dict[str, Provider]

    def find(self, provider: str, name: str) -> tuple[str, Model] | None:
        """Return the provider and the model meant by a provider's and a lower-case model name; one fallback deep.

        A compact date (`-20261231`) that is not known as such is retried in its dashed form, as some vendors write
        one and list the other.
        """
        dashed = _COMPACT_DATE.sub(r"-\1-\2-\3", name)
        home = self.aliases.get(provider, provider)
        if home not in self.providers:
            return None
        spellings = [name] if dashed == name else [name, dashed]
        for seller in (home, *self.providers[home].fallback):
            for spelling in spellings:
                if (index := self.providers[seller].find(spelling)) is not None:
                    return (seller, self.providers[seller].models[index]) if index >= 0 else None
        return None


class ModelLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a family of models can take and do. `model` is a name, or a prefix that ends in `*`; 0 is unknown. Those of
    an `org` go with its own prices only, and say no more than differs.
    """

    provider: str
    model: str
    context_window: int = 0
    max_output_tokens: int = 0
    image_tokens_max: int = 0
    capabilities: tuple[str, ...] = ()
    org: str = ""


class LimitsFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The shipped limits; the first that matches holds, so a longer prefix stands before a shorter one."""

    date: date
    sources: tuple[str, ...]
    limits: tuple[ModelLimits, ...]


class FreeRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Declares models free of charge, for everybody or for `org` alone. The provider is named in full; `model` may be a
    prefix that ends in `*`.
    """

    provider: str
    model: str = "*"
    org: str = ""


SELF_HOSTED_FREE: Final = tuple(
    FreeRule(provider=name) for name in ("local", "ollama", "vllm", "tei", "scripted")
)
"""Providers that run on the operator's own machines: wiring passes these, a configuration may price them instead."""


class TierOverride(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A long-context tier of an override; dollars per million tokens, as strings."""

    above_input_tokens: int
    input: str
    output: str
    cached_input: str | None = None
    cache_write: str | None = None
    cache_write_1h: str | None = None
    reasoning: str | None = None


class PriceOverride(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A price of the configuration's own; it goes before the table from its day on, for everybody or for `org` alone.

    Dollars per million tokens (fees: dollars) as strings, so that no float touches them. `model` may be a prefix
    that ends in `*`; `batch` is a ratio such as "1/2".
    """

    provider: str
    model: str
    input: str
    output: str
    effective_from: date = date.min
    cached_input: str | None = None
    cache_write: str | None = None
    cache_write_1h: str | None = None
    reasoning: str | None = None
    per_request: str = "0"
    per_image: str = "0"
    tiers: tuple[TierOverride, ...] = ()
    batch: str = "1/1"
    unpriced: tuple[str, ...] = ()
    org: str = ""


class PriceOverrides(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything a configuration may say about prices. Within each list the first match holds."""

    prices: tuple[PriceOverride, ...] = ()
    free: tuple[FreeRule, ...] = ()
    limits: tuple[ModelLimits, ...] = ()


def read_table() -> tuple[Table, bytes]:
    """Read the shipped table and its bytes (for the digest)."""
    raw = (_DATA / "prices.json").read_bytes()
    return msgspec.json.decode(raw, type=Table), raw


def read_limits() -> LimitsFile:
    """Read the shipped model limits."""
    return msgspec.json.decode((_DATA / "model_limits.json").read_bytes(), type=LimitsFile)


def matches(pattern: str, name: str) -> bool:
    """Say whether a configured model pattern means a lower-case name."""
    wanted = pattern.lower()
    return name.startswith(wanted[:-1]) if wanted.endswith("*") else name == wanted


def in_force(history: tuple[DatedRow, ...], at: date) -> DatedRow | None:
    """Return the last row that has begun, or None."""
    return next((dated for dated in reversed(history) if dated.effective_from <= at), None)


def to_row(override: PriceOverride) -> Row:
    """Read an override's strings. Raises `Invalid` for a figure or a ratio that is none."""
    ratio = _RATIO.fullmatch(override.batch)
    if ratio is None:
        raise Invalid("The batch ratio is not a fraction like 1/2.", field="batch", value=override.batch)
    return Row(
        rates=_rates(override),
        tiers=tuple(
            Tier(above_input_tokens=tier.above_input_tokens, rates=_rates(tier)) for tier in override.tiers
        ),
        per_request_nanos=parse_dollars(override.per_request),
        per_image_nanos=parse_dollars(override.per_image),
        batch_ratio=(int(ratio[1]), int(ratio[2])),
    )


def to_price(provider: str, model: str, effective_from: date, row: Row, version: str) -> Price:
    """Build the bare price of a row. Raises `Invalid` when the row does not make sense."""
    return Price(
        provider=provider,
        model=model,
        version=version,
        effective_from=effective_from,
        rates=row.rates,
        tiers=row.tiers,
        per_request_nanos=row.per_request_nanos,
        per_image_nanos=row.per_image_nanos,
        batch_ratio=row.batch_ratio,
        free=row.free,
    )


def check(overrides: PriceOverrides, further: Iterable[str] = ()) -> None:
    """Raise one `Invalid` that lists every mistake of the overrides, and what is wrong with them `further`."""
    mistakes: list[str] = []
    for position, override in enumerate(overrides.prices):
        try:
            to_price(override.provider, override.model, override.effective_from, to_row(override), "")
        except Invalid as error:
            mistakes.append(f"prices[{position}] ({override.provider}/{override.model}): {error}")
    named = [("prices", overrides.prices), ("free", overrides.free), ("limits", overrides.limits)]
    for label, entries in named:
        for position, entry in enumerate(entries):
            if not entry.provider or "*" in entry.provider:
                mistakes.append(f"{label}[{position}]: name one provider in full, not {entry.provider!r}")
            if not entry.model or "*" in entry.model[:-1]:
                mistakes.append(
                    f"{label}[{position}]: a model is a name or a prefix ending in *: {entry.model!r}"
                )
    mistakes.extend(_told_twice(overrides))
    mistakes.extend(further)
    if mistakes:
        raise Invalid("The price overrides are wrong.", field="prices", value=" | ".join(mistakes))


def _told_twice(overrides: PriceOverrides) -> Iterator[str]:
    """Yield an organisation's prices of which only one could hold: of one model, from one day on."""
    dated = [(each.org, each.provider, each.model.lower(), each.effective_from) for each in overrides.prices]
    dated.extend([(each.org, each.provider, each.model.lower(), date.min) for each in overrides.free])
    for (org, provider, model, day), times in Counter(dated).items():
        if org and times > 1:
            since = "" if day == date.min else f" from {day} on"
            yield f"prices of org {org!r}: {provider}/{model} has {times} prices{since}, expected one"


def _rates(source: PriceOverride | TierOverride) -> Rates:
    def given(text: str | None) -> int | None:
        return None if text is None else parse_dollars(text)

    return rates(
        input=parse_dollars(source.input),
        output=parse_dollars(source.output),
        cached_input=given(source.cached_input),
        cache_write=given(source.cache_write),
        cache_write_1h=given(source.cache_write_1h),
        reasoning=given(source.reasoning),
    )


@lru_cache(maxsize=512)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


_TESTS: Final[dict[str, Callable[[str, str], bool]]] = {
    "prefix": str.startswith,
    "suffix": str.endswith,
    "contains": str.__contains__,
    "equals": str.__eq__,
    "regex": lambda name, pattern: _compiled(pattern).search(name) is not None,
}


def _satisfies(name: str, tests: tuple[tuple[str, str], ...]) -> bool:
    return all(_TESTS[kind](name, text) for kind, text in tests)
