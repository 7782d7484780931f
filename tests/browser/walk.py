"""A walk through the console: somebody with hands, what they looked at, and everything that was wrong on the way.

Promise: each `look` has axe-core judge the page as it then is (open dialogs included) and holds it against two widths;
each `step` is one thing a person did. A walk that meets a fault goes on, and `faults` holds it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from playwright.sync_api import Browser, Locator, Page
from playwright.sync_api import TimeoutError as PlaywrightTimeout

from tests.browser.hands import Hands
from tests.browser.theatre import AXE, House, Visitor

WIDE = {"width": 1280, "height": 800}
NARROW = {"width": 360, "height": 740}
SERIOUS = ("serious", "critical")
RUN_AXE = """async () => {
  const found = await axe.run(document, { resultTypes: ["violations"] });
  return {
    passes: found.passes.length,
    violations: found.violations.map((each) => ({
      id: each.id, impact: each.impact, where: each.nodes.map((node) => `${node.target} ${node.failureSummary}`),
    })),
  };
}"""
FITS = "(width) => document.documentElement.scrollWidth <= width"
FIT_MS = 1_500
TOO_WIDE = """(width) => [...document.querySelectorAll("main *, dialog *")]
  .filter((each) => each.getBoundingClientRect().right > width + 0.5 && !each.closest(".table-wrap, pre"))
  .map((each) => `${each.tagName}.${each.className} to ${Math.round(each.getBoundingClientRect().right)}`)
  .slice(-4).join("; ")"""
SETTLED = """() => document.querySelector("[data-chart]") === null || !window.Chart
  || document.querySelector("[data-chart] canvas[data-drawn]") !== null"""


@dataclass
class Walk:
    """One person's way through the console, in one theme, with one kind of hands."""

    house: House
    browser: Browser
    guest: Visitor
    hands: Hands
    theme: str
    steps: int = 0
    looks: int = 0
    passes: int = 0
    impacts: Counter[str] = field(default_factory=Counter[str])
    rules: Counter[str] = field(default_factory=Counter[str])
    faults: list[str] = field(default_factory=list[str])

    @property
    def page(self) -> Page:
        return self.guest.page

    @property
    def tag(self) -> str:
        """A word for names of things made on this walk."""
        return f"{self.theme}-{self.hands.name}"

    # ------------------------------------------------------------------------------------------------ what is done

    def press(self, target: Locator) -> None:
        self.steps += 1
        self.hands.press(target)

    def write(self, label: str | Locator, text: str) -> None:
        """Write into a field, given by its label or itself."""
        self.steps += 1
        self.hands.write(self._field(label, "input, textarea"), text)

    def pick(self, target: Locator) -> None:
        self.steps += 1
        self.hands.pick(target)

    def select(self, label: str | Locator, option: str) -> None:
        """Choose from a list, given by its label or itself."""
        self.steps += 1
        self.hands.select(self._field(label, "select"), option)

    def _field(self, label: str | Locator, kind: str) -> Locator:
        """Return the field of this label; a part of the page may have the same name."""
        if not isinstance(label, str):
            return label
        return self.page.get_by_label(label, exact=True).and_(self.page.locator(kind))

    def button(self, name: str, within: Locator | None = None) -> None:
        self.press((within or self.page).get_by_role("button", name=name, exact=True).first)

    def link(self, name: str, within: Locator | None = None) -> None:
        self.press((within or self.page).get_by_role("link", name=name, exact=True).first)

    def visit(self, name: str) -> None:
        """Go to a page of the navigation, and see its heading."""
        self.steps += 1
        self.hands.visit(name)
        self.sees("Keys & budgets" if name.startswith("Keys") else name)

    def close(self) -> None:
        self.steps += 1
        self.hands.close()
        self.page.wait_for_function("() => !document.querySelector('dialog[open]')")

    # ------------------------------------------------------------------------------------------------ what is seen

    def sees(self, heading: str) -> None:
        """Wait for the page of this heading."""
        self.page.get_by_role("heading", level=1, name=heading, exact=True).wait_for()

    def reads(self, text: str) -> None:
        """Wait for a text."""
        self.page.get_by_text(text).first.wait_for()

    def look(self, name: str) -> None:
        """Judge what is on the screen."""
        page = self.page
        page.wait_for_function(SETTLED)
        page.evaluate(AXE.read_text())
        found = page.evaluate(RUN_AXE)
        self.looks += 1
        self.passes += found["passes"]
        for each in found["violations"]:
            self.impacts[each["impact"]] += len(each["where"])
            self.rules[each["id"]] += len(each["where"])
            if each["impact"] in SERIOUS:
                self.faults += [f"{name}: {each['id']} ({each['impact']}) {where}" for where in each["where"]]
        for size in (NARROW, WIDE):
            page.set_viewport_size(size)
            try:  # a chart follows its window a frame later
                page.wait_for_function(FITS, arg=size["width"], timeout=FIT_MS)
            except PlaywrightTimeout:
                wide = page.evaluate(TOO_WIDE, size["width"])
                self.faults.append(f"{name}: wider than a window of {size['width']} px: {wide}")

    @contextmanager
    def refusal(self, status: int) -> Iterator[None]:
        """Expect one refusal: the browser itself writes the status of a refused page to the console."""
        before = len(self.guest.wrong)
        yield
        told = [line for line in self.guest.wrong[before:] if f"status of {status}" in line]
        for line in told[:1]:
            self.guest.wrong.remove(line)

    def absorb(self, other: Walk) -> None:
        """Count what somebody else did and met on the way as this walk's own."""
        self.steps += other.steps
        self.looks += other.looks
        self.passes += other.passes
        self.impacts += other.impacts
        self.rules += other.rules
        self.faults += other.settle()

    def settle(self) -> list[str]:
        """Return everything that was wrong since the last time, and begin anew."""
        unseen = [f"focus cannot be seen on {what}" for what in dict.fromkeys(self.hands.unseen)]
        found = [*self.faults, *self.guest.wrong, *unseen]
        self.faults.clear()
        self.guest.wrong.clear()
        self.hands.unseen.clear()
        return found


Path = Callable[[Walk], None]
