"""The console in a real browser on real traffic: each page's click path, both themes, by keyboard, without a finding.

Run by `python -m pytest tests/browser`; it needs Debian's Chromium and `make console`.
"""

from __future__ import annotations

import re

import pytest

from tests.browser.every_page import EveryPage
from tests.browser.flood import FAST
from tests.browser.theatre import PASSWORD, house, serious, visitor


@pytest.fixture(scope="module")
def it(tmp_path_factory):
    with house(tmp_path_factory.mktemp("house")) as up:
        up.play(40)
        yield up


class TestEveryPage(EveryPage):
    PAGES = ("/", "/requests", "/costs", "/costs?by=team&then=model", "/account")
    SETTLES_MS = 700


def test_the_overview_moves_by_itself(signed_in, it):
    page = signed_in.page
    page.goto(it.console())
    page.get_by_role("button", name="Live").wait_for()
    before = page.locator("#latest ~ * , #latest").count()
    it.play(3, seed=5)
    page.wait_for_function("() => Number(document.getElementById('overview').dataset.paints || 0) >= 1")
    assert before
    page.keyboard.press("p")
    page.get_by_role("button", name="Paused").wait_for()
    paints = page.evaluate("document.getElementById('overview').dataset.paints")
    it.play(3, seed=6)
    page.wait_for_timeout(1200)
    assert page.evaluate("document.getElementById('overview').dataset.paints") == paints


def test_the_tail_of_requests_follows_what_happens(signed_in, it):
    page = signed_in.page
    page.goto(it.console("/requests"))
    page.get_by_role("button", name="Paused").click()
    page.get_by_role("button", name="Live").wait_for()
    it.play(2, seed=7)
    page.locator("#rows tr.is-new").first.wait_for()


def test_requests_that_are_too_many_to_show_are_counted_on_the_page(signed_in, it):
    page = signed_in.page
    page.goto(it.console("/requests"))
    page.get_by_role("button", name="Paused").click()
    page.get_by_role("button", name="Live").wait_for()
    for seed in (8, 9):  # the count comes with the next rows
        it.play(60, seed=seed)
        page.wait_for_timeout(1200)
    page.get_by_text(re.compile(r"^\d+ more came than could be shown here")).wait_for()


def test_a_request_is_found_by_its_filter_and_shows_its_waterfall(signed_in, it):
    page = signed_in.page
    page.goto(it.console("/requests"))
    page.get_by_label("Team").fill("support")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("team=support"))
    page.wait_for_function(
        "() => [...document.querySelectorAll('#rows tr')].every((row) => row.textContent.includes('support'))"
    )
    page.locator("#rows th a").first.click()
    page.get_by_role("heading", name="Waterfall").wait_for()
    assert page.locator(".waterfall details").count() >= 3
    page.locator(".waterfall summary").last.click()
    assert page.locator(".waterfall details[open] .facts").first.is_visible()
    assert serious(page) == []


def test_every_sum_leads_to_its_requests(signed_in, it):
    page = signed_in.page
    page.goto(it.console("/costs?by=team"))
    row = page.locator("#cost-table tbody tr", has_text="support")
    count = int(row.locator("td").nth(2).get_attribute("data-value"))
    row.locator("th a").click()
    page.wait_for_url(re.compile("team=support"))
    assert page.locator("#rows tr").count() == min(count, 50)


def test_the_keyboard_is_enough(signed_in, it):
    page = signed_in.page
    page.goto(it.console())
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("g")
    page.keyboard.press("r")
    page.wait_for_url(it.console("/requests"))
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.name") == "team"
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    assert page.get_by_role("dialog", name="Keyboard").is_visible()
    page.keyboard.press("Escape")
    assert not page.get_by_role("dialog", name="Keyboard").is_visible()
    before = page.evaluate(
        "getComputedStyle(document.body).backgroundColor + getComputedStyle(document.documentElement).backgroundColor"
    )
    page.keyboard.press("t")
    page.keyboard.press("t")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.keyboard.press("g")
    page.keyboard.press("c")
    page.wait_for_url(it.console("/costs"))
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    after = page.evaluate(
        "getComputedStyle(document.body).backgroundColor + getComputedStyle(document.documentElement).backgroundColor"
    )
    assert before != after


def test_whoever_signs_out_is_out_and_comes_back_by_password(browser, it, cookies):
    with visitor(browser) as guest:
        page = guest.page
        page.goto(it.console("/requests?team=search"))
        page.get_by_label("Email").fill("ada@acme.example")
        page.get_by_label("Password").fill("not the password at all")
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("alert").wait_for()
        guest.wrong.clear()  # the browser tells of the 401 by itself
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url(it.console("/requests?team=search"))
        page.get_by_role("button", name="Sign out").click()
        page.get_by_text("You are signed out.").wait_for()
        page.goto(it.console("/account"))
        page.wait_for_url(re.compile("/sign-in"))
        guest.nothing_went_wrong()


def test_however_much_comes_a_page_repaints_at_most_twenty_times_a_second_and_keeps_its_bound(
    browser, it, cookies
):
    with visitor(browser) as guest:
        guest.page.context.add_cookies(cookies)
        guest.page.add_init_script(FAST)
        guest.page.goto(it.console("/requests"))
        guest.page.keyboard.press("p")
        guest.page.wait_for_function("() => Number(document.getElementById('rows').dataset.paints) >= 1")
        paints, seconds = guest.page.evaluate(
            """async () => {
              const rows = document.getElementById("rows");
              const [began, before] = [performance.now(), Number(rows.dataset.paints)];
              await new Promise((done) => setTimeout(done, 2000));
              return [Number(rows.dataset.paints) - before, (performance.now() - began) / 1000];
            }"""
        )
        assert 1 <= paints <= seconds * 20 + 1
        assert guest.page.locator("#rows tr").count() == 200


def test_a_lost_stream_is_taken_up_again_and_the_page_says_so(browser, it, cookies):
    with visitor(browser) as guest:
        page = guest.page
        page.context.add_cookies(cookies)
        page.add_init_script(FAST)
        page.goto(it.console())
        page.get_by_role("button", name="Live").wait_for()
        page.evaluate("sources[0].readyState = 0; sources[0].dispatchEvent(new Event('error'))")
        page.wait_for_function("() => sources.length === 2")
        page.get_by_role("button", name="Live").wait_for()
        assert page.evaluate("sources[0].readyState") == 2
