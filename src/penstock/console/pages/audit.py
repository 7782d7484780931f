"""Questions to the audit of requests, in SQL: an editor with its columns beside it, the answer as a table or as CSV.

Promises: a question reaches the records of one organisation that its asker reaches, and is itself written down; what
SQL refuses is shown where it was typed, and nothing typed is lost; a CSV holds what the table does, written so that no
spreadsheet takes a name for a formula; where no records are kept the page says what to set.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Final

from starlette.responses import Response

from penstock.console import formats
from penstock.console.audit_columns import COLUMNS, QUESTIONS
from penstock.console.inputs import FORM_ERRORS, Reading
from penstock.console.security import PREFIX
from penstock.console.visits import Page, Visit
from penstock.kernel.errors import PenstockError, Unavailable
from penstock.sdk.oversight import AuditAnswer, AuditQuery

SQL_CHARS: Final = 16_384
CELL_CHARS: Final = 300
FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
"""What a cell may not begin with (OWASP, CSV injection); a number may."""
NUMBERS: Final = (
    "BIGINT",
    "HUGEINT",
    "INTEGER",
    "UBIGINT",
    "DOUBLE",
    "FLOAT",
    "DECIMAL",
    "SMALLINT",
    "TINYINT",
)
SET_IT: Final = "[lake]\nstore = true"
INSTALL: Final = 'pip install "penstock[lake]"'
MISTAKES: Final = (*FORM_ERRORS, Unavailable)


@dataclass(frozen=True, slots=True)
class Asked:
    """What was typed: a question, and its days."""

    sql: str
    since: str
    until: str
    org: str


async def index(visit: Visit) -> Response:
    """Show the editor, with a question to begin with."""
    first = next(iter(QUESTIONS.values()))
    sql = QUESTIONS.get(visit.query("example"), first)
    return await _page(visit, Asked(sql, "", "", _org(visit, visit.query("org"))))


async def ask(visit: Visit) -> Response:
    """Answer a question, beside what was asked."""
    asked, query, wrong = await _read(visit)
    if wrong:
        return await _page(visit, asked, wrong=wrong)
    began_s = visit.console.clock.monotonic_s()
    try:
        answer = await visit.client.audit.query(query)
    except MISTAKES as problem:
        return await _page(visit, asked, problem=problem)
    took_ms = (visit.console.clock.monotonic_s() - began_s) * 1_000
    return await _page(visit, asked, answer=answer, took_ms=took_ms)


async def download(visit: Visit) -> Response:
    """Answer a question with a CSV."""
    asked, query, wrong = await _read(visit)
    if wrong:
        return await _page(visit, asked, wrong=wrong)
    try:
        answer = await visit.client.audit.query(query)
    except MISTAKES as problem:
        return await _page(visit, asked, problem=problem)
    headers = {"content-disposition": 'attachment; filename="penstock-audit.csv"'}
    return Response(as_csv(answer), media_type="text/csv", headers=headers)


async def _page(
    visit: Visit,
    asked: Asked,
    *,
    answer: AuditAnswer | None = None,
    took_ms: float = 0.0,
    problem: PenstockError | None = None,
    wrong: dict[str, str] | None = None,
) -> Response:
    about = await visit.client.audit.about(asked.org)
    return visit.render(
        "pages/audit.html",
        status=problem.status if problem else 400 if wrong else 200,
        about=about,
        asked=asked,
        answer=answer,
        numeric=[] if answer is None else [each.startswith(NUMBERS) for each in answer.types],
        rows=[]
        if answer is None
        else [
            [cell(name, each) for name, each in zip(answer.columns, row, strict=True)] for row in answer.rows
        ],
        took_ms=took_ms,
        problem=problem,
        wrong=wrong or {},
        questions=[(words, sql == asked.sql) for words, sql in QUESTIONS.items()],
        columns=COLUMNS,
        set_it=SET_IT,
        install=INSTALL,
    )


async def _read(visit: Visit) -> tuple[Asked, AuditQuery, dict[str, str]]:
    reading = Reading(await visit.form())
    form = reading.form
    asked = Asked(
        form.get("sql", "")[: SQL_CHARS + 1],
        form.get("since", "")[:20],
        form.get("until", "")[:20],
        _org(visit, form.get("org", "")),
    )
    if not asked.sql:
        reading.wrong["sql"] = "Write a question, or choose one beside."
    elif len(asked.sql) > SQL_CHARS:
        reading.wrong["sql"] = f"At most {SQL_CHARS:,} characters."
    query = AuditQuery(
        sql=asked.sql,
        since_s=_day_s(reading, "since", asked.since),
        until_s=_day_s(reading, "until", asked.until),
        org=asked.org,
    )
    return asked, query, reading.wrong


def _day_s(reading: Reading, name: str, text: str) -> float:
    """Return when a day begins (UTC), 0 for none typed."""
    if not text:
        return 0.0
    try:
        day = date.fromisoformat(text)
    except ValueError:
        reading.wrong[name] = "Write a day like 2026-11-21."
        return 0.0
    return datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()


def _org(visit: Visit, org: str) -> str:
    return org.strip()[:64] if visit.me.role == "owner" else ""


def cell(name: str, value: object) -> tuple[str, str, str]:
    """Return a value as a cell shows it: its text, all of it where that is longer, and where it leads."""
    if value is None:
        return "", "null", ""
    if isinstance(value, bool):
        return "yes" if value else "no", "", ""
    if isinstance(value, int | float):
        if name.endswith("_nanos") and isinstance(value, int):
            return formats.money(value), formats.exact_money(value), ""
        return (f"{value:,}" if isinstance(value, int) else decimal(value)), "", ""
    text = str(value)
    link = (
        f"{PREFIX}/requests/{text}" if name == "request_id" and text.isprintable() and "/" not in text else ""
    )
    return text[:CELL_CHARS], text if len(text) > 40 else "", link


def decimal(value: float) -> str:
    """Return a number with its thousands apart and nine decimals at most, those that say something."""
    text = f"{value:,.9f}" if abs(value) < 1 else f"{value:,.4f}"
    return text.rstrip("0").rstrip(".")


def as_csv(answer: AuditAnswer) -> str:
    """Write an answer as CSV (RFC 4180), with a header."""
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(map(_harmless, answer.columns))
    rows.writerows([_harmless(each) for each in row] for row in answer.rows)
    return text.getvalue()


def _harmless(value: object) -> object:
    if isinstance(value, str) and value.startswith(FORMULA):
        return f"'{value}"
    return value


READS: Final = "ask the audit of requests"
PAGES: Final = (
    Page(path="/audit", serve=index, needs=READS),
    Page(path="/audit", serve=ask, needs=READS, method="POST"),
    Page(path="/audit/csv", serve=download, needs=READS, method="POST"),
)
