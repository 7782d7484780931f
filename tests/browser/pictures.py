"""Pictures of the console for the documents: `python -m tests.browser.pictures docs/img [--seconds 90]`.

They show a real platform with real traffic to the simulator, at the pace of life, in both themes.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
from pathlib import Path

from penstock.kernel.context import Cap
from penstock.sdk.client import Client
from penstock.sdk.replies import ScopeRequest
from penstock.simulator.behaviour import Speeds
from penstock.simulator.server import SimulatorOptions
from tests.browser.theatre import House, chromium, enter, house, visitor

LIFE = Speeds(
    first_token_s=0.35, first_token_sigma=0.4, tokens_per_s=90.0, answer_tokens=90.0, answer_sigma=0.7
)
FAULTS = {"server_error": 0.03, "overloaded": 0.03, "cut": 0.02, "usage_missing": 0.03}
PICTURES = {
    "console-overview": "/",
    "console-requests": "/requests?last=1h",
    "console-costs": "/costs?by=team&then=model&last=24h",
}
BUDGETS = (("org", "default", 250_000_000), ("team", "search", 6_000_000), ("team", "support", 12_000_000))


async def _budgets(it: House) -> None:
    owner = await it.stage.caller(role="owner")
    async with Client(it.url, owner.token) as client:
        for level, name, limit_nanos in BUDGETS:
            where = {"team": name} if level == "team" else {}
            cap = Cap(window="day", limit_nanos=limit_nanos, hard=False)
            await client.scopes.put(ScopeRequest(level=level, org="default", caps=(cap,), **where))


def paint(folder: Path, seconds: int) -> None:
    """Lay the pictures into a folder."""
    simulator = SimulatorOptions(speeds=LIFE, weights=FAULTS, seed=3)
    with (
        tempfile.TemporaryDirectory() as scratch,
        house(Path(scratch), simulator=simulator) as it,
        chromium() as browser,
    ):
        it.run(_budgets(it))
        with visitor(browser) as guest:
            enter(guest.page, it)
            cookies = guest.page.context.cookies()
        busy = threading.Event()
        traffic = threading.Thread(target=_keep_busy, args=(it, busy))
        traffic.start()
        try:
            threading.Event().wait(seconds)
            for theme in ("light", "dark"):
                with visitor(browser, theme=theme, width=1440, height=900) as guest:
                    guest.page.context.add_cookies(cookies)
                    _shoot(guest.page, it, folder, theme)
        finally:
            busy.set()
            traffic.join(30)


def _keep_busy(it: House, done: threading.Event) -> None:
    seed = 0
    while not done.wait(0.5 + seed % 3):
        seed += 1
        it.play(14 + 5 * (seed % 4), seed=seed)


def _shoot(page, it: House, folder: Path, theme: str) -> None:
    for name, path in PICTURES.items():
        page.goto(it.console(path))
        page.wait_for_timeout(1_500)
        page.screenshot(path=folder / f"{name}-{theme}.png")
    page.goto(it.console("/requests?outcome=ok"))
    page.locator("#rows tr", has_text="2 calls").or_(page.locator("#rows tr")).first.locator("th a").click()
    page.locator(".waterfall summary").nth(3).click()
    page.wait_for_timeout(300)
    page.screenshot(path=folder / f"console-request-{theme}.png")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=int, default=90)
    given = parser.parse_args()
    paint(given.folder, given.seconds)
