"""`penstock prices`: what a token costs here, today, and what vendors allow a minute."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter

from penstock.cli.deployment import DEFAULTS, Deployment
from penstock.cli.output import dollars, facts, line, table
from penstock.cli.server import HERE, Server
from penstock.kernel.errors import Invalid, NotFound
from penstock.mechanisms.vendor_quotas import TierQuota, tables
from penstock.sdk.replies import ModelPrice
from penstock.wiring.catalogue import price_book

prices = App(name="prices", help="See what a token costs here, today.")


@prices.command(name="list")
def show_all(
    model: Annotated[str, Parameter(help="Only models whose name holds this.")] = "",
    *,
    provider: Annotated[str, Parameter(help="Only this provider.")] = "",
    server: Server = HERE,
) -> None:
    """List the prices in force today, in dollars per million tokens."""
    found = server.ask(lambda client: client.prices.list(provider, model))
    columns = ("provider", "model", "for", ">input", ">cached", ">output", ">window", "version")
    rows = [
        (
            p.provider,
            p.model,
            p.org or "everybody",
            *_amounts(p),
            f"{p.context_window:,}" if p.context_window else "-",
            p.version,
        )
        for p in found
    ]
    server.show(found, table(columns, rows, empty="No price matches."))


@prices.command
def show(
    name: str,
    *,
    org: Annotated[str, Parameter(help="What this organisation pays of its own; empty is everybody.")] = "",
    server: Server = HERE,
) -> None:
    """Show one price.

    Parameters
    ----------
    name
        PROVIDER/MODEL, as `penstock prices list` names it.
    """
    provider, slash, model = name.partition("/")
    if not slash:
        raise Invalid(
            "A price is named PROVIDER/MODEL.", field="name", value=name, remedy="E.g. openai/gpt-4o."
        )
    listed = server.ask(lambda client: client.prices.list(provider, model))
    found = [p for p in listed if p.model == model and p.org == org]
    if not found:
        raise NotFound(
            "There is no such price.", field="name", value=name, remedy="See `penstock prices list`."
        )
    price = found[0]
    amounts = _amounts(price)
    server.show(
        price,
        facts(
            (
                ("model", f"{price.provider}/{price.model}"),
                ("for", price.org or "everybody"),
                ("input", f"{amounts[0]} per million tokens"),
                ("cached input", f"{amounts[1]} per million tokens"),
                ("output", f"{amounts[2]} per million tokens"),
                ("context window", f"{price.context_window:,} tokens" if price.context_window else "unknown"),
                (
                    "longest answer",
                    f"{price.max_output_tokens:,} tokens" if price.max_output_tokens else "unknown",
                ),
                ("version", price.version),
            )
        ),
    )


@prices.command
def version(*, deployment: Deployment = DEFAULTS) -> None:
    """Name the price table that this configuration gives, overrides included. No server is asked."""
    settings = deployment.settings()
    book = price_book(settings, settings.providers)
    told = {"version": book.version, "source": book.source, "built": book.built.isoformat()}
    deployment.show(told, line(f"{book.version}  (from {book.source}, built {book.built:%Y-%m-%d})"))


@prices.command(name="quotas")
def show_quotas(
    vendor: Annotated[str, Parameter(help="Only this vendor.")] = "", *, deployment: Deployment = DEFAULTS
) -> None:
    """List what vendors allow each usage tier a minute, as far as it is known; no server is asked."""
    found = [each for each in tables() if vendor in ("", each.vendor)]
    columns = ("vendor", "tier", ">requests", ">tokens", ">input", ">output", "read", "models")
    rows = [
        (each.vendor, tier, *_allowed(quota), each.date.isoformat(), " ".join(each.models))
        for each in found
        for tier, quota in each.tiers.items()
    ]
    deployment.show(found, table(columns, rows, empty="Nothing is known of this vendor's tiers."))


def _allowed(quota: TierQuota) -> list[str]:
    figures = (
        quota.requests_per_minute,
        quota.tokens_per_minute,
        quota.input_tokens_per_minute,
        quota.output_tokens_per_minute,
    )
    return [f"{figure:,}" if figure else "-" for figure in figures]


def _amounts(price: ModelPrice) -> tuple[str, str, str]:
    if price.free:
        return "free", "free", "free"
    return dollars(price.input), dollars(price.cached_input), dollars(price.output)
