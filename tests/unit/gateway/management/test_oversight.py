"""Oversight over the management API: own organisation only, the platform's alerts for owners, sums of the ledger."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from penstock.adapters.records.sqlite import SqliteRecords
from penstock.adapters.traces.sqlite import SqliteTraces
from penstock.gateway.management.oversight import PART_CHARS
from penstock.gateway.management.oversight_part import OversightPart
from penstock.mechanisms import webhooks
from penstock.mechanisms.alerts import book
from penstock.mechanisms.alerts.book import Alerts
from penstock.mechanisms.alerts.rules import Reading
from penstock.mechanisms.lake.questions import LakeQuestions
from penstock.mechanisms.webhooks import Message, Target, Waiting, Webhooks
from penstock.ports.tables import Answer
from penstock.ports.traces import Batch
from tests.unit.gateway.management.office import ORG, Office, office
from tests.unit.gateway.management.sight_rig import NOW_S, delta, event

AUDIT = "/api/v1/audit"
QUERY, ALERTS, TEST = "/api/v1/audit/query", "/api/v1/alerts", "/api/v1/alerts/test"
CHARGEBACK, FORECAST, RECONCILE = "/api/v1/costs/chargeback", "/api/v1/costs/forecast", "/api/v1/reconcile"
DAY = "2027-01-15"
INVOICE = f"date,model,cost_usd\n{DAY},gpt-4o,0.000000007\n{DAY},gpt-4o-mini,1.00\n"


class Asked:
    """A lake that notes what it is asked."""

    async def days(self, org: str) -> list[str]:
        return ["2027-01-02", DAY] if org == ORG else []

    def __init__(self) -> None:
        self.questions: list[tuple[str, str, str]] = []

    async def ask(self, org: str, sql: str, *, since: object = None, until: object = None) -> Answer:
        self.questions.append((org, sql, f"{since} {until}"))
        return Answer(columns=("n",), types=("BIGINT",), rows=((3,),), truncated=False)


@asynccontextmanager
async def overseen(it: Office, folder: Path, lake: Asked | None = None) -> AsyncGenerator[OversightPart]:
    """Give the office oversight, with two targets of which one is told of the office's organisation only."""
    records = await SqliteRecords.open(
        folder / "alerts.sqlite", (*book.COLLECTIONS, *webhooks.COLLECTIONS), it.clock
    )
    traces = await SqliteTraces.open(folder / "traces.sqlite")
    targets = (
        Target(name="all", url="https://a.test/"),
        Target(name="ours", url="https://b.test/", orgs=(ORG,)),
    )
    told = Webhooks(targets, records, cast("Any", None), cast("Any", None), it.clock)
    part = OversightPart(
        alerts=Alerts(records, told, it.clock), webhooks=told, lake=cast("LakeQuestions | None", lake)
    )
    it.app.state.management = replace(it.management, oversight=part, traces=traces)
    try:
        yield part
    finally:
        await traces.close()
        await records.close()


async def keep(it: Office, *amounts: int) -> None:
    """Keep requests of these amounts to OpenAI's gpt-4o, and settle them."""
    traces = it.app.state.management.traces
    events = [event(cost_nanos=each, model="gpt-4o", provider="openai") for each in amounts]
    deltas = [delta(each) for each in events]
    await traces.add(Batch(id="b", at_s=NOW_S, events=events, deltas=deltas))
    await it.spend(f"org:{ORG}@{DAY}", sum(amounts))


