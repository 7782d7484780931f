"""The pages: what they ask the platform for, what they show of hostile data, who may open them, how they fail."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest

from penstock.console.pages.overview import chart
from penstock.kernel.errors import Conflict, Forbidden, NotFound, OverLimit, Unauthenticated, Unavailable
from penstock.sdk.people import Me, OidcStarted, OidcView, SessionView
from penstock.sdk.requests import (
    CallView,
    CostRow,
    Costs,
    CostSum,
    Moment,
    Overview,
    Pressure,
    RequestDetail,
    RequestPage,
    RequestView,
    SpanView,
    SpendRow,
)
from tests.browser import made_up
from tests.unit.console.support import NOW_S, OWNER, TOKEN, Browser, Platform
from tests.unit.console.test_security import PERSON, SESSION

EVIL = "<img src=x onerror=alert(1)>\"'&</script>javascript:alert(1)"
PAGES = ("/", "/requests", "/requests/req_1", "/costs?by=day&then=model", "/costs?by=team", "/account")


def hostile() -> Platform:
    """Return a platform whose every text is an attack."""
    request = RequestView(
        **{field.name: EVIL for field in msgspec.structs.fields(RequestView) if field.type is str}
        | {
            "at_s": NOW_S,
            "outcome": "failed",
            "flags": (EVIL,),
            "calls": (CallView(provider=EVIL, model=EVIL, outcome=EVIL),),
        }
    )
    span = SpanView(name=EVIL, kind=EVIL, attributes={EVIL: EVIL, "list": [EVIL]}, error=EVIL, ended_ms=5)
    money = {"limit_nanos": 1, "posted_nanos": 1, "held_nanos": 0, "room_nanos": 0, "hard": True}
    overview = Overview(
        at_s=NOW_S,
        org=EVIL,
        live=(request,),
        dependencies={EVIL: False},
        breakers={EVIL: EVIL},
        dropped={EVIL: 1},
        spend=(SpendRow(account=f"org:{EVIL}/team:{EVIL}@day", level=EVIL, window=EVIL, **money),),
        pressures=(Pressure(name=EVIL, detail=EVIL, remedy=EVIL, link="javascript:alert(1)", percent=99),),
    )
    row = CostRow(group=(EVIL,), requests=1, failed=1, refused=1, cost_nanos=5)
    days = CostRow(group=("1795219200", EVIL), requests=1, cost_nanos=5)
    return Platform(
        **{
            "GET /me": msgspec.structs.replace(
                OWNER, name=EVIL, email=EVIL, org=EVIL, team=EVIL, role=EVIL, id=EVIL
            ),
            "GET /overview": overview,
            "GET /requests": RequestPage(requests=(request,), after=EVIL),
            "GET /requests/*": RequestDetail(request=request, spans=(span,)),
            "GET /costs": lambda query: Costs(
                by=tuple(query["by"].split(",")),
                rows=(days if "," in query["by"] else row,),
                total=CostSum(requests=1),
                since_s=NOW_S - 86_400,
                until_s=NOW_S,
            ),
            "GET /sessions": [
                SessionView(id=EVIL, person=EVIL, method=EVIL, created_s=1, seen_s=1, peer=EVIL, agent=EVIL)
            ],
            "GET /sessions/oidc": OidcView(enabled=True, name=EVIL),
        }
    )


class Elements(HTMLParser):
    """Every element with its attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs) -> None:
        self.found.append((tag, dict(attrs)))


@pytest.mark.parametrize(
    "path",
    [*PAGES, "/sign-in", f"/link?token={'x'}%22%3E%3Cscript%3E", "/requests?team=%22%3E%3Cimg%20src=x%3E"],
)
def test_hostile_text_makes_no_element_no_handler_and_no_foreign_link(path):
    reply = Browser(hostile()).get(path)
    assert reply.status == 200
    for tag, attributes in Elements(reply.text).found:
        assert not (tag == "img" and not str(attributes.get("src")).startswith("/console/static/")), (
            attributes
        )
        assert not [name for name in attributes if name.startswith("on") or name == "style"], (
            tag,
            attributes,
        )
        assert tag != "script" or "src" in attributes
        for name in ("href", "src", "action"):
            assert str(attributes.get(name, "/")).startswith(("/", "#")), (tag, attributes)


