"""Build `src/penstock/mechanisms/data/prices.json` from the `genai-prices` package (development only).

    python scripts/build_prices.py YYYY-MM-DD        (the day the package was looked at)

What is kept: models sold by text tokens, of the providers below. Left out, and therefore refused at run time as
`model_without_price`: models sold by the hour, the page or the character, models whose *output* is partly sold at
another rate (speech, pictures), and chat models without an output price. What a kept model sells beside text
(audio input, web searches) is named in `unpriced`. Time-of-day prices become the dearest of the day, so that a hold
is never too small; `dearest_hour` says so. Rates finer than a nano-dollar per million tokens are rounded up.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from datetime import date
from decimal import ROUND_CEILING, Decimal
from importlib.metadata import version
from pathlib import Path

import msgspec
from genai_prices import types as source
from genai_prices.data import providers as source_providers

from penstock.kernel.money import Rates, Tier, rates
from penstock.mechanisms.price_data import DatedRow, Model, Provider, Row, Rule, Table

TARGET = Path(__file__).parent.parent / "src/penstock/mechanisms/data/prices.json"
PROVIDERS = (
    "anthropic",
    "azure",
    "cerebras",
    "cohere",
    "deepseek",
    "fireworks",
    "google",
    "groq",
    "mistral",
    "moonshotai",
    "openai",
    "openrouter",
    "perplexity",
    "together",
    "voyageai",
    "x-ai",
)
ALIASES = {
    "gemini": "google",
    "moonshot": "moonshotai",
    "together-ai": "together",
    "together_ai": "together",
    "vertex": "google",
    "voyage": "voyageai",
    "xai": "x-ai",
}
RATE_KEYS = {
    "input_mtok": "input",
    "output_mtok": "output",
    "cache_read_mtok": "cached_input",
    "cache_write_mtok": "cache_write",
    "cache_write_1h_mtok": "cache_write_1h",
    "output_reasoning_mtok": "reasoning",
}
SERVICE_KEYS = {"processing", "service_tier", "speed"}
UNPRICED = {
    "input_audio": "audio",
    "cache_audio": "audio",
    "audio_hours": "audio",
    "input_image": "image",
    "cache_image": "image",
    "input_video": "video",
    "input_document": "document",
    "input_annotated": "document",
    "web_searches": "web_search",
    "storage_searches": "file_search",
    "output_citation": "citation",
}
OTHER_OUTPUT = ("output_audio", "output_image", "output_video")
FREE_IDS = {("openai", "moderation")}

Keyed = dict[str, Decimal | source.TieredPrices]


def nanos(dollars: Decimal) -> int:
    """Dollars to nano-dollars, up."""
    return int((dollars * 10**9).to_integral_value(ROUND_CEILING))


def keyed(price: source.ModelPrice) -> Keyed:
    """The prices an entry really has."""
    return {key: value for key, value in vars(price).items() if value is not None}


def at_tier(value: Decimal | source.TieredPrices, above: int | None) -> Decimal:
    """The price of a unit once the input exceeds `above` (None: the base)."""
    if isinstance(value, Decimal):
        return value
    reached = [tier.price for tier in value.tiers if above is not None and tier.start <= above]
    return reached[-1] if reached else value.base


def rates_of(prices: Keyed, above: int | None) -> Rates:
    """One row of rates."""
    found = {
        RATE_KEYS[key]: nanos(at_tier(value, above)) for key, value in prices.items() if key in RATE_KEYS
    }
    return rates(**{"output": 0, **found})


def row_of(prices: Keyed, *, free: bool) -> Row:
    """The row of one set of prices."""
    if free:
        return Row(free=True)
    tiered = [
        value for key, value in prices.items() if key in RATE_KEYS and isinstance(value, source.TieredPrices)
    ]
    starts = sorted({tier.start for value in tiered for tier in value.tiers})
    fee = prices.get("requests_kcount", Decimal(0))
    return Row(
        rates=rates_of(prices, None),
        tiers=tuple(Tier(above_input_tokens=start, rates=rates_of(prices, start)) for start in starts),
        per_request_nanos=nanos(at_tier(fee, None) / 1000),
    )


def dearest(rows: list[Row]) -> Row:
    """The dearest of each figure, for prices that change with the hour."""
    if len(rows) == 1:
        return rows[0]
    if any(row.tiers or row.per_request_nanos for row in rows):
        raise SystemExit("A time-of-day price with tiers or fees: teach `dearest` about it.")
    names = Rates.__struct_fields__
    return Row(rates=Rates(**{name: max(getattr(row.rates, name) for row in rows) for name in names}))


def active(constraint: object, day: date) -> bool:
    """Whether a start date has come."""
    return not isinstance(constraint, source.StartDateConstraint) or constraint.start_date <= day


def standard_on(model: source.ModelInfo, day: date) -> list[Keyed]:
    """The sets of prices in force on a day: one, or one per window of the day."""
    if isinstance(model.prices, source.ModelPrice):
        return [keyed(model.prices)]
    found: list[Keyed] = []
    for entry in reversed(model.prices):
        if active(entry.constraint, day):
            found.append(keyed(entry.prices))
            if not isinstance(entry.constraint, source.TimeOfDateConstraint):
                break
    return found


def services_on(model: source.ModelInfo, day: date, standard: Keyed) -> dict[str, Row]:
    """The rows of the vendor's other services on a day: the standard one with some figures replaced."""
    overrides: dict[str, Keyed] = {}
    for variant in model.price_variants or ():
        [(key, service), *more] = variant.when.items()
        if key in SERVICE_KEYS and service != "default" and not more and active(variant.constraint, day):
            overrides[service] = {**keyed(variant.prices), **overrides.get(service, {})}
    return {name: row_of({**standard, **changed}, free=False) for name, changed in sorted(overrides.items())}


