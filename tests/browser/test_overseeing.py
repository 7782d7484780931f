"""The pages of oversight in a real browser, on real traffic: a canary's fall seen live, and all without a script.

The paths through them are walked with the others (tests/browser/test_paths).
"""

from __future__ import annotations

import pytest

from penstock.gateway import rollouts
from tests.browser.every_page import EveryPage
from tests.browser.furnished import furnished, receiver
from tests.browser.overseeing import INVOICE
from tests.browser.theatre import enter, house, visitor

BAD = "sim/server_error"
PATIENT = {"max_attempts": 1, "breaker_failures": 1_000}


@pytest.fixture(scope="module")
def it(tmp_path_factory):
    with (
        receiver() as (hook, _),
        house(tmp_path_factory.mktemp("house"), **furnished(hook)) as up,
    ):
        up.play(60)
        yield up


class TestEveryPage(EveryPage):
    PAGES = (
        "/routes",
        "/routes/versions",
        "/routes/versions/0",
        "/routes/explain?model=smart",
        "/routes/stop?route=smart",
        "/alerts",
        "/audit",
        "/cache",
        "/reconciliation",
    )


def test_without_a_script_it_all_works(browser, it, cookies):
    context = browser.new_context(java_script_enabled=False)
    context.add_cookies(cookies)
    page = context.new_page()
    page.goto(it.console("/audit"))
    page.get_by_role("button", name="Ask").click()
    page.locator("#answer-table tbody tr").first.wait_for()
    page.goto(it.console("/cache"))
    page.get_by_role("radio", name="All of them").check()
    page.get_by_role("button", name="Forget").click()
    page.get_by_text("are forgotten here").wait_for()
    page.goto(it.console("/reconciliation"))
    page.get_by_label("Vendor").fill("sim")
    page.get_by_label("File").set_input_files(
        {"name": "bill.csv", "mimeType": "text/csv", "buffer": INVOICE.encode()}
    )
    page.get_by_role("button", name="Compare").click()
    page.get_by_text("not known here").first.wait_for()
    page.goto(it.console("/routes/stop?route=smart"))
    page.get_by_label("Why").fill("without a script")
    page.get_by_role("button", name="Take it out").click()
    page.get_by_text("gets no more traffic").wait_for()
    page.goto(it.console("/routes/versions/0"))
    page.get_by_label("Why").fill("back again")
    page.get_by_role("button", name="Go back to version 0").click()
    page.get_by_text("repeats version 0").first.wait_for()
    context.close()


def test_a_canary_that_fails_is_seen_to_fall_without_a_reload(browser, tmp_path, monkeypatch):
    monkeypatch.setattr(rollouts, "LOOK_S", 0.2)
    with (
        house(tmp_path, **furnished(newcomer=BAD, percent=50.0), resilience=PATIENT) as up,
        visitor(browser) as guest,
    ):
        page = guest.page
        enter(page, up)
        page.goto(up.console("/routes"))
        canaries = page.locator("#canaries")
        canaries.get_by_text("on trial", exact=True).wait_for()
        for seed in range(40):
            up.play(12, seed=seed)
            if canaries.get_by_text("taken out", exact=True).count():
                break
        canaries.get_by_text("taken out", exact=True).wait_for()
        canaries.get_by_text("Verdict.").wait_for()
        page.goto(up.console("/alerts"))
        page.get_by_text("was rolled back").first.wait_for()
        guest.nothing_went_wrong()