@pytest.mark.parametrize("path", PAGES)
def test_every_page_names_its_language_title_heading_and_landmarks(path):
    html = Browser(made_up_with("req_1")).get(path).text
    tags = [tag for tag, _ in Elements(html).found]
    assert '<html lang="en"' in html
    assert (tags.count("h1"), tags.count("main"), tags.count("nav") >= 1) == (1, 1, True)
    ids = [attributes["id"] for _, attributes in Elements(html).found if "id" in attributes]
    assert len(set(ids)) == len(ids)


def made_up_with(request_id: str) -> Platform:
    platform = made_up.platform()
    known = next(name for name in platform.answers if name.startswith("GET /requests/req"))
    platform.answers[f"GET /requests/{request_id}"] = platform.answers[known]
    return platform


# --- who may ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "needs"),
    [("/settings", "read settings"), ("/requests", "read requests"), ("/costs", "read usage")],
)
def test_a_page_that_is_not_for_a_role_is_refused_before_its_code_runs(path, needs):
    me = Me(kind="person", id="per_b", role="auditor", may=("see and end one's own sessions",), csrf="c")
    platform = Platform(**{"GET /me": me})
    reply = Browser(platform).get(path)
    assert reply.status == 403
    assert needs in reply.text
    assert [name for name, *_ in platform.asked] == ["GET /me"]


def test_the_session_s_token_is_what_the_platform_is_asked_with():
    platform = Platform(**{"GET /sessions": []})
    Browser(platform).get("/account")
    assert set(platform.tokens) == {TOKEN}


# --- what is asked ----------------------------------------------------------------------------------------------------


def test_requests_are_asked_for_by_the_address_and_the_next_page_keeps_the_filter():
    platform = Platform(**{"GET /requests": RequestPage(requests=(), after="req_50")})
    html = (
        Browser(platform)
        .get("/requests?team=search&outcome=failed&last=1h&after=req_0&limit=9999&admin=1")
        .text
    )
    (query,) = platform.queries("GET /requests")
    assert query == {
        "team": "search",
        "outcome": "failed",
        "since_s": str(NOW_S - 3_600),
        "after": "req_0",
        "limit": "50",
    }
    link = re.search(r'href="(/console/requests[^"]*)" rel="next"', html)[1].replace("&amp;", "&")
    assert parse_qs(urlsplit(link).query) == {
        "team": ["search"],
        "outcome": ["failed"],
        "last": ["1h"],
        "after": ["req_50"],
    }


