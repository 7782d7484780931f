"""`penstock reconcile`: a vendor's invoice against what was settled."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from penstock.cli.output import dollars, line, table
from penstock.cli.server import HERE, Server
from penstock.kernel.errors import Invalid
from penstock.sdk.oversight import Invoice

DIFFERS = 1
"""The exit code when something does not agree."""


def reconcile(
    file: Path,
    /,
    *,
    vendor: Annotated[str, Parameter(help="Whose invoice it is, e.g. openai.")],
    form: Annotated[
        Literal["", "openai", "anthropic", "csv"],
        Parameter(
            help="How it is written; without it, by the file's name and the vendor.", show_default=False
        ),
    ] = "",
    server: Server = HERE,
) -> int:
    """Compare an invoice with what was settled on its days. Exit code 1 when something does not agree.

    Parameters
    ----------
    file
        OpenAI's costs or Anthropic's cost report as their APIs give them, or a CSV with date, model, cost_usd.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise Invalid("The invoice cannot be read.", field="file", value=str(file)) from None
    form = form or ("csv" if file.suffix == ".csv" else "anthropic" if vendor == "anthropic" else "openai")
    invoice = Invoice(vendor=vendor, form=form, text=text)
    found = server.ask(lambda client: client.invoices.reconcile(invoice))
    rows = [
        (each.day, each.model, each.status, *map(dollars, (each.ours_nanos, each.theirs_nanos)))
        for each in found.lines
        if each.status != "matched"
    ]
    sums = f"{dollars(found.ours_nanos)} settled, {dollars(found.theirs_nanos)} billed"
    parts = table(("day", "model", "status", ">settled", ">billed"), rows, empty="Every line agrees.")
    server.show(found, parts, line(f"{sums}, {found.since} to {found.until}"))
    return 0 if found.agrees else DIFFERS
