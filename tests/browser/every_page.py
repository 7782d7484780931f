"""What every page of the console must be, whichever it is: without a finding, and narrow enough for a telephone.

A test file has its own pages held to it by

    class TestEveryPage(EveryPage):
        PAGES = ("/keys", "/people")

with the fixtures `it`, `browser` and `cookies` (tests/browser/conftest.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import pytest
from playwright.sync_api import Browser

from tests.browser.theatre import House, serious, visitor

NARROW = 360
"""Pixels across of a small telephone."""


class EveryPage:
    """The promises. `SETTLES_MS` is for pages that go on drawing once they are loaded."""

    PAGES: ClassVar[tuple[str, ...]] = ()
    SETTLES_MS: ClassVar[int] = 0

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Hold each page to each promise."""
        metafunc.parametrize("path", self.PAGES)

    @pytest.mark.parametrize("theme", ["light", "dark"])
    def test_it_has_no_serious_finding_no_error_and_no_policy_violation(
        self, browser: Browser, it: House, cookies: Sequence[Any], theme: str, path: str
    ) -> None:
        with visitor(browser, theme=theme) as guest:
            guest.page.context.add_cookies(cookies)
            guest.page.goto(it.console(path))
            guest.page.wait_for_timeout(self.SETTLES_MS)
            assert serious(guest.page) == []
            guest.nothing_went_wrong()

    def test_it_is_no_wider_than_a_small_telephone(
        self, browser: Browser, it: House, cookies: Sequence[Any], path: str
    ) -> None:
        with visitor(browser, width=NARROW, height=740) as guest:
            guest.page.context.add_cookies(cookies)
            guest.page.goto(it.console(path))
            guest.page.wait_for_timeout(self.SETTLES_MS)
            assert guest.page.evaluate("document.documentElement.scrollWidth") == NARROW
            guest.nothing_went_wrong()
