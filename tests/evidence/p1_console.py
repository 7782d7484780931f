"""P1: the console in Debian's Chromium on real traffic: the path through each page, by mouse and by keyboard alone.

Four walks, each on a platform of its own that nobody has used yet: two themes, two kinds of hands. Every walk begins
with the owner's link and ends with a sign-in through a real OpenID provider, while requests go through the gateway to
the simulator. axe-core judges what is on the screen, every opened dialog included, in two widths. Then the pages that
move are flooded, and the browser counts its repaints.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from playwright.sync_api import Browser
from playwright.sync_api import Error as PlaywrightError

from penstock.simulator.server import SimulatorOptions
from tests.browser import doors, knowledge, overseeing, paths, pictures, steering
from tests.browser.flood import FAST, VERBOSE, Repaints, measured, under_requests
from tests.browser.furnished import furnished, receiver
from tests.browser.hands import Hands, Keyboard, Mouse
from tests.browser.theatre import House, chromium, enter, visitor
from tests.browser.walk import WIDE, Path, Walk
from tests.evidence.registry import ROOT, Result, Scalar, Table

ID = "P1"
TITLE = "The console in a real browser: every page, two themes, mouse and keyboard, no finding"

THEMES = ("light", "dark")
HANDS: tuple[type[Mouse | Keyboard], ...] = (Mouse, Keyboard)
REPAINTS_MOST_PER_S = 20
REQUESTS_BEFORE = 120
PATIENCE_MS = 15_000
SHOWN = 5
PICTURES = ROOT / "docs" / "img" / "console"
PICTURES_BYTES_MOST = 3_000_000
PATHS: dict[str, Path] = {
    "Sign-in by owner's link": doors.owner_link,
    **steering.STEERING,
    **paths.WATCHING,
    **overseeing.OVERSEEING,
    **knowledge.KNOWLEDGE,
    "Sign-out": doors.sign_out,
    "Sign-in by password": doors.password,
    "Account": paths.account,
    "Sign-out again": doors.sign_out,
    "Sign-in by OpenID": doors.single_sign_on,
}


@dataclass
class Seen:
    """What all walks together did and found, by page, and by theme and hands."""

    steps: Counter[str] = field(default_factory=Counter[str])
    looks: Counter[str] = field(default_factory=Counter[str])
    wrong: Counter[str] = field(default_factory=Counter[str])
    of_walk: dict[str, Counter[str]] = field(default_factory=dict[str, Counter[str]])
    impacts: Counter[str] = field(default_factory=Counter[str])
    rules: Counter[str] = field(default_factory=Counter[str])
    kinds: Counter[str] = field(default_factory=Counter[str])
    passes: int = 0
    stops: int = 0
    faults: list[str] = field(default_factory=list[str])


KINDS = {
    "CSP ": "policy violations",
    "dialog: ": "dialogs",
    "page error": "script errors",
    "failed: ": "failed requests",
    "foreign: ": "requests to elsewhere",
    "focus ": "focus that cannot be seen",
    "the path broke": "paths not walked to the end",
}
ERROR_REPLY, TOO_WIDE, AXE, CONSOLE = OTHER_KINDS = (
    "replies of 500 and above",
    "pages wider than the window",
    "serious or critical by axe",
    "console errors",
)


def kind_of(fault: str) -> str:
    """Return which promise a fault breaks."""
    for mark, kind in KINDS.items():
        if fault.startswith(mark):
            return kind
    if fault[:3].isdigit():
        return ERROR_REPLY
    if "wider than a window" in fault:
        return TOO_WIDE
    return AXE if "(serious)" in fault or "(critical)" in fault else CONSOLE


def walk_all(browser: Browser, theme: str, hands: type[Hands], seen: Seen) -> None:
    """Walk every path once on a fresh platform."""
    with receiver() as (hook, _), doors.house_with_sso(**furnished(hook)) as it:
        it.play(REQUESTS_BEFORE)
        with traffic(it), visitor(browser, theme=theme, **WIDE, at=it.url) as guest:
            guest.page.set_default_timeout(PATIENCE_MS)
            guest.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
            walk = Walk(it, browser, guest, hands(guest.page), theme)
            for name, path in PATHS.items():
                _walk_one(walk, name, path, seen)
            seen.passes += walk.passes
            seen.stops += walk.hands.stops
            seen.impacts += walk.impacts
            seen.rules += walk.rules


def _walk_one(walk: Walk, name: str, path: Path, seen: Seen) -> None:
    steps, looks = walk.steps, walk.looks
    try:
        path(walk)
    except (PlaywrightError, AssertionError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        walk.faults.append(f"the path broke: {first}")
    faults = walk.settle()
    of_walk = seen.of_walk.setdefault(f"{walk.theme}, {walk.hands.name}", Counter())
    for what, count in (("steps", walk.steps - steps), ("looks", walk.looks - looks), ("wrong", len(faults))):
        of_walk[what] += count
        getattr(seen, what)[name] += count
    seen.kinds.update(kind_of(fault) for fault in faults)
    seen.faults += [f"{name} ({walk.theme}, {walk.hands.name}): {fault}" for fault in faults]


@contextmanager
def traffic(it: House) -> Iterator[None]:
    """Keep requests coming."""
    done = threading.Event()

    def drip() -> None:
        seed = 100
        while not done.wait(0.4):
            seed += 1
            it.play(2, seed=seed)

    dripping = threading.Thread(target=drip)
    dripping.start()
    try:
        yield
    finally:
        done.set()
        dripping.join(60)


def flood(browser: Browser, seconds: float) -> list[Repaints]:
    """Flood the pages that move, and count."""
    seen: list[Repaints] = []
    with doors.house_with_sso(SimulatorOptions(speeds=VERBOSE)) as it:
        it.play(20)
        with visitor(browser, at=it.url) as guest:
            page = guest.page
            enter(page, it)
            page.get_by_role("button", name="Live").wait_for()
            seen.append(under_requests(page, it, "Overview", "overview", seconds))
            page.goto(it.console("/requests"))
            page.keyboard.press("p")
            page.get_by_role("button", name="Live").wait_for()
            seen.append(under_requests(page, it, "Requests", "rows", seconds))
            seen.append(_playground(guest.page, it, seconds))
            page.add_init_script(FAST)
            for name, path, element in (("Overview", "/", "overview"), ("Requests", "/requests", "rows")):
                page.goto(it.console(path))
                if name == "Requests":
                    page.keyboard.press("p")
                page.get_by_role("button", name="Live").wait_for()
                seen.append(
                    measured(
                        page, f"{name}, 5,000 fragments a second", element, seconds, int(5_000 * seconds)
                    )
                )
            guest.nothing_went_wrong()
    return seen


def _playground(page, it: House, seconds: float) -> Repaints:
    """Have two models write as fast as they can."""
    page.goto(it.console("/playground"))
    page.get_by_label("Second model", exact=True).and_(page.locator("select")).select_option("gpt-4o-mini")
    page.get_by_label("Message", exact=True).fill("Tell everything about water. " * 40)
    page.get_by_role("button", name="Send").click()
    return measured(page, "Playground, two answers", ".panes", seconds)


# --------------------------------------------------------------------------------------------------------- verdict


def produce(quick: bool) -> Result:
    """Walk every path in both themes with both hands, flood, and take the pictures."""
    seen, began = Seen(), time.monotonic()
    themes = THEMES[:1] if quick else THEMES
    with chromium() as browser:
        for theme in themes:
            for hands in HANDS:
                walk_all(browser, theme, hands, seen)
        repaints = flood(browser, 2.0 if quick else 5.0)
    walked_s = time.monotonic() - began
    fast = [each for each in repaints if each.most_per_s > REPAINTS_MOST_PER_S]
    still = [each for each in repaints if not each.repaints]
    faults = list(seen.faults)
    faults += [f"{each.page} was repainted {each.most_per_s} times in a second" for each in fast]
    faults += [f"{each.page} was never repainted" for each in still]
    pictured: dict[str, Scalar] = {}
    if not quick:
        files = pictures.paint(PICTURES, seconds=60)
        size = sum(file.stat().st_size for file in files)
        pictured = {"pictures": len(files), "pictures_bytes": size}
        faults += [f"the pictures take {size} bytes"] if size > PICTURES_BYTES_MOST else []
    promised = dict.fromkeys((*KINDS.values(), *OTHER_KINDS), 0)
    figures: dict[str, Scalar | dict[str, Scalar]] = {
        "walks": len(seen.of_walk),
        "paths": len(PATHS),
        "steps": seen.steps.total(),
        "axe_runs": seen.looks.total(),
        "axe_rules_passed": seen.passes,
        "axe_findings_by_impact": {
            impact: seen.impacts[impact] for impact in ("critical", "serious", "moderate", "minor")
        },
        "axe_findings_by_rule": dict(seen.rules.most_common()),
        "tab_stops": seen.stops,
        "repaints_most_per_s": max(each.most_per_s for each in repaints),
        "wrong": {kind.replace(" ", "_"): count for kind, count in (promised | dict(seen.kinds)).items()},
        "walking_s": round(walked_s),
        **pictured,
    }
    met = (
        f"{len(PATHS)} paths in {len(seen.of_walk)} walks, {figures['steps']} steps, {figures['axe_runs']} runs of "
        "axe-core: no error, no policy violation, nothing serious; at most "
        f"{figures['repaints_most_per_s']} repaints a second"
    )
    return Result(
        figures,
        "missed" if faults else "met",
        f"{len(faults)} findings: {'; '.join(faults[:SHOWN])}" if faults else met,
        (_pages(seen), _walks(seen), _repaints(repaints)),
    )


def _pages(seen: Seen) -> Table:
    rows = tuple((name, seen.steps[name], seen.looks[name], seen.wrong[name]) for name in PATHS)
    return Table(title="Pages", columns=("path", "steps", "runs of axe-core", "findings"), rows=rows)


def _walks(seen: Seen) -> Table:
    rows = tuple((name, each["steps"], each["looks"], each["wrong"]) for name, each in seen.of_walk.items())
    return Table(title="Walks", columns=("walk", "steps", "runs of axe-core", "findings"), rows=rows)


def _repaints(repaints: list[Repaints]) -> Table:
    columns = ("page", "seconds", "requests or fragments", "repaints", "most in a second")
    rows = tuple((each.page, each.seconds, each.events, each.repaints, each.most_per_s) for each in repaints)
    return Table(title="Repaints under a flood", columns=columns, rows=rows)
