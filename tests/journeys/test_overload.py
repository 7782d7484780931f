"""More than there is room for, on real sockets: who waits, who goes first, who is refused, and that each is told of.

Promise: the most urgent get the next place, whatever came first, and a batch waits for everybody; what a vendor has
left is kept for the urgent; a process that cannot keep up refuses the least urgent in the words of their SDK, before
anything is done for them, and lets everybody in again when it can; every refusal is in the audit and on the metrics
page, and nothing stays held.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anthropic
import msgspec
import openai
import pytest
from anthropic import AsyncAnthropic
from google import genai
from google.genai.errors import ServerError
from openai import AsyncOpenAI

from penstock.kernel.events import RequestEvent
from penstock.kernel.settings import OverloadSettings
from penstock.kernel.settings_gateway import QuotaSettings
from penstock.mechanisms.priorities import Priority
from penstock.mechanisms.shedding import LEAST
from penstock.sdk.client import Client
from tests.journeys.test_sdk_batches import begun, ended, line
from tests.raw_upstream import RawUpstream, Wire
from tests.stage import Caller, Stage, stage, until
from tests.support import run

MODEL = "sim/model"
UNTOLD = QuotaSettings()
LEFT = b"x-ratelimit-limit-requests: 100\r\nx-ratelimit-remaining-requests: 5\r\nx-ratelimit-reset-requests: 600s\r\n"
ANSWER = (
    b'{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant",'
    b'"content":"ok"},"finish_reason":"stop"}],"usage":{"prompt_tokens":8,"completion_tokens":1,"total_tokens":9}}'
)


class Vendor:
    """Answers one request at a time, each when it is let go; remembers what it was asked, in order."""

    def __init__(self, head: bytes = b"") -> None:
        self.asked: list[str] = []
        self.held = asyncio.Semaphore(0)
        self._head = head

    async def answer(self, wire: Wire) -> None:
        """Answer one chat, whose question is its name."""
        self.asked.append(wire.asked["messages"][-1]["content"])
        await self.held.acquire()
        size = b"content-length: %d\r\nconnection: close\r\n\r\n" % len(ANSWER)
        await wire.send(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n" + self._head + size + ANSWER)

    def let_go(self, answers: int = 1) -> None:
        """Let so many answers leave."""
        for _ in range(answers):
            self.held.release()


class House:
    """A platform before a vendor that answers when it is told to, and a caller that may say how urgent it is."""

    def __init__(self, it: Stage, vendor: Vendor, caller: Caller, client: AsyncOpenAI) -> None:
        self.it = it
        self.vendor = vendor
        self.caller = caller
        self.client = client

    def ask(self, name: str, priority: str = "") -> asyncio.Task[Any]:
        """Ask a question in a task of its own."""
        headers = {"x-penstock-priority": priority} if priority else {}
        asked: Any = [{"role": "user", "content": name}]
        return asyncio.create_task(
            self.client.chat.completions.create(
                model=MODEL, messages=asked, max_tokens=5, extra_headers=headers
            )
        )

    async def waiting(self, count: int) -> None:
        """Wait until so many wait for a place."""
        room = self.it.platform.waiting.places.room
        await until(lambda: told(room.waiting == count), 5)

    async def calling(self, count: int) -> None:
        """Wait until the vendor was asked so often."""
        await until(lambda: told(len(self.vendor.asked) == count), 5)

    async def flags(self, records: int) -> list[RequestEvent]:
        """Return the audit's records, when there are so many."""
        stream = self.it.platform.stores.stream
        while len(rows := await stream.read("audit", 0, records)) < records:
            await asyncio.sleep(0.01)
        return [msgspec.json.decode(row.value, type=RequestEvent) for row in rows]


async def told(fact: bool) -> bool:
    """Return a fact as whoever waits wants it."""
    return fact


@asynccontextmanager
async def house(
    folder: Path, head: bytes = b"", *, quota: QuotaSettings = UNTOLD, **overload: Any
) -> AsyncIterator[House]:
    """Put a house up; `quota` is what the settings tell of the vendor's."""
    vendor = Vendor(head)
    async with RawUpstream({MODEL: vendor.answer}) as upstream:
        chosen = OverloadSettings(**overload)
        async with stage(
            folder,
            provider={"base_url": upstream.url, "models": (MODEL,), "quota": quota},
            altered=lambda settings: msgspec.structs.replace(settings, overload=chosen),
        ) as it:
            caller = await it.caller(tier="premium")
            async with AsyncOpenAI(base_url=it.url, api_key=caller.token, max_retries=0) as client:
                yield House(it, vendor, caller, client)


