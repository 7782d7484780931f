"""Invoices of vendors, read into lines: OpenAI's costs, Anthropic's cost report, and a plain CSV. Pure.

Formats: OpenAI ``GET /v1/organization/costs`` (grouped by `line_item`: amounts in dollars, a line item such as
``gpt-4o-2024-08-06, input``); Anthropic ``GET /v1/organizations/cost_report`` (grouped by `description`: amounts in
*cents*, as decimal text); CSV with the columns date, model, cost_usd and, where they are known, vendor, reference,
input_tokens, output_tokens, requests. Days are UTC days, as both vendors have them.

Promises: amounts are read as decimals, added up exactly and rounded once, to the nearest nano-dollar; another currency,
a column that lacks or a number that is none is `Invalid` and says where; all pages of a report may be given together.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from typing import Any, Final, cast

import msgspec

from penstock.kernel.errors import Invalid

NANOS: Final = 1_000_000_000
CENTS: Final = 100
LINES_MOST: Final = 1_000_000
AMOUNT_MOST: Final = Decimal(10) ** 9
COLUMNS: Final = ("date", "model", "cost_usd")


class InvoiceLine(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What is billed: `day` ``YYYY-MM-DD``. A `reference` names one call; without it a line is of a model's day.

    -1 is a count that the invoice does not tell.
    """

    vendor: str
    day: str
    model: str
    cost_nanos: int
    reference: str = ""
    input_tokens: int = -1
    output_tokens: int = -1
    requests: int = -1


def openai_costs(*pages: bytes) -> list[InvoiceLine]:
    """Read pages of OpenAI's organization costs."""
    sums: dict[tuple[str, str], Decimal] = {}
    for number, bucket in enumerate(_buckets(pages)):
        where = f"bucket {number}"
        day = _day(_got(bucket, "start_time", where), where)
        for item in _listed(bucket, "results", where):
            amount = _object(_got(item, "amount", where), where)
            _dollars(_got(amount, "currency", where), where)
            name = str(item.get("line_item") or "").partition(",")[0].strip()
            value = _decimal(_got(amount, "value", where), where)
            sums[day, name] = sums.get((day, name), Decimal(0)) + value
    return _lines("openai", sums)


def anthropic_costs(*pages: bytes) -> list[InvoiceLine]:
    """Read pages of Anthropic's cost report. What is no model's (web search, code) has its description for a model."""
    sums: dict[tuple[str, str], Decimal] = {}
    for number, bucket in enumerate(_buckets(pages)):
        where = f"bucket {number}"
        day = _day(_got(bucket, "starting_at", where), where)
        for item in _listed(bucket, "results", where):
            _dollars(_got(item, "currency", where), where)
            name = str(item.get("model") or item.get("description") or item.get("cost_type") or "")
            value = _decimal(_got(item, "amount", where), where) / CENTS
            sums[day, name] = sums.get((day, name), Decimal(0)) + value
    return _lines("anthropic", sums)


def plain_csv(text: str, *, vendor: str = "") -> list[InvoiceLine]:
    """Read a CSV; `vendor` is whose it is where no column says so."""
    rows = csv.DictReader(io.StringIO(text), strict=True)
    missing = [name for name in COLUMNS if name not in (rows.fieldnames or ())]
    if missing:
        raise Invalid("Columns are missing.", field="invoice", value=missing, limit=list(COLUMNS))
    lines: list[InvoiceLine] = []
    try:
        for number, row in enumerate(rows, 2):
            _bounded(number)
            lines.append(_plain_line(row, vendor, f"line {number}"))
    except csv.Error as error:
        raise _wrong(f"This is no CSV ({error}).", f"line {rows.line_num}") from None
    return lines


def _plain_line(row: Mapping[str, str | None], vendor: str, where: str) -> InvoiceLine:
    def count(name: str) -> int:
        text = (row.get(name) or "").strip()
        if not text:
            return -1
        if not text.isascii() or not text.isdecimal() or len(text) > 15:
            raise _wrong(f"{name} is no count.", where)
        return int(text)

    return InvoiceLine(
        vendor=(row.get("vendor") or vendor).strip(),
        day=_day((row["date"] or "").strip(), where),
        model=(row["model"] or "").strip(),
        cost_nanos=nanos(_decimal((row["cost_usd"] or "").strip().removeprefix("$"), where)),
        reference=(row.get("reference") or "").strip(),
        input_tokens=count("input_tokens"),
        output_tokens=count("output_tokens"),
        requests=count("requests"),
    )


def nanos(dollars: Decimal) -> int:
    """Return an amount in nano-dollars, rounded once, to the nearest (half to even)."""
    return int((dollars * NANOS).to_integral_value(ROUND_HALF_EVEN))


def _lines(vendor: str, sums: Mapping[tuple[str, str], Decimal]) -> list[InvoiceLine]:
    return [
        InvoiceLine(vendor=vendor, day=day, model=model, cost_nanos=nanos(dollars))
        for (day, model), dollars in sorted(sums.items())
    ]


# ------------------------------------------------------------------------------------------------- what is in JSON


def _buckets(pages: Sequence[bytes]) -> Iterable[dict[str, Any]]:
    """Yield the buckets of all pages."""
    count = 0
    for number, page in enumerate(pages):
        where = f"page {number}"
        try:
            whole = json.loads(page, parse_float=Decimal, parse_constant=_no_number)
        except (ValueError, RecursionError):
            raise _wrong("This is no JSON.", where) from None
        for bucket in _listed(_object(whole, where), "data", where):
            count += 1
            _bounded(count)
            yield bucket


def _no_number(text: str) -> None:
    raise ValueError(text)


def _object(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wrong("An object is missing.", where)
    return cast("dict[str, Any]", value)


def _listed(value: Mapping[str, Any], name: str, where: str) -> list[dict[str, Any]]:
    items = _got(value, name, where)
    if not isinstance(items, list):
        raise _wrong(f"{name!r} is no list.", where)
    return [_object(item, where) for item in cast("list[object]", items)]


def _got(value: Mapping[str, Any], name: str, where: str) -> object:
    if name not in value:
        raise _wrong(f"{name!r} is missing.", where)
    return value[name]


def _dollars(currency: object, where: str) -> None:
    if str(currency).upper() != "USD":
        raise _wrong("Only US dollars are reconciled.", where)


def _decimal(value: object, where: str) -> Decimal:
    amount = Decimal("NaN")
    if isinstance(value, (str, int, Decimal)) and not isinstance(value, bool):
        with suppress(InvalidOperation):
            amount = Decimal(value)
    if not amount.is_finite() or amount.copy_abs() > AMOUNT_MOST:
        raise _wrong("An amount is no number, or none that can be.", where)
    return amount


def _day(value: object, where: str) -> str:
    """Return the UTC day of seconds since 1970, or of text that begins with one."""
    try:
        if isinstance(value, int):
            return f"{datetime.fromtimestamp(value, UTC):%Y-%m-%d}"
        return date.fromisoformat(str(value)[:10]).isoformat()
    except (ValueError, OverflowError, OSError):
        raise _wrong("This is no date.", where) from None


def _bounded(count: int) -> None:
    if count > LINES_MOST:
        raise Invalid("The invoice is too long.", field="invoice", limit=LINES_MOST)


def _wrong(what: str, where: str) -> Invalid:
    return Invalid(what, field="invoice", value=where)
