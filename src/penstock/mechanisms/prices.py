"""The price book: what every model costs on a given day, from dated data, in one dictionary look-up.

Promises:

1. A model without a price is `None` (`price`) or refused (`require`); it is never silently free. Free is declared,
   by a `FreeRule` of the configuration or by the vendor's own free models in the table.
2. Prices are dated: the entry in force on the day asked for is returned, so a price announced for next month
   needs no restart on the first.
3. `Price.version` is a digest of what the price says. A hold pins it, `by_version` finds it again after a restart,
   and the book's own `version` names the whole table with its overrides.
4. Look-ups are pure: no I/O after `load`. The memo is bounded, whatever model names callers invent.

5. A price of an organisation's own is nobody else's: whoever names no organisation is told the general one.

Precedence, first match: the organisation's own overrides in force · its own free rules · priced overrides in force ·
free rules · the shipped table.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date
from hashlib import blake2b
from typing import Final

import msgspec

from penstock.kernel.errors import PolicyRefused
from penstock.kernel.money import Price
from penstock.mechanisms.price_data import (
    DatedRow,
    FreeRule,
    Model,
    ModelLimits,
    PriceOverride,
    PriceOverrides,
    Row,
    Table,
    check,
    in_force,
    matches,
    read_limits,
    read_table,
    to_price,
    to_row,
)

MEMO_ENTRIES_MAX: Final = 4096
"""The memo is emptied when it holds so many answers (2 MiB at most); each look-up then pays its ≤ 0.1 ms again."""
NAME_CHARS_MAX: Final = 256
"""A longer model name is nobody's, and is not remembered."""
STANDARD_SERVICES: Final = frozenset({"", "auto", "default", "standard", "standard_only"})
"""What callers write when they want the vendor's ordinary service."""

_NO_OVERRIDES: Final = PriceOverrides()