def test_the_most_urgent_get_the_next_place_and_a_batch_waits_for_everybody(tmp_path: Path) -> None:
    async def journey() -> None:
        async with house(tmp_path, serving=1, wait_s=20.0, ageing_s=60.0) as it:
            first = it.ask("first")
            await it.calling(1)
            batch = await begun(it.client, [line("lake", MODEL)])
            await it.waiting(1)
            asked = [it.ask(name, name) for name in ("low", "normal", "high", "critical")]
            await it.waiting(5)
            it.vendor.let_go(6)
            for each in (first, *asked):
                assert (await each).choices[0].message.content == "ok"
            assert (await ended(it.client, batch)).status == "completed"
            assert it.vendor.asked == ["first", "critical", "high", "normal", "How full is lake?", "low"]
            waited = [event for event in await it.flags(6) if "waited" in event.flags]
            assert len(waited) == 5
            places = it.it.platform.waiting.places
            assert (places.taken, places.room.waited) == (0, 5)

    run(journey())


def test_who_waits_longer_goes_before_a_better_class_that_has_just_come(tmp_path: Path) -> None:
    async def journey() -> None:
        async with house(tmp_path, serving=1, wait_s=20.0, ageing_s=0.02) as it:
            first = it.ask("first")
            await it.calling(1)
            old = it.ask("old", "low")
            await it.waiting(1)
            await asyncio.sleep(0.1)  # five classes
            new = it.ask("new", "critical")
            await it.waiting(2)
            it.vendor.let_go(3)
            await asyncio.gather(first, old, new)
            assert it.vendor.asked == ["first", "old", "new"]

    run(journey())


def test_where_there_is_no_room_to_wait_the_least_urgent_is_dropped_and_nothing_stays_held(
    tmp_path: Path,
) -> None:
    async def journey() -> None:
        async with house(tmp_path, serving=1, waiting=1, wait_s=20.0) as it:
            first = it.ask("first")
            await it.calling(1)
            low = it.ask("low", "low")
            await it.waiting(1)
            critical = it.ask("critical", "critical")
            with pytest.raises(openai.InternalServerError) as refused:
                await low
            assert refused.value.status_code == 503
            body: Any = refused.value.body
            assert body["code"] == "no_place"
            assert int(refused.value.response.headers["retry-after"]) >= 1
            it.vendor.let_go(2)
            await asyncio.gather(first, critical)
            assert it.vendor.asked == ["first", "critical"]
            assert (await it.it.settled(it.caller, 2)).held_nanos == 0
            (event,) = [event for event in await it.flags(3) if event.status != 200]
            assert (event.status, event.error, event.cost_nanos) == (503, "no_place", 0)
            page = it.it.platform.metrics.render()
            assert b'penstock_wait_refused_requests_total{priority="low"} 1.0' in page

    run(journey())


def test_a_caller_that_leaves_while_it_waits_leaves_no_trace(tmp_path: Path) -> None:
    async def journey() -> None:
        async with house(tmp_path, serving=1, wait_s=20.0) as it:
            first = it.ask("first")
            await it.calling(1)
            gone = it.ask("gone", "critical")
            await it.waiting(1)
            gone.cancel()
            await it.waiting(0)
            it.vendor.let_go(2)
            await first
            assert (await it.ask("next")).choices
            assert it.vendor.asked == ["first", "next"]
            assert it.it.platform.waiting.places.taken == 0

    run(journey())


def test_what_a_vendor_has_left_is_kept_for_the_urgent(tmp_path: Path) -> None:
    async def journey() -> None:
        async with house(tmp_path, LEFT, wait_s=0.2, ageing_s=60.0, near_quota_percent=10) as it:
            it.vendor.let_go(3)
            await it.ask("tells that 5 of 100 are left")
            with pytest.raises(openai.RateLimitError) as refused:
                await it.ask("low", "low")
            assert int(refused.value.response.headers["retry-after"]) > 1
            with pytest.raises(openai.RateLimitError):
                await it.ask("normal")
            await it.ask("critical", "critical")
            await it.ask("high", "high")
            assert it.vendor.asked == ["tells that 5 of 100 are left", "critical", "high"]
            assert (await it.it.settled(it.caller, 3)).held_nanos == 0
            rooms = it.it.platform.waiting.rooms
            assert rooms is not None
            assert (rooms.refused, rooms.waiting) == ([0, 0, 1, 1], 0)
            refusals = [event for event in await it.flags(5) if event.status == 429]
            assert [(event.error, event.attempts) for event in refusals] == [("rate_limited", 0)] * 2

    run(journey())


def test_a_quota_of_the_settings_is_kept_for_the_urgent_before_any_header_was_seen(tmp_path: Path) -> None:
    async def journey() -> None:
        quota = QuotaSettings(requests_per_minute=20)
        async with house(tmp_path, quota=quota, wait_s=0.2, ageing_s=60.0, near_quota_percent=50) as it:
            it.vendor.let_go(13)
            for number in range(11):
                await it.ask(f"number {number}", "critical")
            with pytest.raises(openai.RateLimitError) as refused:
                await it.ask("low", "low")
            assert int(refused.value.response.headers["retry-after"]) >= 1
            await it.ask("critical", "critical")
            assert it.vendor.asked == [*[f"number {number}" for number in range(11)], "critical"]
            rooms = it.it.platform.waiting.rooms
            assert rooms is not None
            assert (rooms.refused, rooms.waiting) == ([0, 0, 0, 1], 0)
            assert f'penstock_quota_left_ratio{{target="sim/{MODEL}"}} 0.4' in (
                it.it.platform.metrics.render().decode()
            )
            assert (await it.it.settled(it.caller, 12)).held_nanos == 0

    run(journey())


