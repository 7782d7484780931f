"""The way through each page that one watches, and through the doors: what a person does there, step by step.

Each path is a function of a walk; it begins wherever the walk is and drives the page by what it says to people (roles,
labels, headings). `WATCHING` is the list of the pages; `doors` are in tests/browser/doors.py, those that change
something in tests/browser/steering.py.
"""

from __future__ import annotations

import re

from tests.browser.theatre import OWNER, PASSWORD, visitor
from tests.browser.walk import Path, Walk


def overview(walk: Walk) -> None:
    """See what is going on, pause it, get help, and follow a figure to its requests."""
    page = walk.page
    walk.visit("Overview")
    page.get_by_role("button", name="Live").wait_for()
    walk.look("overview")
    walk.hands.pause()
    page.get_by_role("button", name="Paused").wait_for()
    walk.hands.pause()
    page.get_by_role("button", name="Live").wait_for()
    walk.steps += 2
    walk.button("Keyboard shortcuts")
    page.get_by_role("dialog", name="Keyboard").wait_for()
    walk.look("overview: keyboard help")
    walk.close()
    walk.press(page.get_by_text("Requests and their p95 as a table"))
    page.get_by_role("region", name="Requests and their p95").wait_for()
    walk.look("overview: chart as a table")
    walk.hands.pause()
    page.get_by_role("button", name="Paused").wait_for()
    walk.press(page.locator(".tiles").get_by_role("link").nth(2))
    walk.sees("Requests")


def requests(walk: Walk) -> None:
    """Filter, follow the tail, page back, and read a request's waterfall."""
    page = walk.page
    walk.visit("Requests")
    walk.look("requests")
    walk.hands.pause()
    page.get_by_role("button", name="Live").wait_for()
    page.locator("#rows tr.is-new").first.wait_for()
    walk.hands.pause()
    page.get_by_role("button", name="Paused").wait_for()
    walk.steps += 2
    walk.write("Team", "search")
    walk.press(page.get_by_role("button", name="Filter", exact=True))
    page.wait_for_url(re.compile("team=search"))
    walk.pick(page.get_by_role("radio", name="Failed"))
    page.wait_for_url(re.compile("outcome=failed"))
    walk.look("requests: filtered")
    walk.link("Clear the filter")
    page.wait_for_url(re.compile("/requests$"))
    walk.press(page.get_by_role("link", name="Earlier"))
    page.wait_for_url(re.compile("after="))
    walk.link("Latest")
    page.wait_for_url(lambda url: "after=" not in url)
    walk.pick(page.get_by_role("radio", name="OK"))
    page.wait_for_url(re.compile("outcome=ok"))
    walk.press(page.locator("#rows th a").first)
    waterfall(walk)


def waterfall(walk: Walk) -> None:
    """Read a request: its steps, their attributes, its id, and others like it."""
    page = walk.page
    page.get_by_role("heading", name="Waterfall").wait_for()
    walk.look("request")
    for summary in (page.locator(".waterfall summary").first, page.locator(".waterfall summary").last):
        walk.press(summary)
    page.locator(".waterfall details[open] .facts").last.wait_for()
    walk.look("request: steps open")
    walk.button("Copy the id")
    page.get_by_role("button", name=re.compile("Copied|Press Ctrl C")).wait_for()
    walk.press(
        page.locator("dt", has_text="Team").locator("xpath=following-sibling::dd[1]").get_by_role("link")
    )
    walk.sees("Requests")


def costs(walk: Walk) -> None:
    """Choose a period and two groupings, sort, filter, and open what is behind a sum."""
    page = walk.page
    walk.visit("Costs")
    walk.look("costs")
    walk.press(page.get_by_role("navigation", name="Period").get_by_role("link", name="Today"))
    page.wait_for_url(re.compile("since_s="))
    walk.select("By", "Team")
    walk.select("and by", "Model")
    walk.button("Show")
    page.wait_for_url(re.compile("by=team&then=model"))
    walk.look("costs by team and model")
    walk.press(page.locator("#cost-table").get_by_role("button", name="Requests"))
    page.locator("#cost-table th[aria-sort]").wait_for()
    walk.write("Filter the sums", "search")
    page.wait_for_function("() => document.querySelectorAll('#cost-table tbody tr[hidden]').length > 0")
    walk.press(page.get_by_text("as a table"))
    walk.look("costs: sorted and filtered")
    walk.press(page.locator("#cost-table tbody tr:not([hidden]) th a").first)
    page.wait_for_url(re.compile("team=search"))


