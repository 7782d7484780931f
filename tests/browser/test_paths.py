"""Every path through the console, once with each kind of hands, on a platform that nobody has used yet.

The evidence (tests/evidence/p1_console) walks the same paths in both themes and writes down what it saw.
"""

from __future__ import annotations

import pytest

from tests.browser.hands import Keyboard, Mouse
from tests.browser.theatre import chromium
from tests.evidence.p1_console import PATHS, Seen, walk_all


@pytest.mark.parametrize(("theme", "hands"), [("light", Mouse), ("dark", Keyboard)])
def test_every_path_is_walked_to_its_end_without_a_finding(theme, hands):
    seen = Seen()
    with chromium() as browser:
        walk_all(browser, theme, hands, seen)
    assert seen.faults == []
    assert set(seen.steps) == set(PATHS)
    assert min(seen.steps.values()) >= 1
