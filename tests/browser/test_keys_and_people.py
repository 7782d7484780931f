"""Keys, limits and people in a real browser: made, set and invited by clicks and by keyboard, in both themes."""

from __future__ import annotations

import re

import pytest

from tests.browser.every_page import EveryPage
from tests.browser.theatre import house, serious, visitor


@pytest.fixture(scope="module")
def it(tmp_path_factory):
    with house(tmp_path_factory.mktemp("house")) as up:
        up.play(12)
        yield up


class TestEveryPage(EveryPage):
    PAGES = (
        "/keys",
        "/keys/new",
        "/keys/limits",
        "/keys/limits?level=team&team=search",
        "/people",
        "/people/invite",
    )


def test_a_key_is_made_copied_rotated_and_revoked(signed_in, it):
    page = signed_in.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(it.console())
    page.keyboard.press("g")
    page.keyboard.press("k")
    page.get_by_role("link", name="New key").click()
    page.get_by_label("Name").fill("night shift")
    page.get_by_label("Project").fill("batch")
    page.locator("#field-day_dollars").fill("1.50")
    page.get_by_role("button", name="Make the key").click()
    page.get_by_role("heading", name="The key is made").wait_for()
    assert serious(page) == []
    token = page.locator("#token").text_content()
    page.locator("button[data-copy-from=token]").click()
    assert page.evaluate("navigator.clipboard.readText()") == token
    page.get_by_role("link", name="I have copied it").click()
    assert token not in page.content()
    assert serious(page) == []
    page.get_by_role("button", name="Rotate").click()
    dialog = page.get_by_role("dialog", name="Rotate this key")
    dialog.get_by_label("The old key goes on for").select_option("one day")
    dialog.get_by_role("button", name="Rotate").click()
    page.get_by_role("heading", name="The new key").wait_for()
    page.go_back()
    page.reload()
    page.get_by_text("ending").first.wait_for()


def test_revoking_is_safe_from_the_keyboard(signed_in, it):
    page = signed_in.page
    page.goto(it.console("/keys"))
    page.get_by_role("link", name="billing key").click()
    opener = page.get_by_role("button", name="Revoke")
    opener.press("Enter")
    dialog = page.get_by_role("dialog", name="Revoke this key")
    assert dialog.is_visible()
    assert serious(page) == []
    page.keyboard.press("Enter")  # what has the focus first does no harm
    assert not dialog.is_visible()
    opener.press("Enter")
    page.keyboard.press("Escape")
    assert not dialog.is_visible()
    assert opener.evaluate("(button) => button === document.activeElement")
    opener.press("Enter")
    dialog.get_by_role("button", name="Revoke").press("Enter")
    page.get_by_role("status").filter(has_text="is revoked").wait_for()
    assert page.get_by_role("button", name="Revoke").count() == 0


def test_the_table_of_keys_filters_and_sorts(signed_in, it):
    page = signed_in.page
    page.goto(it.console("/keys?state=all"))
    page.keyboard.press("/")
    page.keyboard.type("support")
    page.wait_for_function("document.querySelectorAll('#keys tbody tr:not([hidden])').length === 1")
    page.get_by_label("Filter keys", exact=True).last.fill("")
    page.get_by_role("button", name=re.compile("^Budget")).click()
    shares = page.eval_on_selector_all(
        "#keys tbody tr td:nth-child(6)", "cells => cells.map(c => +c.dataset.value)"
    )
    assert shares == sorted(shares, reverse=True)


def test_limits_come_back_at_their_field_and_are_set_to_the_cent(signed_in, it):
    page = signed_in.page
    page.goto(it.console("/keys/limits?level=team&team=support"))
    page.locator("#field-day_dollars").fill("19,30")
    page.get_by_role("button", name="Save").click()
    page.locator("#field-day_dollars[aria-invalid]").wait_for()
    assert serious(page) == []
    signed_in.wrong.clear()  # the browser tells of the 400 by itself
    page.locator("#field-day_dollars").fill("19.30")
    page.get_by_role("button", name="Save").click()
    page.wait_for_url(re.compile("#org:default/team:support"))
    row = page.locator("[id='org:default/team:support']")
    assert "$19.30 a day" in row.text_content()
    assert row.evaluate("(row) => row.matches(':target')")


def test_somebody_invited_comes_in_and_is_shut_out(browser, signed_in, it):
    page = signed_in.page
    page.goto(it.console("/people"))
    page.get_by_role("link", name="Invite somebody").first.click()
    page.get_by_label("Name").fill("Lin Chen")
    page.get_by_label("Email").fill("lin@acme.example")
    page.get_by_role("radio", name=re.compile("^reviewer")).check()
    page.get_by_role("button", name="Invite").click()
    link = page.locator("#link").text_content()
    assert serious(page) == []
    with visitor(browser) as guest:
        guest.page.goto(link)
        guest.page.get_by_label("Password", exact=True).fill("a wheel turns in the water")
        guest.page.get_by_label("The same again").fill("a wheel turns in the water")
        guest.page.get_by_role("main").get_by_role("button").first.click()
        guest.page.get_by_text("Lin Chen").first.wait_for()
        assert guest.page.get_by_role("link", name="People").count() == 0
        page.get_by_role("link", name="I have copied it").click()
        page.get_by_role("button", name="Disable").click()
        assert serious(page) == []
        page.get_by_role("dialog", name="Disable Lin Chen").get_by_role("button", name="Disable").click()
        page.get_by_text("Lin Chen is shut out").wait_for()
        guest.page.goto(it.console("/account"))
        guest.page.wait_for_url(re.compile("/sign-in"))