def test_a_question_is_asked_of_the_callers_organisation_and_audited(tmp_path: Path) -> None:
    lake = Asked()

    async def case(it: Office) -> None:
        async with overseen(it, tmp_path, lake):
            auditor = await it.as_("auditor")
            told = await it.ask("POST", QUERY, {"sql": "SELECT 3 AS n", "since_s": NOW_S}, by=auditor)
            assert told.json == {"columns": ["n"], "types": ["BIGINT"], "rows": [[3]], "truncated": False}
            assert lake.questions == [(ORG, "SELECT 3 AS n", f"{DAY} None")]
            assert [change.action for change in await it.told()][-1] == "audit.query"
            foreign = await it.ask("POST", QUERY, {"sql": "SELECT 1", "org": "other"}, by=auditor)
            assert (foreign.status, len(lake.questions)) == (403, 1)
            assert (await it.ask("POST", QUERY, {"sql": "x"}, by=await it.as_("developer"))).status == 403

    office(tmp_path, case)


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("SELECT 1", 1),
        ("\x01" * PART_CHARS, 1),
        ("\x01" * PART_CHARS + "x", 2),
        ("-- " + "\x01" * 16_000 + "\nSELECT mia", 13),
        ("é" * 16_384, 13),
    ],
    ids=["short", "at a row's bound", "over it", "padded", "longest"],
)
def test_a_question_is_audited_to_its_last_word(tmp_path: Path, sql: str, rows: int) -> None:
    async def case(it: Office) -> None:
        async with overseen(it, tmp_path, Asked()):
            assert (await it.ask("POST", QUERY, {"sql": sql}, by=await it.as_("auditor"))).status == 200
        told = [msgspec.json.decode(each.after) for each in await it.told() if each.action == "audit.query"]
        assert "".join(each["sql"] for each in told) == sql
        parts = [(each["part"], each["parts"]) for each in told if "part" in each]
        assert parts == ([(number, rows) for number in range(1, rows + 1)] if rows > 1 else [])

    office(tmp_path, case)


def test_what_can_be_asked_about_is_told_with_its_days(tmp_path: Path) -> None:
    async def case(it: Office) -> None:
        auditor, owner = await it.as_("auditor"), await it.as_("owner")
        async with overseen(it, tmp_path, Asked()):
            told = (await it.ask("GET", AUDIT, by=auditor)).json
            assert (told["kept"], told["days"], told["first_day"], told["last_day"]) == (
                True,
                2,
                "2027-01-02",
                DAY,
            )
            assert (await it.ask("GET", f"{AUDIT}?org=other", by=owner)).json["days"] == 0
            assert (await it.ask("GET", f"{AUDIT}?org=other", by=auditor)).status == 403
        async with overseen(it, tmp_path):
            assert (await it.ask("GET", AUDIT, by=auditor)).json["kept"] is False

    office(tmp_path, case)


def test_without_a_lake_or_oversight_it_says_so(tmp_path: Path) -> None:
    async def case(it: Office) -> None:
        admin = await it.as_("admin")
        assert (await it.ask("GET", ALERTS, by=admin)).error["code"] == "oversight_off"
        async with overseen(it, tmp_path):
            told = await it.ask("POST", QUERY, {"sql": "SELECT 1"}, by=admin)
            assert (told.status, told.error["code"]) == (404, "lake_off")

    office(tmp_path, case)


def test_alerts_are_the_organisations_own_and_the_platforms_are_the_owners(tmp_path: Path) -> None:
    async def case(it: Office) -> None:
        async with overseen(it, tmp_path) as part:
            for org, subject in ((ORG, "ours"), ("other", "theirs")):
                part.alerts.tell(Reading(rule="budget-80", org=org, subject=subject, value=85.0))
            part.alerts.tell(Reading(rule="canary-rolled-back", org="", subject="r", value=1.0))
            await part.alerts.tick()
            admin, owner = await it.as_("admin"), await it.as_("owner")

            async def seen(path: str, by: Any) -> set[str]:
                told = await it.ask("GET", path, by=by)
                assert told.status == 200, told.text
                return {row["subject"] for row in told.json["standing"]}

            assert await seen(ALERTS, admin) == {"ours"}
            assert await seen(ALERTS, owner) == {"ours", "theirs", "r"}
            assert await seen(f"{ALERTS}?org=other", owner) == {"theirs"}
            assert (await it.ask("GET", f"{ALERTS}?org=other", by=admin)).status == 403
            assert (await it.ask("GET", ALERTS, by=admin)).json["dead"] is None

    office(tmp_path, case)


