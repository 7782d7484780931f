"""Alerts, the cache and reconciliation: what they ask the platform, show and refuse to lose; and who may open what."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import msgspec
import pytest

from penstock.console.pages import alerts, audit, cache, reconciliation, routes
from penstock.console.pages.overview import month_start
from penstock.kernel.errors import Invalid, NotFound
from penstock.mechanisms.alerts.rules import DEFAULTS
from penstock.mechanisms.reconcile import matching
from penstock.sdk.oversight import AlertRule, Alerts, Deliveries, Tried
from penstock.sdk.people import Me
from penstock.sdk.replies import CacheFigures
from tests.browser import made_up, made_up_oversight
from tests.support import run
from tests.unit.console.place import filled, must_be_tame
from tests.unit.console.support import CSRF, NOW_S, OWNER, Answered, Browser, Platform
from tests.unit.console.test_pages import EVIL, Elements

PAGES = (
    "/routes",
    "/routes/versions",
    "/routes/versions/4",
    "/routes/explain?model=smart",
    "/routes/stop?route=smart",
    "/alerts",
    "/audit",
    "/cache",
    "/reconciliation",
)
ASKED = {"sql": "SELECT 1", "since": "", "until": ""}
INVOICE = "date,model,cost_usd\n2026-11-20,gpt-4o,1.00\n"


def platform(**more: Any) -> Platform:
    """Return the made-up morning, with some answers changed."""
    made = made_up.platform()
    made.answers |= made_up_oversight.answers(NOW_S, is_empty=False) | more
    return made


def links(html: str) -> set[str]:
    return {str(given.get("href")) for tag, given in Elements(html).found if tag == "a"}


def attacked(value: Any) -> Any:
    """Return a document in which every text is an attack but the days, which are of the platform's own making."""
    if isinstance(value, dict):
        return {name: each if name == "day" else attacked(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [attacked(each) for each in value]
    return EVIL if isinstance(value, str) else value


def hostile() -> Platform:
    made = platform()
    version = made.answers["GET /routing"]
    attacks = {
        name: attacked(msgspec.to_builtins(each)) for name, each in made.answers.items() if not callable(each)
    }
    routing = attacked(msgspec.to_builtins(version({})))
    routing["document"]["routes"][0]["model"] = "smart"
    made.answers |= attacks | {"GET /me": OWNER, "GET /routing": routing}
    return made


# --- every page -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PAGES)
def test_hostile_text_makes_no_element_no_handler_and_no_foreign_link(path):
    reply = Browser(hostile()).get(path)
    assert reply.status == 200, reply.text
    assert "alert(1)" in reply.text
    must_be_tame(reply.text)


def test_a_hostile_answer_or_invoice_is_shown_and_never_obeyed():
    browser = Browser(hostile())
    for path, form in (
        ("/audit", ASKED),
        ("/reconciliation", {"vendor": "openai", "form": "csv", "text": "x"}),
    ):
        reply = browser.post(path, form)
        assert reply.status == 200 and "alert(1)" in reply.text
        must_be_tame(reply.text)


@pytest.mark.parametrize("empty", [False, True])
@pytest.mark.parametrize("path", PAGES)
def test_every_page_has_its_landmarks_and_each_name_once_also_when_there_is_nothing(path, empty):
    if empty and path in ("/routes/versions/4", "/routes/explain?model=smart", "/routes/stop?route=smart"):
        return
    made = made_up.platform(is_empty=empty)
    reply = Browser(made).get(path)
    assert reply.status == 200, reply.text
    found = Elements(reply.text).found
    tags = [tag for tag, _ in found]
    ids = [attributes["id"] for _, attributes in found if "id" in attributes]
    assert (tags.count("h1"), tags.count("main")) == (1, 1)
    assert len(set(ids)) == len(ids)
    labels = {attributes.get("for") for tag, attributes in found if tag == "label"}
    for tag, attributes in found:
        if tag in ("input", "select", "textarea") and attributes.get("type") not in ("hidden", "radio"):
            named = attributes.get("aria-label") or attributes.get("id") in labels
            assert named or attributes.get("name") == "org", attributes  # whose label is around it


@pytest.mark.parametrize(
    "page",
    [each for module in (routes, alerts, audit, cache, reconciliation) for each in module.PAGES],
    ids=lambda page: f"{page.method} {page.path}",
)
def test_a_page_that_is_not_for_a_role_is_refused_before_its_code_runs(page):
    may = tuple(each for each in OWNER.may if each != page.needs)
    made = platform(**{"GET /me": Me(kind="person", id="per_b", role="admin", may=may, csrf=CSRF)})
    browser, path = Browser(made), page.path.replace("{number}", "1")
    reply = browser.get(path) if page.method == "GET" else browser.post(path, {})
    assert (reply.status, [name for name, *_ in made.asked]) == (403, ["GET /me"])
    assert page.needs in reply.text


@pytest.mark.parametrize(
    "path", ["/routes/rollback", "/routes/stop", "/alerts/test", "/cache/purge", "/audit"]
)
def test_a_form_of_another_site_does_nothing(path):
    made = platform()
    assert (
        Browser(made).post(path, {"to": "1", "why": "x", "what": "everything"}, csrf="guessed").status == 403
    )
    assert [name for name, *_ in made.asked] == ["GET /me"]


# --- alerts -----------------------------------------------------------------------------------------------------------


def test_what_stands_is_shown_worst_first_each_with_the_way_to_what_it_is_about():
    html = Browser(platform()).get("/alerts").text
    shown = [unescape(text) for text in re.findall(r'class="strong"[^>]*>([^<]+)<', html)]
    assert shown[:2] == [
        "redis is down",
        "budget org:acme/team:search of the day is 97 % spent (mark at 80 %)",
    ]
    found = links(html)
    assert "/console/keys#org:acme/team:search" in found
    assert "/console/requests?feature=docs-answers&last=24h" in found
    assert {"/console/routes", "/console/settings"} <= found


@pytest.mark.parametrize(
    ("subject", "link"), [("docs", "feature=docs"), ("docs (red)", "feature=docs&team=red")]
)
def test_a_latency_over_budget_leads_to_the_requests_of_its_feature_and_team(subject, link):
    made = platform()
    found = made.answers["GET /alerts"]
    alert = msgspec.structs.replace(found.standing[0], rule="latency-budget", org=OWNER.org, subject=subject)
    made.answers["GET /alerts"] = msgspec.structs.replace(found, standing=(alert,))
    assert f"/console/requests?{link}&last=1h" in links(Browser(made).get("/alerts").text)


def test_what_became_of_each_message_is_shown_with_why():
    html = Browser(platform()).get("/alerts").text
    for text in (
        "given up",
        "12 attempts",
        "The connection was refused.",
        "the answer was 503",
        "not signed",
    ):
        assert text in html


def test_every_rule_of_the_platform_has_its_words():
    assert set(alerts.RULES) == {rule.id for rule in DEFAULTS}


@pytest.mark.parametrize(
    ("rule", "kind", "limit", "for_s", "words"),
    [
        ("user-over", "user_over", 5e10, 0, "over $50.00"),
        ("pii-skips", "told", 0.01, 0, "over 1 %"),
        ("budget-80", "told", 80, 0, "at 80 %"),
        ("latency-budget", "told", 1, 0, "over 1 times"),
        ("dependency-down", "told", 0, 3, "for 3 s"),
        ("canary-rolled-back", "told", 0, 0, "at once"),
        ("tokens-per-request", "tokens_per_request", 50_000, 0, "over 50,000 tokens"),
    ],
)
def test_a_rule_says_when_it_fires_in_its_own_unit(rule, kind, limit, for_s, words):
    told = AlertRule(rule=rule, kind=kind, severity="warning", limit=limit, for_s=for_s)
    assert alerts.limit_words(told).strip() == words


def test_a_test_says_to_how_many_it_goes_and_only_an_owner_names_an_organisation():
    made = platform()
    assert "2 of them" in unescape(str(Browser(made).post("/alerts/test", {"org": "other"}).cookies)).replace(
        "%20", " "
    )
    made.answers |= {
        "POST /alerts/test": Tried(targets=0),
        "GET /me": msgspec.structs.replace(OWNER, role="admin"),
    }
    assert "nobody" in str(Browser(made).post("/alerts/test", {"org": "other"}).cookies)
    assert made.queries("POST /alerts/test") == [{"org": "other"}, {}]


def test_without_a_webhook_the_page_says_how_to_name_one():
    made = platform(**{"GET /alerts": Alerts(standing=(), past=()), "GET /alerts/deliveries": Deliveries()})
    html = Browser(made).get("/alerts").text
    assert "[[webhooks]]" in html and "Nothing needs looking at" in html and "Send a test" not in html


# --- the cache --------------------------------------------------------------------------------------------------------


def test_the_cache_shows_what_it_serves_and_saves_by_class_and_what_vendors_keep():
    html = Browser(platform()).get("/cache").text
    for text in (
        "30 %",
        "18,204 of 60,074",
        "$61.00",
        "58.3MB",
        "semi",
        "$48.00",
        "anthropic/claude-haiku-4-5",
        "81 %",
    ):
        assert text in html
    assert "/console/requests?provider=openai&model=gpt-4o&last=24h" in links(html)


@pytest.mark.parametrize(
    ("what", "value", "asked"),
    [
        ("tag", "doc:42", {"tag": "doc:42"}),
        ("model", "smart", {"model": "smart"}),
        ("key", "0123456789abcdef", {"key": "0123456789abcdef"}),
        ("everything", "ignored", {"everything": True}),
    ],
)
def test_what_is_named_is_forgotten_and_nothing_else(what, value, asked):
    made = platform()
    reply = Browser(made).post("/cache/purge", {"what": what, "value": value})
    assert made.bodies("POST /cache/purge") == [asked]
    assert reply.status == 303 and "41" in str(reply.cookies)


@pytest.mark.parametrize("form", [{"what": "tag", "value": ""}, {"what": "all", "value": "x"}])
def test_a_purge_without_a_name_is_not_asked_for(form):
    made = platform()
    assert Browser(made).post("/cache/purge", form).status == 400
    assert not made.bodies("POST /cache/purge")


def test_what_the_platform_refuses_to_forget_is_said_and_kept():
    made = platform(**{"POST /cache/purge": Invalid("No such key.", field="key")})
    reply = Browser(made).post("/cache/purge", {"what": "key", "value": "zz"})
    assert (reply.status, filled(reply.text)[0]["value"]) == (400, "zz")
    assert "No such key." in reply.text


def test_without_a_cache_it_says_what_to_set_and_an_auditor_is_offered_no_purge():
    off = NotFound("No answers are kept here.", code="cache_off")
    html = Browser(platform(**{"GET /cache": off})).get("/cache").text
    assert "[cache]" in html and "Forget</button>" not in html and "claude-haiku-4-5" in html
    me = msgspec.structs.replace(OWNER, may=("read the cache of answers",))
    html = Browser(platform(**{"GET /me": me, "GET /cache": CacheFigures(org="acme")})).get("/cache").text
    assert "Forget</button>" not in html and "No answer was kept yet" in html


# --- reconciliation ---------------------------------------------------------------------------------------------------


def multipart(fields: dict[str, str], name: str, data: bytes) -> tuple[bytes, dict[str, str]]:
    """Return a form with a file as browsers send it (RFC 7578)."""
    edge = "----edge"
    said = "content-disposition: form-data; name="
    parts = [f'--{edge}\r\n{said}"{key}"\r\n\r\n{value}\r\n' for key, value in fields.items()]
    head = f'--{edge}\r\n{said}"{name}"; filename="bill.csv"\r\ncontent-type: text/csv\r\n\r\n'
    body = "".join(parts).encode() + head.encode() + data + f"\r\n--{edge}--\r\n".encode()
    return body, {"content-type": f"multipart/form-data; boundary={edge}", "sec-fetch-site": "same-origin"}


def upload(made: Platform, data: bytes, path: str = "/reconciliation", csrf: str = CSRF) -> Answered:
    body, headers = multipart({"csrf": csrf, "vendor": "openai", "form": "csv", "text": ""}, "file", data)
    return run(Browser(made).call("POST", path, body, headers=headers))


def test_an_uploaded_invoice_is_compared_line_by_line_with_ways_to_our_requests():
    made = platform()
    reply = upload(made, b"\xef\xbb\xbf" + INVOICE.encode())
    assert made.bodies("POST /reconcile") == [{"vendor": "openai", "form": "csv", "text": INVOICE.strip()}]
    for text in ("not all agree", "another price", "not known here", "$3.21", "$2.35</span> less"):
        assert text in reply.text, text
    day = "since_s=1795132800&until_s=1795219200"
    assert f"/console/requests?org=%2A&model=gpt-4o&{day}" in links(reply.text)


def test_a_pasted_invoice_does_as_well_and_stays_when_it_is_refused():
    made = platform(**{"POST /reconcile": Invalid("Columns are missing.", field="invoice", value="line 1")})
    reply = Browser(made).post("/reconciliation", {"vendor": "openai", "form": "csv", "text": "a,b"})
    assert (reply.status, filled(reply.text)[0]["text"]) == (400, "a,b")
    assert "Columns are missing." in reply.text


def test_a_file_that_is_no_text_is_refused_and_none_is_taken_where_none_is_asked_for():
    made = platform()
    assert upload(made, b"\xff\xfe\x00").status == 400
    assert upload(made, b"x", path="/alerts/test").status == 400
    assert upload(made, INVOICE.encode(), csrf="guessed").status == 403
    assert not made.bodies("POST /reconcile") and not made.queries("POST /alerts/test")


@pytest.mark.parametrize(
    "form", [{"vendor": "", "text": "x"}, {"vendor": "openai", "text": ""}, {"vendor": "a b", "text": "x"}]
)
def test_an_invoice_of_nobody_or_nothing_is_not_sent(form):
    made = platform()
    assert Browser(made).post("/reconciliation", {"form": "csv"} | form).status == 400
    assert not made.bodies("POST /reconcile")


def test_every_way_to_differ_has_its_words():
    assert set(reconciliation.STATUSES) == set(matching.Status.__args__)


def test_the_chargeback_is_a_file_of_the_days_asked_for():
    made = platform()
    reply = Browser(made).get("/reconciliation/chargeback?since=2026-10-01&until=2026-10-31")
    assert (
        reply.headers["content-disposition"] == 'attachment; filename="chargeback-2026-10-01-2026-10-31.csv"'
    )
    assert made.queries("GET /costs/chargeback") == [{"since": "2026-10-01", "until": "2026-10-31"}]
    assert Browser(made).get("/reconciliation/chargeback?since=x&until=2026-10-31").status == 400


def test_the_month_goes_on_from_what_was_spent_to_what_it_comes_to():
    forecast = made_up_oversight.answers(NOW_S, is_empty=False)["GET /costs/forecast"]
    month_s = month_start(NOW_S)
    costs = made_up.costs({"by": "day", "since_s": str(month_s), "until_s": str(NOW_S)})
    drawn: Any = reconciliation.chart(forecast, costs, month_s, NOW_S)
    spent, ahead = (each["values"] for each in drawn["series"])
    assert len(drawn["labels"]) == len(spent) == len(ahead) == 30
    total = sum(row.cost_nanos for row in costs.rows)
    assert spent[20] == ahead[20] == total and spent[21] is None and ahead[19] is None
    assert ahead[29] == forecast.month_end_nanos
    assert [value for value in spent if value is not None] == sorted(spent[:21])


def test_an_auditor_sees_the_forecast_and_no_invoices_and_without_costs_it_says_what_to_set():
    me = msgspec.structs.replace(
        OWNER, role="auditor", may=("read costs of the whole organisation", "read usage")
    )
    html = Browser(platform(**{"GET /me": me})).get("/reconciliation").text
    assert "What the month comes to" in html and "Compare an invoice" not in html
    off = NotFound("No traces are kept.", code="traces_off")
    html = Browser(platform(**{"GET /costs/forecast": off})).get("/reconciliation").text
    assert "[traces]" in html and "Compare an invoice" in html