async def burden(stop: asyncio.Event) -> None:
    """Hold the loop up, again and again, as a flood does."""
    while not stop.is_set():
        time.sleep(0.08)
        await asyncio.sleep(0)


@asynccontextmanager
async def overloaded(it: Stage, ask: Callable[[], Awaitable[object]]) -> AsyncIterator[None]:
    """Be a process that cannot keep up with what is under way: more than may be, whatever the lag."""
    guard = it.platform.guard
    assert guard is not None
    many = [asyncio.ensure_future(ask()) for _ in range(int(LEAST) + 4)]
    await until(lambda: told(it.platform.waiting.places.taken == len(many)), 10)
    stop = asyncio.Event()
    work = asyncio.create_task(burden(stop))
    await until(lambda: told(guard.shedder.is_shedding), 10)
    try:
        yield
    finally:
        stop.set()
        for each in (*many, work):
            each.cancel()
        await asyncio.gather(*many, work, return_exceptions=True)


async def again(ask: Callable[[], Awaitable[object]]) -> None:
    """Ask until it is refused: the limit falls step by step."""
    while True:
        await ask()


def test_a_process_that_cannot_keep_up_refuses_the_least_urgent_and_serves_the_urgent(tmp_path: Path) -> None:
    asked: Any = [{"role": "user", "content": "How full is the lake?"}]
    low = {"x-penstock-priority": "low"}

    async def journey() -> None:
        async with stage(tmp_path) as it:
            caller, owner = await it.caller(tier="premium"), await it.caller(role="owner")
            root = it.url.removesuffix("/v1")
            oai = AsyncOpenAI(base_url=it.url, api_key=caller.token, max_retries=0)
            claude = AsyncAnthropic(base_url=root, auth_token=caller.token, max_retries=0)
            options: Any = {"base_url": root, "api_version": "v1beta", "headers": low}
            google = genai.Client(api_key=caller.token, http_options=options)

            def ask(headers: dict[str, str], model: str = MODEL) -> Awaitable[Any]:
                return oai.chat.completions.create(
                    model=model, messages=asked, max_tokens=5, extra_headers=headers
                )

            def ask_claude() -> Awaitable[Any]:
                return claude.messages.create(model=MODEL, messages=asked, max_tokens=5, extra_headers=low)

            def ask_google() -> Awaitable[Any]:
                return google.aio.models.generate_content(model=MODEL, contents="How full is the lake?")

            async with oai, claude, Client(root, owner.token) as operator:
                await ask({})
                async with overloaded(it, lambda: ask({}, "sim/slow_first_byte;seconds=30")):
                    with pytest.raises(openai.InternalServerError) as refused:
                        await again(lambda: ask(low))
                    body: Any = refused.value.body
                    assert (body["code"], refused.value.response.headers["retry-after"]) == (
                        "overloaded",
                        "8",
                    )
                    with pytest.raises(anthropic.APIStatusError) as busy:
                        await again(ask_claude)
                    body = busy.value.body
                    assert (busy.value.status_code, body["error"]["type"]) == (529, "overloaded_error")
                    with pytest.raises(ServerError) as away:
                        await again(ask_google)
                    assert away.value.status == "UNAVAILABLE"
                    await google.aio.aclose()
                    google.close()
                    assert (await ask({"x-penstock-priority": "critical"})).choices
                    assert (await operator.status()).version
                guard = it.platform.guard
                assert guard is not None
                await until(lambda: told(not guard.shedder.is_shedding), 10)
                assert (await ask(low)).choices
                await _are_told_of(it, guard.shedder.refused[Priority.LOW])

    run(journey(), ceiling_s=60)


async def _are_told_of(it: Stage, refused: int) -> None:
    """Check that as many refusals are in the audit and on the metrics page."""
    assert refused >= 3
    page = it.platform.metrics.render()
    assert b'penstock_shed_requests_total{priority="low"} %d.0' % refused in page

    async def all_told() -> bool:
        rows = await it.platform.stores.stream.read("audit", 0, 1_000)
        events = [msgspec.json.decode(row.value, type=RequestEvent) for row in rows]
        times = [
            int(flag.partition(":")[2])
            for event in events
            if event.flags[:2] == ("shed", "priority:low")
            for flag in event.flags[2:]
        ]
        return sum(times) == refused

    await until(all_told, 5)
