"""A desk for requests that wait: real records, a clock that tests move, a line that answers as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from penstock.adapters.records.sqlite import SqliteRecords
from penstock.adapters.secrets.embedded import FileSecrets
from penstock.gateway import later_book
from penstock.gateway.client import Client
from penstock.gateway.faces import JSON_TYPE, OPENAI
from penstock.gateway.inquiry import Inquiry
from penstock.gateway.later_book import Asked, LaterBook, LaterDoc
from penstock.gateway.later_runs import (
    LaterRuns,
)
from penstock.gateway.story import Story
from penstock.kernel.clock import ManualClock
from penstock.kernel.context import Principal, RequestContext
from penstock.kernel.errors import (
    PenstockError,
    Unauthenticated,
)
from penstock.kernel.settings_features import LaterSettings
from penstock.mechanisms import webhooks
from penstock.mechanisms.contents.sealing import AesSeal
from penstock.mechanisms.webhooks import Target, Webhooks
from penstock.ports.providers import ProviderFailure
from tests.support import run

KEPT_S = 100.0
ANSWER = b'{"choices":[]}'
DESK = Target(name="desk", url="https://desk.test/hook", orgs=("acme",))
DOWN = ProviderFailure("It is down.", kind="overloaded")


class Line:
    """Answers as told: bytes, or an error; `cost` of attempts that fail. Waits at `gate` where there is one."""

    def __init__(self) -> None:
        self.answers: list[bytes | PenstockError] = []
        self.asked: list[tuple[str, bytes, bytes | None]] = []
        self.cost_nanos = 0
        self.gate: asyncio.Event | None = None

    async def serve(self, context: RequestContext, inquiry: Inquiry, client: Client, story: Story) -> None:
        self.asked.append((context.principal.user, inquiry.body, context.header(b"x-penstock-fallback")))
        if self.gate is not None:
            await self.gate.wait()
        answer = self.answers.pop(0) if self.answers else ANSWER
        meter: Any = type("Meter", (), {"spent_nanos": self.cost_nanos, "attempts": (1,)})()
        story._meter = meter
        if isinstance(answer, PenstockError):
            raise answer
        client.send(200, JSON_TYPE, answer)


class Keys:
    """Knows one key."""

    gone = False

    async def principal_of(self, key_id: str) -> Principal:
        if self.gone:
            raise Unauthenticated
        return Principal(key_id=key_id, org="acme", team="t", project="p", user="kim")


class Hooks:
    """Is never asked: what is told is looked at where it waits."""

    async def post(self, *_: object) -> int:
        raise AssertionError


class Work:
    """One store, and as many processes as a test wants."""

    def __init__(self, records: SqliteRecords, clock: ManualClock, settings: LaterSettings) -> None:
        self.records, self.clock = records, clock
        self.line, self.keys = Line(), Keys()
        self.book = LaterBook(records, AesSeal(), b"s" * 32, settings)
        self.hooks = Webhooks([DESK], records, FileSecrets(None, {}), Hooks(), clock)
        self.runs = self.process()

    def process(self) -> LaterRuns:
        """Return the work of another process."""
        line, keys = self.line, self.keys
        nobody: Any = keys
        return LaterRuns(
            self.book, line, {"openai": OPENAI}, nobody, self.hooks, self.clock,
            deadline_s=60.0, kept_s=KEPT_S, concurrency=4,
        )  # fmt: skip

    async def put(self, id: str = "later_1", model: str = "m", key: str = "k", body: bytes = b"{}") -> None:
        """Put a request off."""
        asked = Asked(path="/v1/chat/completions", body=body, headers={b"x-penstock-fallback": b"models"})
        now_s = self.clock.wall_s()
        await self.book.add(
            LaterDoc(
                id=id, org="acme", owner="acme/t/p", key_id=key, feature="f", face="openai", model=model,
                webhook="desk", created_s=now_s, expires_s=now_s + KEPT_S, box=self.book.sealed("acme", id, asked),
            )
        )  # fmt: skip

    async def look(self, runs: LaterRuns | None = None) -> None:
        """Have one process look once, and wait for what it began."""
        runs = runs or self.runs
        await runs.look()
        while runs._tasks:
            await asyncio.gather(*runs._tasks.values())

    async def doc(self, id: str = "later_1") -> LaterDoc:
        """Return a request as it is written down."""
        doc = await self.book.get("acme", id)
        assert doc is not None
        return doc

    async def told(self) -> list[Any]:
        """Return the messages that wait to be posted."""
        return [each.message for each in await self.hooks.waiting()]


def working(folder: Path, case: Callable[[Work], Awaitable[None]], **settings: int) -> None:
    async def opened() -> None:
        clock = ManualClock()
        collections = (*later_book.COLLECTIONS, *webhooks.COLLECTIONS)
        records = await SqliteRecords.open(folder / "records.sqlite", collections, clock)
        try:
            await case(Work(records, clock, LaterSettings(**settings)))
        finally:
            await records.close()

    run(opened())