def test_an_owner_is_told_how_many_messages_were_given_up_and_whether_there_are_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def case(it: Office) -> None:
        async with overseen(it, tmp_path) as part:
            owner = await it.as_("owner")

            async def told() -> tuple[int, bool]:
                seen = (await it.ask("GET", ALERTS, by=owner)).json
                return seen["dead"], seen["has_more_dead"]

            assert await told() == (0, False)
            await give_up(part.webhooks, 150)
            assert await told() == (150, False)
            monkeypatch.setattr(webhooks, "LISTING_PAGE", 50)
            for pages, counted in ((4, (150, False)), (3, (150, False)), (2, (100, True))):
                monkeypatch.setattr(webhooks, "LISTING_PAGES", pages)
                assert await told() == counted
            admin = (await it.ask("GET", ALERTS, by=await it.as_("admin"))).json
            assert (admin["dead"], admin["has_more_dead"]) == (None, False)

    office(tmp_path, case)


async def give_up(sender: Webhooks, count: int) -> None:
    """Write down as many messages that nobody took."""
    message = Message(type="alert.firing", org=ORG, at_s=NOW_S, text="told", data=msgspec.Raw(b"{}"))
    each = Waiting(target="all", message=message, due_s=NOW_S, attempts=webhooks.ATTEMPTS_MOST)
    writes = [webhooks._write(f"msg_{number:04}", each, "dead", expected=0) for number in range(count)]
    for first in range(0, count, 50):
        await sender._records.transact(writes[first : first + 50])


def test_a_trial_waits_for_everybody_who_is_told_of_the_organisation(tmp_path: Path) -> None:
    async def case(it: Office) -> None:
        async with overseen(it, tmp_path) as part:
            assert (await it.ask("POST", TEST, by=await it.as_("admin"))).json == {"targets": 2}
            assert {each.target for each in await part.webhooks.waiting()} == {"all", "ours"}
            owner = await it.as_("owner")
            assert (await it.ask("POST", f"{TEST}?org=other", by=owner)).json == {"targets": 1}
            assert (await it.ask("POST", TEST, by=await it.as_("auditor"))).status == 403

    office(tmp_path, case)


def test_a_chargeback_is_csv_that_adds_up_to_the_ledger(tmp_path: Path) -> None:
    async def case(it: Office) -> None:
        async with overseen(it, tmp_path):
            await keep(it, 3, 4)
            told = await it.ask("GET", f"{CHARGEBACK}?since={DAY}&until={DAY}", by=await it.as_("auditor"))
            assert told.headers["content-type"][0].startswith("text/csv")
            rows = told.text.splitlines()[1:]
            assert sum(int(row.rpartition(",")[2]) for row in rows) == 7
            narrow = await it.as_("team-admin")
            assert (await it.ask("GET", f"{CHARGEBACK}?since={DAY}&until={DAY}", by=narrow)).status == 403
            late = await it.ask("GET", f"{CHARGEBACK}?since=2025-01-01&until={DAY}", by=await it.as_("admin"))
            assert late.status == 400

    office(tmp_path, case)


def test_a_forecast_is_of_the_callers_organisation(tmp_path: Path) -> None:
    async def case(it: Office) -> None:
        async with overseen(it, tmp_path):
            await keep(it, 100)
            told = (await it.ask("GET", FORECAST, by=await it.as_("admin"))).json
            assert (told["org"], told["today_nanos"], told["month_nanos"]) == (ORG, 100, 100)
            assert told["month_end_nanos"] >= told["today_end_nanos"] >= 100
            assert (await it.ask("GET", f"{FORECAST}?org=x", by=await it.as_("admin"))).status == 403

    office(tmp_path, case)


@pytest.mark.parametrize(
    ("text", "status"), [(INVOICE, 200), ("date,model\n", 400), ("date,model,cost_usd\n", 400)]
)
def test_an_invoice_is_compared_line_by_line_for_owners(tmp_path: Path, text: str, status: int) -> None:
    async def case(it: Office) -> None:
        async with overseen(it, tmp_path):
            await keep(it, 3, 4)
            body = {"vendor": "openai", "form": "csv", "text": text}
            told = await it.ask("POST", RECONCILE, body, by=await it.as_("owner"))
            assert told.status == status, told.text
            assert (await it.ask("POST", RECONCILE, body, by=await it.as_("admin"))).status == 403
            if status == 200:
                assert (told.json["agrees"], told.json["ours_nanos"]) == (False, 7)
                assert {row["model"]: row["status"] for row in told.json["lines"]} == {
                    "gpt-4o": "matched",
                    "gpt-4o-mini": "theirs_only",
                }

    office(tmp_path, case)
