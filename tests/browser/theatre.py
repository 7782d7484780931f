"""What the browser's tests share: a platform with traffic, Debian's Chromium, a person who signs in, and watchers.

    with house(tmp_path) as it, chromium() as browser:
        it.play(40)                                   real requests through the gateway to the simulator
        with visitor(browser, theme="dark") as guest:
            enter(guest.page, it)                     by the owner's link, as on the first start
            guest.page.goto(it.console("/requests"))
            assert not serious(guest.page)            axe-core
        guest.nothing_went_wrong()                    0 console errors, 0 CSP violations, 0 dialogs

Promise: the platform is the product's own (tests/stage), on its own port and event loop; whatever was started is ended.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Coroutine, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from playwright.sync_api import Browser, Page, Request, sync_playwright

from penstock.kernel.context import Cap
from penstock.kernel.errors import PenstockError
from penstock.mechanisms.tenancy import KeyDoc
from penstock.sdk.client import Client
from penstock.simulator.behaviour import Speeds
from penstock.simulator.server import SimulatorOptions
from tests.stage import Stage, stage

CHROMIUM = "/usr/bin/chromium"
AXE = Path(__file__).parents[2] / "web/node_modules/axe-core/axe.min.js"
WATCH_POLICY = """addEventListener("securitypolicyviolation", (event) => {
  console.error(`CSP ${event.violatedDirective} ${event.blockedURI}`);
});"""
OWNER = "ada@acme.example"
PASSWORD = "the water turns the wheel"
SPEEDS = Speeds(
    first_token_s=0.02, first_token_sigma=0.5, tokens_per_s=1_500.0, answer_tokens=60.0, answer_sigma=0.6
)
"""About twenty times faster than life."""
MODELS = ("sim/model", "gpt-4o-mini")
TEAMS = (("search", "docs-answers"), ("support", "reply-drafts"), ("billing", ""))
T = TypeVar("T")


class House:
    """A running platform on a thread of its own."""

    def __init__(self) -> None:
        self.stage: Stage
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._opening = AsyncExitStack()
        self._tokens: list[tuple[str, str]] = []
        self._models = MODELS
        self._keeps_answers = False
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T], within_s: float = 60.0) -> T:
        """Run something on the platform's loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(within_s)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.stage.platform.port}"

    def console(self, path: str = "/") -> str:
        """Return the address of a page."""
        return f"{self.url}/console{path}"

    def owner_link(self) -> str:
        """Return the first owner's one-time link."""
        token = self.run(self.stage.platform.people.owner_link())
        return self.console(f"/link?token={token}")

    def play(self, requests: int, *, org: str = "default", seed: int = 1) -> None:
        """Send requests through the gateway: three teams, two models, streamed or whole, some of them refused."""
        self.run(self._play(requests, org, random.Random(seed)))

    async def open(self, folder: Path, simulator: SimulatorOptions, **sections: Any) -> None:
        self._models = (*MODELS, *(route.model for route in sections.get("routes", ())))
        self._keeps_answers = "cache" in sections
        self.stage = await self._opening.enter_async_context(stage(folder, simulator=simulator, **sections))

    def close(self) -> None:
        self.run(self._opening.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _play(self, requests: int, org: str, rng: random.Random) -> None:
        if not self._tokens:
            for team, feature in TEAMS:
                doc = KeyDoc(
                    id="",
                    mac="",
                    org=org,
                    team=team,
                    project="web",
                    user="kim",
                    name=f"{team} key",
                    caps=(Cap(window="day", limit_nanos=50_000_000, hard=True),),
                )
                _, token = await self.stage.platform.tenancy.create_key(doc)
                self._tokens.append((token, feature))
        turns = asyncio.Semaphore(6)

        async def one() -> None:
            token, feature = rng.choice(self._tokens)
            question = "When does the gate open? " * rng.randrange(1, 9)
            asked = {
                "model": "sim/no-such-model" if rng.random() < 0.04 else rng.choice(self._models),
                "messages": [{"role": "user", "content": question}],
                "feature": feature,
                "max_tokens": rng.randrange(16, 200),
            }
            if self._keeps_answers and rng.random() < 0.4:
                asked["temperature"] = 0
            is_streamed = rng.random() < 0.6
            async with turns, Client(self.url, token) as client:
                try:
                    if not is_streamed:
                        await client.chat.create(**asked)
                        return
                    async with client.chat.stream(**asked) as stream:
                        async for _ in stream:
                            pass
                except PenstockError:
                    pass  # a refused request is traffic too

        await asyncio.gather(*(one() for _ in range(requests)))


@contextmanager
def house(folder: Path, *, simulator: SimulatorOptions | None = None, **sections: Any) -> Iterator[House]:
    """Put a platform up over a simulated provider."""
    made = House()
    try:
        made.run(made.open(folder, simulator or SimulatorOptions(speeds=SPEEDS), **sections))
        yield made
    finally:
        made.close()


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start Debian's Chromium."""
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Visitor:
    """A page, and what went wrong on it."""

    page: Page
    wrong: list[str] = field(default_factory=list)

    def nothing_went_wrong(self) -> None:
        assert not self.wrong, self.wrong


def _failed(asked: Request) -> bool:
    """Whether a request failed by itself: what a page lets go of when it is left, or paused, has not."""
    return asked.failure != "net::ERR_ABORTED"


def _is_foreign(asked: Request, at: str) -> bool:
    """Whether a page asks something of another place; going to another page is no such thing."""
    return not asked.is_navigation_request() and not asked.url.startswith((at, "data:", "blob:"))


@contextmanager
def visitor(
    browser: Browser, *, theme: str = "light", width: int = 1360, height: int = 850, at: str = ""
) -> Iterator[Visitor]:
    """Open a window of its own: no cookies, nothing seen. With `at`, pages elsewhere are not watched, and no page
    of `at` may ask anything of elsewhere.
    """
    context = browser.new_context(color_scheme=theme, viewport={"width": width, "height": height})
    page = context.new_page()
    watched = Visitor(page)

    def note(what: str) -> None:
        if page.url.startswith(at):
            watched.wrong.append(what)

    page.on("console", lambda said: note(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: note(f"page error: {error}"))
    page.on("response", lambda told: note(f"{told.status} {told.url}") if told.status >= 500 else None)
    page.on(
        "requestfailed",
        lambda asked: note(f"failed: {asked.failure} {asked.url}") if _failed(asked) else None,
    )
    if at:
        page.on("request", lambda asked: note(f"foreign: {asked.url}") if _is_foreign(asked, at) else None)

    def asked(dialog: Any) -> None:
        watched.wrong.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    page.on("dialog", asked)
    page.add_init_script(WATCH_POLICY)
    try:
        yield watched
    finally:
        context.close()


def enter(page: Page, it: House) -> None:
    """Become the owner by the link that a first start prints."""
    page.goto(it.owner_link())
    page.get_by_label("Your name").fill("Ada Lovelace")
    page.get_by_label("Email").fill(OWNER)
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_label("The same again").fill(PASSWORD)
    page.get_by_role("button", name="Become the owner").click()
    page.wait_for_url(it.console("/"))


def serious(page: Page) -> list[str]:
    """Return what axe-core finds serious or critical, each with where."""
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{each['id']} ({each['impact']}): {node['target']} {node['failureSummary']}"
        for each in found["violations"]
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    ]
