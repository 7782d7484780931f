"""Reconciliation: what a vendor bills beside what was settled here, line by line; what to charge whom; what the month
comes to.

Promises: both sides are the platform's figures, to the nano-dollar, and what differs is named; an invoice is compared
and not kept; every figure of ours leads to its requests.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Final

from starlette.responses import Response

from penstock.console import formats
from penstock.console.filters import Sought, seconds
from penstock.console.inputs import FORM_ERRORS, Reading
from penstock.console.pages.overview import DAY_S, month_start
from penstock.console.routing import EVERYBODY
from penstock.console.visits import Page, Visit
from penstock.kernel.errors import Invalid, NotFound, PenstockError, Unavailable
from penstock.sdk.oversight import Compared, CostForecast, Invoice, Reconciled
from penstock.sdk.requests import Costs

COMPARES: Final = "compare invoices with what was settled"
FORMS: Final = (
    ("csv", "CSV: date, model, cost_usd"),
    ("openai", "OpenAI's costs (JSON)"),
    ("anthropic", "Anthropic's cost report (JSON)"),
)
STATUSES: Final = {
    "matched": ("agrees", "ok", "Both say the same."),
    "price": ("another price", "bad", "The same tokens at another price."),
    "usage": ("other tokens", "warn", "They count other tokens than were told here."),
    "cost": ("another cost", "warn", "The invoice does not tell why: it names no tokens."),
    "duplicate": ("billed twice", "bad", "It is there again under the same reference."),
    "ours_only": ("not billed", "", "Settled here, and not on the invoice."),
    "theirs_only": ("not known here", "bad", "On the invoice, and never settled here."),
}
"""What a line's status means: the word, its kind, the sentence."""
LINES_MOST: Final = 500
EXAMPLE: Final = "date,model,cost_usd\n2026-11-20,gpt-4o-mini,12.84\n2026-11-20,gpt-4o,3.06"


@dataclass(frozen=True, slots=True)
class Line:
    """A compared line as its row shows it; `link` leads to our requests of it."""

    line: Compared
    word: str
    kind: str
    meaning: str
    link: str


async def index(visit: Visit) -> Response:
    """Show the forecast and the forms."""
    return await _page(visit)


async def compare(visit: Visit) -> Response:
    """Compare an invoice, given as a file or as text."""
    form = await visit.form()
    reading = Reading(form)
    vendor = reading.name("vendor")
    how = reading.choice("form", [name for name, _ in FORMS], "csv")
    text = form.get("file", "") or form.get("text", "")
    if not text:
        reading.wrong["file"] = "Choose a file, or paste what is in it."
    if reading.wrong:
        return await _page(visit, wrong=reading.wrong)
    try:
        found = await visit.client.invoices.reconcile(Invoice(vendor=vendor, form=how, text=text))
    except FORM_ERRORS as problem:
        return await _page(visit, problem=problem)
    return await _page(visit, found=found)


async def charge(visit: Visit) -> Response:
    """Give what each team, project, user and model cost on each day, as CSV."""
    since, until = (_day(visit, name) for name in ("since", "until"))
    text = await visit.client.costs.chargeback(f"{since}", f"{until}", _org(visit))
    headers = {"content-disposition": f'attachment; filename="chargeback-{since}-{until}.csv"'}
    return Response(text, media_type="text/csv", headers=headers)


