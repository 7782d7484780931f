"""The playground in a real browser: two answers at once, stopping, going on, and answers that would like to be HTML.

Run by `python -m pytest tests/browser`; it needs Debian's Chromium and `make console`.
"""

from __future__ import annotations

import asyncio
import time

import pytest

from penstock.simulator.behaviour import Speeds
from tests.browser import theatre
from tests.browser.theatre import house, serious, visitor

LINKED = "() => document.querySelectorAll('[data-link]:not([hidden])').length >= 2"
EVIL = "<img src=x onerror=alert(1)> runs. What runs?"


@pytest.fixture(scope="module")
def it(tmp_path_factory):
    """A house whose models write slowly enough to be stopped."""
    with pytest.MonkeyPatch.context() as patch:
        speeds = Speeds(first_token_s=0.02, tokens_per_s=150.0, answer_tokens=100.0)
        patch.setattr(theatre, "SPEEDS", speeds)
        with house(tmp_path_factory.mktemp("house")) as up:
            yield up


@pytest.fixture(params=["light", "dark"])
def guest(browser, it, cookies, request):
    with visitor(browser, theme=request.param) as made:
        made.page.context.add_cookies(cookies)
        made.page.goto(it.console("/playground"))
        yield made
        made.nothing_went_wrong()


def ask(page, text: str) -> None:
    page.get_by_label("Message", exact=True).fill(text)
    page.keyboard.press("Control+Enter")


def choose(page, first: str, second: str) -> None:
    page.get_by_label("First model", exact=True).select_option(first)
    page.get_by_label("Second model", exact=True).select_option(second)


def test_two_models_answer_at_once_and_each_answer_leads_to_its_waterfall(guest, it):
    page, began_s = guest.page, time.monotonic()
    ask(page, "When does the gate open?")
    page.wait_for_function(LINKED)
    gone_s = time.monotonic() - began_s
    panes = page.locator("[data-pane]")
    for number in (0, 1):
        pane = panes.nth(number)
        assert pane.locator("[data-state]").text_content() == "done"
        assert "100 out" in (pane.locator('[data-fact="tokens"]').text_content() or "")
        assert (pane.locator('[data-fact="cost"]').text_content() or "").startswith("$0.0")
        paints = int(pane.locator("[data-talk]").get_attribute("data-paints") or 0)
        assert 2 <= paints <= 20 * gone_s + 3
    assert serious(page) == []
    page.get_by_role("link", name="See its waterfall").first.click()
    page.wait_for_url("**/console/requests/req_*")
    assert page.get_by_text("playground").count()


def test_escape_stops_both_at_the_provider_and_the_next_turn_goes_on_from_what_was_said(guest, it):
    page = guest.page
    before = len(it.stage.simulator.truth.rows())
    ask(page, "Tell me a long story.")
    page.wait_for_function("() => document.querySelectorAll('[data-state]')[1].textContent === 'writing'")
    page.keyboard.press("Escape")
    page.wait_for_function(
        "() => [...document.querySelectorAll('[data-state]')].every((e) => e.textContent === 'stopped')"
    )
    it.run(closed(it, before + 2))
    assert {row.outcome for row in it.stage.simulator.truth.rows()[before:]} == {"client_gone"}
    sent = []
    page.on("request", lambda made: sent.append(made.post_data_json) if made.method == "POST" else None)
    ask(page, "Go on.")
    page.wait_for_function(LINKED)
    roles = [turn["role"] for turn in sent[0]["panes"][0]["turns"]]
    assert roles == ["user", "assistant", "user"]
    page.get_by_role("button", name="Clear").click()
    assert page.locator(".turn").count() == 0


async def closed(it, rows: int) -> None:
    async with asyncio.timeout(10):
        while it.stage.simulator.truth.summary().requests < rows:
            await asyncio.sleep(0.02)


def test_an_answer_that_looks_like_html_is_text_and_a_failed_turn_is_no_part_of_the_conversation(guest):
    page = guest.page
    choose(page, "local/extractive", "sim/model")
    page.evaluate("document.querySelectorAll('[data-model]')[1].selectedOptions[0].value = 'sim/<b>none</b>'")
    ask(page, EVIL)
    page.wait_for_function("() => document.querySelectorAll('[data-state]')[1].textContent === 'failed'")
    page.wait_for_function("() => document.querySelectorAll('[data-link]:not([hidden])').length >= 1")
    said = page.locator("[data-pane]").first.locator("[data-said]").nth(1)
    assert "<img src=x onerror=alert(1)>" in (said.text_content() or "")
    assert page.locator("main img, main b").count() == 0
    assert "<b>none</b>" in (page.locator("[data-problem-message]").nth(1).text_content() or "")
    sent = []
    page.on("request", lambda made: sent.append(made.post_data_json) if made.method == "POST" else None)
    ask(page, "And now?")
    page.wait_for_function("() => document.querySelectorAll('[data-problem]:not([hidden])').length >= 2")
    assert [len(pane["turns"]) for pane in sent[0]["panes"]] == [3, 1]
