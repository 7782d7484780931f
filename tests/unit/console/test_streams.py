"""Live pages: what comes is drawn and framed, the platform's stream ends with the browser's, and errors are told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec import structs

from penstock.console import app, streams
from penstock.kernel.clock import ManualClock
from penstock.kernel.errors import Unavailable
from penstock.sdk.requests import RequestView
from tests.browser import made_up
from tests.support import run
from tests.unit.console.support import NOW_S, Answered, Browser, Platform, never, says

REQUEST = RequestView(request_id="req_live", at_s=NOW_S, outcome="ok", model="<b>m</b>")
EVENTS = {"accept": "text/event-stream"}


def listen(platform: Platform, path: str, *, pieces: int, **more) -> str:
    browser = Browser(platform, **more)

    async def look() -> Answered:
        found = await browser.call("GET", path, headers=EVENTS, most=pieces)
        assert asyncio.all_tasks() == {asyncio.current_task()}, "something goes on without a reader"
        return found

    reply = run(look())
    assert reply.headers["content-type"].startswith("text/event-stream")
    return reply.text


def test_a_request_that_ends_is_drawn_as_a_row_escaped_on_lines_of_data():
    platform = Platform(**{"GET /requests/live": lambda _: says(("request", REQUEST))})
    text = listen(platform, "/requests?live=1&team=search&last=1h", pieces=2)
    assert "event: paint\ndata: " in text
    assert 'id="row-req_live"' in text
    assert "&lt;b&gt;m" in text
    assert all(line.startswith(("data: ", "event: ", "retry: ")) for line in text.splitlines() if line)
    assert platform.queries("GET /requests/live") == [{"team": "search"}]


def test_the_overview_s_stream_draws_what_the_page_draws():
    platform = Platform(**{"GET /overview/live": lambda _: says(("overview", made_up.overview(at_s=NOW_S)))})
    assert "What breaks first" in listen(platform, "/?live=1", pieces=2)


def test_a_browser_that_leaves_ends_the_platform_s_stream():
    platform = Platform(**{"GET /requests/live": lambda _: says(("request", REQUEST))})
    listen(platform, "/requests?live=1", pieces=2)
    assert platform.open_streams == 0


def test_a_silent_stream_says_that_it_is_there_and_ends_when_the_platform_drains(monkeypatch):
    monkeypatch.setattr(streams, "LOOK_S", 0.001)
    looks = iter([False] * 25 + [True] * 5)
    platform = Platform(**{"GET /requests/live": lambda _: never()})
    text = listen(platform, "/requests?live=1", pieces=1_000, draining=lambda: next(looks))
    assert text.count(": still here") == 2
    assert platform.open_streams == 0


def test_a_stream_ends_after_its_life_so_that_a_session_that_ended_is_noticed(monkeypatch):
    monkeypatch.setattr(streams, "LOOK_S", 0.001)
    platform = Platform(**{"GET /requests/live": lambda _: never()})
    browser = Browser(platform)

    async def grow_old():
        reply = asyncio.ensure_future(browser.call("GET", "/requests?live=1", headers=EVENTS))
        await asyncio.sleep(0.02)
        browser.clock.advance(streams.LIFE_S)
        await reply

    run(grow_old())
    assert platform.open_streams == 0


def test_an_error_of_the_platform_is_told_in_the_stream():
    platform = Platform(**{"GET /overview/live": Unavailable("Away for a moment.")})
    text = listen(platform, "/?live=1", pieces=1_000)
    assert "event: problem" in text
    assert "Away for a moment." in text


def test_whoever_is_signed_out_gets_no_stream_but_the_word_for_it():
    reply = run(Browser(Platform(), signed_in=False).call("GET", "/?live=1", headers=EVENTS))
    assert reply.status == 401


# --- pace -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at the clock often, and say nothing about silence."""
    monkeypatch.setattr(streams, "LOOK_S", 0.001)
    monkeypatch.setattr(streams, "SILENCES", 1_000_000)


class Pages(Platform):
    """A platform whose streams say what the test puts into them; the time that drawing takes is the test's, too."""

    def __init__(self, route: str) -> None:
        super().__init__(**{route: lambda _: self._said()})
        self.to_say: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()

    async def _said(self) -> AsyncIterator[tuple[str, Any]]:
        while True:
            yield await self.to_say.get()

    async def says(self, *events: tuple[str, Any]) -> None:
        """Say these, and wait until they are heard."""
        for each in events:
            self.to_say.put_nowait(each)
        await asyncio.sleep(0.02)


