"""The judges of P1 and P3 notice what they are there for; an empty run does not pass for a good one."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.api_fuzz import Report
from tests.browser.injection import Field, Looker
from tests.browser.theatre import chromium, visitor
from tests.evidence.p1_console import kind_of
from tests.evidence.p3_fuzz import Injected, api_faults, console_faults
from tests.hostile_text import EVERYTHING, MARKUP, PAYLOADS, RUN

PHASES = dict.fromkeys(("examples", "coverage", "fuzzing", "stateful"), "success")


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("CSP script-src inline", "policy violations"),
        ("dialog: 1", "dialogs"),
        ("503 http://127.0.0.1/console/", "replies of 500 and above"),
        ("failed: net::ERR_EMPTY_RESPONSE http://127.0.0.1/", "failed requests"),
        ("focus cannot be seen on <a>", "focus that cannot be seen"),
        ("overview: wider than a window of 360 px: LI.", "pages wider than the window"),
        ("keys: color-contrast (serious) ['a']", "serious or critical by axe"),
        ("the path broke: Timeout", "paths not walked to the end"),
        ("Uncaught TypeError", "console errors"),
    ],
)
def test_a_fault_is_counted_under_the_promise_it_breaks(fault, kind):
    assert kind_of(fault) == kind


def test_the_hostile_texts_are_many_and_different():
    assert len(set(EVERYTHING)) == len(EVERYTHING) >= 40


@pytest.mark.parametrize("text", [each for each in MARKUP if "data-xss" in each and "<body" not in each])
def test_a_page_that_does_not_escape_is_found_out(text):
    with chromium() as browser, visitor(browser) as guest:
        guest.page.set_content(f"<!doctype html><p>{text}</p>")
        looker = Looker(guest.page, None, [Field("a field", [text])])
        looker.look("a page")
        assert looker.wrong


def test_a_page_that_escapes_is_none_and_shows_the_text():
    with chromium() as browser, visitor(browser) as guest:
        guest.page.set_content("<!doctype html><p id=said></p>")
        guest.page.evaluate("(text) => { document.getElementById('said').textContent = text; }", PAYLOADS[0])
        looker = Looker(guest.page, None, [Field("a field", [PAYLOADS[0]])])
        looker.look("a page")
        assert (looker.wrong, looker.fields[0].shown) == ([], {PAYLOADS[0]})


def test_a_script_that_ran_is_found_out_by_its_mark():
    with chromium() as browser, visitor(browser) as guest:
        guest.page.evaluate(RUN)
        looker = Looker(guest.page, None, [])
        looker.look("a page")
        assert looker.kinds["ran"] == 1


def test_a_field_that_showed_nothing_hostile_is_a_fault():
    assert console_faults(Injected([Field("name of a key", ["x"])]))
    assert not console_faults(Injected([Field("name of a key", ["x"], shown={"x"})]))


def test_what_the_fuzzer_found_is_a_fault():
    fine = Report({"GET /a"}, {"GET /a"}, Counter({200: 1}), dict(PHASES))
    assert api_faults(fine, quick=False) == []
    for worse in (
        Report({"GET /a"}, {"GET /a"}, phases=dict(PHASES), broken=["GET /a: 500"]),
        Report({"GET /a", "GET /b"}, {"GET /a"}, phases=dict(PHASES)),
        Report({"GET /a"}, {"GET /a"}, phases={**PHASES, "stateful": "skip"}),
        Report({"GET /a"}, {"GET /a"}, phases={"coverage": "success"}),
        Report({"GET /a"}, {"GET /a"}, phases=dict(PHASES), errors=["no way in"]),
    ):
        assert api_faults(worse, quick=False)
