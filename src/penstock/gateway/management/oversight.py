"""Oversight: questions to the audit of requests, alerts, what others are charged, and invoices.

Promises: a question is answered from the records of one organisation that its caller reaches, and of no other; alerts
of the platform itself are its owner's to see; whoever tries the webhooks, or asks about the audit, is in the audit of
changes with all of what they asked.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Final, Literal

import msgspec
from fastapi import Query
from fastapi.responses import Response
from pydantic import BaseModel, Field

from penstock.gateway.management.bodies import Body
from penstock.gateway.management.filters import At
from penstock.gateway.management.oversight_part import OversightPart
from penstock.gateway.management.parts import Api, Management
from penstock.gateway.management.policy import By, Routes
from penstock.gateway.management.reach import Org, must_reach
from penstock.gateway.management.requests import traces_of
from penstock.kernel.errors import Invalid, NotFound
from penstock.mechanisms.changes import Told
from penstock.mechanisms.chargeback import as_csv, chargeback
from penstock.mechanisms.forecast import forecast, hours, month_of
from penstock.mechanisms.reconcile.invoices import InvoiceLine, anthropic_costs, openai_costs, plain_csv
from penstock.mechanisms.reconcile.matching import reconciled
from penstock.mechanisms.reconcile.ours import from_totals
from penstock.mechanisms.roles import Action
from penstock.mechanisms.webhooks import Message
from penstock.ports.traces import TraceFilter

ROUTES: Final = Routes("oversight")
PAST_MOST: Final = 100
PART_CHARS: Final = 1_300
"""Of a question, in one row of the audit of changes: a character may take six bytes, a row has some eight thousand."""
INVOICE_DAYS: Final = 366
Day = Annotated[date, Query(description="UTC, `YYYY-MM-DD`, included.")]


class QueryBody(Body):
    """One SELECT about the table `audit`; the last seven days without a period, whole UTC days with one."""

    sql: Annotated[str, Field(min_length=1, max_length=16_384)]
    since_s: At = 0.0
    until_s: At = 0.0
    org: Annotated[str, Field(max_length=64, pattern=r"^[A-Za-z0-9._-]*$")] = ""


class AuditAnswer(BaseModel):
    """What SQL gives; `truncated` says that there was more."""

    columns: list[str]
    types: list[str]
    rows: list[list[Any]]
    truncated: bool


class AuditLake(BaseModel):
    """What can be asked about: whether records are `kept`, and the days (UTC) from the first to the last that has any.

    A record is there `flush_s` seconds after its request at the latest.
    """

    org: str
    kept: bool
    days: int = 0
    first_day: str = ""
    last_day: str = ""
    flush_s: float = 0.0


@ROUTES.add("GET", "/audit", needs=Action.QUERY_AUDIT, refuses=[404])
async def about(by: By, api: Api, org: Org = "") -> AuditLake:
    """Tell what of an organisation's requests can be asked about."""
    own, lake = must_reach(by.principal, org), _oversight(api).lake
    if lake is None:
        return AuditLake(org=own, kept=False)
    days = await lake.days(own) or [""]
    return AuditLake(
        org=own,
        kept=True,
        days=len(days) if days[0] else 0,
        first_day=days[0],
        last_day=days[-1],
        flush_s=api.settings.lake.flush_s,
    )


@ROUTES.add("POST", "/audit/query", needs=Action.QUERY_AUDIT, refuses=[404, 429])
async def query(body: QueryBody, by: By, api: Api) -> AuditAnswer:
    """Ask about an organisation's requests, in SQL."""
    org = must_reach(by.principal, body.org)
    lake = _oversight(api).lake
    if lake is None:
        raise NotFound(
            "There is no lake here.",
            code="lake_off",
            field="lake.store",
            remedy="Switch it on in the settings.",
        )
    since, until = (_day(at_s) if at_s else None for at_s in (body.since_s, body.until_s))
    for asked in _in_parts(body.sql):
        told = Told(action="audit.query", subject=org, org=org, team="", before=None, after=asked)
        await api.changes.tell(by.author(), told, api.clock.wall_s())
    answer = await lake.ask(org, body.sql, since=since, until=until)
    return AuditAnswer.model_validate(msgspec.to_builtins(answer))