def rows(*numbers: int) -> list[tuple[str, Any]]:
    return [("request", RequestView(request_id=f"req_{number}", at_s=NOW_S)) for number in numbers]


async def seen_of(browser: Browser, path: str, scene: Any, *, times: int) -> list[tuple[str, str]]:
    """Return the events that a page was sent in `times` painted chunks, while `scene` goes on."""
    looking = asyncio.ensure_future(browser.call("GET", path, headers=EVENTS, most=1 + times))
    await asyncio.sleep(0.02)
    await scene
    text = (await looking).text
    blocks = [block.split("\n", 1) for block in text.split("\n\n") if block.startswith("event: ")]
    return [(name.removeprefix("event: "), data.replace("data: ", "")) for name, data in blocks]


def shown(html: str) -> list[int]:
    """Return the numbers of the requests that a fragment has rows of, from the top."""
    return [int(part.partition('"')[0]) for part in html.split('id="row-req_')[1:]]


@pytest.mark.usefixtures("_soon")
def test_what_comes_between_two_paints_is_one_fragment_the_newest_on_top() -> None:
    platform = Pages("GET /requests/live")
    browser = Browser(platform)

    async def scene() -> None:
        await platform.says(*rows(1))
        await platform.says(*rows(2, 3, 4))
        browser.clock.advance(streams.PAINT_S - 0.01)
        await asyncio.sleep(0.02)
        await platform.says(*rows(5))
        browser.clock.advance(0.02)

    events = run(seen_of(browser, "/requests?live=1", scene(), times=2))
    assert [shown(html) for name, html in events if name == "paint"] == [[1], [5, 4, 3, 2]]
    assert "pace" not in dict(events)


@pytest.mark.usefixtures("_soon")
def test_of_the_overview_only_the_newest_is_drawn() -> None:
    platform = Pages("GET /overview/live")
    browser = Browser(platform)

    async def scene() -> None:
        for in_flight in (11_111, 22_222, 33_333):
            now = structs.replace(made_up.overview(at_s=NOW_S), in_flight=in_flight)
            await platform.says(("overview", now))
        browser.clock.advance(streams.PAINT_S)

    first, second = [html for _, html in run(seen_of(browser, "/?live=1", scene(), times=2))]
    assert ">11,111<" in first
    assert ">33,333<" in second
    assert ">22,222<" not in first + second


@pytest.mark.usefixtures("_soon")
def test_pages_that_take_long_to_draw_are_drawn_seldomer_and_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    platform = Pages("GET /requests/live")
    browser = Browser(platform)
    _takes(monkeypatch, browser.clock, 0.03)

    async def scene() -> None:
        await platform.says(*rows(1))
        await platform.says(*rows(2))
        browser.clock.advance(0.03 / app.DRAWING_SHARE - 0.01)
        await asyncio.sleep(0.02)
        await platform.says(*rows(3))
        browser.clock.advance(0.02)

    events = run(seen_of(browser, "/requests?live=1", scene(), times=2))
    assert [shown(html) for name, html in events if name == "paint"] == [[1], [3, 2]]
    assert [json.loads(data) for name, data in events if name == "pace"] == [{"every_s": 3, "missing": 0}]


@pytest.mark.usefixtures("_soon")
def test_requests_that_are_never_shown_are_counted_for_whoever_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "LOOK_S", 0.001)
    monkeypatch.setattr("penstock.console.pages.requests.LIVE_ROWS", 4)
    platform = Pages("GET /requests/live")
    browser = Browser(platform)

    async def scene() -> None:
        await platform.says(*rows(1))
        await platform.says(("skipped", {"count": 100}), *rows(*range(2, 9)))
        browser.clock.advance(streams.PAINT_S)

    events = run(seen_of(browser, "/requests?live=1", scene(), times=2))
    assert [shown(html) for name, html in events if name == "paint"] == [[1], [8, 7, 6, 5]]
    assert [json.loads(data) for name, data in events if name == "pace"] == [{"every_s": 0, "missing": 103}]


def _takes(monkeypatch: pytest.MonkeyPatch, clock: ManualClock, seconds: float) -> None:
    """Let drawing a fragment take so long."""
    drawn = app.Renderer.html

    def html(self: Any, template: str, values: dict[str, object]) -> str:
        if template.startswith("parts/"):
            clock.advance(seconds)
        return drawn(self, template, values)

    monkeypatch.setattr(app.Renderer, "html", html)