def settings(walk: Walk) -> None:
    """Find a setting by its words, and see what was changed."""
    page = walk.page
    walk.visit("Settings")
    walk.look("settings")
    walk.write("Find a setting", "deadline")
    page.wait_for_url(re.compile("q=deadline"))
    walk.pick(page.get_by_role("radio", name=re.compile("^Changed")))
    page.wait_for_url(re.compile("show=changed"))
    walk.look("settings: found")
    walk.write("Find a setting", "no such words anywhere")
    walk.reads("No setting fits")
    walk.look("settings: none fits")
    walk.link("Show all settings")
    page.wait_for_url(re.compile("/settings$"))


def changes(walk: Walk) -> None:
    """Find a change, see its before and after, and everything that its author did."""
    page = walk.page
    walk.visit("Changes")
    walk.look("changes")
    walk.select("What", "key: create")
    page.wait_for_url(re.compile("action=key.create"))
    walk.press(page.locator("details.difference:not([open]) summary").first)
    walk.look("changes: a difference open")
    walk.press(page.get_by_role("link", name="only by them").first)
    page.wait_for_url(re.compile("actor="))
    walk.link("Clear the filter")
    page.wait_for_url(re.compile("/changes$"))
    walk.write("Of (id)", "nothing-of-this-name")
    walk.press(page.get_by_role("button", name="Filter", exact=True))
    walk.reads("Nothing matches")
    walk.look("changes: nothing matches")


def account(walk: Walk) -> None:
    """Change the theme and back, and end a session that was left open elsewhere."""
    page = walk.page
    walk.press(page.locator(".whoami"))
    walk.sees("Your account")
    walk.press(page.get_by_text("What you may do"))
    walk.look("account")
    walk.pick(page.get_by_role("radio", name="Dark"))
    page.locator("html[data-theme=dark]").wait_for()
    walk.pick(page.get_by_role("radio", name="Automatic"))
    page.locator("html[data-theme=auto]").wait_for()
    for theme in ("light", "dark", "auto"):
        walk.hands.theme()
        page.locator(f"html[data-theme={theme}]").wait_for()
    walk.steps += 3
    elsewhere(walk)
    page.reload()
    walk.press(page.get_by_role("button", name="End", exact=True).first)
    page.get_by_role("status").get_by_text(re.compile("ended|signed out", re.IGNORECASE)).first.wait_for()
    walk.button("Dismiss")


def elsewhere(walk: Walk) -> None:
    """Have the owner sign in with another browser too."""
    with visitor(walk.browser) as other:
        other.page.goto(walk.house.console("/sign-in"))
        other.page.get_by_label("Email").fill(OWNER)
        other.page.get_by_label("Password").fill(PASSWORD)
        other.page.get_by_role("button", name="Sign in").click()
        other.page.get_by_role("heading", level=1, name="Overview").wait_for()


def nowhere(walk: Walk) -> None:
    """Come to a page that is not there, and go back."""
    page = walk.page
    with walk.refusal(404):
        page.goto(walk.house.console("/no/such/page"))
        page.get_by_text("There is no such page.").wait_for()
    walk.look("a page that is not there")
    with walk.refusal(404):
        page.goto(walk.house.console("/requests/req-of-nobody"))
        walk.sees("Nothing here")
    walk.look("a request that is not there")
    walk.link("Back to the start")
    walk.sees("Overview")


WATCHING: dict[str, Path] = {
    "Overview": overview,
    "Requests and waterfall": requests,
    "Costs": costs,
    "Settings": settings,
    "Changes": changes,
    "Errors": nowhere,
}