def _in_parts(sql: str) -> list[dict[str, str | int]]:
    """Return all of a question as rows of the audit of changes can hold it."""
    parts = [sql[at : at + PART_CHARS] for at in range(0, len(sql), PART_CHARS)]
    if len(parts) == 1:
        return [{"sql": sql}]
    return [{"sql": part, "part": number, "parts": len(parts)} for number, part in enumerate(parts, 1)]


class AlertView(BaseModel):
    """An alert; times are seconds since 1970, 0 for not yet. The platform's own have no `org`."""

    rule: str
    org: str
    subject: str
    state: Literal["pending", "firing", "resolved"]
    severity: Literal["info", "warning", "critical"]
    value: float
    limit: float
    text: str
    runbook: str
    began_s: float
    seen_s: float
    fired_s: float
    calm_since_s: float
    resolved_s: float


class Alerts(BaseModel):
    """What stands, and the latest of what was resolved. `dead` counts messages given up (owners); `has_more_dead` says
    that there are more than were counted.
    """

    standing: list[AlertView]
    past: list[AlertView]
    dead: int | None = None
    has_more_dead: bool = False


@ROUTES.add("GET", "/alerts", needs=Action.READ_ALERTS, refuses=[404])
async def alerts(by: By, api: Api, org: Org = "") -> Alerts:
    """Return an organisation's alerts; an owner who names none gets all, and the platform's own."""
    part = _oversight(api)
    is_owner = by.principal.role == "owner"
    wanted = "" if is_owner and not org else must_reach(by.principal, org)
    standing = await part.alerts.standing(wanted)
    past = [alert for _, alert in await part.alerts.past(wanted, limit=PAST_MOST)]
    dead, has_more_dead = await part.webhooks.given_up() if is_owner else (None, False)
    return Alerts(
        standing=[AlertView.model_validate(msgspec.to_builtins(each)) for each in standing],
        past=[AlertView.model_validate(msgspec.to_builtins(each)) for each in past],
        dead=dead,
        has_more_dead=has_more_dead,
    )


class Tried(BaseModel):
    """How many targets a message is on its way to."""

    targets: int


@ROUTES.add("POST", "/alerts/test", needs=Action.TEST_ALERTS, refuses=[404])
async def try_out(by: By, api: Api, org: Org = "") -> Tried:
    """Send a message to every target that is told of an organisation."""
    own, now_s = must_reach(by.principal, org), api.clock.wall_s()
    data = msgspec.Raw(msgspec.json.encode({"org": own}))
    message = Message(type="alert.test", org=own, at_s=now_s, text="[test] alerts reach you", data=data)
    told = Told(action="alerts.test", subject=own, org=own, team="", before=None, after=None)
    await api.changes.tell(by.author(), told, now_s)
    return Tried(targets=await _oversight(api).webhooks.send(message))


@ROUTES.add(
    "GET",
    "/costs/chargeback",
    needs=Action.READ_ORG_COSTS,
    refuses=[404],
    response_class=Response,
    responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}},
)
async def charged(by: By, api: Api, since: Day, until: Day, org: Org = "") -> Response:
    """Return what each team, project, user and model cost on each day, as CSV; its sum is the ledger's."""
    found = await chargeback(traces_of(api), api.ledger, must_reach(by.principal, org), since, until)
    return Response(as_csv(found.charges), media_type="text/csv")


class CostForecast(BaseModel):
    """What the day and the month (UTC) come to at the pace of the last 24 hours; nano-dollars."""

    org: str
    today_nanos: int
    today_end_nanos: int
    month_nanos: int
    month_end_nanos: int