def test_costs_link_each_row_to_the_requests_of_its_group_and_period_and_no_more():
    since_s, until_s = NOW_S - 86_400, NOW_S
    day = str(int(NOW_S) // 86_400 * 86_400)
    costs = Costs(
        by=("day", "team"),
        rows=(CostRow(group=(day, "search"), requests=3, cost_nanos=7),),
        total=CostSum(requests=3),
        since_s=since_s,
        until_s=until_s,
    )
    html = Browser(Platform(**{"GET /costs": costs})).get("/costs?by=day&then=team&feature=docs").text
    links = [
        parse_qs(urlsplit(link.replace("&amp;", "&")).query)
        for link in re.findall(r'href="(/console/requests\?[^"]*)"', html)
    ]
    assert {"feature": ["docs"], "team": ["search"], "since_s": [day], "until_s": [f"{NOW_S:.0f}"]} in links


def test_time_goes_from_left_to_right_whichever_way_it_was_asked():
    platform = Platform(
        **{"GET /costs": Costs(by=("day", "model"), rows=(), total=CostSum(), since_s=0, until_s=1)}
    )
    Browser(platform).get("/costs?by=model&then=day")
    assert platform.queries("GET /costs")[0]["by"] == "day,model"


def test_what_costs_cannot_be_grouped_by_is_refused_by_name():
    reply = Browser(Platform()).get("/costs?by=prompt")
    assert reply.status == 400
    assert "by = prompt" in reply.text


# --- empty states and errors ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/requests", "/costs"])
def test_a_first_start_says_what_to_paste(path):
    html = Browser(made_up.platform(is_empty=True)).get(path).text
    assert "curl http://127.0.0.1:8700/v1/chat/completions" in html
    assert 'data-copy-from="' in html


def test_a_filter_that_finds_nothing_offers_the_way_out():
    html = Browser(made_up.platform(is_empty=True)).get("/requests?team=nobody").text
    assert "Nothing matches" in html
    assert "Show all requests" in html


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (NotFound("No such request."), 404),
        (Forbidden("Not yours.", remedy="Ask Ada."), 403),
        (Unavailable("Away."), 503),
    ],
)
def test_an_error_is_a_page_with_its_remedy_and_the_request_s_id(error, status):
    reply = Browser(Platform(**{"GET /requests/*": error})).get("/requests/req_x")
    assert reply.status == status
    assert error.message in reply.text
    assert error.remedy in reply.text
    assert "req_canary" in reply.text


def test_a_bug_is_a_page_too_and_tells_nothing_of_the_inside():
    def broken(_):
        raise RuntimeError("secret of the inside")

    reply = Browser(Platform(**{"GET /overview": broken})).get("/")
    assert reply.status == 500
    assert "This is a bug." in reply.text
    assert "secret of the inside" not in reply.text


def test_htmx_gets_a_word_above_the_page_instead_of_a_page():
    reply = Browser(Platform(**{"GET /requests": Unavailable("Away.")})).get("/requests", hx_request="true")
    assert reply.headers["hx-retarget"] == "#problems"
    assert reply.headers["hx-push-url"] == "false"
    assert "<html" not in reply.text
    assert "Away." in reply.text


# --- coming in and going out ------------------------------------------------------------------------------------------

MADE = {"token": TOKEN, "csrf": "c", "session": SESSION, "person": PERSON}


def test_signing_in_leads_to_where_one_wanted_to_go_and_hands_the_password_on_as_it_is():
    platform = Platform(**{"POST /sessions": MADE})
    browser = Browser(platform, signed_in=False)
    form = {"email": " ada@acme.example ", "password": "  two spaces ", "next": "/console/costs?by=team"}
    reply = browser.post("/sign-in", form, csrf=None)
    assert reply.location == "/console/costs?by=team"
    assert browser.jar["penstock_session"] == TOKEN
    (sent,) = platform.bodies("POST /sessions")
    assert (sent["email"], sent["password"]) == ("ada@acme.example", "  two spaces ")


@pytest.mark.parametrize(
    ("error", "status"), [(Unauthenticated("No."), 401), (OverLimit("Too often.", retry_after_s=30), 429)]
)
def test_a_failed_sign_in_keeps_the_email_and_never_the_password(error, status):
    reply = Browser(Platform(**{"POST /sessions": error}), signed_in=False).post(
        "/sign-in", {"email": "ada@acme.example", "password": "canary-password"}, csrf=None
    )
    assert reply.status == status
    assert error.message in reply.text
    assert 'value="ada@acme.example"' in reply.text
    assert "canary-password" not in reply.text


def test_an_owner_s_link_asks_who_one_is_and_an_invitation_does_not():
    browser = Browser(Platform(), signed_in=False)
    assert 'name="email"' in browser.get("/link?token=penl-owner-abc").text
    invited = browser.get("/link?token=penl-per_1-abc")
    assert 'name="email"' not in invited.text
    assert invited.headers["referrer-policy"]
    assert "Sign in with a password" in browser.get("/link").text


