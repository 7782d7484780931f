"""Questions to the audit: what is asked of the platform, how an answer is shown or taken along, what is refused."""

from __future__ import annotations

import csv
import io

import msgspec
import pytest

from penstock.adapters.tables.columns import COLUMNS as LAKE
from penstock.adapters.tables.columns import DERIVED
from penstock.console import audit_columns
from penstock.console.pages import audit
from penstock.kernel.errors import Invalid, Overloaded
from penstock.sdk.oversight import AuditAnswer, AuditLake
from tests.unit.console.place import filled
from tests.unit.console.support import OWNER, Browser
from tests.unit.console.test_oversight_pages import ASKED, links, platform


def test_the_columns_are_those_of_the_lake():
    named = [name for names in audit_columns.COLUMNS.values() for name in names]
    derived = [each.rpartition(" AS ")[2] for each in DERIVED]
    assert sorted(named) == sorted([column.name for column in LAKE] + derived)


def test_a_question_is_asked_of_its_days_and_the_answer_is_a_table_with_ways_to_its_requests():
    made = platform()
    reply = Browser(made).post(
        "/audit", ASKED | {"since": "2026-11-19", "until": "2026-11-20", "org": "other"}
    )
    assert made.bodies("POST /audit/query") == [
        {"sql": "SELECT 1", "since_s": 1_795_046_400.0, "until_s": 1_795_132_800.0, "org": "other"}
    ]
    assert reply.status == 200 and "there are more" in reply.text and "$0.812" in reply.text
    assert "/console/requests/req_01JD00800000" in links(reply.text)
    assert filled(reply.text)[0]["sql"] == "SELECT 1"


def test_what_sql_refuses_is_said_and_what_was_typed_is_kept():
    refusal = Invalid("Column nope is not there.", code="query_invalid", field="sql")
    for problem in (refusal, Overloaded("Too many questions.")):
        reply = Browser(platform(**{"POST /audit/query": problem})).post(
            "/audit", {"sql": "SELECT nope", "since": "", "until": ""}
        )
        assert reply.status == problem.status
        assert problem.message in reply.text and filled(reply.text)[0]["sql"] == "SELECT nope"


@pytest.mark.parametrize(
    "form", [ASKED | {"sql": ""}, ASKED | {"since": "tomorrow"}, ASKED | {"sql": "x" * 16_385}]
)
def test_a_question_that_is_none_is_not_asked(form):
    made = platform()
    reply = Browser(made).post("/audit", form)
    assert reply.status == 400 and not made.bodies("POST /audit/query")


def test_a_csv_holds_the_answer_and_no_formula():
    answer = AuditAnswer(
        columns=("team", "n"),
        types=("VARCHAR", "BIGINT"),
        rows=(('=cmd|"x"', -5), ("a,b\n", None)),
        truncated=False,
    )
    reply = Browser(platform(**{"POST /audit/query": answer})).post("/audit/csv", ASKED)
    assert reply.headers["content-type"].startswith("text/csv")
    assert reply.headers["content-disposition"].startswith("attachment")
    assert list(csv.reader(io.StringIO(reply.text, newline=""))) == [
        ["team", "n"],
        ['\'=cmd|"x"', "-5"],
        ["a,b\n", ""],
    ]


def test_without_a_lake_the_page_says_what_to_set_and_offers_no_editor():
    html = Browser(platform(**{"GET /audit": AuditLake(org="acme", kept=False)})).get("/audit").text
    assert "[lake]\nstore = true" in html and "<textarea" not in html


def test_an_example_is_a_link_and_an_auditor_names_no_organisation():
    me = msgspec.structs.replace(OWNER, role="auditor")
    made = platform(**{"GET /me": me})
    html = Browser(made).get("/audit?example=The+ten+dearest+requests&org=other").text
    assert "ORDER BY cost_nanos DESC" in filled(html)[0]["sql"]
    Browser(made).post("/audit", ASKED | {"org": "other"})
    assert made.queries("GET /audit") == [{}, {}] and "org" not in made.bodies("POST /audit/query")[0]


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("cost_nanos", 1_500_000_000, "$1.50"),
        ("n", 1_234_567, "1,234,567"),
        ("dollars", 1.2e-08, "0.000000012"),
        ("p95_ms", 1_234.5, "1,234.5"),
        ("stream", True, "yes"),
        ("x", None, ""),
    ],
)
def test_a_value_is_shown_as_what_it_is(name, value, shown):
    assert audit.cell(name, value)[0] == shown
