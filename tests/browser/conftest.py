"""A browser for each file of tests, and the house's owner signed in to it. Each file has its own house: `it`."""

from __future__ import annotations

import pytest

from tests.browser.theatre import chromium, enter, visitor


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def cookies(browser, it):
    """The owner's cookies, so that the link is used once."""
    with visitor(browser) as guest:
        enter(guest.page, it)
        guest.nothing_went_wrong()
        return guest.page.context.cookies()


@pytest.fixture
def signed_in(browser, it, cookies):
    with visitor(browser) as guest:
        guest.page.context.add_cookies(cookies)
        yield guest
        guest.nothing_went_wrong()
