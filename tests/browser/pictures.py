"""Pictures of the console for the documents: `python -m tests.browser.pictures docs/img/console [--seconds 90]`.

They show a real platform with real traffic to the simulator, at the pace of life, every page in both themes.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
from pathlib import Path

from playwright.sync_api import Page

from penstock.kernel.context import Cap, Rate
from penstock.sdk.client import Client
from penstock.sdk.people import InviteRequest
from penstock.sdk.replies import ScopeRequest
from penstock.simulator.behaviour import Speeds
from penstock.simulator.server import SimulatorOptions
from tests.browser import knowledge
from tests.browser.furnished import furnished, receiver
from tests.browser.png import compact
from tests.browser.theatre import House, chromium, enter, house, visitor

WIDTH, HEIGHT = 1280, 800
LIFE = Speeds(
    first_token_s=0.35, first_token_sigma=0.4, tokens_per_s=90.0, answer_tokens=90.0, answer_sigma=0.7
)
FAULTS = {"server_error": 0.03, "overloaded": 0.03, "cut": 0.02, "usage_missing": 0.03}
PICTURES = {
    "overview": "/",
    "requests": "/requests?last=1h",
    "costs": "/costs?by=team&then=model&last=24h",
    "keys": "/keys",
    "new-key": "/keys/new",
    "limits": "/keys/limits?level=team&org=default&team=search",
    "people": "/people",
    "invite": "/people/invite",
    "routes": "/routes",
    "explain": "/routes/explain?model=smart",
    "alerts": "/alerts",
    "cache": "/cache",
    "reconciliation": "/reconciliation",
    "changes": "/changes",
    "settings": "/settings",
    "account": "/account",
}
BUDGETS = (("org", "default", 250_000_000), ("team", "search", 6_000_000), ("team", "support", 12_000_000))
PEOPLE = (
    ("grace@acme.example", "Grace Hopper", "admin", "default"),
    ("mary@acme.example", "Mary Jackson", "team-admin", "search"),
    ("alan@acme.example", "Alan Kay", "developer", "support"),
    ("radia@acme.example", "Radia Perlman", "auditor", "default"),
)
QUESTION = "How does a penstock keep the pressure steady?"


async def _furnish(it: House) -> None:
    """Give the organisation limits and people, in somebody's name, so that there are changes to look at."""
    owner = await it.stage.caller(role="owner", name="provisioning")
    async with Client(it.url, owner.token) as client:
        for level, name, limit_nanos in BUDGETS:
            where = {"team": name} if level == "team" else {}
            cap = Cap(window="day", limit_nanos=limit_nanos, hard=False)
            rate = Rate(requests_per_minute=3_000)
            await client.scopes.put(ScopeRequest(level=level, org="default", caps=(cap,), rate=rate, **where))
        for email, name, role, team in PEOPLE:
            await client.people.invite(
                InviteRequest(email=email, name=name, role=role, org="default", team=team)
            )


def paint(folder: Path, seconds: int) -> list[Path]:
    """Lay the pictures into a folder, after so many seconds of traffic; returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    simulator = SimulatorOptions(speeds=LIFE, weights=FAULTS, seed=3)
    with (
        tempfile.TemporaryDirectory() as scratch,
        receiver() as (hook, _),
        house(Path(scratch), simulator=simulator, **furnished(hook)) as it,
        chromium() as browser,
    ):
        it.run(_furnish(it))
        with visitor(browser, width=WIDTH, height=HEIGHT) as guest:
            guest.page.goto(it.console("/sign-in"))
            _keep(guest.page, folder / "sign-in-light.png")
            guest.page.emulate_media(color_scheme="dark")
            _keep(guest.page, folder / "sign-in-dark.png")
            enter(guest.page, it)
            guest.page.goto(it.console("/knowledge"))
            guest.page.get_by_label("API key").fill(it.run(knowledge.filled(it)))
            guest.page.get_by_role("button", name="Look").click()
            guest.page.locator("#collections").wait_for()
            cookies = guest.page.context.cookies()
        busy = threading.Event()
        traffic = threading.Thread(target=_keep_busy, args=(it, busy))
        traffic.start()
        try:
            threading.Event().wait(seconds)
            for theme in ("light", "dark"):
                with visitor(browser, theme=theme, width=WIDTH, height=HEIGHT) as guest:
                    guest.page.context.add_cookies(cookies)
                    _shoot(guest.page, it, folder, theme)
        finally:
            busy.set()
            traffic.join(30)
    return sorted(folder.glob("*.png"))


def _keep_busy(it: House, done: threading.Event) -> None:
    seed = 0
    while not done.wait(0.5 + seed % 3):
        seed += 1
        it.play(14 + 5 * (seed % 4), seed=seed)


def _shoot(page: Page, it: House, folder: Path, theme: str) -> None:
    for name, path in PICTURES.items():
        page.goto(it.console(path))
        page.wait_for_timeout(1_500)
        _keep(page, folder / f"{name}-{theme}.png")
    page.goto(it.console("/requests?outcome=ok"))
    page.locator("#rows tr", has_text="2 calls").or_(page.locator("#rows tr")).first.locator("th a").click()
    page.locator(".waterfall summary").nth(3).click()
    page.wait_for_timeout(300)
    _keep(page, folder / f"request-{theme}.png")
    page.goto(it.console("/keys"))
    page.locator("#keys tbody th a").last.click()
    page.wait_for_timeout(800)
    _keep(page, folder / f"key-{theme}.png")
    page.goto(it.console("/audit?example=What+each+team+spent,+by+model"))
    page.get_by_role("button", name="Ask").click()
    page.locator("#answer-table").wait_for()
    _keep(page, folder / f"audit-{theme}.png")
    page.goto(it.console(f"/knowledge/{knowledge.GUIDES}"))
    page.get_by_label("Question").fill(knowledge.QUESTION)
    page.get_by_role("button", name="Search").click()
    page.locator(".found > li").first.wait_for()
    _keep(page, folder / f"knowledge-{theme}.png")
    page.goto(it.console("/playground"))
    page.locator("[data-model]").first.select_option("sim/model")
    page.locator("[data-model]").last.select_option("gpt-4o-mini")
    page.locator("[data-message]").fill(QUESTION)
    page.get_by_role("button", name="Send").click()
    for pane in page.locator("[data-pane]").all():
        pane.locator("[data-fact=cost]", has_text="$").wait_for()
    _keep(page, folder / f"playground-{theme}.png")


def _keep(page: Page, file: Path) -> None:
    """Take a picture; the page it is counted on has no policy that the console's would bring along."""
    picture = page.screenshot()
    with page.context.new_page() as blank:
        file.write_bytes(compact(blank, picture))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=int, default=90)
    given = parser.parse_args()
    print(*paint(given.folder, given.seconds), sep="\n")