@pytest.mark.parametrize("error", [Unauthenticated("The link was used."), Conflict("The email is taken.")])
def test_a_link_that_fails_says_so_and_two_passwords_that_differ_are_not_sent(error):
    platform = Platform(**{"POST /sessions/link": error})
    browser = Browser(platform, signed_in=False)
    form = {"token": "penl-per_1-abc", "password": "one and only pass", "again": "one and only pass"}
    assert error.message in browser.post("/link", form, csrf=None).text
    differing = browser.post("/link", form | {"again": "another"}, csrf=None)
    assert differing.status == 400
    assert len(platform.bodies("POST /sessions/link")) == 1


def test_oidc_sends_the_browser_away_and_takes_it_back_with_what_was_kept():
    started = OidcStarted(url="https://id.example/authorize?state=s", kept="sealed")
    platform = Platform(
        **{
            "GET /sessions/oidc": OidcView(enabled=True, name="Example ID"),
            "POST /sessions/oidc": started,
            "POST /sessions/oidc/code": MADE,
        }
    )
    browser = Browser(platform, signed_in=False)
    assert "Continue with Example ID" in browser.get("/sign-in").text
    away = browser.get("/sign-in/oidc?next=/console/costs")
    assert away.location == "https://id.example/authorize?state=s"
    back = browser.get("/sign-in/oidc/back?code=c0de&state=s")
    assert back.location == "/console/costs"
    (sent,) = platform.bodies("POST /sessions/oidc/code")
    assert sent["kept"] == "sealed"
    assert sent["redirect_uri"] == "http://127.0.0.1:8700/console/sign-in/oidc/back"
    assert not {"penstock_oidc", "penstock_next"} & set(browser.jar)
    assert browser.get("/sign-in/oidc/back?error=access_denied&error_description=%3Cb%3ENo").status == 400


def test_signing_out_ends_the_session_at_the_platform_and_says_so():
    platform = Platform(**{"DELETE /sessions/current": None})
    browser = Browser(platform)
    reply = browser.post("/sign-out")
    assert reply.location == "/console/sign-in"
    assert "DELETE /sessions/current" in [name for name, *_ in platform.asked]
    assert "penstock_session" not in browser.jar
    assert "You are signed out." in browser.get("/sign-in").text
    assert "You are signed out." not in browser.get("/sign-in").text


def test_a_theme_is_kept_without_a_script_and_nothing_else_is_one():
    browser = Browser(Platform(**{"GET /sessions": []}))
    assert browser.post("/account/theme", {"theme": "dark"}).status == 303
    assert 'data-theme="dark"' in browser.get("/account").text
    assert browser.post("/account/theme", {"theme": '"><script>'}).status == 400
    browser.jar["penstock_theme"] = "purple"
    assert 'data-theme="auto"' in browser.get("/account").text


def test_the_chart_of_a_first_start_begins_when_something_happened():
    moments = [Moment(at_s=n * 10.0, requests=int(n >= 50)) for n in range(90)]
    assert len(chart(Overview(at_s=900.0, series=tuple(moments)), {})["labels"]) == 43
    assert len(chart(Overview(at_s=900.0, series=tuple(moments[:49])), {})["labels"]) == 30
    assert len(chart(Overview(at_s=900.0, series=tuple(moments[50:])), {})["labels"]) == 40


@pytest.mark.parametrize(
    ("may", "first"),
    [
        (("read usage", "read requests"), "/console/requests"),
        (("use models",), "/console/playground"),
        (("see and end one's own sessions",), "/console/account"),
    ],
)
def test_the_start_is_the_first_page_that_a_role_opens(may, first):
    me = Me(kind="person", id="per_d", role="developer", may=may, csrf="c")
    reply = Browser(Platform(**{"GET /me": me})).get("/")
    assert (reply.status, reply.location) == (303, first)
