"""The way through each page that changes something: keys, limits, people, the playground.

Each path makes what it changes, under names of its own walk, so that walks do not meet.
"""

from __future__ import annotations

import re

from tests.browser.theatre import PASSWORD, Visitor, visitor
from tests.browser.walk import Path, Walk


def keys(walk: Walk) -> None:
    """Make a key (with a mistake first), copy its token, change it, rotate it, revoke it, find it among the ended."""
    page, name = walk.page, f"robot {walk.tag}"
    walk.visit("Keys & budgets")
    walk.look("keys")
    walk.link("New key")
    walk.sees("New key")
    walk.look("new key")
    walk.write("Name", name)
    for label, word in (("Project", "web"), ("Team", "search"), ("User", "kim")):
        walk.write(label, word)
    walk.write("Dollars, a request", "1,5")
    with walk.refusal(400):
        walk.button("Make the key")
        page.get_by_role("alert").wait_for()
    walk.look("new key: a mistake")
    walk.write("Dollars, a request", "1.5")
    day = page.get_by_role("group", name="A day")
    walk.write(day.get_by_label("At most"), "2")
    walk.select(day.get_by_label("When used up"), "only warn")
    walk.button("Make the key")
    walk.sees("The key is made")
    walk.look("the key is made")
    walk.press(page.locator(".command", has=page.locator("#token")).get_by_role("button"))
    page.get_by_role("button", name="Copied").wait_for()
    walk.link("I have copied it")
    walk.sees(name)
    walk.look("a key")
    walk.link("Edit")
    walk.sees(f"Edit {name}")
    walk.write("Requests a minute", "60")
    walk.look("edit a key")
    walk.button("Save")
    walk.reads("60 requests")
    _rotate_and_revoke(walk, name)
    walk.visit("Keys & budgets")
    walk.pick(page.get_by_role("radio", name="Ended", exact=True))
    page.wait_for_url(re.compile("state=ended"))
    walk.write("Filter keys", name)
    page.locator("#keys tbody tr:not([hidden])", has_text=name).first.wait_for()
    walk.look("keys: ended")


def _rotate_and_revoke(walk: Walk, name: str) -> None:
    page = walk.page
    walk.button("Rotate")
    dialog = page.get_by_role("dialog", name="Rotate this key")
    dialog.wait_for()
    walk.look("rotate a key: dialog")
    walk.close()
    walk.button("Rotate")
    walk.select("The old key goes on for", "none: it stops now")
    walk.button("Rotate", dialog)
    walk.sees("The new key")
    walk.look("the new key")
    walk.link("I have copied it")
    walk.sees(name)
    walk.button("Revoke")
    dialog = page.get_by_role("dialog", name="Revoke this key")
    dialog.wait_for()
    walk.look("revoke a key: dialog")
    walk.button("Revoke", dialog)
    page.get_by_role("status").get_by_text("revoked").first.wait_for()


def limits(walk: Walk) -> None:
    """Give a team a budget and a rate, and see it in the tree."""
    page = walk.page
    team = f"team-{walk.tag}"
    walk.visit("Keys & budgets")
    walk.press(page.get_by_role("link", name="Set limits", exact=True))
    walk.sees("Set limits")
    walk.look("set limits: whose")
    walk.select("Level", "team")
    walk.write("Team", team)
    walk.button("Go on")
    walk.sees(f"Limits of team {team}")
    walk.look("set limits")
    walk.write(page.get_by_label("Requests a minute").first, "many")
    with walk.refusal(400):
        walk.button("Save")
        page.get_by_role("alert").wait_for()
    walk.look("set limits: a mistake")
    walk.write(page.get_by_label("Requests a minute").first, "600")
    walk.write(page.get_by_role("group", name="A month").first.get_by_label("At most"), "25")
    walk.button("Save")
    page.locator(".node", has_text=team).get_by_text("$25").first.wait_for()
    walk.press(page.locator(".node", has_text=team).get_by_role("link", name="Edit the limits"))
    walk.sees(f"Limits of team {team}")
    walk.link("Leave it")
    walk.sees("Keys & budgets")


