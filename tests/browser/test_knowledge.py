"""Knowledge in a real browser, with the real model: a key, documents, their job's end, a search with its scores.

Run by `python -m pytest tests/browser`; it needs Debian's Chromium, `make console` and the extras of knowledge.
"""

from __future__ import annotations

import re

import pytest

from tests.browser.every_page import EveryPage
from tests.browser.knowledge import QUESTION, filled
from tests.browser.theatre import enter, house, serious, visitor


@pytest.fixture(scope="module")
def it(tmp_path_factory):
    with house(tmp_path_factory.mktemp("house")) as up:
        yield up


@pytest.fixture(scope="module")
def token(it):
    return it.run(filled(it))


@pytest.fixture(scope="module")
def cookies(browser, it, token):
    with visitor(browser) as guest:
        page = guest.page
        enter(page, it)
        page.get_by_role("link", name="Knowledge").click()
        assert serious(page) == []
        page.get_by_label("API key").fill(token)
        page.get_by_role("button", name="Look").click()
        page.get_by_role("link", name="guides", exact=True).wait_for()
        assert token not in page.content() and token not in page.evaluate("document.cookie")
        guest.nothing_went_wrong()
        return page.context.cookies()


def test_a_job_is_seen_to_end_and_its_failure_has_its_reason(browser, it, cookies):
    with visitor(browser) as guest:
        page = guest.page
        page.context.add_cookies(cookies)
        page.goto(it.console("/knowledge/guides/jobs"))
        page.locator("#jobs").get_by_text("partial", exact=True).wait_for()
        page.locator("#jobs tbody a").first.click()
        page.get_by_text("5 of 5 have ended").wait_for()
        assert page.get_by_role("region", name="Failures").locator("tbody tr").count() == 1
        assert serious(page) == []
        guest.nothing_went_wrong()


def test_a_search_shows_every_score_and_labels_hold(browser, it, cookies):
    with visitor(browser) as guest:
        page = guest.page
        page.context.add_cookies(cookies)
        page.goto(it.console("/knowledge/guides"))
        page.get_by_label("Question").fill(QUESTION)
        page.get_by_role("button", name="Search").click()
        first = page.locator(".found > li").first
        first.get_by_text("worth an answer", exact=True).wait_for()
        assert first.locator("h3").inner_text() == "gate"
        parts = dict(
            zip(first.locator("dt").all_inner_texts(), first.locator("dd").all_inner_texts(), strict=True)
        )
        assert list(parts) == ["Meaning", "Words", "Ranks", "Late", "Rerank"]
        assert 0.3 < float(parts["Meaning"]) <= 1 and re.fullmatch(r"[\d.]+ \(\d+%\)", parts["Words"])
        assert page.locator(".found").get_by_text("secret", exact=True).count() == 0
        page.get_by_label("Labels of the asker").fill("crew")
        page.get_by_role("button", name="Search").click()
        page.locator(".found").get_by_text("secret", exact=True).first.wait_for()
        assert page.locator("#answer script, #answer img").count() == 0
        assert serious(page) == []
        guest.nothing_went_wrong()


class TestEveryPage(EveryPage):
    PAGES = tuple(f"/knowledge/guides{tab}" for tab in ("", "/documents", "/jobs", "/migrations"))


def test_without_a_script_it_is_searched_and_a_document_deleted(browser, it, cookies):
    context = browser.new_context(java_script_enabled=False)
    context.add_cookies(cookies)
    page = context.new_page()
    page.goto(it.console("/knowledge/guides"))
    page.get_by_label("Question").fill(QUESTION)
    page.get_by_role("button", name="Search").click()
    page.locator(".found > li h3", has_text="gate").first.wait_for()
    page.goto(it.console("/knowledge/guides/documents"))
    page.locator("tr", has_text="cheese").get_by_role("button", name="Delete").click()
    page.get_by_text("cheese is deleted").wait_for()
    assert page.locator("#documents tr", has_text="cheese").count() == 0
    context.close()