def days_of(model: source.ModelInfo) -> list[date]:
    """The days on which something about a model's price changes."""
    entries = model.prices if isinstance(model.prices, list) else []
    constraints = [entry.constraint for entry in [*entries, *(model.price_variants or [])]]
    starts = {item.start_date for item in constraints if isinstance(item, source.StartDateConstraint)}
    return sorted({date.min, *starts})


def histories(model: source.ModelInfo, *, free: bool) -> dict[str, list[DatedRow]]:
    """The price history of each service of a model ("" is the ordinary one), each row different from the last."""
    found: dict[str, list[DatedRow]] = {"": []}
    for day in days_of(model):
        sets = standard_on(model, day)
        rows = {"": dearest([row_of(prices, free=free) for prices in sets])}
        if not free and len(sets) == 1:
            rows |= services_on(model, day, sets[0])
        for service, row in rows.items():
            history = found.setdefault(service, [])
            if not history or history[-1].row != row:
                history.append(DatedRow(effective_from=day, row=row))
    return found


def model_of(provider: str, model: source.ModelInfo) -> Model | None:
    """A model of the table, or None when it is not sold by text tokens."""
    sets = [prices for day in days_of(model) for prices in standard_on(model, day)]
    keys = {key for prices in sets for key in prices}
    free = not keys and (model.id.endswith(":free") or (provider, model.id) in FREE_IDS)
    embedding = "embed" in model.id or model.id.startswith("voyage-")
    if not free:
        has_rates = all("input_mtok" in prices and (embedding or "output_mtok" in prices) for prices in sets)
        if not has_rates or any(key.startswith(OTHER_OUTPUT) for key in keys):
            return None
    rows = {service: tuple(history) for service, history in histories(model, free=free).items()}
    return Model(
        id=model.id,
        standard=rows.pop(""),
        services=rows,
        context_window=model.context_window or 0,
        embedding=embedding,
        unpriced=tuple(
            sorted({name for key in keys for start, name in UNPRICED.items() if key.startswith(start)})
        ),
        dearest_hour=any(len(standard_on(model, day)) > 1 for day in days_of(model)),
    )


def alternatives(clause: object) -> Iterator[tuple[tuple[str, str], ...]]:
    """A match clause as alternatives of conjunctions."""
    match clause:
        case source.ClauseOr():
            for part in clause.or_:
                yield from alternatives(part)
        case source.ClauseAnd():
            yield tuple(test for part in clause.and_ for tests in alternatives(part) for test in tests)
        case source.ClauseEquals():
            yield (("equals", clause.equals.lower()),)
        case source.ClauseStartsWith():
            yield (("prefix", clause.starts_with.lower()),)
        case source.ClauseEndsWith():
            yield (("suffix", clause.ends_with.lower()),)
        case source.ClauseContains():
            yield (("contains", clause.contains.lower()),)
        case source.ClauseRegex():
            yield (("regex", clause.regex),)
        case _:
            raise SystemExit(f"Unknown clause {clause!r}")


def provider_of(provider: source.Provider) -> Provider:
    """One provider, flattened. An exact name belongs to whichever model the source itself would pick for it.

    Names of models that are left out are kept, as -1: no looser rule may price them as another model.
    """
    kept = {id(model): row for model in provider.models if (row := model_of(provider.id, model)) is not None}
    index = {key: position for position, key in enumerate(kept)}
    ids: dict[str, int] = {}
    rules: list[Rule] = []
    for model in provider.models:
        for tests in alternatives(model.match):
            if len(tests) == 1 and tests[0][0] == "equals":
                meant = provider.find_model(tests[0][1])
                ids[tests[0][1]] = index.get(id(meant), -1)
            else:
                rules.append(Rule(model=index.get(id(model), -1), tests=tests))
    return Provider(
        models=tuple(kept.values()),
        ids=dict(sorted(ids.items())),
        rules=tuple(rules),
        fallback=tuple(name for name in provider.fallback_model_providers or () if name in PROVIDERS),
    )


def build(built: date) -> Table:
    """The whole table."""
    chosen = {provider.id: provider for provider in source_providers if provider.id in PROVIDERS}
    if missing := set(PROVIDERS) - set(chosen):
        raise SystemExit(f"The source no longer has {sorted(missing)}")
    return Table(
        source=f"genai-prices {version('genai-prices')} (MIT)",
        built=built,
        aliases=ALIASES,
        providers={name: provider_of(chosen[name]) for name in PROVIDERS},
    )


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("built", type=date.fromisoformat, help="the day the package was looked at")
    table = build(parser.parse_args().built)
    TARGET.write_bytes(msgspec.json.encode(table) + b"\n")
    for name, provider in table.providers.items():
        print(
            f"{name:12} {len(provider.models):4} models {len(provider.ids):4} names {len(provider.rules):3} rules"
        )
    print(f"{TARGET.name}: {TARGET.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