async def _page(
    visit: Visit,
    *,
    found: Reconciled | None = None,
    problem: PenstockError | None = None,
    wrong: dict[str, str] | None = None,
) -> Response:
    now_s = visit.console.clock.wall_s()
    org = _org(visit)
    month_s = month_start(now_s)
    forecast, costs = await _month(visit, org, month_s)
    typed = await visit.form() if visit.request.method == "POST" else dict[str, str]()
    last_s = month_start(month_s - DAY_S)
    return visit.render(
        "pages/reconciliation.html",
        status=problem.status if problem else 400 if wrong else 200,
        org=org,
        forecast=forecast,
        chart=chart(forecast, costs, month_s, now_s) if forecast and costs else None,
        days=sorted(costs.rows, key=lambda row: -float(row.group[0])) if costs else [],
        today=_requests(org, now_s - now_s % DAY_S, now_s - now_s % DAY_S + DAY_S),
        month=_requests(org, month_s, month_start(month_s + 32 * DAY_S)),
        since=formats.day(last_s),
        until=formats.day(month_s - 1),
        found=found,
        lines=[line(each) for each in found.lines[:LINES_MOST]] if found else [],
        counts=[(*STATUSES.get(name, (name, "", "")), count) for name, count in found.counts.items()]
        if found
        else [],
        most=LINES_MOST,
        forms=FORMS,
        vendors=await _vendors(visit),
        typed=typed,
        problem=problem,
        wrong=wrong or {},
        may_compare=visit.may(COMPARES),
        may_requests=visit.may("read requests"),
        example=EXAMPLE,
    )


async def _month(visit: Visit, org: str, month_s: float) -> tuple[CostForecast | None, Costs | None]:
    """Return what the month comes to, and its days so far; nothing where costs are not kept."""
    try:
        forecast = await visit.client.costs.forecast(org)
        return forecast, await visit.client.costs.get("day", org=forecast.org, since_s=month_s)
    except (NotFound, Unavailable):
        return None, None


async def _vendors(visit: Visit) -> tuple[str, ...]:
    """Return whose invoices there may be."""
    if not visit.may("read status"):
        return ()
    return tuple(sorted({"openai", "anthropic", *(await visit.client.status()).providers}))


def chart(forecast: CostForecast, costs: Costs, month_s: float, now_s: float) -> dict[str, object]:
    """Return the month as charts.js draws it: what was spent by the end of each day, and where that leads."""
    days = int((month_start(month_s + 32 * DAY_S) - month_s) // DAY_S)
    today = int((now_s - month_s) // DAY_S)
    by_day = {int((float(row.group[0]) - month_s) // DAY_S): row.cost_nanos for row in costs.rows}
    spent, sums = 0, list[int]()
    for day in range(today + 1):
        spent += by_day.get(day, 0)
        sums.append(spent)
    left = max(days - 1 - today, 1)
    rest = forecast.month_end_nanos - spent
    ahead = [spent + rest * step // left for step in range(days - today)]
    return {
        "kind": "area",
        "unit": "money",
        "labels": [formats.short_day(month_s + day * DAY_S) for day in range(days)],
        "series": [
            {
                "label": "spent",
                "tone": "1",
                "values": [*sums, *[None] * (days - today - 1)],
                "links": [
                    _requests(forecast.org, month_s + day * DAY_S, month_s + (day + 1) * DAY_S)
                    for day in range(today + 1)
                ],
            },
            {"label": "at this pace", "kind": "line", "tone": "7", "values": [*[None] * today, *ahead]},
        ],
    }


def line(compared: Compared) -> Line:
    """Return a compared line as it is shown."""
    word, kind, meaning = STATUSES.get(compared.status, (compared.status, "", ""))
    link = ""
    if compared.ours_nanos:
        day = date.fromisoformat(compared.day)
        since_s = datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()
        link = Sought({"org": EVERYBODY, "model": compared.model}, "", since_s, since_s + DAY_S).requests()
    return Line(compared, word, kind, meaning, link)


def _requests(org: str, since_s: float, until_s: float) -> str:
    return Sought({"org": org} if org else {}).requests(since_s=seconds(since_s), until_s=seconds(until_s))


def _day(visit: Visit, name: str) -> date:
    text = visit.query(name)
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise Invalid("Write a day like 2026-11-21.", field=name, value=text[:20]) from None


def _org(visit: Visit) -> str:
    return visit.query("org").strip()[:64] if visit.me.role == "owner" else ""


PAGES: Final = (
    Page(path="/reconciliation", serve=index, needs="read costs of the whole organisation"),
    Page(path="/reconciliation", serve=compare, needs=COMPARES, method="POST", files_most=1),
    Page(path="/reconciliation/chargeback", serve=charge, needs="read costs of the whole organisation"),
)
