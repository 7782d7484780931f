"""Chargeback: what each team, project, user and model cost on each day, as a CSV whose sum is the ledger's own amount.

Promises: every request of the period is in exactly one row; the rows of a day and its own row ``(not attributed)`` add
up to what the ledger settled for the organisation on it, to the nano-dollar. That row is there when the two differ:
requests that ended on another day than the one they were admitted on, and totals that were lost. A name that a
spreadsheet would take for a formula is written so that it does not (OWASP, CSV injection).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Final

import msgspec

from penstock.kernel.errors import Invalid
from penstock.kernel.money import format_dollars
from penstock.mechanisms.limits import account_name
from penstock.ports.ledger import Ledger
from penstock.ports.traces import DAY_S, TOTALS_MOST, Total, TraceFilter, Traces

DAYS_MOST: Final = 366
UNATTRIBUTED: Final = "(not attributed)"
HEADER: Final = (
    "day",
    "org",
    "team",
    "project",
    "user",
    "model",
    "requests",
    "input_tokens",
    "output_tokens",
    "cost_usd",
    "cost_nanos",
)
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")


class Charge(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One row: who, with which model, on which day (``YYYY-MM-DD``, UTC)."""

    day: str
    org: str
    team: str
    project: str
    user: str
    model: str
    requests: int
    input_tokens: int
    output_tokens: int
    cost_nanos: int


class Chargeback(msgspec.Struct, frozen=True, kw_only=True):
    """All rows; `settled_nanos` is the ledger's word, `attributed_nanos` what the totals could attribute of it."""

    charges: tuple[Charge, ...]
    settled_nanos: int
    attributed_nanos: int

    @property
    def difference_nanos(self) -> int:
        """Return what was settled and is not attributed, negative when more is attributed than was settled."""
        return self.settled_nanos - self.attributed_nanos


async def chargeback(traces: Traces, ledger: Ledger, org: str, since: date, until: date) -> Chargeback:
    """Add up an organisation's days `since` to `until`, both included. Raises Invalid when there is too much of it."""
    if not 0 <= (until - since).days < DAYS_MOST:
        raise Invalid("These are no days.", field="days", value=f"{since} to {until}", limit=DAYS_MOST)
    charges: list[Charge] = []
    settled = attributed = 0
    day = since
    while day <= until:
        rows = await _day(traces, org, day)
        at = datetime(day.year, day.month, day.day, tzinfo=UTC)
        (balance,) = await ledger.balance(accounts=[account_name(f"org:{org}", "day", at)])
        told = sum(row.cost_nanos for row in rows)
        charges += [*rows, *_rest(org, day, balance.posted_nanos - told)]
        settled += balance.posted_nanos
        attributed += told
        day += timedelta(days=1)
    return Chargeback(charges=tuple(charges), settled_nanos=settled, attributed_nanos=attributed)


async def _day(traces: Traces, org: str, day: date) -> list[Charge]:
    """Return the rows of one day: of each model in turn, for totals are by three names at most."""
    start_s = datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()
    whole = TraceFilter(org=org, since_s=start_s, until_s=start_s + DAY_S)
    charges: list[Charge] = []
    for model in await _totals(traces, whole, ("model",)):
        (name,) = model.group
        if name:
            parts = await _totals(
                traces, msgspec.structs.replace(whole, model=name), ("team", "project", "user")
            )
            charges += [_charge(org, day, name, part) for part in parts]
        elif model.cost_nanos or model.requests:  # "" asks for every model: of what had none nobody is told
            charges.append(_charge(org, day, "", msgspec.structs.replace(model, group=("", "", ""))))
    return charges


async def _totals(traces: Traces, wanted: TraceFilter, by: Sequence[str]) -> list[Total]:
    rows = await traces.totals(wanted, by)
    if len(rows) >= TOTALS_MOST:
        raise Invalid("A day has more rows than can be added up.", field="days", limit=TOTALS_MOST)
    return rows


def _charge(org: str, day: date, model: str, total: Total) -> Charge:
    team, project, user = total.group[0], total.group[1], total.group[2]
    return Charge(
        day=day.isoformat(),
        org=org,
        team=team,
        project=project,
        user=user,
        model=model,
        requests=total.requests,
        input_tokens=total.input_tokens,
        output_tokens=total.output_tokens,
        cost_nanos=total.cost_nanos,
    )


def _rest(org: str, day: date, cost_nanos: int) -> list[Charge]:
    """Return the row of what is not attributed, if anything."""
    rest = Charge(
        day=day.isoformat(),
        org=org,
        team=UNATTRIBUTED,
        project="",
        user="",
        model="",
        requests=0,
        input_tokens=0,
        output_tokens=0,
        cost_nanos=cost_nanos,
    )
    return [rest] if cost_nanos else []


def as_csv(charges: Iterable[Charge]) -> str:
    """Write rows as CSV (RFC 4180), with a header; amounts in dollars, exactly, and in nano-dollars."""
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(HEADER)
    for charge in charges:
        names = map(
            _harmless, (charge.day, charge.org, charge.team, charge.project, charge.user, charge.model)
        )
        counts = (charge.requests, charge.input_tokens, charge.output_tokens)
        dollars = format_dollars(charge.cost_nanos).replace("$", "")
        rows.writerow([*names, *counts, dollars, charge.cost_nanos])
    return text.getvalue()


def _harmless(name: str) -> str:
    return f"'{name}" if name.startswith(_FORMULA) else name
