"""The way through the pages of oversight: where requests go, what needs looking at, what the cache saves, what was
asked and billed.

They are walked on a platform that is furnished for them (tests/browser/furnished).
"""

from __future__ import annotations

import re

from tests.browser.walk import Path, Walk

INVOICE = "date,model,cost_usd\n2026-11-20,gpt-4o-mini,1.00\n"


def routes(walk: Walk) -> None:
    """Look at the canary, explain a request, take the canary out, and go back to the version before, with reasons."""
    page = walk.page
    walk.visit("Routes & canaries")
    page.get_by_role("button", name="Live").wait_for()
    page.get_by_role("region", name="Evidence against the canary of smart").wait_for()
    walk.look("routes and canaries")
    walk.link("Explain")
    walk.sees("Why would it go where?")
    walk.write("Model", "smart")
    walk.button("Explain")
    walk.reads("asked first")
    walk.look("a request explained")
    walk.link("In force")
    walk.link("Take it out")
    walk.sees("Take out a canary")
    walk.look("take out a canary")
    walk.write("Why", f"a try by {walk.tag}")
    walk.button("Take it out")
    page.get_by_role("status").get_by_text("no more traffic").first.wait_for()
    walk.button("Dismiss")
    walk.link("Versions")
    walk.sees("Versions of the routes")
    walk.look("versions of the routes")
    walk.press(page.get_by_role("link", name="Compare version 0 with what is in force"))
    walk.sees("Version 0")
    walk.press(page.get_by_text("The whole document", exact=True))
    walk.look("a version, compared")
    walk.write("Why", "it was only a try")
    walk.button("Go back to version 0")
    page.get_by_role("status").get_by_text("repeats version 0").first.wait_for()
    walk.button("Dismiss")


def alerts(walk: Walk) -> None:
    """Send a test, and see that it was taken."""
    page = walk.page
    walk.visit("Alerts")
    walk.look("alerts")
    walk.button("Send a test")
    page.get_by_role("status").get_by_text("on its way to 1 of them").first.wait_for()
    walk.button("Dismiss")
    taken = page.get_by_role("region", name="Messages").get_by_text("taken", exact=True)
    for _ in range(20):
        if taken.count():
            break
        page.wait_for_timeout(250)
        page.reload()
    taken.first.wait_for()
    walk.look("alerts: a message taken")


def audit(walk: Walk) -> None:
    """Ask a question, be corrected, take the answer along, and open one of its requests."""
    page = walk.page
    walk.visit("Audit query")
    walk.look("audit query")
    walk.press(page.get_by_role("link", name="The ten dearest requests"))
    page.wait_for_url(re.compile("example="))
    walk.button("Ask")
    page.locator("#answer-table tbody tr").first.wait_for()
    walk.look("an answer of the audit")
    with page.expect_download() as download:
        walk.button("As CSV")
    assert download.value.suggested_filename == "penstock-audit.csv"
    walk.write(page.locator("#field-sql"), "SELECT nobody FROM audit")
    with walk.refusal(400):
        page.keyboard.press("Control+Enter")
        page.locator("#answer").get_by_role("alert").wait_for()
    walk.look("a question that is none")
    walk.press(page.get_by_role("link", name="The ten dearest requests"))
    page.wait_for_url(re.compile("example="))
    walk.button("Ask")
    walk.press(page.locator("#answer-table tbody a").first)
    page.get_by_role("heading", name="Waterfall").wait_for()


def cache(walk: Walk) -> None:
    """Have everything forgotten, asked once more before."""
    page = walk.page
    walk.visit("Cache")
    walk.look("cache")
    walk.button("Forget")
    page.get_by_role("dialog").wait_for()
    walk.look("cache: asked once more")
    walk.press(page.get_by_role("dialog").get_by_role("button", name="Leave it"))
    walk.pick(page.get_by_role("radio", name=re.compile("^All of them")))
    walk.button("Forget")
    walk.press(page.get_by_role("dialog").get_by_role("button", name="Forget"))
    page.get_by_role("status").get_by_text("forgotten").first.wait_for()
    walk.button("Dismiss")


def reconciliation(walk: Walk) -> None:
    """Compare an invoice, and take the chargeback along."""
    page = walk.page
    walk.visit("Reconciliation")
    page.locator("canvas[data-drawn]").wait_for()
    walk.look("reconciliation")
    with page.expect_download() as download:
        walk.button("Download the CSV")
    assert download.value.suggested_filename.startswith("chargeback-")
    walk.write("Vendor", "sim")
    walk.press(page.get_by_text("Or paste it", exact=True))
    walk.write("The invoice as text", INVOICE)
    walk.button("Compare")
    page.get_by_role("heading", level=2, name=re.compile("^sim, 2026-11-20")).wait_for()
    walk.look("an invoice compared")


OVERSEEING: dict[str, Path] = {
    "Routes and canaries": routes,
    "Alerts": alerts,
    "Audit query": audit,
    "Cache": cache,
    "Reconciliation": reconciliation,
}
