"""Two ways to operate a page: a mouse, and a keyboard alone.

    hands = Keyboard(page)
    hands.press(page.get_by_role("button", name="Save"))     Tab until it has the focus, then Enter

Promise: the keyboard never uses a pointer: what it cannot reach by Tab within a bound is a failure, and every stop on
its way must show that it has the focus. Whatever shows none is in `unseen`.
"""

from __future__ import annotations

from typing import Protocol

from playwright.sync_api import Locator, Page

from penstock.console.navigation import ENTRIES

TABS_MOST = 600
"""More stops than any page has."""

# Where the focus is, whether that can be seen, and which way the target lies.
STOP = """(target) => {
  const at = document.activeElement;
  const ringed = (element) => {
    const style = getComputedStyle(element);
    return style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 1
      && !/rgba\\(.*, 0\\)|transparent/.test(style.outlineColor);
  };
  const nowhere = !at || at === document.body || at.tagName === "DIALOG" || at.id === "main";
  const label = at && at.closest("label");
  return {
    hit: at === target,
    seen: nowhere || ringed(at) || Boolean(label && ringed(label)),
    back: !nowhere && Boolean(at.compareDocumentPosition(target) & Node.DOCUMENT_POSITION_PRECEDING),
    what: nowhere ? "" : at.outerHTML.slice(0, 120),
  };
}"""

PLACE_IN_GROUP = """(radio) => [...document.querySelectorAll("input[type=radio]")]
  .filter((each) => each.name === radio.name).indexOf(radio)"""


class Hands(Protocol):
    """What a person does with a page. Locators name one element each."""

    name: str
    unseen: list[str]
    stops: int

    def press(self, target: Locator) -> None:
        """Activate a link, a button or a summary."""
        ...

    def write(self, target: Locator, text: str) -> None:
        """Put text into a field, in the place of what is there."""
        ...

    def pick(self, target: Locator) -> None:
        """Choose a radio button, or tick a box."""
        ...

    def select(self, target: Locator, label: str) -> None:
        """Choose an option of a list by what it says."""
        ...

    def visit(self, name: str) -> None:
        """Go to a page of the navigation by its label."""
        ...

    def close(self) -> None:
        """Close the open dialog."""
        ...

    def theme(self) -> None:
        """Switch to the next theme."""
        ...

    def pause(self) -> None:
        """Pause what moves, or let it go on."""
        ...


class Mouse:
    """A pointer, and keys for text only."""

    name = "mouse"

    def __init__(self, page: Page) -> None:
        self.page = page
        self.unseen: list[str] = []
        self.stops = 0

    def press(self, target: Locator) -> None:
        target.click()

    def write(self, target: Locator, text: str) -> None:
        target.click()
        target.fill(text)

    def pick(self, target: Locator) -> None:
        label = target.locator("xpath=ancestor::label[1]")
        (label if label.count() else target).click()

    def select(self, target: Locator, label: str) -> None:
        target.select_option(label=label)

    def visit(self, name: str) -> None:
        self.page.get_by_role("navigation", name="Pages").get_by_role("link", name=name, exact=True).click()

    def close(self) -> None:
        self.page.get_by_role("dialog").get_by_role("button", name="Close").click()

    def theme(self) -> None:
        self.page.get_by_role("button", name="Theme:").click()

    def pause(self) -> None:
        self.page.locator("[data-live-toggle]").click()


class Keyboard:
    """Tab, Enter, Space, arrows and the console's own keys."""

    name = "keyboard"

    def __init__(self, page: Page) -> None:
        self.page = page
        self.unseen: list[str] = []
        self.stops = 0

    def reach(self, target: Locator) -> None:
        """Tab until `target` has the focus. Raises AssertionError when it never has."""
        target.wait_for()
        for _ in range(TABS_MOST):
            stop = target.evaluate(STOP)
            if not stop["seen"]:
                self.unseen.append(stop["what"])
            if stop["hit"]:
                return
            self.page.keyboard.press("Shift+Tab" if stop["back"] else "Tab")
            self.stops += 1
        message = f"Tab never reached {target}"
        raise AssertionError(message)

    def press(self, target: Locator) -> None:
        self.reach(target)
        self.page.keyboard.press("Enter")

    def write(self, target: Locator, text: str) -> None:
        self.reach(target)
        self.page.keyboard.press("Control+a")
        self.page.keyboard.press("Delete")
        self.page.keyboard.insert_text(text)

    def pick(self, target: Locator) -> None:
        """Of a group of radio buttons only the chosen one is a stop; arrows go on from there."""
        if target.get_attribute("type") == "checkbox":
            self.reach(target)
            self.page.keyboard.press("Space")
            return
        group = self.page.locator(f'input[type=radio][name="{target.get_attribute("name")}"]')
        chosen = next((n for n in range(group.count()) if group.nth(n).is_checked()), 0)
        wanted = target.evaluate(PLACE_IN_GROUP)
        self.reach(group.nth(chosen))
        if wanted == chosen:
            self.page.keyboard.press("Space")
        for _ in range(abs(wanted - chosen)):
            self.page.keyboard.press("ArrowRight" if wanted > chosen else "ArrowLeft")

    def select(self, target: Locator, label: str) -> None:
        self.reach(target)
        said = [text.strip() for text in target.locator("option").all_inner_texts()]
        steps = said.index(label) - int(target.evaluate("(list) => list.selectedIndex"))
        for _ in range(abs(steps)):
            self.page.keyboard.press("ArrowDown" if steps > 0 else "ArrowUp")

    def visit(self, name: str) -> None:
        self._loose()
        self.page.keyboard.press("g")
        self.page.keyboard.press(next(entry.key for entry in ENTRIES if entry.label == name))

    def close(self) -> None:
        self.page.keyboard.press("Escape")

    def theme(self) -> None:
        self._loose()
        self.page.keyboard.press("t")

    def pause(self) -> None:
        self._loose()
        self.page.keyboard.press("p")

    def _loose(self) -> None:
        """Leave a field: in one, a letter is a letter. Escape leaves a filter, Tab every other."""
        self.page.keyboard.press("Escape")
        if self.page.evaluate("document.activeElement.matches('input, textarea, select')"):
            self.reach(self.page.locator(".skip"))
