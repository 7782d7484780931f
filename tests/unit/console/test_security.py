"""What keeps strangers out: headers, cookies, CSRF, where one is sent back to."""

from __future__ import annotations

import re

import pytest

from penstock.console.security import POLICY, local_path
from penstock.kernel.errors import Unauthenticated
from tests.unit.console.support import CSRF, TOKEN, Browser, Platform

SAFE_PAGES = ("/account", "/sign-in", "/link?token=penl-x", "/nowhere", "/static/0/css/tokens.css")


@pytest.mark.parametrize("path", SAFE_PAGES)
def test_every_reply_carries_the_policy_and_nothing_inline_is_allowed(path):
    reply = Browser(Platform(**{"GET /sessions": []})).get(path)
    assert reply.headers["content-security-policy"] == POLICY
    assert "unsafe" not in POLICY
    assert reply.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["/account", "/sign-in", "/link?token=penl-x", "/nowhere"])
def test_no_page_has_a_style_a_handler_or_a_script_of_its_own(path):
    html = Browser(Platform(**{"GET /sessions": []})).get(path).text
    assert not re.search(r"<style|<script(?![^>]*\bsrc=)|\sstyle=|\son\w+=|javascript:", html)


def test_pages_are_not_kept_by_caches_and_assets_are_by_their_digest():
    browser = Browser(Platform(**{"GET /sessions": []}))
    page = browser.get("/account")
    assert page.headers["cache-control"] == "no-store"
    address = re.search(r'href="/console(/static/[0-9a-f]{16}/css/tokens.css)"', page.text)[1]
    asset = browser.get(address)
    assert "immutable" in asset.headers["cache-control"]
    again = browser.get("/static/0000000000000000/css/tokens.css")
    assert again.headers["cache-control"] == "no-cache"
    assert browser.get(address, if_none_match=asset.headers["etag"]).status == 304


@pytest.mark.parametrize("name", ["../app.py", "css/../../app.py", "vendor/.built", "%2e%2e/app.py", "css"])
def test_nothing_outside_the_static_files_is_served(name):
    assert Browser(Platform()).get(f"/static/0/{name}").status == 404


FOREIGN = (
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"sec-fetch-site": "none"},
    {"sec-fetch-site": "", "origin": "https://evil.example"},
    {"sec-fetch-site": "", "origin": "null"},
    {"sec-fetch-site": ""},
)


@pytest.mark.parametrize("headers", FOREIGN)
@pytest.mark.parametrize(
    "path", ["/sign-out", "/account/theme", "/account/sessions/end", "/sign-in", "/link"]
)
def test_a_form_of_another_site_reaches_no_page(path, headers):
    platform = Platform(**{"DELETE /sessions/current": None, "DELETE /sessions/*": None})
    reply = Browser(platform).post(path, {"id": "ses_1", "theme": "dark"}, **headers)
    assert reply.status == 403
    assert not [name for name, *_ in platform.asked if not name.startswith("GET")]


@pytest.mark.parametrize("csrf", [None, "", "x", CSRF[:-1], CSRF + "x", "é"])
@pytest.mark.parametrize("path", ["/sign-out", "/account/theme", "/account/sessions/end"])
def test_a_form_without_the_session_s_token_does_nothing(path, csrf):
    platform = Platform(**{"DELETE /sessions/current": None, "DELETE /sessions/*": None})
    assert Browser(platform).post(path, {"id": "ses_1", "theme": "dark"}, csrf=csrf).status == 403
    assert not [name for name, *_ in platform.asked if name.startswith("DELETE")]


def test_a_form_is_taken_by_its_field_by_the_header_and_by_the_origin():
    platform = Platform(**{"DELETE /sessions/*": None})
    browser = Browser(platform)
    assert browser.post("/account/sessions/end", {"id": "s"}).status == 303
    assert browser.post("/account/sessions/end", {"id": "s"}, csrf=None, x_csrf_token=CSRF).status == 303
    own = {"sec-fetch-site": "", "origin": "http://127.0.0.1:8700"}
    assert browser.post("/account/sessions/end", {"id": "s"}, **own).status == 303


def test_the_session_s_cookie_is_out_of_reach_of_scripts_and_of_other_domains():
    made = {"token": TOKEN, "csrf": CSRF, "session": SESSION, "person": PERSON}
    reply = Browser(Platform(**{"POST /sessions": made}), signed_in=False, secure=True).post(
        "/sign-in", {"email": "a@b.example", "password": "x"}
    )
    (cookie,) = [line for line in reply.cookies if "session" in line]
    assert cookie.startswith("__Host-penstock_session=")
    assert {"HttpOnly", "Secure", "SameSite=lax", "Path=/"} <= set(cookie.split("; "))
    assert "domain" not in cookie.lower()
    assert "strict-transport-security" in reply.headers


@pytest.mark.parametrize("cookie", ["x" * 513, "a b", "pens-\x07"])
def test_what_cannot_be_a_token_is_never_sent_on(cookie):
    platform = Platform()
    browser = Browser(platform)
    browser.jar = {"penstock_session": cookie}
    assert browser.get("/account").location.startswith("/console/sign-in")
    assert cookie not in platform.tokens


def test_a_session_that_ended_leads_to_the_door_and_back():
    platform = Platform(**{"GET /me": Unauthenticated()})
    reply = Browser(platform).get("/requests?team=a%26b")
    assert reply.status == 303
    assert reply.location == "/console/sign-in?next=%2Fconsole%2Frequests%3Fteam%3Da%2526b"
    assert any("penstock_session=" in line and "Max-Age=0" in line for line in reply.cookies)


@pytest.mark.parametrize(
    "wanted",
    [
        "",
        "//evil.example",
        "https://evil.example",
        "/console",
        "/consolex/",
        "/console/\\evil.example",
        "/console//evil.example",
        "/console/../api",
        "/console/\r\nset-cookie: a=b",
        "javascript:alert(1)",
        "/console/" + "a" * 2_000,
    ],
)
def test_a_way_back_leads_nowhere_but_into_the_console(wanted):
    assert local_path(wanted) == "/console/"


@pytest.mark.parametrize("wanted", ["/console/", "/console/requests?team=a//b", "/console/costs?by=day"])
def test_a_way_back_inside_is_taken(wanted):
    assert local_path(wanted) == wanted


SESSION = {"id": "ses_1", "person": "per_ada", "method": "password", "created_s": 1.0, "seen_s": 1.0}
PERSON = {
    "id": "per_ada",
    "org": "acme",
    "team": "search",
    "email": "ada@acme.example",
    "name": "Ada",
    "role": "owner",
    "state": "active",
}