@ROUTES.add("GET", "/costs/forecast", needs=Action.READ_ORG_COSTS, refuses=[404])
async def foreseen(by: By, api: Api, org: Org = "") -> CostForecast:
    """Tell what an organisation's day and month come to."""
    own, now_s = must_reach(by.principal, org), int(api.clock.wall_s())
    month_s, _ = month_of(now_s)
    # The pace of a month's first day is that of the day before, too.
    wanted = TraceFilter(org=own, since_s=month_s - 2 * 86_400, until_s=now_s + 3_600)
    found = forecast(hours(await traces_of(api).totals(wanted, ("hour",))), now_s)
    return CostForecast(
        org=own,
        today_nanos=found.today_nanos,
        today_end_nanos=found.today_end_nanos,
        month_nanos=found.month_nanos,
        month_end_nanos=found.month_end_nanos,
    )


class InvoiceBody(Body):
    """A vendor's invoice: OpenAI's costs or Anthropic's cost report as their APIs give them, or a CSV."""

    vendor: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._-]+$")]
    form: Literal["openai", "anthropic", "csv"]
    text: Annotated[str, Field(min_length=1)]


class Compared(BaseModel):
    """A line of ours, of theirs, or both together; `difference_nanos` is what they bill more."""

    status: Literal["matched", "price", "usage", "cost", "duplicate", "ours_only", "theirs_only"]
    day: str
    model: str
    reference: str
    ours_nanos: int
    theirs_nanos: int
    difference_nanos: int


class Reconciled(BaseModel):
    """Every line compared; `agrees` when each of them does. Ours are by the model and day of the answer."""

    vendor: str
    since: str
    until: str
    agrees: bool
    ours_nanos: int
    theirs_nanos: int
    difference_nanos: int
    counts: dict[str, int]
    lines: list[Compared]


@ROUTES.add("POST", "/reconcile", needs=Action.RECONCILE, refuses=[404])
async def reconcile(body: InvoiceBody, api: Api) -> Reconciled:
    """Compare a vendor's invoice with what was settled on its days."""
    theirs = _read(body)
    days = sorted(line.day for line in theirs)
    if not days:
        raise Invalid("The invoice has no lines.", field="text")
    since, until = date.fromisoformat(days[0]), date.fromisoformat(days[-1])
    if (until - since).days >= INVOICE_DAYS:
        raise Invalid("The invoice is of too many days.", field="text", limit=INVOICE_DAYS)
    vendors = {each.name: each.billed_by for each in api.settings.providers}
    settled = await from_totals(traces_of(api), since, until, vendors=vendors)
    ours = [line for line in settled if line.vendor == body.vendor]
    found = reconciled(ours, theirs)
    return Reconciled(
        vendor=body.vendor,
        since=f"{since}",
        until=f"{until}",
        agrees=found.agrees,
        ours_nanos=found.ours_nanos,
        theirs_nanos=found.theirs_nanos,
        difference_nanos=found.difference_nanos,
        counts={**found.counts},
        lines=[
            Compared(
                status=line.status,
                day=line.day,
                model=line.model,
                reference=line.reference,
                ours_nanos=line.ours_nanos,
                theirs_nanos=line.theirs_nanos,
                difference_nanos=line.difference_nanos,
            )
            for line in found.lines
        ],
    )


def _read(body: InvoiceBody) -> list[InvoiceLine]:
    """Return the invoice's lines, as of the vendor it is said to be of."""
    if body.form == "csv":
        return plain_csv(body.text, vendor=body.vendor)
    read = openai_costs if body.form == "openai" else anthropic_costs
    return [msgspec.structs.replace(line, vendor=body.vendor) for line in read(body.text.encode())]


def _oversight(api: Management) -> OversightPart:
    if api.oversight is None:
        raise NotFound("There is no oversight here.", code="oversight_off", field="alerts")
    return api.oversight


def _day(at_s: float) -> date:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=at_s)).date()
