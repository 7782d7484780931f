"""Live pages: what comes is drawn and framed, the platform's stream ends with the browser's, and errors are told."""

from __future__ import annotations

import asyncio

from penstock.console import streams
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