def people(walk: Walk) -> None:
    """Invite somebody, who comes in by the link; then change, sign out, shut out and let in again."""
    page, name = walk.page, f"Kim {walk.tag}"
    email = f"kim-{walk.tag}@example.org"
    walk.visit("People")
    walk.look("people")
    walk.link("Invite somebody")
    walk.sees("Invite somebody")
    walk.look("invite somebody")
    walk.write("Name", name)
    walk.write("Email", email)
    walk.write("Team", "search")
    walk.pick(page.get_by_role("radio", name=re.compile("^developer")))
    walk.button("Invite")
    walk.sees(f"{name} is invited")
    walk.look("the invitation's link")
    invitation(walk, page.locator("#link").inner_text())
    walk.link("I have copied it")
    walk.sees(name)
    walk.look("a person")
    walk.write("Name", f"{name} B.")
    walk.pick(page.get_by_role("radio", name=re.compile("^reviewer")))
    walk.button("Save")
    walk.sees(f"{name} B.")
    walk.button("End all")
    page.get_by_role("dialog", name="Are you sure?").wait_for()
    walk.look("end all sessions: dialog")
    walk.press(page.locator("[data-confirm-yes]"))
    walk.reads("has ended")
    walk.button("Disable")
    dialog = page.get_by_role("dialog", name=re.compile("^Disable"))
    dialog.wait_for()
    walk.look("disable somebody: dialog")
    walk.button("Disable", dialog)
    walk.reads("is shut out")
    walk.look("a person who is shut out")
    walk.button("Enable")
    walk.reads("may sign in again")
    walk.button("Make a link")
    walk.sees(f"A new link for {name} B.")
    walk.look("a new link")
    walk.link("All people")
    walk.write("Filter people", "kim")
    page.wait_for_function("() => document.querySelectorAll('#people tbody tr[hidden]').length > 0")


def invitation(walk: Walk, link: str) -> None:
    """Somebody else opens the link in a window of their own and sets a password."""
    with visitor(walk.browser, theme=walk.theme, width=1280, height=800, at=walk.house.url) as other:
        guest = _other(walk, other)
        other.page.goto(link)
        guest.sees("Accept the invitation")
        guest.look("accept the invitation")
        guest.write("Password", PASSWORD)
        guest.write("The same again", PASSWORD)
        guest.button("Set the password and sign in")
        other.page.get_by_role("heading", level=1).wait_for()
        other.page.wait_for_url(re.compile("/console/"))
        guest.look("a developer's first page")
        walk.absorb(guest)


def _other(walk: Walk, guest: Visitor) -> Walk:
    return Walk(walk.house, walk.browser, guest, type(walk.hands)(guest.page), walk.theme)


def playground(walk: Walk) -> None:
    """Ask two models the same, see what each took and cost, stop an answer, clear."""
    page = walk.page
    walk.visit("Playground")
    walk.look("playground")
    walk.press(page.get_by_text("System prompt and parameters"))
    walk.write("System prompt", "Answer briefly.")
    walk.write("Tokens at most", "120")
    walk.look("playground: parameters")
    walk.select("First model", "sim/model")
    walk.select("Second model", "gpt-4o-mini")
    walk.write("Message", "What turns the wheel?")
    walk.button("Send")
    for pane in page.locator("[data-pane]").all():
        pane.locator("[data-state]", has_text="done").wait_for()
        pane.locator("[data-fact=cost]", has_text="$").wait_for()
    walk.look("playground: answered")
    walk.select("First model", "sim/slow_first_byte;seconds=30")
    walk.write("Message", "And again?")
    page.keyboard.press("Control+Enter")
    page.locator("[data-state]", has_text="asking").first.wait_for()
    page.keyboard.press("Escape")
    page.locator("[data-state]", has_text="stopped").first.wait_for()
    walk.steps += 2
    walk.look("playground: stopped")
    walk.button("Clear")
    walk.reads("The answer appears here")
    walk.select("First model", "sim/model")
    walk.write("Message", "Once more.")
    walk.button("Send")
    walk.press(page.get_by_role("link", name="See its waterfall").first)
    page.get_by_role("heading", name="Waterfall").wait_for()


STEERING: dict[str, Path] = {
    "Keys": keys,
    "Limits and budgets": limits,
    "People and invitation": people,
    "Playground": playground,
}
