"""Chargeback: the rows add up to what the ledger settled, to the nano-dollar, and a name is no formula."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from random import Random

import pytest

from penstock.adapters.traces.sqlite import SqliteTraces
from penstock.kernel.errors import Invalid
from penstock.kernel.events import RequestEvent
from penstock.mechanisms import chargeback as module
from penstock.mechanisms.chargeback import UNATTRIBUTED, as_csv, chargeback
from penstock.mechanisms.totals import Totals
from penstock.ports.ledger import Balance
from penstock.ports.traces import Batch
from tests.support import run

DAY_S = 1_795_219_200.0
FRIDAY, SATURDAY = date(2026, 11, 20), date(2026, 11, 21)


class Ledger:
    """Balances as given."""

    def __init__(self, posted: dict[str, int]) -> None:
        self.posted = posted

    async def balance(self, *, accounts: Sequence[str]) -> list[Balance]:
        return [Balance(name, self.posted.get(name, 0), 0) for name in accounts]


def told(
    folder: Path, events: Sequence[RequestEvent], posted: dict[str, int], since: date = FRIDAY
) -> module.Chargeback:
    """Put events into a real store and charge them."""

    async def case() -> module.Chargeback:
        traces = await SqliteTraces.open(folder / "traces.sqlite")
        try:
            totals = Totals()
            for event in events:
                if not totals.add(event):
                    totals.begin(event)
            await traces.add(Batch(id="b", at_s=DAY_S, deltas=totals.take(len(totals))))
            return await chargeback(traces, Ledger(posted), "acme", since, SATURDAY)
        finally:
            await traces.close()

    return run(case())


def some_events(count: int) -> list[RequestEvent]:
    draw = Random(7)
    return [
        RequestEvent(
            request_id=f"r{n}",
            at_s=DAY_S + draw.randrange(-86_400, 86_400),
            org="acme" if n % 10 else "other",
            team=draw.choice(["ads", "search", "=cmd()"]),
            project=draw.choice(["web", ""]),
            user=draw.choice(["ann", "bob", ""]),
            model=draw.choice(["gpt", "claude", ""]),
            input_tokens=draw.randrange(1_000),
            output_tokens=draw.randrange(1_000),
            cost_nanos=draw.randrange(10**9),
        )
        for n in range(count)
    ]


def test_rows_add_up_to_the_ledgers_amount_to_the_nano(tmp_path: Path) -> None:
    events = some_events(400)
    days = {
        f"org:acme@{day}": sum(
            e.cost_nanos for e in events if e.org == "acme" and (e.at_s >= DAY_S) == (day == SATURDAY)
        )
        for day in (FRIDAY, SATURDAY)
    }
    whole = told(tmp_path, events, days)
    assert whole.difference_nanos == 0
    assert sum(charge.cost_nanos for charge in whole.charges) == whole.settled_nanos == sum(days.values())
    wanted: dict[tuple[str, ...], int] = {}
    for e in events:
        if e.org == "acme":
            day = SATURDAY if e.at_s >= DAY_S else FRIDAY
            key = (f"{day}", e.team, e.project, e.user, e.model)
            wanted[key] = wanted.get(key, 0) + e.cost_nanos
    rows = {(c.day, c.team, c.project, c.user, c.model): c.cost_nanos for c in whole.charges if c.model}
    assert rows == {key: cost for key, cost in wanted.items() if key[-1]}
    assert sum(c.requests for c in whole.charges) == sum(e.org == "acme" for e in events)


def test_what_is_not_attributed_has_a_row_of_its_own(tmp_path: Path) -> None:
    events = [RequestEvent(request_id="a", at_s=DAY_S, org="acme", model="gpt", cost_nanos=100)]
    whole = told(tmp_path, events, {"org:acme@2026-11-20": 7, "org:acme@2026-11-21": 90})
    assert (whole.settled_nanos, whole.attributed_nanos, whole.difference_nanos) == (97, 100, -3)
    rests = [(charge.day, charge.cost_nanos) for charge in whole.charges if charge.team == UNATTRIBUTED]
    assert rests == [("2026-11-20", 7), ("2026-11-21", -10)]
    assert sum(charge.cost_nanos for charge in whole.charges) == 97


def test_the_csv_is_exact_and_harmless(tmp_path: Path) -> None:
    names = ['=HYPERLINK("x")', "+1", "-1", "@a", "\tx", 'quo"te,comma', "line\nend", "é"]
    events = [
        RequestEvent(request_id=f"{n}", at_s=DAY_S, org="acme", team=name, model="gpt", cost_nanos=n + 1)
        for n, name in enumerate(names)
    ]
    whole = told(tmp_path, events, {}, since=SATURDAY)
    rows = list(csv.DictReader(io.StringIO(as_csv(whole.charges))))
    assert len(rows) == len(names) + 1
    assert {row["team"] for row in rows} == {
        *(f"'{name}" for name in names[:5]),
        *names[5:],
        UNATTRIBUTED,
    }
    assert sum(int(row["cost_nanos"]) for row in rows) == 0
    one = next(row for row in rows if row["team"] == "é")
    assert (one["cost_usd"], one["cost_nanos"], one["day"]) == ("0.000000008", "8", "2026-11-21")


def test_an_empty_period_is_empty(tmp_path: Path) -> None:
    whole = told(tmp_path, [], {})
    assert whole.charges == ()
    assert as_csv(()).count("\n") == 1


def test_too_much_is_refused_rather_than_cut(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(module, "TOTALS_MOST", 3)
    events = [
        RequestEvent(request_id=f"{n}", at_s=DAY_S, org="acme", user=f"u{n}", model="gpt") for n in range(3)
    ]
    with pytest.raises(Invalid):
        told(tmp_path, events, {}, since=SATURDAY)
    for since in (date(2026, 11, 22), date(2025, 11, 20)):
        with pytest.raises(Invalid):
            told(tmp_path, [], {}, since=since)