class PriceBook:
    """All prices, ready to be asked. Build it with `load`; immutable but for its memo."""

    def __init__(
        self, table: Table, limits: tuple[ModelLimits, ...], overrides: PriceOverrides, digest: str
    ) -> None:
        """Keep the parts, which were checked; `digest` identifies them."""
        self._table = table
        self._limits = (*(each for each in overrides.limits if not each.org), *limits)
        self._own_limits = tuple(each for each in overrides.limits if each.org)
        self._overrides = tuple((override, to_row(override)) for override in overrides.prices)
        self._free = overrides.free
        self.orgs: frozenset[str] = frozenset([each.org for each in (*overrides.prices, *overrides.free)]) - {
            ""
        }
        """Who has prices of its own, on some day."""
        self._memo: dict[tuple[str, str, date, str, str], Price | None] = {}
        self._versions: dict[str, Price] = {}
        self.source: str = table.source
        """Where the table comes from, for people."""
        self.built: date = table.built
        """The day the table was built."""
        self.version: str = f"{table.built.isoformat()}-{digest}"
        """Names the table together with its overrides and limits."""

    @classmethod
    def load(cls, overrides: PriceOverrides = _NO_OVERRIDES, mistakes: Iterable[str] = ()) -> PriceBook:
        """Read the shipped table and limits, and put the overrides on top. Raises `Invalid` that lists every mistake of
        the overrides, with the `mistakes` that were found before.
        """
        check(overrides, mistakes)
        table, raw = read_table()
        limits = read_limits()
        digest = _digest(raw, msgspec.json.encode(limits), msgspec.json.encode(overrides))
        return cls(table, limits.limits, overrides, digest)

    def price(self, provider: str, model: str, at: date, service: str = "", org: str = "") -> Price | None:
        """Return the price in force on the UTC day `at`, or None when there is none; `org` is told its own before the
        general one.

        `service` is the vendor's class of service (batch, flex, priority, fast); empty is the ordinary one. A class
        without a price of its own has no price, but for `batch`, which falls back to the entry's batch ratio: no
        vendor sells it dearer. "auto" is read as the ordinary one: a caller who lets an account's default decide
        must pin the class upstream.
        """
        # Only names that the configuration has: callers' organisations must not fill the memo.
        whose = org if org in self.orgs else ""
        key = (provider, model, at, service, whose)
        try:
            return self._memo[key]
        except KeyError:
            if len(model) + len(service) > NAME_CHARS_MAX:
                return None
        meant = "" if service in STANDARD_SERVICES else service
        found = self._find(provider, model.lower(), at, meant, whose)
        if len(self._memo) >= MEMO_ENTRIES_MAX:
            self._memo.clear()
        self._memo[key] = found
        return found

    def require(self, provider: str, model: str, at: date, service: str = "") -> Price:
        """Return the price, or raise `PolicyRefused` (code `model_without_price`) with the remedy."""
        found = self.price(provider, model, at, service)
        if found is not None:
            return found
        label = f"{provider}/{model}" + (f" (service {service})" if service else "")
        raise PolicyRefused(
            f"The model {label} has no price, so what it would cost cannot be held.",
            code="model_without_price",
            field="model",
            value=model,
            remedy=f"Give it one under prices.overrides (provider = {provider!r}, model = {model!r}), "
            "or declare it free under prices.free.",
        )

    def by_version(self, version: str) -> Price | None:
        """Return the price a hold pinned, whatever the day; None when neither table nor overrides have it any more."""
        if not self._versions:
            self._versions = {price.version: price for price in self._every_price()}
        return self._versions.get(version)

    def rows(self, at: date) -> Iterator[Price]:
        """Yield the ordinary price of every model in force on a day: overrides first, whoever's they are, then the
        table, by name.
        """
        for override, row in self._overrides:
            if override.effective_from <= at:
                yield self._of_override(override, row, override.provider, override.model)
        for rule in self._free:
            yield self._of_free(rule, rule.provider, rule.model)
        for home, listing in sorted(self._table.providers.items()):
            for model in sorted(listing.models, key=lambda entry: entry.id):
                if (dated := in_force(model.standard, at)) is not None:
                    yield self._of_table(home, model, dated, "", home, model.id)

    def _find(self, provider: str, name: str, at: date, service: str, org: str) -> Price | None:
        for whose in dict.fromkeys((org, "")):
            told = self._override_for(whose, provider, name, at)
            if told is not None:
                return _of_service(self._of_override(*told, provider, name), service)
            for rule in self._free:
                if rule.org == whose and rule.provider == provider and matches(rule.model, name):
                    return self._of_free(rule, provider, name)
        entry = self._table.find(provider, name)
        if entry is None:
            return None
        home, model = entry
        if service and (dated := in_force(model.services.get(service, ()), at)) is not None:
            return self._of_table(home, model, dated, service, provider, name)
        dated = in_force(model.standard, at)
        return (
            None
            if dated is None
            else _of_service(self._of_table(home, model, dated, "", provider, name), service)
        )

    def _override_for(self, org: str, provider: str, name: str, at: date) -> tuple[PriceOverride, Row] | None:
        """Return the override in force: of those that match as the first one does, the latest that has begun."""
        begun = [
            (override, row)
            for override, row in self._overrides
            if override.org == org
            and override.provider == provider
            and override.effective_from <= at
            and matches(override.model, name)
        ]
        same = [entry for entry in begun if entry[0].model == begun[0][0].model]
        return max(same, key=lambda entry: entry[0].effective_from, default=None)

    def _of_override(self, told: PriceOverride, row: Row, provider: str, name: str) -> Price:
        said = msgspec.json.encode((told.provider, told.model, told.effective_from, row))
        version = _digest(b"override", said, *_of_whom(told.org))
        bare = to_price(provider, name, told.effective_from, row, version)
        return self._limited(bare, name, frozenset(told.unpriced), told.org)

    def _of_free(self, rule: FreeRule, provider: str, name: str) -> Price:
        said = msgspec.json.encode({"provider": rule.provider, "model": rule.model})
        version = _digest(b"free", said, *_of_whom(rule.org))
        return self._limited(to_price(provider, name, date.min, Row(free=True), version), name, org=rule.org)

    def _of_table(
        self, home: str, model: Model, dated: DatedRow, service: str, provider: str, name: str
    ) -> Price:
        """Build a price of the table: its version names the entry at home, whoever sells it and under which name."""
        version = _digest(b"table", msgspec.json.encode((home, model.id, service, dated)))
        bare = to_price(provider, model.id, dated.effective_from, dated.row, version)
        price = self._limited(bare, name, frozenset(model.unpriced))
        return msgspec.structs.replace(
            price,
            context_window=price.context_window or model.context_window,
            capabilities=price.capabilities | {"embedding"} if model.embedding else price.capabilities,
        )

    def _limited(
        self, price: Price, name: str, unpriced: frozenset[str] = frozenset(), org: str = ""
    ) -> Price:
        """Add to a bare price whose it is and what is known about the model besides."""
        limits = self._limits_of(price.provider, name)
        own = self._limits_of_org(org, price.provider, name)
        return msgspec.structs.replace(
            price,
            org=org,
            context_window=own.context_window or limits.context_window,
            max_output_tokens=own.max_output_tokens or limits.max_output_tokens,
            image_tokens_max=limits.image_tokens_max,
            capabilities=frozenset(limits.capabilities),
            unpriced=unpriced,
        )

    def _limits_of(self, provider: str, model: str) -> ModelLimits:
        """Return the limits of a model, sold by its maker or another (Azure; OpenRouter's `vendor/model`)."""
        home = self._table.aliases.get(provider, provider)
        listing = self._table.providers.get(home)
        vendor, slash, rest = model.rpartition("/")
        meant = [
            (provider, model),
            (home, model),
            *((other, model) for other in (listing.fallback if listing else ())),
        ]
        if slash:
            meant.append((vendor, rest))
        for seller, name in meant:
            for limits in self._limits:
                if limits.provider == seller and matches(limits.model, name):
                    return limits
        return ModelLimits(provider=provider, model=model)

    def _limits_of_org(self, org: str, provider: str, name: str) -> ModelLimits:
        for each in self._own_limits:
            if each.org == org and each.provider == provider and matches(each.model, name):
                return each
        return ModelLimits(provider=provider, model=name)

    def _every_price(self) -> Iterator[Price]:
        """Yield every price of every day and service, for `by_version`."""
        for override, row in self._overrides:
            price = self._of_override(override, row, override.provider, override.model)
            yield from (price, price.batched())
        yield from (self._of_free(rule, rule.provider, rule.model) for rule in self._free)
        for home, listing in self._table.providers.items():
            for model in listing.models:
                for service, history in {"": model.standard, **model.services}.items():
                    yield from (
                        self._of_table(home, model, dated, service, home, model.id) for dated in history
                    )


def _of_service(price: Price, service: str) -> Price | None:
    """Return the price of a class of service that has no row of its own, from the ordinary one."""
    if not service or price.free:
        return price
    return price.batched() if service == "batch" else None


def _of_whom(org: str) -> tuple[bytes, ...]:
    """Return what a version says besides of an organisation's own price: nothing of everybody's."""
    return (org.encode(),) if org else ()


def _digest(*parts: bytes) -> str:
    digest = blake2b(digest_size=8)
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()
